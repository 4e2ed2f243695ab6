"""The version of the package, in one place for setup.cfg, the hello and users."""

__version__ = "3.0.0"

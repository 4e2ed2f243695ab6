"""Threaded messaging between Python processes."""

from yoton._version import __version__

__all__ = ["__version__"]

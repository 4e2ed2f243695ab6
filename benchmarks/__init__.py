"""Measures yoton beside what one would use instead: ``python -m benchmarks --help``.

Each run has a client process and at least one server process of its own, on loopback. All that
arrives is compared with what was sent; a run that lost something gets no figure. The peers take
turns, so that a slow moment of the machine meets all of them.
"""

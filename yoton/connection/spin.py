"""Looking again and again for a short while, before sleeping.

A thread that sleeps is woken within some 25 µs where the other end runs on another processor:
that is longer than all that a message costs besides. Looking again and again until it comes
saves that, if it comes soon. If it does not, the time was wasted; so whoever does it in vain
does not do it for the next few times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from yoton.clock import Clock, monotonic

#: Seconds for which to look again and again: what a peer takes to reply to something small.
SPIN_TIME = 100e-6

#: How often at most it is left out after it was in vain: then it costs nothing to speak of.
MAX_OMISSIONS = 1024


class Spin:
    """Looks again and again whether something has come, where that has paid before.

    For one thread at a time.

    Parameters
    ----------
    clock : callable, optional
        What tells the time.
    """

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        # How often it is left out now, and how often after the next time in vain.
        self._omissions = 0
        self._next_omissions = 1

    def wait(self, has_come: Callable[[], bool]) -> None:
        """Return when has_come() is true, or when it is better to sleep until then."""
        if self._omissions:
            self._omissions -= 1
            return
        end = self._clock() + SPIN_TIME
        while not has_come():
            if self._clock() >= end:
                self._omissions = self._next_omissions
                self._next_omissions = min(2 * self._next_omissions, MAX_OMISSIONS)
                return
        # Not from the beginning at once: it may have been chance.
        self._next_omissions = max(1, self._next_omissions // 2)


def processor_count() -> int:
    """Get how many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

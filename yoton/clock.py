"""Deadlines on the monotonic clock.

Code that decides by time takes the time as an argument or a clock at construction, so that
tests can move it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Gives the present time in seconds, from an arbitrary start, never backwards.
Clock = Callable[[], float]

monotonic: Clock = time.monotonic


class Deadline:
    """A moment after which one no longer waits.

    Parameters
    ----------
    timeout : float or None
        Seconds from now. None: never passes. Negative counts as zero.
    clock : callable, optional
        What tells the time.
    """

    __slots__ = ("_at", "_clock")

    def __init__(self, timeout: float | None, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._at = None if timeout is None else clock() + max(0.0, timeout)

    def remaining(self) -> float | None:
        """Get the seconds that are left, 0.0 once it has passed, None if it never does."""
        if self._at is None:
            return None
        return max(0.0, self._at - self._clock())

    def passed(self) -> bool:
        """Tell whether the moment has come."""
        return self._at is not None and self._clock() >= self._at


#: The deadline of who waits without limit.
FOREVER = Deadline(None)

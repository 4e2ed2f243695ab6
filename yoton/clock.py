"""Deadlines on the monotonic clock.

Code that decides by time takes the time as an argument or a clock at construction, so that
tests can move it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from yoton.exceptions import ArgumentError

#: Seconds that one wait of the system takes at most, by whichever call: poll() counts 25 days in
#: milliseconds, and longer timeouts are errors. Who has to wait longer looks, and waits again.
LONGEST_WAIT = 20 * 86400.0

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

    Raises
    ------
    ArgumentError
        timeout is not a number (nan). A ValueError.
    """

    __slots__ = ("_at", "_clock")

    def __init__(self, timeout: float | None, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._at: float | None
        # Compared, not limited by functions: each call that waits makes a deadline.
        if timeout is None:
            self._at = None
        elif timeout > 0.0:
            self._at = clock() + timeout
        elif timeout <= 0.0:
            self._at = clock()
        else:
            raise ArgumentError(f"a timeout is a number of seconds or None, not {timeout!r}")

    def remaining(self) -> float | None:
        """Get the seconds to wait: 0.0 once it has passed, None if it never does.

        At most `LONGEST_WAIT`, also if more are left.
        """
        if self._at is None:
            return None
        left = self._at - self._clock()
        if left < 0.0:
            return 0.0
        return left if left < LONGEST_WAIT else LONGEST_WAIT

    def passed(self) -> bool:
        """Tell whether the moment has come."""
        return self._at is not None and self._clock() >= self._at


#: The deadline of who waits without limit.
FOREVER = Deadline(None)

#: The deadline of who does not wait.
NOW = Deadline(0.0)

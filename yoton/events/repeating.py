"""A call that is made again and again."""

from __future__ import annotations

from collections.abc import Callable

from yoton.events.scheduler import ScheduledCall, scheduler


class RepeatedCall:
    """A call that the thread of the scheduler makes again and again, for one use.

    Parameters
    ----------
    func : callable
        What to call. Returns the seconds until the next time, None if there is to be none.
    """

    def __init__(self, func: Callable[[], float | None]) -> None:
        self._func = func
        self._is_stopped = False
        self._call: ScheduledCall | None = None

    def start(self) -> None:
        """Have it made as soon as possible; RuntimeError if the interpreter allows no thread."""
        self._call = scheduler.call_at(scheduler.now(), self._make)

    def stop(self) -> None:
        """Let it not be made again. One that has begun goes on."""
        self._is_stopped = True
        if self._call is not None:
            self._call.cancel()

    def _make(self) -> None:
        # Here as well: it may have been stopped while this one was scheduled.
        if self._is_stopped:
            return
        delay = self._func()
        if delay is not None:
            self._call = scheduler.call_at(scheduler.now() + delay, self._make)

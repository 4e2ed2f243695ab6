"""Timers: signals that are emitted when some time has passed."""

from __future__ import annotations

import math

from yoton.events.queue import Event, app
from yoton.events.scheduler import ScheduledCall, scheduler
from yoton.events.signals import Signal


def next_due(due: float, interval: float, now: float) -> float:
    """Get when the beat after the one at due is due; beats that were missed by now are left out.

    All times are in seconds. The result is due plus a multiple of interval, so that a timer
    does not drift however late its beats come.
    """
    missed = math.floor((now - due) / interval) if now > due else 0
    return due + (missed + 1) * interval


class Timer(Signal):
    """A signal that is emitted, without arguments, an interval after its start.

    The handlers are called by the event loop. If that is late, beats are left out: there is
    never more than one emission of a timer in the event queue.

    A running timer keeps itself alive until it is stopped. As a context manager it is not
    started on entry, but stopped on exit::

        with Timer(0.5, oneshot=False) as timer:
            timer.bind(show_progress)
            timer.start()
            work()

    Every method may be called from any thread; none of them waits.

    Parameters
    ----------
    interval : float
        Seconds from the start to the emission, and from each emission to the next.
    oneshot : bool
        Whether to emit once per start, or again and again until it is stopped.

    Raises
    ------
    ValueError
        interval is not a number greater than zero.
    """

    def __init__(self, interval: float = 1.0, oneshot: bool = True) -> None:
        super().__init__()
        self._interval = _checked_interval(interval)
        self._oneshot = bool(oneshot)
        self._run: _Run | None = None

    @property
    def interval(self) -> float:
        """Seconds between beats; of a running timer, the next beat stays where it is."""
        return self._interval

    @interval.setter
    def interval(self, value: float) -> None:
        self._interval = _checked_interval(value)

    @property
    def oneshot(self) -> bool:
        """Whether the timer stops by itself at its next beat."""
        return self._oneshot

    @oneshot.setter
    def oneshot(self, value: bool) -> None:
        self._oneshot = bool(value)

    @property
    def running(self) -> bool:
        """Whether a beat is to come; a oneshot timer does not run when its handlers are called."""
        run = self._run
        return run is not None and not run.is_over

    def start(self, interval: float | None = None, oneshot: bool | None = None) -> None:
        """Start the timer; one that runs is stopped before.

        Parameters
        ----------
        interval : float, optional
            Seconds between beats from now on. Default: leave it.
        oneshot : bool, optional
            Whether to emit just once from now on. Default: leave it.

        Raises
        ------
        ValueError
            interval is not a number greater than zero; the timer is left as it is.
        """
        if interval is not None:
            self.interval = interval
        if oneshot is not None:
            self.oneshot = oneshot
        run = _Run(self)
        self._replace_run(run)
        try:
            run.schedule()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the timer; an emission that is still in the event queue is left out."""
        self._replace_run(None)

    def _replace_run(self, run: _Run | None) -> None:
        with self._lock:
            replaced, self._run = self._run, run
        if replaced is not None:
            replaced.stop()

    def __enter__(self) -> Timer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class _Run:
    """What a timer does from one start to the stop; the next start makes another one.

    It beats in the thread of the scheduler and emits in that of the event loop.
    """

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._due = scheduler.now() + timer.interval
        self._call: ScheduledCall | None = None
        self._is_stopped = False
        self._is_queued = False
        # No beat is to come.
        self.is_over = False

    def schedule(self) -> None:
        self._call = scheduler.call_at(self._due, self._beat)
        if self._is_stopped:
            self._call.cancel()

    def stop(self) -> None:
        self._is_stopped = True
        if self._call is not None:
            self._call.cancel()

    def _beat(self) -> None:
        if self._timer.oneshot:
            self.is_over = True
        else:
            self._due = next_due(self._due, self._timer.interval, scheduler.now())
            self.schedule()
        if not self._is_queued:
            # Before posting, as the event loop may be quicker than this thread.
            self._is_queued = True
            if not app.post(Event(self._emit)):
                self._is_queued = False

    def _emit(self) -> None:
        self._is_queued = False
        if not self._is_stopped:
            self._timer.emit_now()


def _checked_interval(value: float) -> float:
    if not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"interval is {value!r}; expected a number of seconds greater than zero")
    return value

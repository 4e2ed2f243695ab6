"""Calls at a later time, made by one thread."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable
from typing import TypeAlias

from yoton.clock import Clock, Deadline, monotonic
from yoton.events.callbacks import Callback, callable_name
from yoton.waiting import Bell

logger = logging.getLogger(__name__)

#: Seconds that the thread stays when nothing is scheduled. Deadlines come and go: starting a
#: thread for each would cost more than the deadline.
LINGER_SECONDS = 1.0

#: When it is due, a number that makes it unique, and what to call.
_Call: TypeAlias = "tuple[float, int, Callable[[], object]]"


class Agenda:
    """Calls in the order in which they are due; those due at the same time as they were added.

    Knows no clock: the time is an argument. Not thread-safe.
    """

    def __init__(self) -> None:
        # Sorted. With thousands of calls, moving the rest of a list is still cheaper than the
        # bookkeeping of a heap, and what is discarded is gone at once.
        self._calls: list[_Call] = []
        self._numbers = itertools.count()

    def add(self, due: float, func: Callable[[], object]) -> _Call:
        """Add a call; what is returned is good for `discard`."""
        call = (due, next(self._numbers), func)
        bisect.insort(self._calls, call)
        return call

    def discard(self, call: _Call) -> None:
        """Take a call out if it is still there."""
        index = bisect.bisect_left(self._calls, call)
        if self._calls[index : index + 1] == [call]:
            del self._calls[index]

    def take_due(self, now: float) -> Callable[[], object] | None:
        """Take the first call out if it is due."""
        if self._calls and self._calls[0][0] <= now:
            return self._calls.pop(0)[2]
        return None

    def next_due(self) -> float | None:
        """Get the time at which the first call is due, None if there is none."""
        return self._calls[0][0] if self._calls else None


class ScheduledCall:
    """Handle of a call that a `Scheduler` will make."""

    __slots__ = ("_call", "_scheduler")

    def __init__(self, scheduler: Scheduler, call: _Call) -> None:
        self._scheduler = scheduler
        self._call = call

    def cancel(self) -> None:
        """Do not make the call, unless it has begun already. May be repeated."""
        self._scheduler._discard(self._call)


class Scheduler:
    """Makes calls at their time, in a thread that exists only while it is needed.

    The thread is called "yoton-scheduler". The first call that is scheduled starts it, and it
    ends by itself soon after nothing is left. All calls are made by it, one after the other:
    they have to be short. An error in a call is logged.

    Every method may be called from any thread, from signal handlers and from finalizers, and
    none of them waits.

    Parameters
    ----------
    clock : callable, optional
        What tells the time.
    """

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        # Guards all that follows. Reentrant: a signal handler or a finalizer may schedule or
        # cancel a call while its own thread is in here.
        self._lock = threading.RLock()
        self._agenda = Agenda()
        # Set and cleared by the thread itself, so that a start that failed or was interrupted
        # half way leaves nothing wrong: a thread too many finds it set, and ends.
        self._is_running = False
        # The time at which the thread wakes by itself; -inf while there is no need to wake it.
        self._parked_until = -math.inf
        # What the thread waits at. One wake-up too many only makes it look once more.
        self._bell = Bell()

    def now(self) -> float:
        """Get the time that `call_at` goes by, in seconds."""
        return self._clock()

    def call_after(self, delay: float, func: Callable[[], object]) -> ScheduledCall:
        """Call func in so many seconds; at once if delay is not positive.

        Raises
        ------
        ValueError
            delay is not a number.
        RuntimeError
            The system, or an interpreter that is ending, allows no thread more.
        """
        return self.call_at(self._clock() + delay, func)

    def call_at(self, due: float, func: Callable[[], object]) -> ScheduledCall:
        """Call func at a moment of `now`; raises what `call_after` does."""
        if math.isnan(due):
            raise ValueError("a call cannot be scheduled: its time is not a number")
        with self._lock:
            # Waking first: an interrupt between the two must not leave a call unattended.
            if due < self._parked_until:
                self._wake()
            call = self._agenda.add(due, func)
            needs_thread = not self._is_running
        if needs_thread:
            self._start_thread(call)
        return ScheduledCall(self, call)

    def _start_thread(self, call: _Call) -> None:
        try:
            threading.Thread(target=self._run, name="yoton-scheduler", daemon=True).start()
        except BaseException:
            self._discard(call)
            raise

    def _discard(self, call: _Call) -> None:
        with self._lock:
            self._agenda.discard(call)
            is_empty = self._agenda.next_due() is None
            # A thread that sleeps for longer than it may linger has to look and to end; one
            # that soon wakes anyway is left alone, as most deadlines are cancelled.
            if is_empty and self._parked_until > self._clock() + LINGER_SECONDS:
                self._wake()

    def _wake(self) -> None:
        self._bell.ring()
        self._parked_until = -math.inf

    def _run(self) -> None:
        with self._lock:
            if self._is_running:
                return
            self._is_running = True
        while self._make_next_call():
            pass

    def _make_next_call(self) -> bool:
        # Not in _run: the thread must not hold on to one call while it waits for the next.
        func = self._wait_for_call()
        if func is None:
            return False
        try:
            func()
        except BaseException:  # all deadlines depend on this thread: nothing may end it
            logger.exception("error in the scheduled call of %s", callable_name(func))
        return True

    def _wait_for_call(self) -> Callable[[], object] | None:
        """Wait until a call is due; None, to end the thread, if none is scheduled for a while."""
        linger_until = self._clock() + LINGER_SECONDS
        while True:
            with self._lock:
                # Before looking: a call that a finalizer adds right after that has to wake.
                self._parked_until = math.inf
                now = self._clock()
                func = self._agenda.take_due(now)
                next_due = self._agenda.next_due()
                wake_at = linger_until if next_due is None else next_due
                if func is not None or wake_at <= now:
                    self._parked_until = -math.inf
                    self._is_running = func is not None
                    return func
                self._parked_until = min(self._parked_until, wake_at)
            self._bell.wait(Deadline(wake_at - now))


class Alarm:
    """Has a method called at a moment that moves. Not thread-safe.

    Parameters
    ----------
    scheduler : Scheduler
        What makes the calls.
    method : callable
        Called by the thread of the scheduler, perhaps earlier than is due; it has to call
        `reset`. A bound method does not keep its object alive.
    """

    def __init__(self, scheduler: Scheduler, method: Callable[[], object]) -> None:
        self._scheduler = scheduler
        self._callback = Callback(method)
        self._call: ScheduledCall | None = None
        self._due = 0.0

    @property
    def is_set(self) -> bool:
        """Whether a call is to come."""
        return self._call is not None

    def set(self, due: float | None) -> None:
        """Move it to a time of the scheduler; None: there is nothing to call for."""
        if self._call is not None and (due is None or due < self._due):
            # In this order: after an interrupt in between it comes too early, not never.
            call, self._call = self._call, None
            call.cancel()
        # An earlier call is left as it is: most of what is due is over long before.
        if self._call is None and due is not None:
            # An interpreter that is ending allows no thread: nothing takes too long there.
            with contextlib.suppress(RuntimeError):
                self._call = self._scheduler.call_at(due, self._callback)
                self._due = due

    def reset(self, due: float | None) -> None:
        """Set it anew, as it has come."""
        self._call = None
        self.set(due)


#: The scheduler of this process; empty in a forked child.
scheduler = Scheduler()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=scheduler._reset)

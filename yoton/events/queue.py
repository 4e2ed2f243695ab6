"""The event loop: a queue of calls that one thread carries out."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from yoton.clock import Deadline
from yoton.events.callbacks import callable_name
from yoton.events.scheduler import scheduler
from yoton.waiting import Bell

logger = logging.getLogger(__name__)

#: Events that wait at most. A program that does not process its events must not fill the
#: memory with them; one that does has room for a burst of this size.
MAX_QUEUED_EVENTS = 10_000


_Call: TypeAlias = "tuple[Callable[..., object], tuple[object, ...], dict[str, object]]"


class Event:
    """A callable with its arguments, to be called once by the event loop.

    Parameters
    ----------
    func : callable
        What to call; held strongly.
    *args, **kwargs
        The arguments to call it with.
    """

    __slots__ = ("_call",)

    def __init__(self, func: Callable[..., object], *args: object, **kwargs: object) -> None:
        self._call: _Call | None = (func, args, kwargs)

    def dispatch(self) -> None:
        """Make the call; an error is logged, KeyboardInterrupt and SystemExit go through.

        The event lets go of the callable and its arguments, so that it is this thread that does
        away with them, not the one that posted: that matters to objects of GUI toolkits.
        """
        call, self._call = self._call, None
        if call is None:
            return
        func, args, kwargs = call
        try:
            func(*args, **kwargs)
        except Exception:
            logger.exception("error in the event handler %s", callable_name(func))


class EventQueue:
    """Events that wait for a thread to process them, in order.

    The thread is the one that calls `process_events` or `start_event_loop`, or one of another
    event loop that this queue is embedded in. Every method may be called from any thread, from
    handlers, signal handlers and finalizers. Only `process_events` and `start_event_loop` wait.

    An error in a handler is logged and the next event follows. KeyboardInterrupt and SystemExit
    go through to the caller, and the events behind stay in the queue.
    """

    def __init__(self) -> None:
        self._stop_count = 0
        self._reset()

    def _reset(self) -> None:
        # Guards all that follows, but the taking of events, which is atomic. Reentrant: a
        # signal handler or a finalizer may post an event while its own thread is in here.
        self._lock = threading.RLock()
        self._events: deque[Event] = deque()
        # One for each thread that waits for an event. Ringing once too often does no harm, so an
        # interrupt between waking and posting does none either.
        self._waiters: list[Bell] = []
        self._embedding_callback: Callable[[], object] | None = None
        # Whether the callback was called and no process_events has looked since.
        self._is_announced = False
        self._dropped = 0
        # From the first event dropped until the queue has been empty.
        self._is_dropping = False

    @property
    def dropped(self) -> int:
        """How many events were dropped so far, because the queue was full."""
        return self._dropped

    def post(self, event: Event, first: bool = False) -> bool:
        """Put an event at the end of the queue, or at its front.

        Returns
        -------
        bool
            Whether it was taken; False if the queue holds `MAX_QUEUED_EVENTS` already. Dropped
            events are counted, and the first of a series is logged.
        """
        with self._lock:
            is_taken = len(self._events) < MAX_QUEUED_EVENTS
            is_first_dropped = not is_taken and not self._is_dropping
            if is_taken:
                self._is_dropping = self._is_dropping and bool(self._events)
                # Waking first: an interrupt between the two must not leave an event unseen.
                self._wake_waiters()
                if first:
                    self._events.appendleft(event)
                else:
                    self._events.append(event)
            else:
                self._dropped += 1
                self._is_dropping = True
        if is_taken:
            self._announce()
        elif is_first_dropped:
            logger.warning(
                "the event queue is full: events are dropped until its %d events are processed",
                MAX_QUEUED_EVENTS,
            )
        return is_taken

    def call_later(
        self, func: Callable[..., object], timeout: float = 0.0, *args: object, **kwargs: object
    ) -> None:
        """Have the event loop call a function.

        Parameters
        ----------
        func : callable
            The function to call; held strongly until then.
        timeout : float
            Seconds to wait before. Zero puts the call at the end of the queue, a negative
            number at its front, so that it is the next to be made.
        *args, **kwargs
            The arguments to call func with.

        Raises
        ------
        ValueError
            func is not callable or timeout is not a number.
        """
        if not callable(func):
            raise ValueError(f"call_later needs a callable, {func!r} is not")
        if not isinstance(timeout, (int, float)) or math.isnan(timeout):
            raise ValueError(f"timeout is {timeout!r}; expected a number of seconds")
        event = Event(func, *args, **kwargs)
        if timeout > 0:
            scheduler.call_after(timeout, functools.partial(self.post, event))
        else:
            self.post(event, first=timeout < 0)

    def process_events(self, block: bool | float = False) -> None:
        """Process the events in the queue; those that come meanwhile are left for the next time.

        Has to be called again and again for the event system to work, unless there is a
        `start_event_loop` or another event loop that this one is embedded in. A handler may
        call it, too.

        Parameters
        ----------
        block : bool or float
            True waits for an event if there is none, False does not; a number is the seconds
            to wait at most.

        Raises
        ------
        ValueError
            block is neither.
        """
        self._process(_deadline(block), is_stopped=_never)

    def start_event_loop(self) -> None:
        """Process events until `stop_event_loop` is called."""
        stop_count = self._stop_count
        forever = Deadline(None)

        def is_stopped() -> bool:
            return self._stop_count != stop_count

        while not is_stopped():
            self._process(forever, is_stopped)

    def stop_event_loop(self) -> None:
        """Let `start_event_loop` return as soon as the handler that runs, if any, has.

        Ends all event loops of this queue if they are nested or there is one in several
        threads, and has no effect if none runs. Events that are left stay in the queue.
        """
        with self._lock:
            self._stop_count += 1
            self._wake_waiters()

    def embed_event_loop(self, callback: Callable[[], object] | None) -> None:
        """Make another event loop process the events.

        Parameters
        ----------
        callback : callable or None
            Called when there are events to process, from any thread that posts one, without
            arguments: it has to make the other event loop call `process_events` soon, and to
            return at once. It is not called again before process_events was called; events
            that are left then, or that come later, lead to the next call. Held strongly; an
            error in it is logged. None ends the embedding; a call that another thread is just
            about to make may still come.

        Raises
        ------
        ValueError
            callback is neither callable nor None.
        """
        if callback is not None and not callable(callback):
            raise ValueError(f"embed_event_loop needs a callable or None, not {callback!r}")
        with self._lock:
            self._embedding_callback = callback
            self._is_announced = False
        self._announce()

    def _process(self, deadline: Deadline, is_stopped: Callable[[], bool]) -> None:
        with self._lock:
            self._is_announced = False
        try:
            for _ in range(self._wait_for_events(deadline, is_stopped)):
                # There are fewer when a handler or another thread processes events as well.
                if is_stopped() or not self._dispatch_next():
                    break
        finally:
            self._announce()

    def _dispatch_next(self) -> bool:
        try:
            event = self._events.popleft()
        except IndexError:
            return False
        event.dispatch()
        return True

    def _wait_for_events(self, deadline: Deadline, is_stopped: Callable[[], bool]) -> int:
        """Wait until there are events, the deadline or the stop; get the number of events."""
        while not self._events and not is_stopped() and deadline.remaining() != 0.0:
            self._wait_for_change(deadline, is_stopped)
        return len(self._events)

    def _wait_for_change(self, deadline: Deadline, is_stopped: Callable[[], bool]) -> None:
        waiter = Bell()
        try:
            with self._lock:
                self._waiters.append(waiter)
            # Looking after the waiter is in place: what changes from now on wakes it.
            if not self._events and not is_stopped():
                waiter.wait(deadline)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            waiter.ring()
        self._waiters.clear()

    def _announce(self) -> None:
        """Call the embedding callback if there are events that it does not know of."""
        if self._embedding_callback is None:
            return
        try:
            with self._lock:
                if self._is_announced or not self._events:
                    return
                self._is_announced = True
                callback = self._embedding_callback
            if callback is not None:
                callback()
        except BaseException as error:
            # The callback did not do its work: the next event has to lead to another call.
            self._is_announced = False
            if not isinstance(error, Exception):
                raise
            logger.exception("error in the callback of embed_event_loop")


def _deadline(block: bool | float) -> Deadline:
    if not isinstance(block, (int, float)) or math.isnan(block):
        raise ValueError(f"block is {block!r}; expected True, False or a number of seconds")
    return Deadline(None if block is True else float(block))


def _never() -> bool:
    return False


#: The event queue of this process; empty and not embedded in a forked child.
app = EventQueue()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=app._reset)

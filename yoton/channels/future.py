"""The future: what a request will have brought when it is over."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable
from concurrent.futures._base import PENDING, RUNNING
from typing import Any, Protocol

from yoton.channels.condition import FutureCondition
from yoton.clock import FOREVER, Deadline
from yoton.events import Event, app
from yoton.exceptions import ArgumentError, ConnectionClosed


class Asker(Protocol):
    """What a future knows of the channel that made its request."""

    def _withdraw(self, request_id: int) -> bool:
        """Give a request up if no replier has it yet; tells whether that was so."""

    def _is_running(self, request_id: int) -> bool:
        """Tell whether a replier has the request."""

    def _lead(self, is_satisfied: Callable[[], bool], deadline: Deadline) -> None:
        """Read what comes in this thread, for a little while at most."""

    def _set_timeout(self, request_id: int, timeout: float | None) -> None:
        """Set how long, counted from its beginning, a request may wait for a replier."""


class Future(concurrent.futures.Future[Any]):
    """The reply to a request, now or later; the calls of `ReqChannel` return one.

    It is waiting until a replier takes the request, then running, then done. It works with all
    that takes futures of `concurrent.futures`, such as `concurrent.futures.wait`,
    `concurrent.futures.as_completed` and `asyncio.wrap_future`, and raises the CancelledError
    and the TimeoutError of that module. `result` and `exception` need no event loop.

    All methods may be called from any thread. Attributes may be set on a future.
    """

    def __init__(self, asker: Asker, request_id: int) -> None:
        # What concurrent.futures.Future sets, with another condition. Its own would be made first,
        # which takes as long as all the rest.
        self._condition: Any = FutureCondition()
        self._state = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Callable[[Future], object]] = []
        self._asker = asker
        self._request_id = request_id
        # In the order in which they were added, which is the order to call them in.
        self._callbacks: list[Callable[[Future], object]] = []

    def cancel(self) -> bool:
        """Give the request up if no replier has it yet.

        Returns
        -------
        bool
            Whether the future is cancelled. False if it is running, or done.
        """
        if self._asker._withdraw(self._request_id):
            self._end_cancelled()
        elif self._asker._is_running(self._request_id):
            return False
        # If it was not withdrawn and is not cancelled, another thread is about to do that.
        return super().cancel()

    def done(self) -> bool:
        """Tell whether it has ended, with a result, an error or by being cancelled."""
        # Without the lock: who waits asks several times.
        return self._state not in (PENDING, RUNNING)

    def running(self) -> bool:
        """Tell whether a replier has the request."""
        return super().running() or (not self.done() and self._asker._is_running(self._request_id))

    def result(self, timeout: float | None = None) -> Any:
        """Get the result, waiting until it is there.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait at most. None: wait until it is done.

        Raises
        ------
        TimeoutError
            It is not there in time.
        CancelledError
            It was cancelled.
        RequestError
            The method at the replier raised an error.
        ConnectionClosed
            The replier is gone. An OSError.
        DecodeError
            The reply cannot be read. A ValueError.
        """
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Get the error that `result` would raise, None if there is a result; waits likewise.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait at most. None: wait until it is done.

        Raises
        ------
        TimeoutError
            It is not done in time.
        CancelledError
            It was cancelled.
        """
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        deadline = FOREVER if timeout is None else Deadline(timeout)
        self._asker._lead(self.done, deadline)
        if not self.done():
            self._condition.changed.wait_for(self.done, deadline)

    def result_or_cancel(self, timeout: float | None = 1.0) -> Any:
        """Get the result; if it is not there in time, cancel the request and get None.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait. None: wait until it is done.

        Raises
        ------
        Exception
            What `result` raises, but for the TimeoutError.
        """
        try:
            return self.result(timeout)
        except concurrent.futures.TimeoutError:
            self.cancel()
            return None

    def set_auto_cancel_timeout(self, timeout: float | None) -> None:
        """Set after which time the request is cancelled if no replier has it by then.

        Parameters
        ----------
        timeout : float or None
            Seconds since the request was made. None: it may wait for ever.

        Raises
        ------
        ArgumentError
            timeout is neither None nor a number greater than zero. A ValueError.
        """
        self._asker._set_timeout(self._request_id, checked_timeout(timeout))

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have a function called when the future is done.

        Parameters
        ----------
        fn : callable
            Called by the yoton event loop, with the future as its argument, also if that is
            done already; held strongly until then. Those of a future are called in the order
            in which they were added. An error in one is logged.

        Raises
        ------
        ArgumentError
            fn is not callable. A ValueError.
        """
        if not callable(fn):
            raise ArgumentError(f"a callback has to be callable, {fn!r} is not")
        if _goes_to_its_own_loop(fn):
            super().add_done_callback(fn)
        else:
            self._callbacks.append(fn)
            super().add_done_callback(_post_next_callback)

    def _call_next_callback(self) -> None:
        self._callbacks.pop(0)(self)

    # What the channel calls

    def _begin(self) -> None:
        """Be running from now on."""
        if not self.done():
            self.set_running_or_notify_cancel()

    def _end_cancelled(self) -> None:
        """Be cancelled, and tell that to concurrent.futures.wait and as_completed."""
        if super().cancel():
            self.set_running_or_notify_cancel()

    def _abandon(self) -> None:
        """Fail in a forked child, to which no reply comes; who waits for it goes on."""
        self._condition.changed.abandon()
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_exception(ConnectionClosed("the process was forked: replies go to the parent"))


def checked_timeout(timeout: float | None) -> float | None:
    """Get a timeout after which a request is cancelled; ArgumentError if it is none."""
    if timeout is not None and (not isinstance(timeout, (int, float)) or not timeout > 0):
        raise ArgumentError(
            f"a timeout is a number of seconds greater than zero, or None, not {timeout!r}"
        )
    return timeout


def _goes_to_its_own_loop(callback: Callable[..., object]) -> bool:
    """Tell whether a callback is that of asyncio.wrap_future.

    It may be called by any thread, as it does nothing but hand over to the asyncio event loop.
    So it need not, and must not, wait for somebody to process yoton events: a program that
    awaits futures may have nobody who does. asyncio gives no other sign of it than the module
    that the function is from.
    """
    return getattr(callback, "__module__", None) == "asyncio.futures"


def _post_next_callback(future: Any) -> None:
    # Which one is next is decided when it is called: two threads that finish a future and add
    # a callback to it at the same time may come here in any order.
    app.post(Event(future._call_next_callback))

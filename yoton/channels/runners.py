"""Who makes the calls that a replier has to make: the event loop, or a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol, TypeAlias
from weakref import WeakMethod

from yoton.clock import FOREVER, Deadline
from yoton.events import Event, app
from yoton.waiting import Mailbox

logger = logging.getLogger(__name__)

#: See `Context.lead`.
_Lead: TypeAlias = "Callable[[Callable[[], bool], Deadline], None]"

#: What a thread is to call; None: nothing more follows.
_Calls: TypeAlias = "Mailbox[Callable[[], object] | None]"

#: Seconds that the end of a thread is waited for. The call that it is making may take longer;
#: then the thread ends by itself after that.
THREAD_END_TIMEOUT = 1.0


class Runner(Protocol):
    """Makes calls, one after the other.

    Attributes
    ----------
    is_own_thread : bool
        Whether its thread has nothing else to do.
    """

    is_own_thread: bool

    def post(self, func: Callable[[], object]) -> bool:
        """Have func called soon; False if that will not be done. Does not wait."""

    def end(self, deadline: Deadline) -> None:
        """Make no more calls; wait for the one that is being made until the deadline."""


class EventRunner:
    """Has the yoton event loop make the calls."""

    is_own_thread = False

    def post(self, func: Callable[[], object]) -> bool:
        """Put the call into the event queue; False if that is full."""
        return app.post(Event(func))

    def end(self, deadline: Deadline) -> None:
        """Nothing to do: the event loop is not ours."""


class ThreadRunner:
    """Makes the calls in a daemon thread, which starts at once.

    Nothing that a call raises ends the thread. A runner that is forgotten ends it.

    Parameters
    ----------
    name : str
        Name of the thread.
    lead : bound method
        Reads what comes, in the thread while that has nothing to do; see `Context.lead`. Held
        weakly.

    Raises
    ------
    RuntimeError
        The system, or an interpreter that is ending, allows no thread more.
    """

    is_own_thread = True

    def __init__(self, name: str, lead: _Lead) -> None:
        self._calls: _Calls = Mailbox()
        self._thread = threading.Thread(
            target=_make_calls, args=(self._calls, WeakMethod(lead)), name=name, daemon=True
        )
        self._thread.start()

    def __del__(self) -> None:
        self._calls.put(None)

    def post(self, func: Callable[[], object]) -> bool:
        """Have the thread make a call; True."""
        self._calls.put(func)
        return True

    def end(self, deadline: Deadline) -> None:
        """Let the thread end after the calls that were posted.

        Waits for that up to a second, and not beyond the deadline, unless it is called by the
        thread itself.
        """
        self._calls.put(None)
        if threading.current_thread() is not self._thread:
            remaining = deadline.remaining()
            has_less = remaining is not None and remaining < THREAD_END_TIMEOUT
            self._thread.join(remaining if has_less else THREAD_END_TIMEOUT)


def _make_calls(calls: _Calls, lead: WeakMethod[_Lead]) -> None:
    while (func := _next_call(calls, lead)) is not None:
        try:
            func()
        except BaseException:
            logger.exception("error in %s; it goes on", threading.current_thread().name)
        # Or the next wait would keep alive what it refers to.
        del func


def _next_call(calls: _Calls, lead: WeakMethod[_Lead]) -> Callable[[], object] | None:
    if calls.is_empty() and (lead_now := lead()) is not None:
        lead_now(lambda: not calls.is_empty(), FOREVER)
        del lead_now
    return calls.get()

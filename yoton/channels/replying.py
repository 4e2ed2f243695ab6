"""The side of request/reply that answers: its methods are called from other contexts."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from yoton.channels.error_replies import error_reply
from yoton.channels.exporting import export, exported_methods
from yoton.channels.negotiating import NegotiatingChannel
from yoton.channels.negotiation import (
    CHECK,
    CONTROL_SEQ,
    MISSING,
    RETURN,
    Control,
    Replier,
    Request,
)
from yoton.channels.replier_status import (
    QUERY,
    UNASKED,
    Work,
)
from yoton.channels.runners import EventRunner, Runner, ThreadRunner
from yoton.clock import FOREVER, Deadline
from yoton.events.scheduler import Alarm, scheduler
from yoton.exceptions import (
    ArgumentError,
    ChannelClosed,
    DecodeError,
    EncodeError,
    PackageTooLarge,
)
from yoton.message_types import OBJECT
from yoton.package import EVERYONE, Package

logger = logging.getLogger(__name__)

#: Characters of an unknown name that are repeated to who asked for it.
_MAX_NAME_LENGTH = 100

_CLOSED = "the replier was closed before it came to this request"

# The values are those of Pyzo's yoton.
_OFF, _EVENT, _THREAD = 0, 1, 2
_MODES = {"off": _OFF, "event": _EVENT, "thread": _THREAD}

_TAGGED_TUPLE = b"t"


class RepChannel(NegotiatingChannel):
    """The side of request/reply that answers: a subclass has the methods to call.

    A request can call the public functions of the subclass, be they plain, static or class
    methods, and `echo`; none of the names that this class has besides, and nothing that is no
    function. If methods carry the decorator `yoton.export`, it can call only those. What a
    method returns is the reply; it has to be what `OBJECT` carries. What it raises is logged,
    and the requester gets a RequestError.

    Requests are handled in the order in which they come. Before any are, `set_mode` has to be
    called.

    Parameters
    ----------
    context : Context
        The context by which it sends and receives.
    slot_base : str
        Name of the slot.

    Raises
    ------
    ArgumentError
        An argument is of another kind. A ValueError.
    SlotError
        Another channel of the context has the slot. A ValueError.
    """

    _kind = "RepChannel"
    _pattern_out = "rep-req"
    _pattern_in = "req-rep"

    def _prepare(self) -> None:
        super()._prepare()
        self._methods = exported_methods(type(self), RepChannel)
        self._replier = Replier()
        self._work = Work()
        # One of its own: it comes once a second while requests come and go, and is not moved.
        self._work_alarm = Alarm(scheduler, self._look_at_work)
        # Guarded by the lock as well: the mode, who handles requests in it, and whether that
        # one was asked to do so and has not begun yet.
        self._run_mode = _OFF
        self._runner: Runner | None = None
        self._is_posted = False
        # How long a close may wait; set right before that.
        self._close_deadline = FOREVER

    @export
    def echo(self, arg1: Any, sleep: float = 0.0) -> tuple[Any, str]:
        """Get the argument back, and the id of this context; for testing.

        Parameters
        ----------
        arg1 : object
            What to reply.
        sleep : float
            Seconds to wait before.
        """
        time.sleep(sleep)
        return arg1, hex(self._context.id)

    @property
    def pending(self) -> int:
        """The number of requests that wait to be handled here."""
        return self._replier.given_count

    def _pending_stats(self) -> dict[str, int]:
        return {"messages": self.pending, "peak_messages": self._replier.peak}

    def _pattern_stats(self) -> dict[str, Any]:
        with self._lock:
            return {"requests": self._replier.stats()}

    def set_mode(self, mode: int | str) -> None:
        """Set who handles requests. Those that wait are kept.

        Parameters
        ----------
        mode : int or str
            0 or "off": nobody, they wait. 1 or "event": the yoton event loop. 2 or "thread": a
            thread of the channel, one request at a time. Upper case does not count.

        Raises
        ------
        ArgumentError
            mode is something else. A ValueError.
        ChannelClosed
            The channel is closed and mode is not "off". An OSError.

        Notes
        -----
        Blocks up to a second when the thread has to end, so that it can finish what it is at.
        """
        number = _mode_number(mode)
        if number == self._run_mode:
            return
        runner = self._new_runner(number)
        with self._lock:
            is_refused = self._is_closed and runner is not None
            replaced = runner if is_refused else self._replace_runner(runner, number)
        if replaced is not None:
            replaced.end(FOREVER)
        if is_refused:
            raise ChannelClosed(f"{self!r} handles no requests any more")
        self._attend()

    def close(self) -> None:
        """Close the channel: requests that wait are refused.

        The one that is being handled is still replied to. Blocks up to a second for that, unless
        it is that one's method that closes the channel.
        """
        super().close()
        with self._lock:
            refused = self._replier.end()
            self._alarm.set(None)
            replaced = self._replace_runner(None, _OFF)
        self._refuse(refused, _CLOSED)
        if replaced is not None:
            replaced.end(self._close_deadline)
        self._leave()

    def close_within(self, deadline: Deadline) -> None:
        """Close the channel, also in the way of a subclass; wait until the deadline at most."""
        self._close_deadline = deadline
        self.close()

    def _leave(self) -> None:
        """Tell everybody that no more replies come, if so; Pyzo's yoton does not know of it."""
        with self._lock:
            control = self._replier.leave()
        if control is not None and self._context.neighbours.are_extended:
            self._send_control(control)

    def _new_runner(self, number: int) -> Runner | None:
        if number == _EVENT:
            return EventRunner()
        if number == _THREAD:
            return ThreadRunner(f"yoton-replier {self._slot_incoming}", self._context.lead)
        return None

    def _replace_runner(self, runner: Runner | None, number: int) -> Runner | None:
        """Change the mode, with the lock held; returns who handled requests before."""
        replaced, self._runner = self._runner, runner
        self._run_mode = number
        self._is_posted = False
        return replaced

    # What the context and the alarm call

    def packages_delivered(self) -> None:
        """Act on what requesters sent."""
        with self._lock:
            surplus, returns = self._receive_arrived()
            # What was noted before the channel was closed may come here after that.
            left = self._replier.end() if self._is_closed else []
            self._alarm.set(self._replier.next_deadline())
        for control in returns:
            self._send_control(control)
        if surplus:
            self._refuse(surplus, "too many requests wait at the replier")
        if left:
            self._refuse(left, _CLOSED)
        self._attend()

    def act_leading(self) -> bool:
        """Act if no Ctrl-C strikes in this thread."""
        if threading.current_thread() is threading.main_thread():
            return False
        self.packages_delivered()
        return True

    def _receive_arrived(self) -> tuple[list[Request], list[Control]]:
        """Receive the packages that were noted; the lock is held.

        Returns
        -------
        tuple
            The requests to refuse, as they are too many, and what to tell requesters.
        """
        surplus, returns = [], []
        while self._arrived:
            package, _ = self._arrived.popleft()
            source_id, dest_seq, data = package.source_id, package.dest_seq, package.data
            if dest_seq >= CONTROL_SEQ:
                if data == QUERY:
                    returns.append(Control(self._report(), source_id, dest_seq - CONTROL_SEQ))
                    continue
                if data == CHECK:
                    if not self._replier.has(source_id, dest_seq - CONTROL_SEQ):
                        returns.append(Control(MISSING, source_id, dest_seq - CONTROL_SEQ))
                    continue
            elif self._is_unexpected(package):
                returns.append(Control(RETURN, source_id, dest_seq))
                continue
            request = self._replier.receive(source_id, dest_seq, data)
            if request is not None:
                surplus.append(request)
        return surplus, returns

    def _is_unexpected(self, package: Package) -> bool:
        """Tell whether a request came without an offer, and nobody is there for it."""
        if self._run_mode == _THREAD or self._is_closed:
            return False
        # Pyzo's yoton waits for an offer, and knows of no return.
        return package.is_msgpack and not self._replier.has_offered(
            package.source_id, package.dest_seq
        )

    def contexts_gone(self, ids: set[int]) -> None:
        """Offer nothing to them."""
        with self._lock:
            self._replier.contexts_gone(ids)
        self._attend()

    def _handle_timer(self) -> None:
        with self._lock:
            self._replier.handle_timer(scheduler.now())
            self._alarm.reset(self._replier.next_deadline())
        self._attend()

    def _look_at_work(self) -> None:
        """Tell requesters if a method takes long."""
        with self._lock:
            is_busy = self._work.look(scheduler.now())
            self._work_alarm.reset(self._work.next_deadline())
        if is_busy:
            self._tell_how_it_is()

    def _report(self) -> bytes:
        """Get the text that tells how it is; the lock is held."""
        return self._work.report(scheduler.now(), self._replier.given_count)

    def _tell_how_it_is(self) -> None:
        """Tell requesters, unasked; Pyzo's yoton does not know of it."""
        with self._lock:
            control = Control(self._report(), EVERYONE, UNASKED)
        if self._context.neighbours.are_extended:
            self._send_control(control)

    # Handling requests

    def _attend(self) -> None:
        """Have those act who handle requests, if there is something to do."""
        runner, is_posted = None, False
        try:
            with self._lock:
                # A thread is ready whenever it has nothing to do. Not so the event loop, which may
                # be busy with other things: it has to say by itself that it is free.
                offer = self._next_offer() if self._run_mode == _THREAD else None
                runner = self._runner if self._replier.has_work and not self._is_posted else None
                self._is_posted = self._is_posted or runner is not None
            if offer is not None:
                self._send_control(offer)
            if runner is not None:
                is_posted = runner.post(functools.partial(self._handle_next, runner))
        finally:
            # What finds no place in the event queue, or Ctrl-C has cut short, must not keep the
            # next from it.
            if runner is not None and not is_posted:
                self._is_posted = False

    def _handle_next(self, runner: Runner) -> None:
        """Handle one request, or all in a thread of its own.

        If there is none, say that there is time for one.
        """
        try:
            has_handled = self._handle_some(runner)
        finally:
            with self._lock:
                # Another runner is asked to go on, if there is one, by who replaced this one.
                self._is_posted = self._is_posted and self._runner is not runner
            self._attend()
        if not has_handled and self._runner is runner:
            self._make_offer()

    def _handle_some(self, runner: Runner) -> bool:
        has_handled = False
        while self._runner is runner and self._handle_one():
            has_handled = True
            if not runner.is_own_thread:
                break
            if self._replier.given_count > 1:
                self._context.begin_burst()
        return has_handled

    def _process_events_local(self, dummy: object = None) -> None:
        """Handle the requests that wait, in this thread; for programs in mode off.

        Pyzo's kernel calls it whenever it has time. Those who ask are told that there is time
        for a request, which then comes a little later.
        """
        while self._handle_one():
            pass
        self._make_offer()

    def _make_offer(self) -> None:
        with self._lock:
            offer = self._next_offer()
        if offer is not None:
            self._send_control(offer)

    def _next_offer(self) -> Control | None:
        """Get an offer to send; the lock is held."""
        offer = self._replier.offer(scheduler.now())
        if offer is not None:
            self._alarm.set(self._replier.next_deadline())
        return offer

    def _handle_one(self) -> bool:
        """Call the method that the next request asks for, and reply; False if there is none.

        Whatever the method raises, there is a reply. KeyboardInterrupt and SystemExit go on to
        the caller after that.
        """
        request = None
        is_failure = False
        try:
            with self._lock:
                request = self._replier.take()
            if request is not None:
                self._reply(request, self._call(request))
        except BaseException as error:
            if request is None:
                raise
            is_failure = True
            logger.error("%r: error handling a request", self, exc_info=True)
            self._reply_error(request, error)
            if not isinstance(error, Exception):
                raise
        finally:
            if request is not None:
                with self._lock:
                    self._replier.done(request, is_failure=is_failure)
                    was_busy = self._work.end(request.key)
                if was_busy:
                    self._tell_how_it_is()
                if self._is_closed:
                    self._leave()
        return request is not None

    def _call(self, request: Request) -> Any:
        name, args, kwargs = _parts_of(OBJECT.message_from_bytes(request.data))
        with self._lock:
            self._work.begin(request.key, name, scheduler.now())
            # It may come for an earlier request that is over by then: most take no time.
            if not self._work_alarm.is_set:
                self._work_alarm.set(self._work.next_deadline())
        method = self._methods.get(name)
        if method is None:
            raise NotImplementedError(f"Method {name[:_MAX_NAME_LENGTH]!r} not implemented.")
        return method.__get__(self, type(self))(*args, **kwargs)

    def _reply(self, request: Request, result: object) -> None:
        try:
            self._send_reply(request, result)
        except (EncodeError, PackageTooLarge) as error:
            raise type(error)(f"the result cannot be sent: {error}") from error

    def _reply_error(self, request: Request, error: BaseException) -> None:
        try:
            self._send_reply(request, error_reply(error, _is_extended(request)))
        except PackageTooLarge as trouble:
            self._send_reply(request, error_reply(trouble, is_extended=False))

    def _refuse(self, requests: Iterable[Request], reason: str) -> None:
        for request in requests:
            reply = error_reply(OSError(reason), _is_extended(request))
            self._send_reply(request, reply, may_wait=False)

    def _send_reply(self, request: Request, message: object, *, may_wait: bool = True) -> None:
        is_msgpack = _is_extended(request) and self._context.neighbours.read_msgpack
        encode = OBJECT.message_to_msgpack if is_msgpack else OBJECT.message_to_bytes
        self._send_to(
            request.source_id, request.request_id, encode(message), is_msgpack, may_wait=may_wait
        )


def _mode_number(mode: int | str) -> int:
    for name, number in _MODES.items():
        if mode == number or (isinstance(mode, str) and mode.lower() == name):
            return number
    raise ArgumentError(f"a mode is 0 or 'off', 1 or 'event', 2 or 'thread', not {mode!r}")


def _parts_of(message: object) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Get name and arguments of a request; DecodeError if it is none."""
    if isinstance(message, tuple) and len(message) == 3:
        name, args, kwargs = message
        are_fitting = isinstance(name, str) and isinstance(args, tuple) and isinstance(kwargs, dict)
        if are_fitting and (not kwargs or all(isinstance(key, str) for key in kwargs)):
            return name, args, kwargs
    raise DecodeError("a request is a tuple of a name, a tuple and a dict with str as keys")


def _is_extended(request: Request) -> bool:
    """Tell whether the requester speaks the extension: then requests are in msgpack."""
    return not request.data.startswith(_TAGGED_TUPLE)

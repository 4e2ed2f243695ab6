"""The side of request/reply that asks: methods of a channel in another context are called."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from typing import Any

from yoton.channels.error_replies import request_error
from yoton.channels.future import Future, checked_timeout
from yoton.channels.negotiating import NegotiatingChannel
from yoton.channels.negotiation import (
    CONTROL_SEQ,
    MAX_REPLIERS,
    Action,
    Cancel,
    Control,
    Fail,
    Give,
    Payload,
    Requester,
)
from yoton.channels.replier_status import (
    QUERY,
    STATUS,
    UNASKED,
    ReplierStatus,
    status_of,
)
from yoton.clock import Deadline
from yoton.connection.busy import is_busy
from yoton.context import Context
from yoton.events import Signal
from yoton.events.scheduler import scheduler
from yoton.exceptions import (
    ArgumentError,
    ChannelClosed,
    ConnectionClosed,
    DecodeError,
    EncodeError,
    HighWaterMarkReached,
    YotonError,
)
from yoton.marks import HighWaterMark, Policy, checked_mark
from yoton.message_types import OBJECT, msgpack_to_tagged
from yoton.package import EVERYONE, Package
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Requests that wait at a requester for a replier at most, unless queues of its context hold more
#: or the user says otherwise. Each has a future besides its message, together some 2 KB.
MAX_WAITING = 10_000


class ReqChannel(NegotiatingChannel):
    """The side of request/reply that asks: each call of a method is a request.

    All public names that are no attributes of this class are methods that a `RepChannel` at
    the same slot may have. A call returns a `Future` at once::

        future = req.add(3, 4)
        print(future.result(2.0))

    The request goes to one replier, to one that is free if there is any; it waits for that,
    also if there is no connection yet. Arguments and results are what `OBJECT` carries. When
    more wait than `set_high_water_mark` says, a call raises a HighWaterMarkReached, and no
    request was made.

    Parameters
    ----------
    context : Context
        The context by which it sends and receives.
    slot_base : str
        Name of the slot.
    default_future_timeout : float or None
        Seconds after which a request is cancelled if no replier has it by then. None: never.

    Raises
    ------
    ArgumentError
        An argument is of another kind. A ValueError.
    SlotError
        Another channel of the context has the slot. A ValueError.
    """

    _kind = "ReqChannel"
    _pattern_out = "req-rep"
    _pattern_in = "rep-req"

    def __init__(
        self,
        context: Context,
        slot_base: str,
        default_future_timeout: float | None = 10.0,
    ) -> None:
        self._default_timeout = checked_timeout(default_future_timeout)
        super().__init__(context, slot_base)

    def _prepare(self) -> None:
        super()._prepare()
        self._requester: Requester = Requester()
        # For each question how repliers are, what they answered, by their ids; guarded by the
        # lock as well.
        self._answers: dict[int, dict[int, bytes]] = {}
        self._query_numbers = itertools.count(UNASKED + 1)
        # What repliers said unasked, and nobody has been told of yet.
        self._reports: deque[Package] = deque(maxlen=MAX_REPLIERS)
        self._replier_changed = Signal()
        self._answered = WaitPoint(self._lock)
        self._room_made = WaitPoint(self._lock)
        self._limit_waiting(self._checked_mark(None, None, Policy.ERROR.value, None))

    def __getattr__(self, name: str) -> Callable[..., Future]:
        """Get the function that makes a request; names with a leading underscore are none."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return functools.partial(self._request, name)

    def set_high_water_mark(
        self,
        messages: int | None = None,
        size: int | None = None,
        policy: str = "error",
        timeout: float | None = None,
    ) -> None:
        """Set how many requests may wait for a replier, and what a call does beyond that.

        Parameters
        ----------
        messages : int, optional
            How many requests. Default: 10,000, or what the `queue_params` of the context say if
            that is more.
        size : int, optional
            How many bytes; a single request may have more. Default: 256 MiB.
        policy : str
            ``"error"``: the call raises a HighWaterMarkReached, and no request was made.
            ``"block"``: it waits until others have found a replier or are cancelled.
        timeout : float, optional
            Only for "block": seconds for which it waits at most before it raises that error.
            Default: no limit.

        Raises
        ------
        ArgumentError
            One of them is something else. A ValueError.
        """
        self._limit_waiting(self._checked_mark(messages, size, policy, timeout))

    def _checked_mark(
        self, messages: int | None, size: int | None, policy: str, timeout: float | None
    ) -> HighWaterMark:
        most = max(MAX_WAITING, self._context.queue_limit)
        mark = checked_mark(messages, size, policy, timeout, most)
        if mark.policy not in (Policy.ERROR, Policy.BLOCK):
            raise ArgumentError(
                f"a request is not dropped by others, so its policy is 'error' or 'block',"
                f" not {policy!r}"
            )
        return mark

    def _limit_waiting(self, mark: HighWaterMark) -> None:
        with self._lock:
            self._room_made.wake_all()
            self._mark = mark
            self._requester.limit_waiting(mark.messages, mark.size)

    def wait_for_repliers(self, n: int = 1, timeout: float | None = None) -> bool:
        """Wait until so many contexts with a `RepChannel` at this slot can be reached.

        What is requested after that reaches them. Contexts of Pyzo's yoton, and those that can be
        reached only by way of one, are not known and do not count, nor do channels beyond the 500
        that a context announces at most. Like any wait, it does not wait in a signal handler or a
        finalizer that runs while its thread is reading.

        Parameters
        ----------
        n : int
            How many.
        timeout : float or None
            Seconds to wait at most; None: without limit.

        Returns
        -------
        bool
            False when the time was over before.

        Raises
        ------
        ChannelClosed
            The channel is closed, perhaps meanwhile. An OSError.
        ArgumentError
            An argument is of another kind. A ValueError.
        """
        return self._wait_for_peers(n, timeout)

    def repliers(self, timeout: float = 1.0) -> list[ReplierStatus]:
        """Ask all repliers how they are; blocks until they have answered.

        A replier answers also while it carries out a request, if its process runs Python code.
        Those that can be reached only by way of Pyzo's yoton are not known. In the mode "event",
        one is not busy yet while a request waits for its event loop: only once a method runs.

        Parameters
        ----------
        timeout : float
            Seconds to wait at most. Those that have not answered by then are in the list as
            well.

        Returns
        -------
        list of ReplierStatus
            Sorted by the ids of their contexts.

        Raises
        ------
        ChannelClosed
            The channel is closed. An OSError.
        """
        if self._is_closed:
            raise self._closed_error()
        peers, number = self.peers, next(self._query_numbers)
        answers = self._answers[number] = {}
        try:
            self._send_control(Control(QUERY, EVERYONE, number))
            self._answered.wait_for(
                lambda: all(peer.id in answers for peer in peers), Deadline(timeout)
            )
        finally:
            del self._answers[number]
        return [status_of(peer, answers.get(peer.id)) for peer in peers]

    @property
    def replier_changed(self) -> Signal:
        """Signal that a replier is busy, or no longer; handlers get this channel and how it is.

        How it is, is a `ReplierStatus`. It is emitted when a method has taken a second, and once
        more when that is over. See `repliers` for those that are known.
        """
        return self._replier_changed

    def close(self) -> None:
        """Close the channel: waiting requests are cancelled, running ones fail.

        The futures of the latter get a ConnectionClosed.
        """
        super().close()
        with self._lock:
            self._room_made.wake_all()
            actions = self._requester.end()
            self._alarm.set(None)
        self._perform(actions)

    def abandon(self) -> None:
        """See `BaseChannel.abandon`: the requests of the parent fail in the child."""
        super().abandon()
        for action in self._requester.end():
            if isinstance(action, (Cancel, Fail)):
                action.call._abandon()

    def _request(self, name: str, /, *args: Any, **kwargs: Any) -> Future:
        payload = self._encoded_request(name, args, kwargs)
        request_id = self._requester.new_id()
        future = Future(self, request_id)
        try:
            if not self._begin(name, request_id, future, payload):
                self._begin_at_mark(name, request_id, future, payload)
        except BaseException:
            # Nobody has the future; what was asked is cancelled in time, if there is a timeout.
            self._requester.forget(request_id)
            raise
        return future

    def _begin(
        self,
        name: str,
        request_id: int,
        future: Future,
        payload: Payload,
        *,
        may_wait: bool = False,
    ) -> bool:
        """Make a request; False if too many wait."""
        with self._lock:
            # Looked at here, as close() ends the requests that it finds under this lock.
            if self._is_closed:
                raise ChannelClosed(f"cannot request {name!r}: {self!r} is closed")
            action = self._requester.ask(
                request_id,
                future,
                payload,
                self._default_timeout,
                scheduler.now(),
                may_give=self._context.neighbours.are_extended,
                may_wait=may_wait,
            )
            if action is None:
                return False
            self._alarm.set(self._requester.next_deadline())
        if isinstance(action, Give):
            self._give(action)
        else:
            self._perform_asking([action])
        return True

    def _begin_at_mark(self, name: str, request_id: int, future: Future, payload: Payload) -> None:
        """Make a request as soon as there is room; raise an error if there is none in time."""
        mark, size = self._mark, len(payload.data)
        deadline = Deadline(mark.timeout if mark.policy is Policy.BLOCK else 0.0)

        def may_try() -> bool:
            return self._is_closed or self._requester.has_room(size)

        is_made = False
        while not is_made:
            # A finalizer or a signal handler in the middle of reading would wait for just that. In
            # the middle of a step of this channel it does not wait either.
            has_room = not is_busy() and self._room_made.wait_for(may_try, deadline)
            if not has_room and deadline.passed():
                with self._lock:
                    self._requester.refuse()
                raise HighWaterMarkReached(
                    f"cannot request {name!r}: too many requests of {self!r} wait for a replier"
                )
            is_made = self._begin(name, request_id, future, payload, may_wait=not has_room)

    def _encoded_request(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        message = (name, args, kwargs)
        try:
            return Payload(*self._encode(message))
        except EncodeError as error:
            text = f"cannot request {name!r}, with message = (name, args, kwargs): {error}"
            raise EncodeError(text) from error

    def _pattern_stats(self) -> dict[str, Any]:
        with self._lock:
            return {"requests": self._requester.stats()}

    # What futures call

    def _withdraw(self, request_id: int) -> bool:
        with self._lock:
            self._room_made.wake_all()
            settlement = self._requester.cancel(request_id)
            self._alarm.set(self._requester.next_deadline())
        if settlement is None:
            return False
        self._send_control(settlement)
        return True

    def _is_running(self, request_id: int) -> bool:
        return self._requester.is_running(request_id)

    def _lead(self, is_satisfied: Callable[[], bool], deadline: Deadline) -> None:
        self._context.lead(is_satisfied, deadline)

    def _set_timeout(self, request_id: int, timeout: float | None) -> None:
        with self._lock:
            self._requester.set_timeout(request_id, timeout)
            self._alarm.set(self._requester.next_deadline())

    # What the context and the alarm call

    def packages_delivered(self) -> None:
        """Act on what repliers sent."""
        while not self.act_leading():
            with self._lock:
                actions = self._hear_next()
                self._alarm.set(self._requester.next_deadline())
            self._perform_asking(actions)
            self._tell_of_reports()

    def _tell_of_reports(self) -> None:
        while self._reports and self._replier_changed.has_handlers:
            report = self._reports.popleft()
            for peer in self.peers:
                if peer.id == report.source_id:
                    self._replier_changed.emit(self, status_of(peer, report.data))
        self._reports.clear()

    def act_leading(self) -> bool:
        """Act on the replies that came, up to something else: then False.

        Ctrl-C may come in between: whatever was not done to its end is done once more.
        """
        with self._lock:  # the lock of a future comes second
            while True:
                if not self._arrived:
                    return True
                package, _ = self._arrived[0]
                if package.dest_seq >= CONTROL_SEQ:
                    return False
                request_id = package.dest_seq
                future = self._requester.call_replied(request_id, package.source_id)
                if future is not None:
                    is_failure = not _finish(future, package.data)
                    now = scheduler.now()
                    self._requester.finished(request_id, now, is_failure=is_failure)
                self._arrived.popleft()

    def _hear_next(self) -> list[Action]:
        """Find out what to do about the next text, which is no reply; the lock is held."""
        if not self._arrived:
            return []
        package, _ = self._arrived.popleft()
        request_id = package.dest_seq - CONTROL_SEQ
        if package.data.startswith(STATUS):
            self._note_answer(request_id, package)
            return []
        self._room_made.wake_all()
        actions = self._requester.told(package.source_id, package.data, request_id, scheduler.now())
        for action in actions:
            # In the same step, so that a future is cancelled or running, never both.
            if isinstance(action, Give):
                action.call._begin()
        return actions

    def _note_answer(self, number: int, package: Package) -> None:
        if number == UNASKED:
            self._reports.append(package)
            return
        answers = self._answers.get(number)
        if answers is not None and len(answers) < MAX_REPLIERS:
            self._answered.wake_all()
            answers[package.source_id] = package.data

    def connection_made(self) -> None:
        """Ask those who came for what still waits."""
        with self._lock:
            questions = self._requester.connection_made(scheduler.now())
        self._perform_asking(questions)

    def messages_lost(self, count: int) -> None:
        """Find out which replies will not come, and tell the user."""
        with self._lock:
            self._requester.something_is_lost(scheduler.now())
            self._alarm.set(self._requester.next_deadline())
        super().messages_lost(count)

    def contexts_gone(self, ids: set[int]) -> None:
        """Fail the requests that run there."""
        with self._lock:
            actions = self._requester.contexts_gone(ids)
        self._perform(actions)

    def _handle_timer(self) -> None:
        is_heard = self._context.connection_count > 0
        may_check = is_heard and self._context.neighbours.are_extended
        with self._lock:
            self._room_made.wake_all()
            actions = self._requester.handle_timer(scheduler.now(), is_heard, may_check=may_check)
            self._alarm.reset(self._requester.next_deadline())
        self._perform_asking(actions)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Control():
                    self._send_control(action)
                case Give():
                    self._give(action)
                case Cancel():
                    action.call._end_cancelled()
                case Fail():
                    _fail(action.call, ConnectionClosed(f"the request was lost: {action.reason}"))

    def _perform_asking(self, actions: Sequence[Action]) -> None:
        """Perform actions among which there are questions."""
        self._perform(actions)
        with self._lock:
            settlements = self._requester.overtaken(actions)
        self._perform(settlements)

    def _give(self, action: Give) -> None:
        data, is_msgpack = action.payload.data, action.payload.is_msgpack
        try:
            if is_msgpack and not self._context.neighbours.read_msgpack:
                # A context that cannot read that has come since the request was made.
                data, is_msgpack = msgpack_to_tagged(data), False
            self._send_to(action.replier_id, action.request_id, data, is_msgpack, may_wait=False)
        except YotonError as error:
            with self._lock:
                self._requester.forget(action.request_id)
            _fail(action.call, error)


def _finish(future: Future, data: bytes) -> bool:
    """End a future with the reply that came; False if that is an error."""
    try:
        reply = OBJECT.message_from_bytes(data)
    except DecodeError as error:
        _fail(future, error)
        return False
    failure = request_error(reply)
    if failure is not None:
        _fail(future, failure)
        return False
    # Not with suppress, whose three calls each reply would wait for.
    try:
        future.set_result(reply)
    except InvalidStateError:
        logger.debug("%r has a result already, set by the user", future)
    return True


def _fail(future: Future, error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)

"""Who carries out which request: how requesters and repliers agree, without a network.

A requester asks everybody who can take a request ("req?"). A replier that has nothing to do
offers itself to one of those who ask ("req!"). The requester gives the request to the first
that offers itself and tells everybody that it is settled ("req-"). In the end the replier
replies. So the load is shared: nobody gets a request while it is busy and another one is free.

A replier that replies quickly is given the next request directly, without being asked, which
takes half the time; and further ones meanwhile, if no other replier is known. So it is in networks
in which all know of it. There a replier that has no thread of its own gives such a request back
("req<"), and one that is closed says so ("req.").

What is lost on the way must not keep anybody waiting for ever. So a requester asks from time to
time whether its replier has a request that runs for long ("req~"), and one that does not says so
("req/"): its reply would have come before that.

Both sides are told what came, and the time in seconds where that matters (`now`); they answer
what is to be done, and when they want to be called next. They are not thread-safe, but a
finalizer or a signal handler may make, limit or cancel a request in the middle of a call.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

from yoton.marks import DEFAULT_MAX_SIZE
from yoton.package import EVERYONE
from yoton.record import Record

#: The texts about a request travel with its id plus this as dest seq; the request itself and
#: the reply with the id alone.
CONTROL_SEQ = 2**63

ASK = b"req?"
OFFER = b"req!"
SETTLE = b"req-"
#: From a replier that was given a request without having offered itself, and has no time for it.
RETURN = b"req<"
#: From a replier that is closed: what it has not replied to by then, it never will.
LEAVE = b"req."

#: "Do you have that request?", to a replier that was given it, and the answer if it does not.
CHECK = b"req~"
MISSING = b"req/"

#: Seconds after which a requester asks again: a replier may have come meanwhile.
RETRY_INTERVAL = 0.5

#: Seconds between two questions whether a replier still has a request. What is lost on the way is
#: rare, and who waits for it has waited for longer than most replies take.
CHECK_INTERVAL = 5.0

#: Questions that a requester repeats per interval, those that were not repeated for longest.
#: With tens of thousands of requests, asking for all would leave no time for anything else.
MAX_REPEATED = 1000

#: Seconds between two looks at what is due. As each looks at all requests that wait, it has
#: to be one look for those that were made at about the same time.
TIMER_RESOLUTION = 0.01

#: Seconds after which a replier no longer expects an answer to its offer. One that lives
#: answers at once.
OFFER_LIFETIME = 10.0

#: Requests that a replier remembers having been asked for. Requesters ask again, so those
#: beyond are only taken later. About 200 bytes each.
MAX_ASKED = 10_000

#: Requests that wait at a replier to be carried out. Requesters give one to who has none, so
#: more than a few means that a peer does not keep to that; those beyond are refused.
MAX_GIVEN = 1000

#: Bytes that they have at most; a single one may have more. As much as an inbox holds.
MAX_GIVEN_SIZE = DEFAULT_MAX_SIZE

#: Seconds from a request, or from the reply before, to its reply that are quick.
QUICK_REPLY = 0.002

#: Seconds without a reply after which a replier gets no more of them directly: the next may be
#: for one that nobody knows yet. Who asks may be as long busy with asking, and reads no replies.
LATE_REPLY = 0.02

#: Requests that a quick replier has at a time from one requester, if it is the only one.
MAX_DIRECT = 256

#: What divides their number after a reply that was late: from the most, five of them in a row make
#: it one that is asked.
LATE_DIVISOR = 4

#: Repliers that a requester remembers. One that makes ids up must not take memory.
MAX_REPLIERS = 1000


class Control(Record):
    """Send a text about a request.

    Parameters
    ----------
    text : bytes
        `ASK`, `OFFER` or `SETTLE`.
    dest_id : int
        The only context meant, or `EVERYONE`.
    request_id : int
        Number of the request at its requester.
    """

    __slots__ = ("dest_id", "request_id", "text")

    def __init__(self, text: bytes, dest_id: int, request_id: int) -> None:
        self.text = text
        self.dest_id = dest_id
        self.request_id = request_id


class Payload(Record):
    """An encoded message, and whether it is in msgpack."""

    __slots__ = ("data", "is_msgpack")

    def __init__(self, data: bytes, is_msgpack: bool) -> None:
        self.data = data
        self.is_msgpack = is_msgpack


# `call` is what stands for a request at the requester; the negotiation hands it back, no more.


class Give(Record):
    """Send a request to a replier: from now on it is running, and cannot be cancelled."""

    __slots__ = ("call", "payload", "replier_id", "request_id")

    def __init__(self, request_id: int, call: Any, payload: Payload, replier_id: int) -> None:
        self.request_id = request_id
        self.call = call
        self.payload = payload
        self.replier_id = replier_id


class Cancel(Record):
    """Tell who waits for a reply that the request was given up."""

    __slots__ = ("call",)

    def __init__(self, call: Any) -> None:
        self.call = call


class Fail(Record):
    """Tell who waits for a reply why there will be none."""

    __slots__ = ("call", "reason")

    def __init__(self, call: Any, reason: str) -> None:
        self.call = call
        self.reason = reason


#: What a requester wants to be done.
Action: TypeAlias = "Control | Give | Cancel | Fail"


class _Waiting:
    """A request that no replier has yet."""

    __slots__ = ("ask_at", "call", "deadline", "made_at", "payload")

    def __init__(self, call: object, payload: Payload, timeout: float | None, now: float) -> None:
        self.call = call
        self.payload = payload
        self.made_at = now
        self.ask_at = now + RETRY_INTERVAL
        self.limit(timeout)

    def limit(self, timeout: float | None) -> None:
        self.deadline = math.inf if timeout is None else self.made_at + timeout

    @property
    def due(self) -> float:
        return min(self.ask_at, self.deadline)


class _Running:
    """A request that a replier has."""

    __slots__ = ("check_at", "replier_id", "request", "since")

    def __init__(self, request: _Waiting, replier_id: int, since: float) -> None:
        self.request = request
        self.replier_id = replier_id
        self.since = since
        self.check_at = since + CHECK_INTERVAL


class _QuickReplier:
    """A replier that gets requests directly.

    Parameters
    ----------
    window : int
        How many it may have at a time.
    running : int
        How many it has.
    heard_at : float
        When its last reply came.
    """

    __slots__ = ("heard_at", "running", "window")

    def __init__(self, window: int, running: int, heard_at: float) -> None:
        self.window = window
        self.running = running
        self.heard_at = heard_at


class Requester:
    """The side that has requests: each waits, then runs at one replier, then is over.

    That it is over is said just once for each: by `finished`, `Cancel` or `Fail`, or by what
    `cancel` returns.
    """

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        # The bytes of those, or more: what is given or cancelled is not taken off.
        self._waiting_size = 0
        self._max_waiting: float = math.inf
        self._max_waiting_size: float = math.inf
        self._running: dict[int, _Running] = {}
        # Repliers that have offered themselves, and those of them that get requests directly.
        self._repliers: set[int] = set()
        self._quick: dict[int, _QuickReplier] = {}
        # Not after the first due time of those that wait, and of those that run, if there are any.
        self._due = math.inf
        self._check_due = math.inf
        # How those ended that are over.
        self._done = 0
        self._failed = 0
        self._cancelled = 0
        self._refused = 0

    def stats(self) -> dict[str, int]:
        """Get how many requests are where, and how many ended how or were not made."""
        return {
            "wait": len(self._waiting),
            "running": len(self._running),
            "done": self._done,
            "failed": self._failed,
            "cancelled": self._cancelled,
            "refused": self._refused,
        }

    def limit_waiting(self, count: float, size: float) -> None:
        """Have only so many requests wait, with so many bytes; a single one may have more."""
        self._max_waiting, self._max_waiting_size = count, size

    def refuse(self) -> None:
        """Note that a request is not made, as too many wait."""
        self._refused += 1

    def new_id(self) -> int:
        """Get the id for the next request."""
        return next(self._ids)

    def ask(
        self,
        request_id: int,
        call: object,
        payload: Payload,
        timeout: float | None,
        now: float,
        *,
        may_give: bool = False,
        may_wait: bool = False,
    ) -> Control | Give | None:
        """Take a request on, and get the question to send, or the request itself.

        None if it would have to wait, and too many do already: then it was not taken on.

        Parameters
        ----------
        request_id : int
            From `new_id`.
        call : object
            What stands for the request.
        payload : Payload
            What a replier will be given.
        timeout : float or None
            Seconds after which it is cancelled if no replier has it by then. None: never.
        now : float
            The present time in seconds.
        may_give : bool
            Whether a quick replier may be given it without being asked.
        may_wait : bool
            Whether it may wait in any case.
        """
        request = _Waiting(call, payload, timeout, now)
        replier_id = self._free_replier(now) if may_give else None
        if replier_id is not None:
            self._quick[replier_id].running += 1
            self._run(request_id, request, replier_id, now)
            return Give(request_id, call, payload, replier_id)
        size = self._waiting_size + len(payload.data)
        is_far = len(self._waiting) < self._max_waiting and size <= self._max_waiting_size
        if not (is_far or may_wait or self.has_room(len(payload.data))):
            return None
        return self._wait(request_id, request)

    def has_room(self, size: int) -> bool:
        """Tell whether one more request may wait."""
        if self._waiting_size + size > self._max_waiting_size:
            waiting = list(self._waiting.values())
            self._waiting_size = sum(len(each.payload.data) for each in waiting)
        is_light = not self._waiting or self._waiting_size + size <= self._max_waiting_size
        return is_light and len(self._waiting) < self._max_waiting

    def _run(self, request_id: int, request: _Waiting, replier_id: int, now: float) -> None:
        if not self._running:
            self._check_due = now + CHECK_INTERVAL
        self._running[request_id] = _Running(request, replier_id, now)

    def _wait(self, request_id: int, request: _Waiting) -> Control:
        if not self._waiting:
            self._due = math.inf
        self._waiting[request_id] = request
        self._waiting_size += len(request.payload.data)
        self._due = min(self._due, request.due)
        return _question(request_id)

    def _free_replier(self, now: float) -> int | None:
        """Get the replier to give a request to directly; None while others wait, for the order."""
        if self._waiting:
            return None
        is_alone = len(self._repliers) == 1
        for replier_id, quick in self._quick.items():
            if quick.running == 0:
                return replier_id
            is_late = now - quick.heard_at > LATE_REPLY
            if is_alone and quick.running < quick.window and not is_late:
                return replier_id
        return None

    def set_timeout(self, request_id: int, timeout: float | None) -> None:
        """Set how long, counted from its beginning, a request may wait; None: for ever."""
        waiting = self._waiting.get(request_id)
        if waiting is not None:
            waiting.limit(timeout)
            self._due = min(self._due, waiting.due)

    def cancel(self, request_id: int) -> Control | None:
        """Give a request up if it waits, and get the text to send; None if it does not."""
        if self._waiting.pop(request_id, None) is None:
            return None
        self._cancelled += 1
        return _settlement(request_id)

    def forget(self, request_id: int) -> None:
        """Note that a request could not be given to its replier."""
        if self._running.pop(request_id, None) is not None:
            self._failed += 1

    def told(self, source_id: int, text: bytes, request_id: int, now: float) -> list[Action]:
        """Act on a text that a replier sent; what does not fit is ignored."""
        if text == OFFER:
            return self._offered(request_id, source_id, now)
        if text == RETURN:
            return self._returned(request_id, source_id, now)
        if text == MISSING:
            return list(self._missing(request_id, source_id))
        if text == LEAVE:
            return list(self._lost({source_id}, "was closed"))
        return []

    def _offered(self, request_id: int, replier_id: int, now: float) -> list[Action]:
        if len(self._repliers) < MAX_REPLIERS:
            self._repliers.add(replier_id)
        waiting = self._waiting.pop(request_id, None)
        if waiting is None:
            return []
        self._run(request_id, waiting, replier_id, now)
        give = Give(request_id, waiting.call, waiting.payload, replier_id)
        return [give, _settlement(request_id)]

    def _returned(self, request_id: int, replier_id: int, now: float) -> list[Action]:
        running = self._running.get(request_id)
        if running is None or running.replier_id != replier_id:
            return []
        del self._running[request_id]
        self._quick.pop(replier_id, None)
        running.request.ask_at = now + RETRY_INTERVAL
        return [self._wait(request_id, running.request)]

    def _missing(self, request_id: int, replier_id: int) -> list[Fail]:
        running = self._running.get(request_id)
        if running is None or running.replier_id != replier_id:
            return []
        del self._running[request_id]
        self._failed += 1
        # Its load and its pace are not what they seemed.
        self._quick.pop(replier_id, None)
        reason = f"its replier {replier_id:#x} does not have it"
        return [Fail(running.request.call, reason)]

    def something_is_lost(self, now: float) -> None:
        """Have all that run looked after soon, as a reply may be among what was lost."""
        for running in list(self._running.values()):
            running.check_at = now
        self._check_due = now

    def is_running(self, request_id: int) -> bool:
        """Tell whether a replier has a request."""
        return request_id in self._running

    def call_replied(self, request_id: int, replier_id: int) -> Any:
        """Get the call that a reply ends, None if it is none; `finished` has to follow."""
        running = self._running.get(request_id)
        if running is None or running.replier_id != replier_id:
            return None
        return running.request.call

    def finished(self, request_id: int, now: float, *, is_failure: bool = False) -> None:
        """Note that a reply has been handed on. It does no harm to repeat that."""
        running = self._running.pop(request_id, None)
        if running is None:
            return
        if is_failure:
            self._failed += 1
        else:
            self._done += 1
        self._note_pace(running, now)

    def _note_pace(self, running: _Running, now: float) -> None:
        """Find out from a reply how many requests its replier may have at a time."""
        quick = self._quick.get(running.replier_id) or _QuickReplier(1, 1, running.since)
        is_quick = now - max(running.since, quick.heard_at) <= QUICK_REPLY
        window = min(2 * quick.window, MAX_DIRECT)
        if not is_quick:
            # From the only one, a late reply among many says little: who asks may have been too
            # busy to read it before.
            window = quick.window // LATE_DIVISOR if len(self._repliers) == 1 else 0
        if window == 0:
            self._quick.pop(running.replier_id, None)
            return
        quick.window = window
        quick.running = max(0, quick.running - 1)
        quick.heard_at = now
        self._quick[running.replier_id] = quick

    def connection_made(self, now: float) -> list[Control]:
        """Ask the contexts that came into the network as well."""
        for waiting in list(self._waiting.values()):
            waiting.ask_at = now + RETRY_INTERVAL
        return [_question(request_id) for request_id in list(self._waiting)]

    def contexts_gone(self, ids: Collection[int]) -> list[Fail]:
        """Fail the requests whose replier is out of reach."""
        return self._lost(ids, "is gone")

    def _lost(self, ids: Collection[int], what: str) -> list[Fail]:
        self._repliers.difference_update(ids)
        for replier_id in ids:
            self._quick.pop(replier_id, None)
        fails = []
        for request_id, running in list(self._running.items()):
            if running.replier_id in ids:
                del self._running[request_id]
                self._failed += 1
                fails.append(
                    Fail(running.request.call, f"its replier {running.replier_id:#x} {what}")
                )
        return fails

    def end(self) -> list[Action]:
        """Give up all requests, as the channel is closed."""
        actions: list[Action] = []
        for request_id, waiting in list(self._waiting.items()):
            actions += [Cancel(waiting.call), _settlement(request_id)]
        for running in self._running.values():
            actions.append(Fail(running.request.call, "its channel was closed"))
        self._cancelled += len(self._waiting)
        self._failed += len(self._running)
        self._waiting.clear()
        self._running.clear()
        self._quick.clear()
        return actions

    def next_deadline(self) -> float | None:
        """Get when to call `handle_timer`; None while nothing waits and nothing runs."""
        if self._waiting:
            return min(self._due, self._check_due) if self._running else self._due
        return self._check_due if self._running else None

    def handle_timer(
        self, now: float, is_heard: bool, *, may_check: bool = False
    ) -> Sequence[Action]:
        """Do what is due; it does no harm to come too early.

        Parameters
        ----------
        now : float
            The present time in seconds.
        is_heard : bool
            Whether there is a connection. Without one, questions would only pile up.
        may_check : bool
            Whether all repliers know the question whether they have a request.
        """
        return [*self._look_at_waiting(now, is_heard), *self._look_at_running(now, may_check)]

    def _look_at_running(self, now: float, may_check: bool) -> list[Control]:
        """Get the questions whether repliers have what they were given long ago."""
        checks: list[Control] = []
        self._check_due = math.inf
        for request_id, running in list(self._running.items()):
            if running.check_at <= now and len(checks) < MAX_REPEATED:
                running.check_at = now + CHECK_INTERVAL
                if may_check:
                    checks.append(Control(CHECK, running.replier_id, request_id))
            self._check_due = min(self._check_due, running.check_at)
        self._check_due = max(self._check_due, now + RETRY_INTERVAL)
        return checks

    def _look_at_waiting(self, now: float, is_heard: bool) -> list[Action]:
        actions: list[Action] = []
        self._due = math.inf
        repeatable = MAX_REPEATED if is_heard else 0
        for request_id, waiting in list(self._waiting.items()):
            if waiting.deadline <= now:
                settlement = self.cancel(request_id)
                if settlement is not None:
                    actions += [Cancel(waiting.call), settlement]
                continue
            if waiting.ask_at <= now:
                waiting.ask_at = now + RETRY_INTERVAL
                if repeatable and self._move_to_end(request_id):
                    repeatable -= 1
                    actions.append(_question(request_id))
            self._due = min(self._due, waiting.due)
        self._due = max(self._due, now + TIMER_RESOLUTION)
        return actions

    def _move_to_end(self, request_id: int) -> bool:
        """Let others have their question repeated next time; False if it waits no more."""
        waiting = self._waiting.pop(request_id, None)
        if waiting is None:
            return False
        self._waiting[request_id] = waiting
        return True

    def overtaken(self, sent: Iterable[Action]) -> list[Control]:
        """Get what to send because of questions that have just been sent.

        Between the decision to ask and the sending, another thread may have settled the
        request, and said so. A question that comes after that would have repliers offer
        themselves in vain, so it is said once more.
        """
        return [
            _settlement(action.request_id)
            for action in sent
            if isinstance(action, Control)
            and action.text == ASK
            and action.request_id not in self._waiting
        ]


def _question(request_id: int) -> Control:
    return Control(ASK, EVERYONE, request_id)


def _settlement(request_id: int) -> Control:
    return Control(SETTLE, EVERYONE, request_id)


#: Source id and request id.
_Key: TypeAlias = "tuple[int, int]"


class Request(Record):
    """A request that a replier got.

    Parameters
    ----------
    source_id : int
        Id of the requester's context.
    request_id : int
        Number of the request there.
    data : bytes
        The encoded request.

    Attributes
    ----------
    key : tuple of int
        What tells it from all other requests.
    """

    __slots__ = ("data", "key", "request_id", "source_id")

    def __init__(self, source_id: int, request_id: int, data: bytes) -> None:
        self.source_id = source_id
        self.request_id = request_id
        self.data = data
        self.key: _Key = (source_id, request_id)


class Replier:
    """The side that carries requests out.

    It offers itself to one requester at a time, and to none while it has something to do. What
    it is given it carries out, whether it offered itself or not.
    """

    def __init__(self) -> None:
        # Those asked about, the one that asked longest ago first.
        self._asked: OrderedDict[_Key, None] = OrderedDict()
        self._offered: _Key | None = None
        self._offer_ends_at = 0.0
        self._given: deque[Request] = deque()
        # The bytes of those, or more: what is taken is not taken off.
        self._given_size = 0
        self._at_work: set[_Key] = set()
        self._is_leaving = False
        # How those ended that are over.
        self._done = 0
        self._failed = 0
        self._refused = 0
        #: The most requests that have waited at a time.
        self.peak = 0

    def stats(self) -> dict[str, int]:
        """Get how many requests are where, and how many ended how."""
        return {
            "wait": len(self._given),
            "running": len(self._at_work),
            "done": self._done,
            "failed": self._failed,
            "refused": self._refused,
        }

    @property
    def given_count(self) -> int:
        """The number of requests that wait to be carried out."""
        return len(self._given)

    @property
    def has_work(self) -> bool:
        """Whether `take` has a request or `offer` an offer."""
        return bool(self._given) or self.can_offer

    @property
    def can_offer(self) -> bool:
        """Whether there is somebody to make an offer to, and time for it."""
        is_free = not self._given and not self._at_work and self._offered is None
        return is_free and bool(self._asked)

    def receive(self, source_id: int, dest_seq: int, data: bytes) -> Request | None:
        """Note what a requester sent; what does not fit is ignored.

        Returns
        -------
        Request or None
            A request that is refused, as too many wait.
        """
        if dest_seq >= CONTROL_SEQ:
            self._told(data, (source_id, dest_seq - CONTROL_SEQ))
            return None
        request = Request(source_id, dest_seq, data)
        self._settle(request.key)
        size = len(data)
        if self._given_size + size > MAX_GIVEN_SIZE:
            self._given_size = sum(len(each.data) for each in self._given.copy())
        is_heavy = bool(self._given) and self._given_size + size > MAX_GIVEN_SIZE
        if is_heavy or len(self._given) >= MAX_GIVEN:
            self._refused += 1
            return request
        self._given_size += size
        self._given.append(request)
        if len(self._given) > self.peak:
            self.peak = len(self._given)
        return None

    def _told(self, text: bytes, key: _Key) -> None:
        if text == SETTLE:
            self._settle(key)
        elif text == ASK and (key in self._asked or len(self._asked) < MAX_ASKED):
            self._asked[key] = None
            self._asked.move_to_end(key)

    def _settle(self, key: _Key) -> None:
        self._asked.pop(key, None)
        if self._offered == key:
            self._offered = None

    def has_offered(self, source_id: int, request_id: int) -> bool:
        """Tell whether it has offered itself for a request and expects it."""
        return self._offered == (source_id, request_id)

    def offer(self, now: float) -> Control | None:
        """Get an offer to send; None if there is nobody to make one to, or no time for it."""
        if not self.can_offer:
            return None
        self._offered, _ = self._asked.popitem(last=False)
        self._offer_ends_at = now + OFFER_LIFETIME
        source_id, request_id = self._offered
        return Control(OFFER, source_id, request_id)

    def take(self) -> Request | None:
        """Get a request to carry out, None if there is none; `done` has to follow."""
        if not self._given:
            return None
        request = self._given.popleft()
        self._at_work.add(request.key)
        return request

    def has(self, source_id: int, request_id: int) -> bool:
        """Tell whether it was given a request that it has not replied to yet."""
        key = (source_id, request_id)
        return key in self._at_work or any(request.key == key for request in self._given)

    def done(self, request: Request, *, is_failure: bool = False) -> None:
        """Note that a request that was taken has been carried out, and replied to."""
        self._at_work.discard(request.key)
        if is_failure:
            self._failed += 1
        else:
            self._done += 1

    def contexts_gone(self, ids: Collection[int]) -> None:
        """Forget what contexts asked that are out of reach; what they gave is carried out."""
        for key in [key for key in self._asked if key[0] in ids]:
            del self._asked[key]
        if self._offered is not None and self._offered[0] in ids:
            self._offered = None

    def end(self) -> list[Request]:
        """Forget everything, as the channel is closed, and get the requests to refuse."""
        refused = list(self._given)
        self._refused += len(refused)
        self._given.clear()
        self._asked.clear()
        self._offered = None
        self._is_leaving = True
        return refused

    def leave(self) -> Control | None:
        """Get what tells everybody that no more replies come; None if it is too early for that.

        It ends the requests that were on their way to this replier when it was closed.
        """
        if not self._is_leaving or self._at_work:
            return None
        self._is_leaving = False
        return Control(LEAVE, EVERYONE, 0)

    def next_deadline(self) -> float | None:
        """Get when to call `handle_timer`; None while there is no need to."""
        return self._offer_ends_at if self._offered is not None and self._asked else None

    def handle_timer(self, now: float) -> None:
        """Withdraw an offer that was not answered, so that another one can be made."""
        if self._offered is not None and self._offer_ends_at <= now:
            self._offered = None

"""How a replier is: what it is at, and for how long.

A requester asks all repliers ("req#"). Each answers ("req=" and an OBJECT) in the thread that
reads, also while a method runs, so that one that is busy can be told from one that is dead. And
each says the same unasked, to all, when a method takes long, and when that is over.
"""

from __future__ import annotations

from yoton.entry import Peer
from yoton.exceptions import CodecError
from yoton.message_types import OBJECT
from yoton.record import Record

QUERY = b"req#"
STATUS = b"req="

#: Where the number of the question stands in an answer, if nobody has asked.
UNASKED = 0

#: Seconds that a method takes before others are told: long enough to be worth a package, and no
#: longer than somebody looks at a program that does nothing.
BUSY_AFTER = 1.0

#: Characters of the name of a method that an answer has at most.
MAX_NAME_LENGTH = 100


class ReplierStatus(Record):
    """How a replier is.

    Parameters
    ----------
    peer : Peer
        Where it is.
    is_answering : bool
        Whether it has answered in time; nothing else is known if not.
    method : str
        Name of the method that it carries out, "" if none.
    seconds : float
        For how long it has done so.
    waiting : int
        The number of requests that wait for it.
    """

    __slots__ = ("is_answering", "method", "peer", "seconds", "waiting")

    def __init__(
        self, peer: Peer, is_answering: bool, method: str, seconds: float, waiting: int
    ) -> None:
        self.peer = peer
        self.is_answering = is_answering
        self.method = method
        self.seconds = seconds
        self.waiting = waiting

    @property
    def is_busy(self) -> bool:
        """Whether it carries out a method."""
        return bool(self.method)


class Work:
    """Knows what a replier is at. Not thread-safe."""

    def __init__(self) -> None:
        # Names of methods, and when they began, oldest first; by what stands for the request.
        self._begun: dict[object, tuple[str, float]] = {}
        # Whether others were told that it is busy.
        self._is_known = False

    def begin(self, request: object, method: str, now: float) -> None:
        """Note that a request is carried out."""
        self._begun[request] = (method, now)

    def end(self, request: object) -> bool:
        """Note that it has been; tells whether others have to hear of that."""
        self._begun.pop(request, None)
        if self._begun or not self._is_known:
            return False
        self._is_known = False
        return True

    def look(self, now: float) -> bool:
        """Tell whether others have to hear that it is busy."""
        due = self.next_deadline()
        self._is_known = self._is_known or (due is not None and due <= now)
        return due is not None and self._is_known

    def next_deadline(self) -> float | None:
        """Get when to call `look`; None if there is nothing to look at."""
        if self._is_known or not self._begun:
            return None
        return next(iter(self._begun.values()))[1] + BUSY_AFTER

    def report(self, now: float, waiting: int) -> bytes:
        """Get the text that tells of the oldest request."""
        method, since = next(iter(self._begun.values()), ("", now))
        return STATUS + OBJECT.message_to_bytes((method[:MAX_NAME_LENGTH], now - since, waiting))


def status_of(peer: Peer, text: bytes | None) -> ReplierStatus:
    """Read a report; None if there is none."""
    unknown = ReplierStatus(peer, False, "", 0.0, 0)
    if text is None:
        return unknown
    try:
        fields = OBJECT.message_from_bytes(text[len(STATUS) :])
    except CodecError:
        return unknown
    match fields:
        case (str(method), float(seconds), int(waiting)):
            return ReplierStatus(peer, True, method[:MAX_NAME_LENGTH], seconds, waiting)
    return unknown

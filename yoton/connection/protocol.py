"""The protocol of one link, without its socket, threads and clock: bytes in, events out.

What the states are and how they follow each other stands in one table, `TRANSITIONS`.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from yoton._version import __version__
from yoton.connection import framing, handshake
from yoton.connection.framing import DEFAULT_MAX_DATA_SIZE, FrameDecoder
from yoton.directory import News
from yoton.entry import Announcement, read_announcement
from yoton.exceptions import CodecError, LocalUsageError, RemoteProtocolError
from yoton.gaps import Gap, GapPackage, Loss, Losses
from yoton.interest import Confirm, Decline, Notice, Want
from yoton.message_types import MSGPACK_AVAILABLE, OBJECT
from yoton.package import BEGINNING, SLOT_LINK, Package, Place
from yoton.record import Record

T = TypeVar("T")

#: What a package without data says by its source seq.
_SIGNAL_BEAT = 0
_SIGNAL_CLOSE = 1
#: What the link's packages with data, between extended ends, say by their source seq.
_LINK_HELLO = 2
#: ... and that some contexts, whose ids are the data, can no longer be reached that way.
_LINK_CONTEXTS_GONE = 3

#: ... and that the peer's silence is to be noticed soon.
_LINK_WATCH = 4

#: ... and what is wanted: a slot no more; slots, or all, again; the confirmation of that.
_LINK_DECLINE = 5
_LINK_WANT = 6
_LINK_CONFIRM = 7

#: ... and how a session goes on over a new line; how far it has come; and what is missing.
_LINK_RESUME = 8
_LINK_ACKNOWLEDGE = 9
_LINK_GAP = 10
#: ... and a number that is to be sent back at once, and that.
_LINK_PING = 11
_LINK_PONG = 12
#: ... and what the peer's directory knows of a context.
_LINK_DIRECTORY = 16

#: Versions of the extension that this end speaks; the highest common one is used.
EXTENSION_VERSIONS = (1,)

#: A hello holds a handful of names and numbers.
MAX_HELLO_SIZE = 65536

#: Characters of the token of a session; those of this package have 32.
MAX_TOKEN_LENGTH = 64

#: Size of the numbers in lists of contexts, of slots and the like.
_NUMBER_SIZE = 8
_MAX_NUMBER = 2 ** (8 * _NUMBER_SIZE) - 1
#: Bytes that a list of contexts may have: room for twice as many as a node remembers.
MAX_GONE_SIZE = 2**20

OTHER_END_DROPPED = "Other end dropped the connection."
OTHER_END_CLOSED = "Closed from other end."


class Role(enum.Enum):
    """Which end speaks first."""

    CONNECTOR = "connector"
    BINDER = "binder"


class State(enum.Enum):
    """Where a link stands, as seen from this end."""

    HANDSHAKE = "waiting for the peer's line"
    HELLO = "waiting for the peer's hello"
    RESUMING = "waiting for how far the peer's session has come"
    OPEN = "packages go both ways"
    CLOSING = "this end said goodbye, the peer may still send"
    PEER_CLOSING = "the peer said goodbye, this end may still send"
    CLOSED = "nothing goes any more"


class Input(enum.Enum):
    """What makes a link change its state."""

    PLAIN_LINE = "the peer's line, without the extension"
    EXTENDED_LINE = "the peer's line, with the extension"
    HELLO = "the peer's hello"
    HELLO_OF_KEEPER = "the hello of a peer that keeps the session of this end"
    RESUME = "how far the session has come"
    CLOSE_SENT = "this end says goodbye"
    CLOSE_RECEIVED = "the peer says goodbye"
    END_OF_STREAM = "the peer will send no more bytes"
    VIOLATION = "the peer broke the protocol, or there is no room for it"


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.HANDSHAKE: {
        Input.PLAIN_LINE: State.OPEN,
        Input.EXTENDED_LINE: State.HELLO,
        Input.END_OF_STREAM: State.CLOSED,
        Input.VIOLATION: State.CLOSED,
    },
    State.HELLO: {
        Input.HELLO: State.OPEN,
        Input.HELLO_OF_KEEPER: State.RESUMING,
        Input.END_OF_STREAM: State.CLOSED,
        Input.VIOLATION: State.CLOSED,
    },
    State.RESUMING: {
        Input.RESUME: State.OPEN,
        Input.END_OF_STREAM: State.CLOSED,
        Input.VIOLATION: State.CLOSED,
    },
    State.OPEN: {
        Input.CLOSE_SENT: State.CLOSING,
        Input.CLOSE_RECEIVED: State.PEER_CLOSING,
        Input.END_OF_STREAM: State.CLOSED,
        Input.VIOLATION: State.CLOSED,
    },
    State.CLOSING: {
        Input.CLOSE_RECEIVED: State.CLOSED,
        Input.END_OF_STREAM: State.CLOSED,
        Input.VIOLATION: State.CLOSED,
    },
    State.PEER_CLOSING: {
        Input.CLOSE_SENT: State.CLOSED,
    },
    State.CLOSED: {},
}

#: Where the two ends do not know all of each other yet.
BEFORE_OPEN = (State.HANDSHAKE, State.HELLO, State.RESUMING)


class Identity(Record):
    """What an end tells of itself.

    Parameters
    ----------
    id : int
        Id of the context.
    pid : int
        Id of its process.
    name : str
        Name of the program, "" if not told.
    max_data_size : int
        The most bytes of data that it accepts in one package.
    speaks_msgpack : bool
        Whether it reads OBJECT in msgpack.
    is_extended : bool
        Whether it speaks the extension.
    tells_interest : bool
        Whether it declines what nobody wants, and confirms that it sends what is wanted again.
    keeps_sessions : bool
        Whether it can go on with a session after a line was lost. A binding end.
    session : str
        The token of the session that it has with the other end, "" for none. A connecting end.
    received : tuple of int
        The package that came last in that session.
    tells_directory : bool
        Whether it tells which contexts there are, and wants to know.
    answers_pings : bool
        Whether it answers a ping.
    pid_space : str
        Where its pid means that process: the same text at all ends where it does. "": unknown.
    """

    __slots__ = (
        "answers_pings",
        "id",
        "is_extended",
        "keeps_sessions",
        "max_data_size",
        "name",
        "pid",
        "pid_space",
        "received",
        "session",
        "speaks_msgpack",
        "tells_directory",
        "tells_interest",
    )

    def __init__(
        self,
        id: int,
        pid: int,
        name: str = "",
        max_data_size: int = DEFAULT_MAX_DATA_SIZE,
        speaks_msgpack: bool = MSGPACK_AVAILABLE,
        is_extended: bool = True,
        tells_interest: bool = False,
        tells_directory: bool = False,
        keeps_sessions: bool = False,
        session: str = "",
        received: Place = BEGINNING,
        answers_pings: bool = False,
        pid_space: str = "",
    ) -> None:
        self.id = id
        self.pid = pid
        self.name = name
        self.max_data_size = max_data_size
        self.speaks_msgpack = speaks_msgpack
        self.is_extended = is_extended
        self.tells_interest = tells_interest
        self.tells_directory = tells_directory
        self.keeps_sessions = keeps_sessions
        self.session = session
        self.received = received
        self.answers_pings = answers_pings
        self.pid_space = pid_space

    @property
    def has_session(self) -> bool:
        """Whether what goes over the connection is a session, if the other end has it as well."""
        return self.keeps_sessions or bool(self.session)


class Connected(Record):
    """Both ends know each other; packages may be sent."""

    __slots__ = ("peer",)

    def __init__(self, peer: Identity) -> None:
        self.peer = peer


class PackagesReceived(Record):
    """Packages with data came."""

    __slots__ = ("packages",)

    def __init__(self, packages: Sequence[Package]) -> None:
        self.packages = packages


class ContextsGone(Record):
    """The peer can no longer reach some contexts."""

    __slots__ = ("ids",)

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = ids


class BeatsWanted(Record):
    """The peer wants to notice soon when nothing comes."""

    __slots__ = ()


class Resumed(Record):
    """The peer has said how the session of this end goes on.

    Parameters
    ----------
    is_known : bool
        Whether it knows the session; else it begins now.
    received : tuple of int
        The package that came to the peer last.
    """

    __slots__ = ("is_known", "received")

    def __init__(self, is_known: bool, received: Place) -> None:
        self.is_known = is_known
        self.received = received


class Acknowledged(Record):
    """The peer has got a package of the session, and all before it."""

    __slots__ = ("received",)

    def __init__(self, received: Place) -> None:
        self.received = received


class Ping(Record):
    """The peer wants to have a number back at once."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Pong(Record):
    """The peer has sent a number back."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class PeerClosed(Record):
    """The peer sends no more; what this end still has to send reaches it."""

    __slots__ = ()


class Failed(Record):
    """The link is over, without a goodbye from the peer.

    Parameters
    ----------
    reason : str
        What to tell the user.
    error : RemoteProtocolError or None
        The fault in what came, where there was one.
    """

    __slots__ = ("error", "reason")

    def __init__(self, reason: str, error: RemoteProtocolError | None = None) -> None:
        self.reason = reason
        self.error = error


class _NoRoom(RemoteProtocolError):
    """The peer takes no more peers."""


#: A place in what a peer sent, see `Protocol.bookmark`.
Bookmark: TypeAlias = "tuple[State, framing.Bookmark]"

Event = (
    Connected
    | PackagesReceived
    | ContextsGone
    | BeatsWanted
    | Notice
    | Resumed
    | Acknowledged
    | Gap
    | Announcement
    | Ping
    | Pong
    | PeerClosed
    | Failed
)


class Protocol:
    """One end of a link.

    Not thread-safe: whoever drives it calls it with one lock held.

    Parameters
    ----------
    role : Role
        Whether this end connects or binds; the connecting end speaks first.
    own : Identity
        What this end tells of itself.
    admits : callable, optional
        Gets what a peer has told of itself, and says whether there is room for it. Called once,
        at a binding end, before that tells the peer that it takes it. Default: there is.
    """

    def __init__(
        self, role: Role, own: Identity, admits: Callable[[Identity], bool] | None = None
    ) -> None:
        self._role = role
        self._own = own
        self._admits = admits or _admit
        self._peer: Identity | None = None
        self._state = State.HANDSHAKE
        self._has_said_goodbye = False
        # Behind it the peer only says what it has got, whatever the state is.
        self._has_heard_goodbye = False
        self._line = b""
        # A hello has to come through, however little else is accepted.
        self._decoder = FrameDecoder(max(own.max_data_size, MAX_HELLO_SIZE))
        self._output: list[bytes] = []
        if role is Role.CONNECTOR:
            self._output.append(handshake.encode_line(own.id, own.pid))

    @property
    def state(self) -> State:
        """Where the link stands."""
        return self._state

    @property
    def bookmark(self) -> Bookmark:
        """Set/get how far it has come in what the peer sent, past the handshake.

        To read again what was understood by halves, because Ctrl-C came in between.
        """
        return self._state, self._decoder.bookmark

    @bookmark.setter
    def bookmark(self, bookmark: Bookmark) -> None:
        self._state, self._decoder.bookmark = bookmark
        # This end may have said goodbye meanwhile.
        if self._has_said_goodbye and Input.CLOSE_SENT in TRANSITIONS[self._state]:
            self._advance(Input.CLOSE_SENT)

    @property
    def missing_size(self) -> int:
        """Bytes that the package at hand lacks if it is a large one, else 0."""
        return self._decoder.missing_size

    def data_to_send(self) -> bytes:
        """Take the bytes of handshake and hello that have to be written now."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def send_beat(self) -> bytes:
        """Get the bytes that tell the peer that this end lives."""
        return framing.encode_signal(_SIGNAL_BEAT)

    def send_watch(self) -> bytes:
        """Get the bytes that have an extended peer send beats often."""
        return b"".join(framing.encode_package(Package(b"\x01", SLOT_LINK, 0, _LINK_WATCH)))

    def send_close(self) -> bytes:
        """Say goodbye; the bytes go behind all packages.

        Raises
        ------
        LocalUsageError
            The link is not open.
        """
        if Input.CLOSE_SENT not in TRANSITIONS[self._state]:
            raise LocalUsageError(f"cannot say goodbye on a link in the state: {self._state.value}")
        self._advance(Input.CLOSE_SENT)
        self._has_said_goodbye = True
        return framing.encode_signal(_SIGNAL_CLOSE)

    def lone_package(self, data: bytes) -> Package | None:
        """Get the package to route that bytes from the peer are; None if they are anything else.

        Nothing changes by that. `receive_data` takes what this one leaves.
        """
        if self._state is not State.OPEN:
            return None
        package = self._decoder.lone_package(data)
        return None if package is None or package.slot == SLOT_LINK else package

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the peer and get what they mean."""
        if self._state in (State.PEER_CLOSING, State.CLOSED):
            return _confirmations(self._decoder.decode(data)) if self._has_heard_goodbye else []
        if self._state is State.HANDSHAKE:
            return self._receive_line(data)
        return self._receive_packages(self._decoder.decode(data))

    def receive_eof(self) -> list[Event]:
        """Take note that the peer will send no more bytes."""
        if self._state is State.HANDSHAKE and self._line:
            # The end of the stream ends a line as well as CR LF does.
            events = self._receive_line(b"\r\n")
            return events + self.receive_eof()
        if Input.END_OF_STREAM not in TRANSITIONS[self._state]:
            return []
        was_said = self._state is State.CLOSING
        is_handshake = self._state in BEFORE_OPEN
        self._advance(Input.END_OF_STREAM)
        if was_said:
            return [PeerClosed()]
        if is_handshake:
            return [Failed(handshake.HANDSHAKE_FAILED)]
        if self._decoder.is_inside_package:
            error = RemoteProtocolError("The stream ended in the middle of a package.")
            return [Failed(OTHER_END_DROPPED, error)]
        return [Failed(OTHER_END_DROPPED)]

    def _advance(self, what: Input) -> None:
        self._state = TRANSITIONS[self._state][what]

    def _fail(self, reason: str, error: RemoteProtocolError) -> list[Event]:
        self._advance(Input.VIOLATION)
        return [Failed(reason, error)]

    # Handshake and hello

    def _receive_line(self, data: bytes) -> list[Event]:
        self._line += data
        try:
            parts = handshake.split_line(self._line)
            if parts is None:
                return []
            peer_line = handshake.parse_line(parts[0])
        except handshake.HandshakeRefused as refusal:
            if self._role is Role.BINDER:
                self._output.append(refusal.answer)
            return self._fail(handshake.HANDSHAKE_FAILED, refusal)
        return self._greet(peer_line) + self._receive_rest(parts[1])

    def _receive_rest(self, data: bytes) -> list[Event]:
        if self._state is State.CLOSED or not data:
            return []
        return self._receive_packages(self._decoder.decode(data))

    def _greet(self, line: handshake.Line) -> list[Event]:
        is_self = line.id == self._own.id
        if not line.is_extended and not is_self:
            peer = Identity(line.id, line.pid, speaks_msgpack=False, is_extended=False)
            return self._greet_plain(peer)
        self._say_own_line()
        if is_self:
            return self._fail(
                handshake.CONNECTED_TO_SELF, RemoteProtocolError("The peer has this context's id.")
            )
        self._peer = Identity(line.id, line.pid)
        if self._role is Role.CONNECTOR:
            # The other end says hello when it knows who comes, and whether it has room.
            self._output.append(_encode_hello(self._own))
        self._advance(Input.EXTENDED_LINE)
        return []

    def _greet_plain(self, peer: Identity) -> list[Event]:
        if not self._is_admitted(peer):
            return self._turn_away(handshake.ANSWER_NO_ROOM)
        self._peer = peer
        self._say_own_line()
        self._advance(Input.PLAIN_LINE)
        return [Connected(peer)]

    def _say_own_line(self) -> None:
        if self._role is Role.BINDER:
            self._output.append(handshake.encode_line(self._own.id, self._own.pid))

    def _is_admitted(self, peer: Identity) -> bool:
        # Not needed any more, and a link outlives what let the peer in.
        admits, self._admits = self._admits, _admit
        return self._role is Role.CONNECTOR or admits(peer)

    def _turn_away(self, answer: bytes) -> list[Event]:
        self._output.append(answer)
        self._advance(Input.VIOLATION)
        return [Failed(handshake.NO_ROOM)]

    def _receive_hello(self, package: Package) -> list[Event]:
        assert self._peer is not None  # set by the line, which comes first
        try:
            self._peer = _decode_hello(package, self._peer)
        except _NoRoom as error:
            return self._fail(handshake.NO_ROOM, error)
        except RemoteProtocolError as error:
            return self._fail(handshake.HANDSHAKE_FAILED, error)
        if not self._is_admitted(self._peer):
            return self._turn_away(_encode_refusal(self._own))
        if self._role is Role.BINDER:
            self._output.append(_encode_hello(self._own))
        if self._own.session and self._peer.keeps_sessions:
            self._advance(Input.HELLO_OF_KEEPER)
            return []
        self._advance(Input.HELLO)
        return [Connected(self._peer)]

    def _receive_resume(self, package: Package) -> list[Event]:
        numbers = _decode_numbers(package.data[: 3 * _NUMBER_SIZE])
        if package.source_seq != _LINK_RESUME or len(numbers) != 3:
            error = RemoteProtocolError("The peer does not say how the session goes on.")
            return self._fail(handshake.HANDSHAKE_FAILED, error)
        assert self._peer is not None  # set by the line
        self._advance(Input.RESUME)
        return [Connected(self._peer), Resumed(bool(numbers[0]), (numbers[1], numbers[2]))]

    # Packages

    def _receive_packages(self, packages: list[Package]) -> list[Event]:
        events: list[Event] = []
        routed: list[Package] = []
        remaining = iter(packages)
        for package in remaining:
            if self._is_routed(package):
                routed.append(package)
                if package.count > 1:
                    # By itself: what comes in one read would fill the queue of a channel.
                    events += _received(routed)
                    routed = []
                continue
            if self._state is State.HELLO:
                events += self._receive_hello(package)
            elif self._state is State.RESUMING:
                events += self._receive_resume(package)
            else:
                events += [*_received(routed), *self._receive_link_package(package)]
                routed = []
            if self._state in (State.PEER_CLOSING, State.CLOSED):
                return events + (_confirmations(remaining) if self._has_heard_goodbye else [])
        events += _received(routed)
        fault = self._find_fault()
        if fault is not None:
            is_handshake = self._state in BEFORE_OPEN
            events += self._fail(handshake.HANDSHAKE_FAILED if is_handshake else str(fault), fault)
        return events

    def _find_fault(self) -> RemoteProtocolError | None:
        # Before it has come: a stranger must not have this end hold a whole package.
        if self._state in BEFORE_OPEN and self._decoder.announced_size > MAX_HELLO_SIZE:
            return _oversized_hello(self._decoder.announced_size)
        return self._decoder.failure

    def _is_routed(self, package: Package) -> bool:
        if not package.data or self._state in BEFORE_OPEN:
            return False
        return package.slot != SLOT_LINK or self._peer is None or not self._peer.is_extended

    def _receive_link_package(self, package: Package) -> list[Event]:
        if not package.data:
            if package.source_seq != _SIGNAL_CLOSE:
                return []
            self._advance(Input.CLOSE_RECEIVED)
            self._has_heard_goodbye = True
            return [PeerClosed()]
        if package.source_seq == _LINK_CONTEXTS_GONE:
            if package.size > MAX_GONE_SIZE:
                fault = f"The peer's list of contexts has {package.size} bytes."
                return self._fail(fault, RemoteProtocolError(fault))
            return [ContextsGone(_decode_numbers(package.data))]
        if package.source_seq == _LINK_WATCH:
            return [BeatsWanted()]
        if package.source_seq in (_LINK_ACKNOWLEDGE, _LINK_GAP):
            return _decode_progress(package)
        if package.source_seq in (_LINK_PING, _LINK_PONG):
            return _decode_echo(package)
        if package.source_seq == _LINK_DIRECTORY:
            return self._receive_announcement(package.data)
        notice = _decode_notice(package)
        return [] if notice is None else [notice]  # or something that a later version says

    def _receive_announcement(self, data: bytes) -> list[Event]:
        try:
            return [read_announcement(data)]
        except CodecError as error:
            fault = f"What the peer tells of a context cannot be read: {error}"
            return self._fail(fault, RemoteProtocolError(fault))


def _received(packages: list[Package]) -> list[Event]:
    return [PackagesReceived(packages)] if packages else []


def _admit(_: Identity) -> bool:
    return True


def _encode_hello(own: Identity) -> bytes:
    hello: dict[str, object] = {
        "versions": list(EXTENSION_VERSIONS),
        "library": f"yoton {__version__}",
        "name": own.name,
        "max_data_size": own.max_data_size,
        "msgpack": own.speaks_msgpack,
        "interest": own.tells_interest,
        "directory": own.tells_directory,
        "pings": own.answers_pings,
    }
    if own.pid_space:
        hello["pid_space"] = own.pid_space
    if own.keeps_sessions:
        hello["sessions"] = True
    if own.session:
        hello |= {"session": own.session, "received": "{:x}.{:x}".format(*own.received)}
    return _hello_with(own, hello)


def _encode_refusal(own: Identity) -> bytes:
    """Get the hello of an end that has no room for the peer.

    Who does not know what "full" means finds no version in common.
    """
    return _hello_with(own, {"versions": [], "full": True})


def _hello_with(own: Identity, fields: dict[str, object]) -> bytes:
    # The tagged encoding: a process that lacks msgpack can say hello too.
    package = Package(OBJECT.message_to_bytes(fields), SLOT_LINK, own.id, _LINK_HELLO)
    return b"".join(framing.encode_package(package))


def contexts_gone_package(ids: Iterable[int]) -> Package:
    """Make the package that tells an extended peer which contexts are out of reach."""
    return Package(_encode_numbers(ids), SLOT_LINK, 0, _LINK_CONTEXTS_GONE)


def encode_resume(is_known: bool, received: Place) -> bytes:
    """Get the bytes that tell a connecting peer how its session goes on."""
    return _encode_link_package(_LINK_RESUME, [int(is_known), *received])


def encode_acknowledgement(received: Place) -> bytes:
    """Get the bytes that tell an extended peer what has come."""
    return _encode_link_package(_LINK_ACKNOWLEDGE, received)


def encode_ping(number: int) -> bytes:
    """Get the bytes that ask a peer that answers pings for a number."""
    return _encode_link_package(_LINK_PING, [number])


def encode_pong(number: int) -> bytes:
    """Get the bytes that answer a ping."""
    return _encode_link_package(_LINK_PONG, [number])


def encode_gap(gap: Gap) -> bytes:
    """Get the bytes that tell an extended peer what will not come, as the first of all."""
    package = Package(_encode_losses(gap.place, gap.losses), SLOT_LINK, 0, _LINK_GAP)
    return b"".join(framing.encode_package(package))


def gap_package(losses: Iterable[Loss], origin: tuple[int, int]) -> Package:
    """Make the package that tells an extended peer what was lost elsewhere, see `Gap`."""
    told = list(Losses(losses))
    return GapPackage(_encode_losses(origin, told), _LINK_GAP, told)


def _encode_losses(place: tuple[int, int], losses: Iterable[Loss]) -> bytes:
    # Peers may say what they like, and it may add up to more than a field holds.
    told = ((loss.slot, loss.dest_id, min(loss.messages, _MAX_NUMBER)) for loss in losses)
    return _encode_numbers(itertools.chain(place, *told))


def _encode_link_package(kind: int, numbers: Iterable[int]) -> bytes:
    package = Package(_encode_numbers(numbers), SLOT_LINK, 0, kind)
    return b"".join(framing.encode_package(package))


def encode_notice(notice: Notice) -> bytes:
    """Get the bytes that tell an extended peer what is wanted."""
    if isinstance(notice, Decline):
        number, fields = _LINK_DECLINE, [notice.slot]
    elif isinstance(notice, Want):
        number, fields = _LINK_WANT, [notice.token, *notice.slots]
    else:
        number, fields = _LINK_CONFIRM, [notice.token]
    return _encode_link_package(number, fields)


def encode_news(news: News) -> bytes:
    """Get the bytes that tell an extended peer of contexts."""
    packages = [Package(data, SLOT_LINK, 0, _LINK_DIRECTORY) for data in news.take()]
    return b"".join(piece for package in packages for piece in framing.encode_package(package))


def _decode_notice(package: Package) -> Notice | None:
    numbers = _decode_numbers(package.data[:MAX_GONE_SIZE])
    if not numbers:
        return None
    if package.source_seq == _LINK_DECLINE:
        return Decline(numbers[0])
    if package.source_seq == _LINK_WANT:
        return Want(numbers[0], tuple(numbers[1:]))
    if package.source_seq == _LINK_CONFIRM:
        return Confirm(numbers[0])
    return None


def _decode_progress(package: Package) -> list[Event]:
    """Get what a session's peer says of what came or will not come."""
    numbers = _decode_numbers(package.data[:MAX_HELLO_SIZE])
    if len(numbers) < 2:
        return []
    place = numbers[0], numbers[1]
    if package.source_seq == _LINK_ACKNOWLEDGE:
        return [Acknowledged(place)]
    triples = zip(numbers[2::3], numbers[3::3], numbers[4::3], strict=False)
    losses = [Loss(*triple) for triple in triples]
    if package.source_id:
        return [Gap((package.source_id, package.source_seq), losses, origin=place)]
    return [Gap(place, losses)]


def _confirmations(packages: Iterable[Package]) -> list[Event]:
    """Get what counts of what comes behind a goodbye: how far the peer has come."""
    return [
        event
        for package in packages
        if package.data and (package.slot, package.source_seq) == (SLOT_LINK, _LINK_ACKNOWLEDGE)
        for event in _decode_progress(package)
    ]


def _decode_echo(package: Package) -> list[Event]:
    numbers = _decode_numbers(package.data[:_NUMBER_SIZE])
    make = Ping if package.source_seq == _LINK_PING else Pong
    return [make(number) for number in numbers]


def _encode_numbers(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(_NUMBER_SIZE, "little") for number in numbers)


def _decode_numbers(data: bytes) -> list[int]:
    starts = range(0, len(data) - _NUMBER_SIZE + 1, _NUMBER_SIZE)
    return [int.from_bytes(data[start : start + _NUMBER_SIZE], "little") for start in starts]


def _decode_hello(package: Package, peer: Identity) -> Identity:
    if package.slot != SLOT_LINK or package.source_seq != _LINK_HELLO:
        raise RemoteProtocolError("The peer's first package is no hello.")
    if package.size > MAX_HELLO_SIZE:
        raise _oversized_hello(package.size)
    try:
        hello = OBJECT.message_from_bytes(package.data)
    except CodecError as error:
        raise RemoteProtocolError("The peer's hello does not decode.") from error
    if not isinstance(hello, dict):
        raise RemoteProtocolError("The peer's hello is no dict.")
    if _field(hello, "full", bool, False):
        raise _NoRoom("The peer takes no more peers.")
    versions = _field(hello, "versions", list, [])
    if not set(EXTENSION_VERSIONS).intersection(v for v in versions if isinstance(v, int)):
        raise RemoteProtocolError(f"The peer's hello has no version in common: {versions!r:.60}")
    max_data_size = _field(hello, "max_data_size", int, DEFAULT_MAX_DATA_SIZE)
    if max_data_size < 1:
        raise RemoteProtocolError(f"The peer's hello has {max_data_size} as max_data_size.")
    return peer.replaced(
        name=_field(hello, "name", str, ""),
        max_data_size=max_data_size,
        speaks_msgpack=_field(hello, "msgpack", bool, False),
        tells_interest=_field(hello, "interest", bool, False),
        keeps_sessions=_field(hello, "sessions", bool, False),
        session=_field(hello, "session", str, "")[:MAX_TOKEN_LENGTH],
        received=_place_in(hello),
        tells_directory=_field(hello, "directory", bool, False),
        answers_pings=_field(hello, "pings", bool, False),
        pid_space=_field(hello, "pid_space", str, ""),
    )


def _place_in(hello: dict[Any, Any]) -> Place:
    # A text, as the numbers of the tagged encoding have a sign.
    source_id, _, source_seq = _field(hello, "received", str, "0.0").partition(".")
    try:
        return int(source_id, 16), int(source_seq, 16)
    except ValueError as error:
        raise RemoteProtocolError("The peer's hello has no place as received.") from error


def _field(hello: dict[Any, Any], key: str, kind: type[T], default: T) -> T:
    value = hello.get(key, default)
    if not isinstance(value, kind):
        raise RemoteProtocolError(f"The peer's hello has {value!r:.60} as {key}.")
    return value


def _oversized_hello(size: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"The peer's hello has {size} bytes.")

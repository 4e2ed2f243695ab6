"""What a context tells of itself, and the bytes as which that travels."""

from __future__ import annotations

from typing import Any, TypeVar
from weakref import WeakValueDictionary

from yoton import tagged
from yoton.exceptions import CodecError, DecodeError
from yoton.record import Record
from yoton.sharing import shared_id, shared_text

T = TypeVar("T")

#: Bytes of an entry as it travels: what every peer accepts, as with a hello, however little it
#: accepts otherwise.
MAX_ENTRY_SIZE = 65536

#: Channels that an entry tells of: more than anybody has, and with common names, half an entry.
MAX_CHANNELS = 500

#: Neighbours that an entry tells of: all that can be known.
MAX_NEIGHBOURS = 1024

#: Characters of the texts by which a context is known; they are for people.
MAX_TEXT_LENGTH = 250

_UINT64 = 2**64


class Peer(Record):
    """A context of the network.

    Parameters
    ----------
    id : int
        Id of the context, see `Context.id`.
    pid : int
        Id of its process.
    host : str
        Name of the machine that it runs on.
    name : str
        Name that its program gave it, "" if none.
    program : str
        File name of the program.
    """

    __slots__ = ("host", "id", "name", "pid", "program")

    def __init__(self, id: int, pid: int, host: str, name: str, program: str) -> None:
        self.id = id
        self.pid = pid
        self.host = host
        self.name = name
        self.program = program

    def as_dict(self) -> dict[str, int | str]:
        """Get it as plain data."""
        return {
            "id": self.id,
            "pid": self.pid,
            "host": self.host,
            "name": self.name,
            "program": self.program,
        }


class Endpoint(Record):
    """A channel, as others know it.

    Parameters
    ----------
    kind : str
        Name of its class, as "PubChannel".
    sends_on, receives_on : str
        Full names of its slots, see `yoton.package.normal_slot_name`.
    """

    __slots__ = ("kind", "receives_on", "sends_on")

    def __init__(self, kind: str, sends_on: str, receives_on: str) -> None:
        self.kind = kind
        self.sends_on = sends_on
        self.receives_on = receives_on

    def fields(self) -> tuple[str, str, str]:
        """Get what travels of it."""
        return self.kind, self.sends_on, self.receives_on


class Entry(Record):
    """What a context tells of itself.

    Parameters
    ----------
    peer : Peer
        Who it is.
    version : int
        Counts its changes.
    endpoints : tuple of Endpoint
        Its channels.
    neighbours : frozenset of int
        Ids of the contexts that it is connected to.
    """

    __slots__ = ("endpoints", "neighbours", "peer", "version")

    def __init__(
        self,
        peer: Peer,
        version: int,
        endpoints: tuple[Endpoint, ...] = (),
        neighbours: frozenset[int] = frozenset(),
    ) -> None:
        self.peer = peer
        self.version = version
        self.endpoints = endpoints
        self.neighbours = neighbours


class Announcement:
    """An entry, and the bytes as which it travels: it is passed on as it came.

    Attributes
    ----------
    sends_on, receives_on : tuple of str
        The slots of its channels, each once. A set of one takes four times the memory.
    """

    __slots__ = ("__weakref__", "data", "entry", "receives_on", "sends_on")

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry = entry
        self.data = data
        self.sends_on = tuple(dict.fromkeys(e.sends_on for e in entry.endpoints))
        self.receives_on = tuple(dict.fromkeys(e.receives_on for e in entry.endpoints))


#: What was written or read, and is known to somebody in this process: entries come by several
#: ways, and to several contexts, and reading one takes longer than all the rest.
_announcements: WeakValueDictionary[bytes, Announcement] = WeakValueDictionary()


def announcement_of(entry: Entry) -> Announcement:
    """Write an entry as it travels."""
    peer = entry.peer
    fields = {
        **peer.as_dict(),
        "id": _signed(peer.id),
        "version": entry.version,
        "channels": [endpoint.fields() for endpoint in entry.endpoints],
        "neighbours": [_signed(i) for i in sorted(entry.neighbours)],
    }
    # The encoding that a process without msgpack reads too.
    data = tagged.encode(fields)
    return _announcements.setdefault(data, Announcement(entry, data))


def read_announcement(data: bytes) -> Announcement:
    """Read an entry that a peer sent, unless this process has read it before.

    Raises
    ------
    DecodeError
        It is none, or larger than one may be.
    """
    announcement = _announcements.get(data)
    if announcement is None:
        announcement = _announcements[data] = Announcement(_decode(data), data)
    return announcement


def _decode(data: bytes) -> Entry:
    if len(data) > MAX_ENTRY_SIZE:
        raise DecodeError(f"an entry of {len(data)} bytes")
    fields = tagged.decode(data)
    if not isinstance(fields, dict):
        raise DecodeError("an entry is a dict")
    peer = Peer(
        shared_id(_field(fields, "id", int) % _UINT64),
        _field(fields, "pid", int),
        *(shared_text(_field(fields, key, str)) for key in ("host", "name", "program")),
    )
    channels = _items(fields, "channels", tuple, MAX_CHANNELS)
    if any(len(channel) != 3 or not all(type(t) is str for t in channel) for channel in channels):
        raise DecodeError("a channel in an entry is a tuple of three texts")
    neighbours = _items(fields, "neighbours", int, MAX_NEIGHBOURS)
    return Entry(
        peer,
        _field(fields, "version", int),
        tuple(Endpoint(*map(shared_text, channel)) for channel in channels),
        frozenset(shared_id(i % _UINT64) for i in neighbours),
    )


def _field(fields: dict[Any, Any], key: str, kind: type[T]) -> T:
    value = fields.get(key)
    if type(value) is not kind:
        raise DecodeError(f"an entry has {value!r:.60} as {key}")
    return value


def _items(fields: dict[Any, Any], key: str, kind: type[T], limit: int) -> list[T]:
    items = _field(fields, key, list)
    if len(items) > limit or any(type(item) is not kind for item in items):
        raise DecodeError(f"an entry has {len(items)} {key}, or some that are none")
    return items


def _signed(number: int) -> int:
    """Get a number of 64 bits as the signed one with the same bits, which the encoding knows."""
    return number if number < _UINT64 // 2 else number - _UINT64


def with_short_texts(peer: Peer) -> Peer:
    """Cut the texts of a peer, and take out what cannot travel."""

    def short(text: str) -> str:
        # The name of a host or a file may have bytes that are no text.
        return text[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode()

    host, name, program = map(short, (peer.host, peer.name, peer.program))
    return peer.replaced(host=host, name=name, program=program)


def fitting(entry: Entry) -> Entry:
    """Leave out those channels that an entry has no room for; the same entry if there are none."""
    # A little more than the rest takes with the count of the channels.
    room = MAX_ENTRY_SIZE - len(announcement_of(entry.replaced(endpoints=())).data) - 16
    endpoints = []
    for endpoint in entry.endpoints[:MAX_CHANNELS]:
        try:
            room -= len(tagged.encode(endpoint.fields()))
        except CodecError:
            continue  # a name that is no text
        if room < 0:
            break
        endpoints.append(endpoint)
    if len(endpoints) == len(entry.endpoints):
        return entry
    return entry.replaced(endpoints=tuple(endpoints))

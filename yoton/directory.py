"""Who is in the network, and what channels they have, as one node knows it.

Each context describes itself in an *entry*: its name, its channels, and whom it is connected to.
Entries are told from neighbour to neighbour, so that all contexts have those of all others. One
with a higher version replaces the one before.

A context is *in reach* if there is a way to it of lines that both their ends tell of. Entries
come by several ways and in any order, so one may come before what makes its context reachable,
or stay when it is out of reach. Such entries are kept, and neither shown nor told to anybody.
When they come into reach they are told, as if they had just come.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from yoton import tagged
from yoton.exceptions import CodecError, DecodeError

T = TypeVar("T")

#: Bytes of an entry as it travels: what every peer accepts, as with a hello, however little it
#: accepts otherwise.
MAX_ENTRY_SIZE = 65536

#: Contexts that are known at most. A network has dozens; the limit keeps a peer that invents
#: some from taking memory: 64 MiB as they travel.
MAX_ENTRIES = 1024

#: Contexts out of reach whose entries are kept: many times those that are so only for a moment,
#: while the news that bring them into reach are on their way.
MAX_OUT_OF_REACH = 100

#: Channels that an entry tells of: more than anybody has, and with common names, half an entry.
MAX_CHANNELS = 500

#: Neighbours that an entry tells of: all that can be known.
MAX_NEIGHBOURS = 1024

#: Characters of the texts by which a context is known; they are for people.
MAX_TEXT_LENGTH = 250

_UINT64 = 2**64


class Peer(NamedTuple):
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

    id: int
    pid: int
    host: str
    name: str
    program: str


class Endpoint(NamedTuple):
    """A channel, as others know it.

    Parameters
    ----------
    kind : str
        Name of its class, as "PubChannel".
    sends_on, receives_on : str
        Full names of its slots, see `yoton.package.normal_slot_name`.
    """

    kind: str
    sends_on: str
    receives_on: str


class Entry(NamedTuple):
    """What a context tells of itself.

    Parameters
    ----------
    peer : Peer
        Who it is.
    version : int
        Counts its changes.
    endpoints : tuple of Endpoint
        Its channels.
    neighbours : tuple of int
        Ids of the contexts that it is connected to.
    """

    peer: Peer
    version: int
    endpoints: tuple[Endpoint, ...] = ()
    neighbours: tuple[int, ...] = ()


class Announcement(NamedTuple):
    """An entry, and the bytes as which it travels: it is passed on as it came."""

    entry: Entry
    data: bytes


class News:
    """Entries on their way to the other end of one line, the newest of each context.

    They are taken when they are written, which may be long after they were added if the line is
    busy. So what waits stays bounded, however much changes meanwhile. One thread adds while
    another one takes, without a lock.
    """

    __slots__ = ("_data", "_is_taken")

    def __init__(self) -> None:
        self._data: dict[int, bytes] = {}
        self._is_taken = False

    def add(self, announcements: Iterable[Announcement]) -> bool:
        """Add entries; returns False if they may have come too late to be taken."""
        self._data.update({entry.peer.id: data for entry, data in announcements})
        # Only now; whoever takes them does so the other way round.
        return not self._is_taken

    def take(self) -> list[bytes]:
        """Get the bytes of each entry; may be repeated."""
        self._is_taken = True
        return list(self._data.values())


class Told(NamedTuple):
    """What has to be told over a line."""

    line: Any
    news: News


class _Place(NamedTuple):
    """A slot, and which side of it."""

    slot: str
    is_sender: bool


class Directory:
    """The entries that a node knows.

    Not thread-safe: the node calls it with its routing lock held.

    Parameters
    ----------
    peer : Peer
        Who this node is.

    Attributes
    ----------
    left_out : int
        How many channels of this node others are not told of, as they are too many.
    """

    def __init__(self, peer: Peer) -> None:
        # What others are told of this node, and the same with what does not fit.
        self._own = announcement_of(Entry(_with_short_texts(peer), 1))
        self._whole = self._own.entry
        self._known: dict[int, Announcement] = {}
        # By which line an entry came first: the other end of that one has it.
        self._sources: dict[int, Hashable] = {}
        # Who is at the other end of a line, and what is told over those whose peers listen.
        self._lines: dict[Hashable, int] = {}
        self._news: dict[Hashable, News | None] = {}
        self._new_lines: list[Hashable] = []
        # What follows holds as of the last time that things were settled: who is in reach, the
        # nearest ones first; and who of them sends and receives on which slot.
        self._in_reach: dict[int, Announcement] = {}
        self._ids_at: dict[_Place, set[int]] = {}
        self.left_out = 0

    # What happens

    def line_opened(self, line: Hashable, peer_id: int, *, listens: bool) -> None:
        """Note that there is a context at the other end of a line.

        Parameters
        ----------
        line : hashable
            The line.
        peer_id : int
            Who is there.
        listens : bool
            Whether entries can be told to it.
        """
        self._lines[line] = peer_id
        if listens:
            self._news[line] = None
            self._new_lines.append(line)

    def line_closed(self, line: Hashable) -> None:
        """Forget a line."""
        self._lines.pop(line, None)
        self._news.pop(line, None)
        self._new_lines = [other for other in self._new_lines if other is not line]
        self._sources = {i: source for i, source in self._sources.items() if source is not line}

    def heard(self, line: Hashable, announcement: Announcement) -> bool:
        """Take an entry that was told over a line; returns whether it is news."""
        entry = announcement.entry
        context_id = entry.peer.id
        if context_id == self._own.entry.peer.id:
            return False
        known = self._known.get(context_id)
        if known is None and len(self._known) >= MAX_ENTRIES:
            return False
        if known is not None and entry.version <= known.entry.version:
            return False
        # Behind the others, see _forget_some.
        self._known.pop(context_id, None)
        self._known[context_id] = announcement
        self._sources[context_id] = line
        return True

    def seal(self, line: Hashable) -> None:
        """Add no more to what is on its way over a line, as something else was told behind it."""
        if line in self._news:
            self._news[line] = None

    def settle(self, endpoints: Sequence[Endpoint]) -> list[Told]:
        """Find out who is in reach after all that happened, and what others have to be told.

        Parameters
        ----------
        endpoints : sequence of Endpoint
            The channels of this node.

        Returns
        -------
        list of Told
            News that are not on their way yet.
        """
        self._renew_own(endpoints)
        before, self._in_reach = self._in_reach, self._find_in_reach()
        self._forget_some()
        gone = {i: a for i, a in before.items() if self._in_reach.get(i) is not a}
        changed = {i: a for i, a in self._in_reach.items() if before.get(i) is not a}
        self._note_places(gone, changed)
        new_lines, self._new_lines = self._new_lines, []
        told = []
        for line in tuple(self._news):
            due = self._in_reach if line in new_lines else changed
            news = self._add_news(line, [due[i] for i in due if self._sources.get(i) is not line])
            if news is not None:
                told.append(Told(line, news))
        return told

    # What is known

    def peers(self, endpoint: Endpoint) -> tuple[Peer, ...]:
        """Get those in reach who have a channel at the other end of one, sorted by id."""
        receivers = self._ids_at.get(_Place(endpoint.sends_on, is_sender=False), set())
        senders = self._ids_at.get(_Place(endpoint.receives_on, is_sender=True), set())
        ids = (receivers | senders) - {self._own.entry.peer.id}
        return tuple(self._in_reach[i].entry.peer for i in sorted(ids))

    def graph(self, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
        """Get the network as plain data, see `Context.graph`."""
        own = self._own_entry(endpoints)
        in_reach = {i: announcement.entry for i, announcement in self._in_reach.items()}
        entries = {**in_reach, own.peer.id: own}
        pairs = {
            (min(i, other), max(i, other))
            for i, entry in entries.items()
            for other in entry.neighbours
            # One that is not known tells nothing of itself; else both ends have to agree.
            if (i in entries[other].neighbours if other in entries else other not in self._known)
        }
        return {
            "contexts": [
                {**peer._asdict(), "is_own": peer.id == own.peer.id}
                for peer in _peers_at(pairs, entries)
            ],
            "connections": [list(pair) for pair in sorted(pairs)],
            "channels": _channels_by_slot(entries),
        }

    # How it is found out

    def _note_places(self, gone: dict[int, Announcement], come: dict[int, Announcement]) -> None:
        """Note who sends and receives on which slot, and who does so no more."""
        for i, announcement in gone.items():
            for place in _places(announcement.entry):
                ids = self._ids_at[place]
                ids.discard(i)
                if not ids:
                    del self._ids_at[place]
        for i, announcement in come.items():
            for place in _places(announcement.entry):
                self._ids_at.setdefault(place, set()).add(i)

    def _own_entry(self, endpoints: Sequence[Endpoint]) -> Entry:
        neighbours = sorted(set(self._lines.values()))[:MAX_NEIGHBOURS]
        return self._own.entry._replace(endpoints=tuple(endpoints), neighbours=tuple(neighbours))

    def _renew_own(self, endpoints: Sequence[Endpoint]) -> None:
        whole = self._own_entry(endpoints)
        if whole == self._whole:
            return
        entry = _fitting(whole)
        self.left_out = len(whole.endpoints) - len(entry.endpoints)
        self._own = announcement_of(entry._replace(version=entry.version + 1))
        self._whole = whole._replace(version=self._own.entry.version)

    def _find_in_reach(self) -> dict[int, Announcement]:
        own_id = self._own.entry.peer.id
        found = {own_id: self._own}
        ids = [own_id]
        # It grows meanwhile.
        for i in ids:
            for other in found[i].entry.neighbours:
                known = self._known.get(other)
                if known and other not in found and i in known.entry.neighbours:
                    found[other] = known
                    ids.append(other)
        return found

    def _forget_some(self) -> None:
        """Forget those out of reach that were heard of the longest time ago, beyond the limit."""
        hidden = [i for i in self._known if i not in self._in_reach]
        for i in hidden[: max(0, len(hidden) - MAX_OUT_OF_REACH)]:
            del self._known[i]
            self._sources.pop(i, None)

    def _add_news(self, line: Hashable, announcements: list[Announcement]) -> News | None:
        """Have entries told over a line; returns news that have to be put on their way."""
        if not announcements:
            return None
        news = self._news.get(line)
        if news is not None and news.add(announcements):
            return None
        news = self._news[line] = News()
        news.add(announcements)
        return news


# Entries and bytes


def announcement_of(entry: Entry) -> Announcement:
    """Write an entry as it travels."""
    peer = entry.peer
    fields = {
        **peer._asdict(),
        "id": _signed(peer.id),
        "version": entry.version,
        "channels": list(entry.endpoints),
        "neighbours": [_signed(i) for i in entry.neighbours],
    }
    # The encoding that a process without msgpack reads too.
    return Announcement(entry, tagged.encode(fields))


def read_announcement(data: bytes) -> Announcement:
    """Read an entry that a peer sent.

    Raises
    ------
    DecodeError
        It is none, or larger than one may be.
    """
    if len(data) > MAX_ENTRY_SIZE:
        raise DecodeError(f"an entry of {len(data)} bytes")
    fields = tagged.decode(data)
    if not isinstance(fields, dict):
        raise DecodeError("an entry is a dict")
    peer = Peer(
        _field(fields, "id", int) % _UINT64,
        _field(fields, "pid", int),
        *(_field(fields, key, str) for key in ("host", "name", "program")),
    )
    channels = _items(fields, "channels", tuple, MAX_CHANNELS)
    if any(len(channel) != 3 or not all(type(t) is str for t in channel) for channel in channels):
        raise DecodeError("a channel in an entry is a tuple of three texts")
    neighbours = _items(fields, "neighbours", int, MAX_NEIGHBOURS)
    entry = Entry(
        peer,
        _field(fields, "version", int),
        tuple(Endpoint(*channel) for channel in channels),
        tuple(i % _UINT64 for i in neighbours),
    )
    return Announcement(entry, data)


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


def _with_short_texts(peer: Peer) -> Peer:
    def short(text: str) -> str:
        # The name of a host or a file may have bytes that are no text.
        return text[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode()

    host, name, program = map(short, (peer.host, peer.name, peer.program))
    return peer._replace(host=host, name=name, program=program)


def _fitting(entry: Entry) -> Entry:
    """Leave out those channels that an entry has no room for."""
    # A little more than the rest takes with the count of the channels.
    room = MAX_ENTRY_SIZE - len(announcement_of(entry._replace(endpoints=())).data) - 16
    fitting = []
    for endpoint in entry.endpoints[:MAX_CHANNELS]:
        try:
            room -= len(tagged.encode(endpoint))
        except CodecError:
            continue  # a name that is no text
        if room < 0:
            break
        fitting.append(endpoint)
    return entry._replace(endpoints=tuple(fitting))


# Views


def _places(entry: Entry) -> set[_Place]:
    senders = {_Place(endpoint.sends_on, is_sender=True) for endpoint in entry.endpoints}
    return senders | {_Place(endpoint.receives_on, is_sender=False) for endpoint in entry.endpoints}


def _peers_at(pairs: Collection[tuple[int, int]], entries: dict[int, Entry]) -> list[Peer]:
    """Get all contexts, also those of which nothing but their id is known."""
    known = {i: entry.peer for i, entry in entries.items()}
    nameless = {i: Peer(i, 0, "", "", "") for pair in pairs for i in pair if i not in known}
    return sorted([*known.values(), *nameless.values()])


def _channels_by_slot(entries: dict[int, Entry]) -> dict[str, list[dict[str, Any]]]:
    channels: dict[str, list[dict[str, Any]]] = {}
    for i, entry in sorted(entries.items()):
        for kind, sends_on, receives_on in entry.endpoints:
            for slot in sorted({sends_on, receives_on}):
                channels.setdefault(slot, []).append(
                    {
                        "context": i,
                        "kind": kind,
                        "sends": slot == sends_on,
                        "receives": slot == receives_on,
                    }
                )
    return dict(sorted(channels.items()))

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

import weakref
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from yoton.entry import (
    MAX_NEIGHBOURS,
    Announcement,
    Endpoint,
    Entry,
    Peer,
    announcement_of,
    fitting,
    with_short_texts,
)
from yoton.record import Record

#: Contexts that are known at most. A network has dozens; the limit keeps a peer that invents
#: some from taking memory: 64 MiB as they travel.
MAX_ENTRIES = 1024

#: Contexts out of reach whose entries are kept: many times those that are so only for a moment,
#: while the news that bring them into reach are on their way.
MAX_OUT_OF_REACH = 100


class News:
    """Entries on their way to the other end of one line, the newest of each context.

    They are taken when they are written, which may be long after they were added if the line is
    busy. So what waits stays bounded, however much changes meanwhile. One thread adds while
    another one takes, without a lock.
    """

    __slots__ = ("__weakref__", "_data", "_is_taken")

    def __init__(self) -> None:
        self._data: dict[int, bytes] = {}
        self._is_taken = False

    def add(self, announcements: Iterable[Announcement]) -> bool:
        """Add entries; returns False if they may have come too late to be taken."""
        self._data.update({a.entry.peer.id: a.data for a in announcements})
        # Only now; whoever takes them does so the other way round.
        return not self._is_taken

    def take(self) -> list[bytes]:
        """Get the bytes of each entry; may be repeated."""
        self._is_taken = True
        return list(self._data.values())


class Told(Record):
    """What has to be told over a line."""

    __slots__ = ("line", "news")

    def __init__(self, line: Any, news: News) -> None:
        self.line = line
        self.news = news


class _End:
    """The other end of a line: who is there, and what is told to it if it listens."""

    __slots__ = ("is_new", "listens", "news", "peer_id")

    def __init__(self, peer_id: int, listens: bool) -> None:
        self.peer_id = peer_id
        self.listens = listens
        # Whether nothing was told to it yet.
        self.is_new = True
        # What is on its way, if more may be added. Who writes it keeps it as long as that takes.
        self.news: weakref.ref[News] | None = None

    def tell(self, announcements: list[Announcement]) -> News | None:
        """Have entries told; returns news that have to be put on their way."""
        waiting = self.news() if self.news is not None else None
        if not announcements or (waiting is not None and waiting.add(announcements)):
            return None
        news = News()
        news.add(announcements)
        self.news = weakref.ref(news)
        return news


class _Heard(Record):
    """An entry that was heard of, and the line by which it came first: its other end has it."""

    __slots__ = ("announcement", "line")

    def __init__(self, announcement: Announcement, line: Hashable | None) -> None:
        self.announcement = announcement
        self.line = line


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
        self._id = peer.id
        # The entry of this node, also with what does not fit into what others are told.
        self._whole = Entry(with_short_texts(peer), 1)
        self._ends: dict[Hashable, _End] = {}
        # What was heard since things were settled, and before of those that are out of reach.
        self._heard: dict[int, _Heard] = {}
        # Whose entries have changed since then; the values do not count.
        self._changed: dict[int, None] = {}
        # What follows holds as of that time: who is in reach, each but the first behind one that
        # it is connected to; and who of them sends and receives on which slot. A set would be
        # quicker to leave, but takes several times the memory.
        self._in_reach = {peer.id: announcement_of(self._whole)}
        self._senders: dict[str, list[int]] = {}
        self._receivers: dict[str, list[int]] = {}
        self.left_out = 0

    @property
    def size(self) -> int:
        """The number of contexts that are known, with this one."""
        return len(self._in_reach) + sum(i not in self._in_reach for i in self._heard)

    @property
    def in_reach(self) -> Mapping[int, Announcement]:
        """The entries of those in reach; another mapping when somebody no longer is."""
        return self._in_reach

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
        self._ends[line] = _End(peer_id, listens)

    def line_closed(self, line: Hashable) -> None:
        """Forget a line."""
        self._ends.pop(line, None)
        for heard in self._heard.values():
            if heard.line is line:
                heard.line = None

    def heard(self, line: Hashable, announcement: Announcement) -> bool:
        """Take an entry that was told over a line; returns whether it is news."""
        entry = announcement.entry
        context_id = entry.peer.id
        if context_id == self._id:
            return False
        known = self._newest(context_id)
        if known is None and self.size > MAX_ENTRIES:
            return False
        if known is not None and entry.version <= known.entry.version:
            return False
        # Behind the others, see _forget_some.
        self._heard.pop(context_id, None)
        self._heard[context_id] = _Heard(announcement, line)
        self._changed[context_id] = None
        return True

    def seal(self, line: Hashable) -> None:
        """Add no more to what is on its way over a line, as something else was told behind it."""
        if line in self._ends:
            self._ends[line].news = None

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
        changed = self._find_in_reach()
        self._forget_some()
        told = []
        # A copy: a finalizer may close a line meanwhile.
        for line, end in list(self._ends.items()):
            if end.listens:
                due = self._in_reach if end.is_new else changed
                end.is_new = False
                news = end.tell([self._in_reach[i] for i in due if changed.get(i) is not line])
                if news is not None:
                    told.append(Told(line, news))
        return told

    # What is known

    def peers(self, endpoint: Endpoint) -> tuple[Peer, ...]:
        """Get those in reach who have a channel at the other end of one, sorted by id."""
        receivers = self._receivers.get(endpoint.sends_on, [])
        senders = self._senders.get(endpoint.receives_on, [])
        ids = {*receivers, *senders} - {self._id}
        return tuple(self._in_reach[i].entry.peer for i in sorted(ids))

    def without_way(self, ids: Collection[int]) -> set[int]:
        """Find those contexts to which no way leads, as far as others tell.

        Unlike those that are not in reach, these are not even named by a neighbour that is. What
        a neighbour has behind it that tells nothing, or not yet, nobody knows: there may be
        anybody that nobody told of.
        """
        if self.size > MAX_ENTRIES:
            return set()
        named = {self._id, *(end.peer_id for end in list(self._ends.values()))}
        strangers = set()
        ids_to_visit = list(named)
        while ids_to_visit:
            i = ids_to_visit.pop()
            known = self._newest(i)
            if known is None:
                strangers.add(i)
                continue
            neighbours = known.entry.neighbours
            if len(neighbours) >= MAX_NEIGHBOURS:
                return set()
            ids_to_visit += neighbours - named
            named |= neighbours
        return {i for i in ids if i not in named and (self._newest(i) or not strangers)}

    def graph(self, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
        """Get the network as plain data, see `Context.graph`."""
        entries = {i: announcement.entry for i, announcement in self._in_reach.items()}
        entries[self._id] = self._own_entry(endpoints)
        pairs = {
            (min(i, other), max(i, other))
            for i, entry in entries.items()
            for other in entry.neighbours
            # One that is not known tells nothing of itself; else both ends have to agree.
            if (i in entries[other].neighbours if other in entries else not self._newest(other))
        }
        return {
            "contexts": [
                {**peer.as_dict(), "is_own": peer.id == self._id}
                for peer in _peers_at(pairs, entries)
            ],
            "connections": [list(pair) for pair in sorted(pairs)],
            "channels": _channels_by_slot(entries),
        }

    # How it is found out

    def _newest(self, i: int) -> Announcement | None:
        heard = self._heard.get(i)
        return heard.announcement if heard is not None else self._in_reach.get(i)

    def _own_entry(self, endpoints: Sequence[Endpoint]) -> Entry:
        # A copy: a finalizer may close a line meanwhile.
        ids = sorted({end.peer_id for end in list(self._ends.values())})
        channels, neighbours = tuple(endpoints), frozenset(ids[:MAX_NEIGHBOURS])
        if channels == self._whole.endpoints and neighbours == self._whole.neighbours:
            return self._whole
        return self._whole.replaced(endpoints=channels, neighbours=neighbours)

    def _renew_own(self, endpoints: Sequence[Endpoint]) -> None:
        whole = self._own_entry(endpoints)
        if whole is self._whole:
            return
        self._whole = whole.replaced(version=whole.version + 1)
        entry = fitting(self._whole)
        self.left_out = len(whole.endpoints) - len(entry.endpoints)
        self._heard[self._id] = _Heard(announcement_of(entry), None)
        self._changed[self._id] = None

    def _find_in_reach(self) -> dict[int, Hashable | None]:
        """Find out who is in reach; returns those who were not, or with another entry.

        They are in such an order that each is in reach of who has heard of those before, with the
        line by which that was heard.
        """
        before: dict[int, Announcement] = {}
        changed, self._changed = list(self._changed), {}
        if any(self._has_fewer_neighbours(i) for i in changed):
            # Anybody may be out of reach: all is found out anew. Otherwise there are only more.
            before = self._in_reach
            self._leave_reach()
            self._enter(self._id)
            changed = [self._id]
        ids = [i for i in changed if i in self._in_reach]
        ids += [i for i in changed if i not in self._in_reach and self._is_next_to_reach(i)]
        for i in ids:
            self._enter(i)
        # It grows meanwhile.
        for i in ids:
            for other in self._in_reach[i].entry.neighbours.difference(self._in_reach):
                if self._is_connected(i, other):
                    self._enter(other)
                    ids.append(other)
        heard = self._heard
        self._heard = {i: each for i, each in heard.items() if i not in self._in_reach}
        return {i: heard[i].line for i in ids if before.get(i) is not self._in_reach[i]}

    def _has_fewer_neighbours(self, i: int) -> bool:
        before = self._in_reach.get(i)
        now = self._heard[i].announcement
        return before is not None and not before.entry.neighbours <= now.entry.neighbours

    def _is_next_to_reach(self, i: int) -> bool:
        neighbours = self._heard[i].announcement.entry.neighbours
        return any(n in self._in_reach and self._is_connected(i, n) for n in neighbours)

    def _is_connected(self, i: int, neighbour: int) -> bool:
        """Tell whether one that a context tells of is known and tells of it as well."""
        known = self._newest(neighbour)
        return known is not None and i in known.entry.neighbours

    def _leave_reach(self) -> None:
        """Have nobody in reach, not even this node."""
        known = {i: _Heard(announcement, None) for i, announcement in self._in_reach.items()}
        # Before what was heard since, see _forget_some.
        self._heard = known | self._heard
        self._senders, self._receivers, self._in_reach = {}, {}, {}

    def _enter(self, i: int) -> None:
        """Note that a context is in reach, and what it tells now."""
        before, now = self._in_reach.get(i), self._heard[i].announcement
        self._in_reach[i] = now
        _move(i, self._senders, before.sends_on if before else (), now.sends_on)
        _move(i, self._receivers, before.receives_on if before else (), now.receives_on)

    def _forget_some(self) -> None:
        """Forget those out of reach that were heard of the longest time ago, beyond the limit."""
        for i in list(self._heard)[:-MAX_OUT_OF_REACH]:
            del self._heard[i]


def _move(
    i: int, ids_at: dict[str, list[int]], before: Collection[str], now: Collection[str]
) -> None:
    """Note that a context is at other slots than before."""
    for slot in set(before).difference(now):
        ids_at[slot].remove(i)
        if not ids_at[slot]:
            del ids_at[slot]
    for slot in set(now).difference(before):
        ids_at.setdefault(slot, []).append(i)


# Views


def _peers_at(pairs: Collection[tuple[int, int]], entries: dict[int, Entry]) -> list[Peer]:
    """Get all contexts, also those of which nothing but their id is known."""
    known = {i: entry.peer for i, entry in entries.items()}
    nameless = {i: Peer(i, 0, "", "", "") for pair in pairs for i in pair if i not in known}
    return sorted([*known.values(), *nameless.values()], key=lambda peer: peer.id)


def _channels_by_slot(entries: dict[int, Entry]) -> dict[str, list[dict[str, Any]]]:
    channels: dict[str, list[dict[str, Any]]] = {}
    for i, entry in sorted(entries.items()):
        for endpoint in entry.endpoints:
            kind, sends_on, receives_on = endpoint.fields()
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

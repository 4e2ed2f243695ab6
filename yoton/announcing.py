"""What a context announces of itself to the others, and hears of them.

The decisions are those of a `Directory`. What has happened is noted at once, and settled a moment
later, together with all that happens meanwhile, by the thread of the scheduler, where no Ctrl-C
strikes.

Whoever hears of a channel may rely on that it gets what is sent from then on. So a channel, or a
line, is announced only behind what takes back that something was declined
(`yoton.interest.Want`). Both are told by calls of the scheduler, which makes them in their order.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any
from typing import Protocol as Interface

from yoton.clock import Deadline
from yoton.connection.base import Connection
from yoton.connection.busy import keeps_busy
from yoton.connection.protocol import Identity
from yoton.directory import Directory
from yoton.entry import Announcement, Endpoint, Peer
from yoton.events.scheduler import Alarm, scheduler
from yoton.routing import Router
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Seconds in which changes gather, to be told together: a program makes its channels one after
#: the other, and a directory comes as one package for each context.
GATHER_TIME = 0.001

#: Seconds in which they gather after the last ones were told, for each pair of known contexts:
#: one at which all others join tells each of them, again and again, of all of them. That must not
#: be all that anybody does meanwhile; in a small network it takes no time.
REST_TIME = 0.0001

#: Contexts from which on that time grows with their number, and no longer with that of the pairs:
#: by then several that join are told of at once, and it would soon be seconds.
LARGE_NETWORK = 20

#: Seconds in which they gather at most, however large the network: programs wait for each other.
MAX_REST = 0.5

#: Seconds out of reach after which a context is taken for gone. One that moves from one relay to
#: another, or whose line comes back, is out of reach for some milliseconds.
GONE_AFTER = 1.0

#: How often changes may gather in that time, at one relay after the other, before those that a
#: context has moved to have told of it: in a large network that takes longer, and so it is longer.
RELAYS_ON_THE_WAY = 10

#: Seconds after which a context is taken for gone of which something came, and that nobody tells
#: of. What is told of it may come later than that, by far so on a machine that is busy.
UNTOLD_AFTER = 10.0


class Announced(Interface):
    """What is known here of a channel."""

    def peers_have_changed(self, gone: set[int]) -> None:
        """Somebody has come to the other end, or is gone: the ids of those."""


class _Channel:
    """A channel of this context.

    Parameters
    ----------
    endpoint : Endpoint
        How others know it.
    peers : tuple of Peer
        Who was at the other end when it was last looked at.
    """

    __slots__ = ("endpoint", "is_open", "peers")

    def __init__(self, endpoint: Endpoint, peers: tuple[Peer, ...]) -> None:
        self.endpoint = endpoint
        self.peers = peers
        # Whether others may know of it.
        self.is_open = False


class Announcing:
    """Ties a directory to a context.

    Parameters
    ----------
    lock : threading.RLock
        The routing lock of the context. It guards all that follows.
    context_id : int
        Id of the context.
    name : str
        Its name.
    router : Router
        Knows to whom lines lead; forgets those that are gone.
    contexts_gone : callable
        Called, without the lock, with the ids of contexts that are gone, which no line says.
    """

    def __init__(
        self,
        lock: threading.RLock,
        context_id: int,
        name: str,
        router: Router,
        contexts_gone: Callable[[set[int]], object],
    ) -> None:
        self._lock = lock
        self._router = router
        self._contexts_gone = contexts_gone
        # Where Python is embedded, there may be no arguments.
        script = next(iter(getattr(sys, "argv", ())), "")
        program = os.path.basename(script or sys.executable or "")
        self._directory = Directory(
            Peer(context_id, os.getpid(), socket.gethostname(), name, program)
        )
        self._channels: dict[Announced, _Channel] = {}
        self._lines: dict[Connection, Identity] = {}
        self._changed = WaitPoint(lock)
        self._has_told_of_cut = False
        # When to look next whether contexts are gone that are not in reach.
        self._missing: dict[int, float] = {}
        self._missing_alarm = Alarm(scheduler, self._look_for_missing)
        # Until when there is a call of the scheduler to come, which settles what happens before.
        # Set without the lock, as a call too many does no harm.
        self._settles_at = 0.0
        # The earliest time of the next one.
        self._rests_until = 0.0

    # What the context and its channels tell

    def channel_made(self, channel: Announced, endpoint: Endpoint) -> None:
        """Announce a channel; what was declined of its slot has been wanted again."""
        with self._lock:
            self._channels[channel] = _Channel(endpoint, self._directory.peers(endpoint))
        if self._lines:
            _call_at(scheduler.now(), functools.partial(self._open_channel, channel))
        else:
            self._open_channel(channel)

    def _open_channel(self, channel: Announced) -> None:
        with self._lock:
            if channel in self._channels:
                self._channels[channel].is_open = True
        if self._lines:
            self._settle_soon()

    def channel_closed(self, channel: Announced) -> None:
        """Announce that there is a channel no more."""
        with self._lock:
            self._changed.wake_all()
            self._channels.pop(channel, None)
        if self._lines:
            self._settle_soon()

    def line_opened(self, line: Connection, peer: Identity) -> None:
        """Announce a line, and tell its other end of everybody.

        What may be wanted behind it has been wanted again.
        """
        with self._lock:
            self._lines[line] = peer
            self._miss({peer.id}, UNTOLD_AFTER)
        _call_at(scheduler.now(), functools.partial(self._open_line, line))

    def _open_line(self, line: Connection) -> None:
        with self._lock:
            peer = self._lines.get(line)
            if peer is not None:
                self._directory.line_opened(line, peer.id, listens=peer.tells_directory)
        self._settle_soon()

    def line_closed(self, line: Connection) -> None:
        """Announce that there is a line no more."""
        with self._lock:
            was_open = self._lines.pop(line, None) is not None
            self._directory.line_closed(line)
        if was_open:
            self._settle_soon()

    def heard(self, line: Connection, announcement: Announcement) -> None:
        """Take note of what was told over a line."""
        with self._lock:
            is_news = self._directory.heard(line, announcement)
        if is_news:
            self._settle_soon()

    def newcomers_heard(self, ids: set[int]) -> None:
        """Take note of contexts of which something came to which no line led before."""
        with self._lock:
            self._miss(ids, UNTOLD_AFTER)

    def seal(self, line: Connection) -> None:
        """Tell nothing more before what was just told over a line; the routing lock is held."""
        self._directory.seal(line)

    # What they ask

    def peers(self, endpoint: Endpoint) -> tuple[Peer, ...]:
        """Get those who have a channel at the other end of one, sorted by id."""
        with self._lock:
            return self._directory.peers(endpoint)

    def wait_for(self, predicate: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until something holds of the peers of a channel; False at the deadline."""
        return self._changed.wait_for(predicate, deadline)

    def graph(self) -> dict[str, Any]:
        """Get the network as plain data, see `Context.graph`."""
        with self._lock:
            return self._directory.graph([c.endpoint for c in list(self._channels.values())])

    # Settling

    def _settle_soon(self) -> None:
        now = scheduler.now()
        if now < self._settles_at:
            return
        due = max(now + GATHER_TIME, self._rests_until)
        if _call_at(due, self._settle):
            self._settles_at = due

    # A finalizer that sends in here must not wait for room while the routing lock is held: there
    # may be none until those who wait for the lock have gone on.
    @keeps_busy
    def _settle(self) -> None:
        """Tell others and the channels here what has changed."""
        with self._lock:
            self._rests_until = scheduler.now() + self._rest()
            self._changed.wake_all()
            # A copy: a finalizer may close a channel meanwhile.
            channels = dict(self._channels)
            before = self._directory.in_reach
            told = self._directory.settle([c.endpoint for c in channels.values() if c.is_open])
            for each in told:
                each.line.tell_news(each.news)
            changed = self._find_other_peers(channels)
            self._miss_no_more()
            if before is not self._directory.in_reach:
                gone_after = max(GONE_AFTER, RELAYS_ON_THE_WAY * self._rest())
                self._miss(before.keys() - self._directory.in_reach.keys(), gone_after)
        for each in told:
            each.line.kick()
        for channel, gone in changed.items():
            channel.peers_have_changed(gone)
        self._tell_of_cut()

    def _rest(self) -> float:
        """Get the seconds in which changes gather before more is told; the lock is held."""
        size = self._directory.size
        return min(REST_TIME * size * min(size, LARGE_NETWORK), MAX_REST)

    def _find_other_peers(self, channels: dict[Announced, _Channel]) -> dict[Announced, set[int]]:
        """Find the channels that have other peers than before, and the ids of those that left."""
        changed = {}
        for channel, c in channels.items():
            before, c.peers = c.peers, self._directory.peers(c.endpoint)
            if before != c.peers:
                changed[channel] = {peer.id for peer in before} - {peer.id for peer in c.peers}
        return changed

    # Missing

    def _miss(self, ids: set[int], seconds: float) -> None:
        """Look later whether contexts are gone; the lock is held.

        Those in reach are missed when they leave it.
        """
        ids = ids - self._directory.in_reach.keys()
        if ids:
            due = scheduler.now() + seconds
            # Those that are missed within a quarter of that time are looked for together.
            due += -due % (seconds / 4)
            self._missing.update(dict.fromkeys(ids, due))
            self._missing_alarm.set(due)

    def _miss_no_more(self) -> None:
        """Leave out those that are in reach now; the lock is held."""
        if self._missing:
            in_reach = self._directory.in_reach
            # A new one, as one that is emptied keeps its size.
            self._missing = {i: due for i, due in self._missing.items() if i not in in_reach}
            if not self._missing:
                self._missing_alarm.set(None)

    def _look_for_missing(self) -> None:
        now = scheduler.now()
        with self._lock:
            gone = self._find_gone({i for i, due in self._missing.items() if due <= now}, now)
            self._missing_alarm.reset(min(self._missing.values(), default=None))
        if gone:
            self._contexts_gone(gone)

    def _find_gone(self, missing: set[int], now: float) -> set[int]:
        """Find those of the missing that are gone; the lock is held.

        In a ring each of two neighbours has what they sent from the other one, and waits for
        that one to say that they are gone. That nobody tells of them says it.
        """
        gone = set()
        # A new one, as one that is emptied keeps its size.
        self._missing = {i: due for i, due in self._missing.items() if i not in missing}
        # Of those to whom no line leads any more, lines have said that they are gone.
        missing = {i for i in missing if self._router.lines_to(i)}
        without_way = self._directory.without_way(missing) if missing else set()
        for i in missing:
            if i in without_way and all(map(self._is_told_over, self._router.lines_to(i))):
                self._router.forget(i)
                gone.add(i)
            else:
                self._missing[i] = now + GONE_AFTER
        return gone

    def _is_told_over(self, line: Hashable) -> bool:
        """Tell whether the other end of a line tells of all that it knows; the lock is held."""
        peer = self._lines.get(line)  # type: ignore[call-overload]
        return peer is not None and peer.tells_directory

    def _tell_of_cut(self) -> None:
        if self._directory.left_out and not self._has_told_of_cut:
            self._has_told_of_cut = True
            logger.warning(
                "a context with so many channels cannot announce all: %d are left out",
                self._directory.left_out,
            )


def _call_at(due: float, func: Callable[[], object]) -> bool:
    """Have a call made by the scheduler; False if it was made at once instead."""
    try:
        scheduler.call_at(due, func)
    except RuntimeError:
        func()  # an interpreter that is ending allows no thread
        return False
    return True

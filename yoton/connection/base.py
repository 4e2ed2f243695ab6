"""What a connection is to its user: names, numbers, signals, and its life from open to closed."""

from __future__ import annotations

import contextlib
import enum
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any
from typing import Protocol as Interface

from yoton.address import format_place
from yoton.clock import Deadline, monotonic
from yoton.connection.busy import is_busy
from yoton.connection.diagnosis import Diagnosis
from yoton.connection.heartbeat import MIN_SILENCE_TIMEOUT
from yoton.connection.liveness import Liveness, Signs, judge
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import (
    OTHER_END_CLOSED,
    Event,
    Identity,
    Protocol,
    contexts_gone_package,
    gap_package,
)
from yoton.connection.session import Session
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import CLOSE_TIMEOUT, ThreadedLink, peer_in
from yoton.connection.traffic import Traffic
from yoton.directory import News
from yoton.entry import Announcement
from yoton.events import Signal
from yoton.events.scheduler import scheduler
from yoton.exceptions import ArgumentError, ConnectionClosed, FlushTimeout
from yoton.gaps import Gap
from yoton.interest import Notice
from yoton.package import BEGINNING, Package, Place
from yoton.traffic import Departures
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Seconds that a close waits: what the link takes at most, and a little for its threads.
END_TIMEOUT = CLOSE_TIMEOUT + 0.5

#: Seconds after a line was lost in which to see whether the process of the peer has ended as well.
AUTOPSY_TIME = 1.0

#: Seconds after which the peer hears at the latest what has come, so that a peer which follows this
#: one is not told of a gap where there is none.
ACKNOWLEDGE_DELAY = 0.2

CLOSED_ON_COMMAND = "Closed on command."
CLOSED_ON_PROBLEM = "Closed because of a problem."
INTERRUPTED = "packages wait for the thread that this signal handler or finalizer interrupted"
CONSIDERED_DEAD = "Silent for too long, considered dead."


class Arrivals(Interface):
    """What a connection gives what came to."""

    def deliver(self, packages: Sequence[Package], connection: Connection) -> None:
        """Note packages that the peer sent; `act` has to follow."""

    def deliver_leading(self, packages: Sequence[Package], connection: Connection) -> bool:
        """Note and act in a thread that leads; False if `act` has to follow in another one."""

    def act(self, connection: Connection) -> None:
        """Act on all that was noted."""


class Node(Interface):
    """What a connection knows of the context that it belongs to."""

    @property
    def arrivals(self) -> Arrivals:
        """Where to give what came."""

    @property
    def id(self) -> int:
        """Id of the context."""

    def own_identity(self) -> Identity:
        """Get what to tell a peer of this context."""

    def new_outbox(self, departures: Departures) -> Outbox:
        """Make the queue of what a connection has to send."""

    def flush_burst(self) -> bool:
        """Have the context give all that was sent so far to its connections."""

    def hand_over(self) -> None:
        """Have it do so as well; raises FlushTimeout if that is what was interrupted for this."""

    def connection_opened(self, connection: Connection) -> None:
        """Have the context send its packages by this connection from now on."""

    def connection_made(self, connection: Connection, peer: Identity) -> None:
        """Take note that there is a peer at the other end."""

    @property
    def log_level(self) -> int:
        """At which level to log what connections do."""

    def connection_resumed(self, connection: Connection, peer: Identity) -> None:
        """Take note that a connection goes on over another line, to the same peer or another."""

    def join_network(self, connection: Connection) -> None:
        """Tell the network of the peer that this context has come into it; may wait a second."""

    def gap_found(self, gap: Gap, connection: Connection) -> bool:
        """Tell those concerned of messages that will not come; False if they know it already."""

    def contexts_gone(self, ids: Sequence[int], connection: Connection) -> None:
        """Take note that some contexts can no longer be reached by way of the peer."""

    def heard(self, notice: Notice, connection: Connection) -> None:
        """Take note of what is wanted behind a connection, or not."""

    def line_lost(self, connection: Connection) -> None:
        """Have the connection keep all that the context sends, whatever the peer had declined."""

    def line_closing(self, connection: Connection) -> None:
        """Have the connection keep what the context sends from now on, for another line."""

    def line_cut_short(self, connection: Connection) -> None:
        """Have the connection keep for another line what this one could not take."""

    def announced(self, announcement: Announcement, connection: Connection) -> None:
        """Take note of what the peer told of a context."""

    def connection_closing(self, connection: Connection) -> None:
        """Have the context send nothing more by this connection."""

    def connection_ended(self, connection: Connection) -> None:
        """Take note that the peer can no longer be reached by this connection."""

    def connection_closed(self, connection: Connection) -> None:
        """Take note that nothing goes over this connection any more."""


class Status(enum.Enum):
    """The stages of a connection's life."""

    NEW = "new"
    WAITING = "waiting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSING = "closing"
    CLOSED = "closed"


class _Signals:
    """The signals of a connection.

    One attribute of it for all: an object with 30 or more has a dict of its own of 1.5 KB.
    """

    __slots__ = ("closed", "gap", "liveness", "reconnected", "reconnecting", "timedout")

    def __init__(self) -> None:
        self.closed = Signal()
        self.timedout = Signal()
        self.reconnecting = Signal()
        self.reconnected = Signal()
        self.gap = Signal()
        self.liveness = Signal()


class Connection:
    """One connection between two contexts, as its user sees it.

    Made by `Context.bind` and `Context.connect`, for one use: a closed connection stays
    closed. All methods and properties may be used from any thread.

    Parameters
    ----------
    context : Context
        The context that it belongs to.
    name : str
        By which it can be looked up in ``context.connections``.
    """

    def __init__(self, context: Node, name: str = "") -> None:
        self._context = context
        self.name = name
        self._signals = _Signals()
        self._diagnosis = self._new_diagnosis()
        self._dead_after: float | None = None
        self._timeout = MIN_SILENCE_TIMEOUT
        # Whether the user cares for the peer's silence. Otherwise beats would only cost time.
        self._is_watching = False
        self._traffic = Traffic()
        self._outbox = context.new_outbox(self._traffic.departures)
        # What a link that ends has to write, while the other one is there for the next.
        self._outbox_before: Outbox | None = None
        # Guards what follows.
        self._lock = threading.RLock()
        self._status = Status.NEW
        self._link: ThreadedLink | None = None
        # What outlives the link, if its line is lost; set before the link runs.
        self._session: Session | None = None
        # Whether the user wants it to be closed.
        self._is_end_wanted = False
        # Whether it is to come back by itself, whatever the peer does.
        self._comes_back = False
        # Why it is to be closed, as soon as somebody has asked for it.
        self._close_reason: str | None = None
        self._peer: Identity | None = None
        # When something came and was written last, by the line that was lost last.
        self._last_times: tuple[float, float] | None = None
        self._local_address = ("", 0)
        self._peer_address = ("", 0)
        # Whether `_acknowledge` is about to be called.
        self._will_acknowledge = False
        # Whether the package before was dropped; guarded by the routing lock.
        self._is_dropping = False
        self._status_changed = WaitPoint(self._lock)

    def __repr__(self) -> str:
        place = format_place(self.hostname1, self.port1)
        return f"<{type(self).__name__} {self.name!r} {self._status.value} {place}>"

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Properties

    @property
    def name(self) -> str:
        """Set/get the name by which ``context.connections`` knows it.

        Raises ArgumentError (a ValueError) for what is no str.
        """
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if not isinstance(name, str):
            raise ArgumentError(f"the name of a connection is a str, not {name!r}")
        self._name = name

    @property
    def hostname1(self) -> str:
        """Host of this end, as a numeric address."""
        return self._local_address[0]

    @property
    def hostname2(self) -> str:
        """Host of the other end, "" if not connected."""
        return self._peer_address[0]

    @property
    def port1(self) -> int:
        """Port of this end; after binding, the one to connect to."""
        return self._local_address[1]

    @property
    def port2(self) -> int:
        """Port of the other end, 0 if not connected."""
        return self._peer_address[1]

    @property
    def id1(self) -> int:
        """Id of the context at this end."""
        return self._context.id

    @property
    def id2(self) -> int:
        """Id of the context at the other end, 0 if not connected."""
        return self._peer.id if self._peer else 0

    @property
    def pid1(self) -> int:
        """Process id of this end."""
        return os.getpid()

    @property
    def pid2(self) -> int:
        """Process id of the other end, 0 if not connected."""
        return self._peer.pid if self._peer else 0

    @property
    def is_alive(self) -> bool:
        """Whether it is waiting, connected or reconnecting, and not about to close."""
        return self._status in (Status.WAITING, Status.CONNECTED, Status.RECONNECTING)

    @property
    def is_connected(self) -> bool:
        """Whether there is a peer."""
        return self._status is Status.CONNECTED

    @property
    def is_reconnecting(self) -> bool:
        """Whether its line was lost, and it may come back over another one."""
        return self._status is Status.RECONNECTING

    @property
    def is_waiting(self) -> bool:
        """Whether it is bound and no peer has come yet."""
        return self._status is Status.WAITING

    @property
    def dropped(self) -> int:
        """The number of packages that were not sent, as the peer did not keep up or was gone."""
        return self._outbox.dropped

    @property
    def closed(self) -> Signal:
        """Signal for the end; handlers get the connection and the reason, a str."""
        return self._signals.closed

    @property
    def liveness(self) -> Liveness:
        """How the other end is, as far as it can be seen from here.

        Looked at from the first use of this, `liveness_changed`, `timedout` or `timeout` on.
        """
        self._watch()
        return self._diagnosis.liveness

    @property
    def liveness_changed(self) -> Signal:
        """Signal that `liveness` has changed; handlers get the connection and the `Liveness`."""
        self._watch()
        return self._signals.liveness

    @property
    def dead_after(self) -> float | None:
        """Set/get the seconds of silence after which the peer is given up.

        None, the default: never, as a silent peer may come back. Else the line is broken off
        then, and the connection closed, if it does not reconnect. Less than 0.5 is taken as 0.5.
        Raises ArgumentError (a ValueError) for what is no positive number.
        """
        return self._dead_after

    @dead_after.setter
    def dead_after(self, seconds: float | None) -> None:
        is_number = isinstance(seconds, (int, float))
        if seconds is not None and not (is_number and seconds > 0.0):
            raise ArgumentError(f"dead_after is None or a positive number, not {seconds!r}")
        self._dead_after = seconds
        self._watch()

    @property
    def reconnecting(self) -> Signal:
        """Signal that the line was lost; handlers get the connection and the reason, a str.

        What is sent meanwhile waits.
        """
        return self._signals.reconnecting

    @property
    def reconnected(self) -> Signal:
        """Signal that there is a line again; handlers get the connection and a bool.

        True: it goes on as if nothing had happened. False: the peer is another process, or has
        given up waiting. What the one before had sent and did not arrive is lost.
        """
        return self._signals.reconnected

    @property
    def gap(self) -> Signal:
        """Signal that messages will not arrive; handlers get the connection and their number.

        The line was lost, and the peer had sent more meanwhile than it keeps; or this process
        follows one to which they were sent. See `yoton.BaseChannel.gap`.
        """
        return self._signals.gap

    @property
    def timedout(self) -> Signal:
        """Signal for a silent peer; handlers get the connection and a bool.

        True: nothing came for `timeout` seconds, or for `dead_after` if that is less. False:
        something came again. The connection stays open meanwhile.
        """
        self._watch()
        return self._signals.timedout

    @property
    def timeout(self) -> float:
        """Set/get the seconds without a sign of life after which `timedout` is emitted.

        At least 0.5; less is taken as 0.5. Raises ArgumentError (a ValueError) for what is no
        number.
        """
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        if not isinstance(seconds, (int, float)) or math.isnan(seconds):
            raise ArgumentError(f"timeout is a number of seconds, not {seconds!r}")
        self._timeout = max(MIN_SILENCE_TIMEOUT, float(seconds))
        self._watch()

    def _watch(self) -> None:
        self._is_watching = True
        link = self._link
        if link is not None:
            link.watch()

    # Methods for the user

    def stats(self) -> dict[str, Any]:
        """Get what goes over the connection in numbers, as plain data for JSON.

        Everything counts from its beginning, over all lines that it has had. Bytes are those of
        messages, encoded, without what goes around them; a package is a message, or a bundle
        of them. After Ctrl-C a count may be wrong by one package.

        Returns
        -------
        dict
            ``"name"``; ``"state"``: as ``"waiting"``, ``"connected"``, ``"reconnecting"``,
            ``"closed"``; ``"peer"``: None or a dict with ``"id"``, ``"pid"`` and ``"name"``.

            ``"in"`` and ``"out"``: what came and what has left, each a dict with ``"packages"``,
            ``"messages"`` and ``"bytes"``. ``"pending"``: what waits to be sent, and the most that
            did so far: ``"messages"``, ``"bytes"``, ``"peak_messages"``, ``"peak_bytes"``.

            ``"dropped"``: messages that were not sent, as too many waited (``"queue_full"``),
            more than the mark of their channel allows did (``"high_water_mark"``), a newer state
            of the same channel was sent (``"superseded"``), the connection was closed
            (``"closed"``), or the peer could not have read them (``"too_large"``,
            ``"not_encodable"``). ``"unconfirmed"``: messages that were written and may be lost, as
            the peer has not come back, or has forgotten the session, or began to talk nonsense.
            ``"resent"``: messages that were written again after the line was lost. ``"kept"``:
            packages that are kept for that. ``"gaps"``: messages that the peer says will not come.
            ``"reconnections"``: how often there was another line.

            ``"round_trip"``: None, or ``"latest"`` and ``"smallest"``, the seconds that the peer
            took to answer, and ``"age"``, the seconds since then. It is asked at the beginning of a
            line, and whenever nothing else was sent for a while; Pyzo's yoton is not.
            ``"seconds_since"``: with the keys ``"in"`` and ``"out"`` the seconds since something
            came and was written, None before there was a line.
        """
        self._context.flush_burst()
        now = monotonic()
        with self._lock:
            link, session, peer = self._link, self._session, self._peer
            state, times = self._status.value, self._last_times
        if link is not None:
            times = link.last_read, link.last_write
        return {
            "name": self.name,
            "state": state,
            "peer": peer and {"id": peer.id, "pid": peer.pid, "name": peer.name},
            **self.totals(),
            "pending": self._outbox.stats(),
            "kept": session.kept_count if session else 0,
            "round_trip": self._traffic.round_trip.stats(now),
            "seconds_since": {
                "in": times and max(0.0, now - times[0]),
                "out": times and max(0.0, now - times[1]),
            },
        }

    def flush(self, timeout: float | None = 3.0) -> None:
        """Wait until all that was sent so far has left for the peer.

        It has then got to the system of the peer, and arrives also if this process ends;
        whether the peer has read it is another matter. Systems other than Linux do not tell:
        there it has been handed to the own one. Without a peer or a line there is nothing to
        wait for if nothing was sent.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait at most; None: without limit.

        Raises
        ------
        FlushTimeout
            It has not left in time. A RuntimeError.
        ConnectionClosed
            The connection ended before. An OSError.
        """
        deadline = Deadline(timeout)
        self._context.hand_over()
        while self._status is not Status.CLOSED:
            link = self._link
            is_done = not self._has_waiting if link is None else link.flush(deadline)
            if is_done:
                return
            # If the line was lost, what it did not take is left to the next one.
            if link is not None and not link.takes_no_more and link.is_interrupted:
                raise FlushTimeout(f"{self!r}: {INTERRUPTED}")
            is_lost = link is None or link.takes_no_more
            if not (is_lost and self._await_other_link(link, deadline)):
                raise FlushTimeout(f"{self!r}: packages still wait to be sent after {timeout} s")
        raise ConnectionClosed(f"{self!r}: closed before all packages were sent")

    @property
    def _has_waiting(self) -> bool:
        """Whether something waits to be sent, while there is no line."""
        session = self._session
        return bool(self._outbox.packages) or (session is not None and session.is_behind)

    def _await_other_link(self, link: ThreadedLink | None, deadline: Deadline) -> bool:
        return self._status_changed.wait_for(
            lambda: self._link is not link or self._status is Status.CLOSED, deadline
        )

    def close(self, reason: str | None = None) -> None:
        """Close the connection in a nice way, or stop waiting for a peer.

        What was sent before still reaches the peer, which is told that it is the end. Blocks
        until the peer has answered, about two seconds if it does not.

        Parameters
        ----------
        reason : str, optional
            What the handlers of `closed` get at this end.
        """
        self.begin_close(reason or CLOSED_ON_COMMAND)
        self.await_end(Deadline(END_TIMEOUT))

    def close_on_problem(self, reason: str | None = None) -> None:
        """Break the connection off, without telling the peer; what was not sent yet is lost.

        Parameters
        ----------
        reason : str, optional
            What the handlers of `closed` get at this end.
        """
        reason = reason or CLOSED_ON_PROBLEM
        with self._lock:
            self._close_reason = self._close_reason or reason
            self._is_end_wanted = True
            link = self._link
        if link is not None:
            link.abort(reason)
        else:
            self.begin_close(reason)
        self.await_end(Deadline(END_TIMEOUT))

    # What the context calls

    def totals(self) -> dict[str, Any]:
        """Get what can be added up with that of other connections, see `stats`."""
        session = self._session
        return self._traffic.totals(session.resent if session else 0)

    @property
    def peer(self) -> Identity | None:
        """What the other end told of itself, None before there is one."""
        return self._peer

    @property
    def is_congested(self) -> bool:
        """Whether so much waits to be sent that senders should wait as well.

        Not while there is no line: nobody knows for how long.
        """
        return self._outbox.is_congested and self._link is not None

    @property
    def outbox(self) -> Outbox:
        """What it has to send."""
        return self._outbox

    def enqueue(self, package: Package) -> None:
        """Put a package into the outbox; never blocks, `kick` follows.

        Called with the routing lock held, which gives all packages of a context one order.
        """
        if not self._outbox.put(package):
            self._tell_of_drop()
        elif self._is_dropping and not self._outbox.is_closed:
            self._is_dropping = False

    def kick(self) -> bool:
        """Have the packages in the outbox written; never blocks.

        Returns whether nobody needs to wait for room: either none are left, or the peer, which
        has not come yet, takes none.
        """
        link = self._link
        return link is None or link.kick()

    def tell(self, notice: Notice) -> None:
        """Tell the peer what is wanted; never blocks, `kick` follows."""
        link = self._link
        if link is not None:
            link.tell(notice)

    def tell_news(self, news: News) -> None:
        """Tell the peer of contexts; never blocks, `kick` follows."""
        link = self._link
        if link is not None:
            link.tell_news(news)

    def lead(self, is_satisfied: Callable[[], object], deadline: Deadline) -> None:
        """Read in this thread while it waits for something, see `Reader.lead`."""
        link = self._link
        if link is not None:
            link.lead(is_satisfied, deadline)

    def wait_for_room(self, deadline: Deadline) -> None:
        """Wait while the outbox is congested, until the deadline."""
        self._outbox.wait_for_room(deadline)

    def begin_close(self, reason: str, deadline: Deadline | None = None) -> None:
        """Begin an orderly end, without waiting for it; see `await_end`.

        At the deadline, by default in `CLOSE_TIMEOUT` seconds, the connection is broken off.
        """
        self._context.flush_burst()
        with self._lock:
            link = self._link
            self._close_reason = self._close_reason or reason
            self._is_end_wanted = True
            # Also one whose end an interrupt has cut short.
            has_no_line = link is None and self._status in (
                Status.WAITING,
                Status.RECONNECTING,
                Status.CLOSING,
            )
            if has_no_line:
                self._status_changed.wake_all()
                self._status = Status.CLOSING
        if link is not None:
            link.close(reason, deadline)
        elif has_no_line:
            self._end_without_line(reason)

    def give_up(self, reason: str) -> None:
        """End for good if there is no line; never blocks."""
        with self._lock:
            is_first = self._status is Status.RECONNECTING
            if is_first:
                self._status_changed.wake_all()
                self._status = Status.CLOSING
                self._close_reason = self._close_reason or reason
        if is_first:
            self._end_without_line(reason)

    def await_end(self, deadline: Deadline) -> None:
        """Wait until the connection has ended, at most until the deadline.

        Not in a thread that was interrupted while it reads or writes: that has to go on first.
        """
        link = self._link
        if link is not None and not is_busy():
            link.join(deadline)

    def abandon(self) -> None:
        """Be closed in a forked child; the parent's connection stays as it is."""
        self._lock = threading.RLock()
        self._status_changed = WaitPoint(self._lock)
        self._status = Status.CLOSED
        link, self._link = self._link, None
        if link is not None:
            link.abandon()
        self._outbox = self._context.new_outbox(self._traffic.departures)
        self._outbox.close()
        # What the parent's one says, and its lock, may be of any moment.
        self._diagnosis = self._new_diagnosis()

    def _new_diagnosis(self) -> Diagnosis:
        return Diagnosis(self._look_after_peer, self._tell_liveness, self._consider_dead)

    # What a subclass does

    def _stop_waiting(self) -> None:
        """Let the port go, and wait for no other line; repeated after an interrupt."""
        raise NotImplementedError

    def _wait_at(self, local_address: tuple[str, int]) -> None:
        """Become a waiting connection."""
        with self._lock:
            self._status = Status.WAITING
            self._local_address = local_address
        self._context.connection_opened(self)

    def _line_lost(self) -> None:
        """Get another line, in another thread, or wait for one."""
        raise NotImplementedError

    def run(self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event]) -> bool:
        """Become a connected connection; False if it was closed meanwhile."""
        link = self._new_link(stream, protocol, greeting)
        try:
            before = self._take_link(link, stream, (Status.NEW, Status.WAITING))
            if before is None:
                return False
            if before is Status.NEW:
                self._context.connection_opened(self)
            self._context.connection_made(self, link.peer)
        finally:
            # Also after an interrupt: a link that does not run would never end.
            if self._link is link:
                try:
                    link.start()
                except BaseException:
                    link.end_here()
                    raise
        if self._is_watching:
            link.watch()
        return True

    def resume(
        self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event], place: Place | None
    ) -> bool:
        """Go on over another line; False if it was closed meanwhile.

        Parameters
        ----------
        place : tuple of int or None
            The package that the peer got last. None: it knows nothing of what was before.
        """
        if place is None:
            self._context.connection_ended(self)
        packages, gap = self._what_is_behind(place, peer_in(greeting))
        link = self._new_link(stream, protocol, greeting, packages)
        if gap.losses and link.peer.is_extended:
            # Before another thread can write to the link: it belongs before all that follows.
            link.tell_gap(gap)
        if self._take_link(link, stream, (Status.RECONNECTING,)) is None:
            return False
        self._traffic.reconnections += 1
        self._context.connection_resumed(self, link.peer)
        # Before this line can be lost in its turn.
        logger.log(self._context.log_level, "%r is back", self)
        self._signals.reconnected.emit(self, place is not None)
        link.start()
        if self._is_watching:
            link.watch()
        link.kick()
        return True

    def _what_is_behind(self, place: Place | None, peer: Identity) -> tuple[list[Package], Gap]:
        """Get what to write again, and what is missing before that."""
        if self._session is None:
            return [], Gap(BEGINNING, [])
        if place is not None:
            return self._session.resume(place)
        if peer.id == self.id2:
            return self._session.repeat()
        return [], self._session.restart()

    def _new_link(
        self,
        stream: ByteStream,
        protocol: Protocol,
        greeting: Sequence[Event],
        resent: Sequence[Package] = (),
    ) -> ThreadedLink:
        label = f"{self.name or 'connection'} to {format_place(*stream.peer_address)}"
        return ThreadedLink(
            stream,
            protocol,
            greeting,
            self._outbox,
            self,
            label,
            self._session,
            resent,
            self._traffic,
        )

    def _take_link(
        self, link: ThreadedLink, stream: ByteStream, expected: tuple[Status, ...]
    ) -> Status | None:
        """Be connected by a link; returns what it was before, None if that is none of these."""
        with self._lock:
            before = self._status
            if before not in expected:
                return None
            self._status_changed.wake_all()
            self._status = Status.CONNECTED
            self._link = link
            self._peer = link.peer
            self._local_address = stream.local_address
            self._peer_address = stream.peer_address
        self._diagnosis.end(Liveness.RUNNING)
        return before

    # What the link calls

    def deliver(self, packages: Sequence[Package]) -> None:
        """See `LinkOwner`."""
        self._context.arrivals.deliver(packages, self)
        self._traffic.came.add_all(packages)
        if self._session is not None:
            self._note_received(self._session, packages)

    def deliver_leading(self, packages: Sequence[Package]) -> bool:
        """See `LinkOwner`."""
        is_done = self._context.arrivals.deliver_leading(packages, self)
        # Else the receive thread gets the packages once more.
        if is_done:
            # As `PackageFlow.add_all`, without the call: this is what a round trip waits for.
            came = self._traffic.came
            for package in packages:
                came.packages += 1
                came.messages += package.count
                came.bytes += package.size
            if self._session is not None:
                self._note_received(self._session, packages)
        return is_done

    def _note_received(self, session: Session, packages: Sequence[Package]) -> None:
        if session.note_received(packages):
            self._acknowledge()
        elif not self._will_acknowledge:
            # At the end of an interpreter there may be no thread for it; it only spares a gap.
            with contextlib.suppress(RuntimeError):
                scheduler.call_after(ACKNOWLEDGE_DELAY, self._acknowledge)
            self._will_acknowledge = True

    def _acknowledge(self) -> None:
        """Tell the peer what has come, if it has not been told."""
        self._will_acknowledge = False
        link, session = self._link, self._session
        if link is not None and session is not None and session.take_unacknowledged():
            link.acknowledge(session.received)

    def act(self) -> None:
        """See `LinkOwner`."""
        self._context.arrivals.act(self)

    def contexts_gone(self, ids: Sequence[int]) -> None:
        """See `LinkOwner`."""
        # It comes in the order of the packages, and left the other end as one of them.
        self._traffic.came.add_all((contexts_gone_package(ids),))
        self._context.contexts_gone(ids, self)

    def heard(self, notice: Notice) -> None:
        """See `LinkOwner`."""
        self._context.heard(notice, self)

    def gap_found(self, gap: Gap) -> None:
        """See `LinkOwner`."""
        if gap.origin is not None:
            # It left the other end as a package.
            self._traffic.came.add_all((gap_package(gap.losses, gap.origin),))
        if self._context.gap_found(gap, self):
            self._traffic.gaps += gap.messages
            self._signals.gap.emit(self, gap.messages)

    def announced(self, announcement: Announcement) -> None:
        """See `LinkOwner`."""
        self._context.announced(announcement, self)

    @property
    def silent_after(self) -> float:
        """See `LinkOwner`."""
        limit = self._dead_after
        return (
            self._timeout if limit is None else max(MIN_SILENCE_TIMEOUT, min(self._timeout, limit))
        )

    def silence_changed(self, is_silent: bool) -> None:
        """See `LinkOwner`."""
        if is_silent:
            self._diagnosis.begin(self.silent_after)
        else:
            self._diagnosis.end(Liveness.RUNNING)
        self._signals.timedout.emit(self, is_silent)

    def _diagnose_end(self, reason: str) -> None:
        if self._is_end_wanted or reason == OTHER_END_CLOSED:
            self._diagnosis.end(Liveness.NOT_CONNECTED)
        else:
            self._diagnosis.begin(0.0)

    def _look_after_peer(self, silent_for: float) -> Liveness:
        link = self._link
        has_ended = self._has_peer_ended()
        if link is None or self._status is Status.CLOSED:
            liveness = judge(Signs(False, has_ended, None))
            if self._status is Status.CLOSED and (has_ended or silent_for > AUTOPSY_TIME):
                self._diagnosis.end(liveness)
            return liveness
        return judge(Signs(True, has_ended, link.probe()))

    def _consider_dead(self, silent_for: float) -> None:
        """Give the peer up if it was silent for too long."""
        link, limit = self._link, self._dead_after
        if link is None or limit is None or silent_for < limit or self._status is Status.CLOSED:
            return
        if monotonic() - link.last_read < silent_for:
            return  # heard meanwhile, which the receive thread is about to tell
        logger.warning("%r: the peer was silent for %.1f s and is given up", self, silent_for)
        if self._session is not None:
            link.lose_line(CONSIDERED_DEAD)
        else:
            self._is_end_wanted = True
            link.abort(CONSIDERED_DEAD)

    def _has_peer_ended(self) -> bool:
        """Tell whether the process of the peer is known to have ended; see subclasses."""
        return False

    def _tell_liveness(self, liveness: Liveness) -> None:
        self._signals.liveness.emit(self, liveness)

    def link_closing(self, reason: str) -> None:
        """See `LinkOwner`."""
        self._context.flush_burst()
        with self._lock:
            will_come_back = self.comes_back
            if self._status is Status.CONNECTED and not will_come_back:
                self._status = Status.CLOSING
        if will_come_back:
            self._context.line_closing(self)
        else:
            self._context.connection_closing(self)

    def renew_outbox(self) -> None:
        """Keep what is put from now on apart from what the link that ends has to write.

        Called with the routing lock held.
        """
        self._outbox_before = self._outbox
        self._outbox = self._context.new_outbox(self._traffic.departures)

    def join_outboxes(self) -> None:
        """Have the next link write what the one that ended did not; the routing lock is held."""
        joined = self._context.new_outbox(self._traffic.departures)
        if self._outbox_before is not None:
            self._outbox_before.move_all_to(joined)
        while self._outbox.packages:
            self._outbox.move_all_to(joined)
        # No call in between: nothing is put into the one before any more.
        left, self._outbox, self._outbox_before = self._outbox, joined, None
        left.close()

    @property
    def comes_back(self) -> bool:
        """See `LinkOwner`."""
        return self._comes_back and self._close_reason is None

    def link_ended(self, reason: str, *, is_cut_short: bool) -> None:
        """See `LinkOwner`."""
        has_goodbye = self._is_end_wanted or reason == OTHER_END_CLOSED
        if not self.comes_back:
            self._end(reason, has_goodbye and not is_cut_short)
            return
        if is_cut_short and has_goodbye:
            # What the peer may not have got is told to the next one.
            self._context.line_cut_short(self)
        else:
            self._forget_session(has_goodbye)
            self._session = Session()
        self._context.connection_ended(self)
        self.link_lost(reason)

    def _forget_session(self, has_goodbye: bool) -> None:
        """Count what becomes of what was sent in a session that does not go on."""
        session, self._session = self._session, None
        if session is not None:
            self._traffic.resent_before += session.resent
            if not has_goodbye:
                self._traffic.unconfirmed += session.unconfirmed

    def _end(self, reason: str, has_goodbye: bool) -> None:
        self._forget_session(has_goodbye)
        # Once more, in case that it was closed before the context knew of it.
        self._context.connection_closing(self)
        self._context.connection_ended(self)
        self._context.connection_closed(self)
        # Only now: after an interrupt before this, another close does it all again.
        with self._lock:
            self._status_changed.wake_all()
            is_first = self._status is not Status.CLOSED
            self._status = Status.CLOSED
        self._diagnose_end(reason)
        if is_first:
            logger.log(self._context.log_level, "%r closed: %s", self, reason)
            self._signals.closed.emit(self, reason)

    def link_lost(self, reason: str) -> None:
        """See `LinkOwner`."""
        if self._close_reason is None:
            # First: then it may go on over another line, or be closed, and tells that.
            self._signals.reconnecting.emit(self, reason)
        # Before the peer can hear, by another line, that this one is lost: it relies on that then.
        self._context.line_lost(self)
        with self._lock:
            self._status_changed.wake_all()
            if self._link is not None:
                self._last_times = self._link.last_read, self._link.last_write
            close_reason = self._close_reason
            if close_reason is None:
                self._link = None
                self._status = Status.RECONNECTING
        if close_reason is not None:
            # The link stays, as the one who closes waits for its end.
            self._end_without_line(close_reason)
            return
        self._diagnosis.begin(0.0)
        logger.log(self._context.log_level, "%r lost its line: %s", self, reason)
        self._line_lost()

    def _end_without_line(self, reason: str) -> None:
        self._stop_waiting()
        self._outbox.close()
        lost = self._outbox.discard_all()
        if lost:
            logger.warning("%r: closed with %d messages not sent", self, lost)
        self._end(reason, has_goodbye=False)

    def _tell_of_drop(self) -> None:
        # Once for each time that the queue is full: the log must not fill up as well.
        is_first, self._is_dropping = not self._is_dropping, True
        if is_first and self._outbox.is_closed:
            logger.warning("%r: packages are dropped, as it is about to close", self)
        elif is_first:
            logger.warning("%r: the peer does not keep up, packages are dropped", self)

"""A hub and those who connect to it, made of the rooms that need no thread, socket or clock.

What `yoton.connection` does in threads is done here by calls, one at a time, and every byte
between two processes is in the hands of the test. A process sends to all that it is connected to,
and the hub passes on what comes to it.

Books are kept by somebody who sees everything. There is a `Way` for each direction of a connection.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from books import Way

from yoton.connection.framing import HEADER_SIZE, encode_bundle, encode_package
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import (
    TRANSITIONS,
    Acknowledged,
    Connected,
    ContextsGone,
    Event,
    Failed,
    Identity,
    Input,
    PackagesReceived,
    PeerClosed,
    Protocol,
    Resumed,
    Role,
    State,
    contexts_gone_package,
    encode_acknowledgement,
    encode_gap,
    encode_resume,
    gap_package,
)
from yoton.connection.returning import SESSION_LIFETIME
from yoton.connection.session import Session
from yoton.connection.writer import Writer
from yoton.gaps import Gap, Loss
from yoton.numbering import Numbering
from yoton.package import (
    BEGINNING,
    EVERYONE,
    FIRST_CHANNEL_SLOT,
    Bundle,
    Envelope,
    Package,
    Place,
)
from yoton.queues import Overflow
from yoton.routing import DROP, Router

#: How packages and first lines begin; no message contains it.
_MARK = b"YOTON"

# Of losses that something else than a process found out.
_gap_origins = ((1, number) for number in itertools.count(1))


class LineEnd:
    """One end of a line: its protocol, and the bytes that are on their way to it.

    A `Writer` takes it for the stream, which takes as many bytes as there is `room`.

    Attributes
    ----------
    is_cut : bool
        Nothing more comes than what is under way.
    is_over : bool
        This end has found that the line has come to its end.
    """

    other: LineEnd

    def __init__(self, process: Process, connection: Connection | None = None) -> None:
        self.process = process
        self.connection = connection
        role = Role.CONNECTOR if connection else Role.BINDER
        self.protocol = Protocol(role, process.identity())
        self.writer: Writer | None = None
        self.incoming = bytearray()
        self.is_cut = False
        self.is_over = False
        self.room = 0
        self._until_fault: int | None = None

    def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        """See `ByteStream.write`."""
        data = b"".join(pieces)[: self.room]
        self.room -= len(data)
        counts.append(len(data))
        self.put(data)

    def put(self, data: bytes) -> None:
        """Write something that finds room in any case."""
        if not self.other.is_cut:
            self.other.incoming += data

    def put_handshake(self) -> None:
        """Write what the protocol has to say."""
        self.put(self.protocol.data_to_send())

    def flush(self, room: int) -> None:
        """Write what waits, as far as there is room."""
        if self.connection is not None and self.connection.link is self:
            self.connection.flush(room)

    def deliver(self, size: int | None = None) -> None:
        """Have so many bytes arrive; behind all of them the end, if it is cut."""
        data = bytes(self.incoming[:size])
        del self.incoming[: len(data)]
        if data and not self.is_over:
            events = self.protocol.receive_data(data)
            self.put_handshake()
            self._check_damage(len(data))
            for event in events:
                self._handle(event)
        if self.is_cut and not self.incoming and not self.is_over:
            self.protocol.receive_eof()
            self.end()

    def cut(self, kept: int) -> None:
        """Let no more than some bytes arrive of those that are under way."""
        if not self.is_cut:
            del self.incoming[kept:]
            self.is_cut = True

    def damage(self, which: int, offset: int) -> None:
        """Change a byte of one of the packages under way, where a peer has to notice it."""
        starts = [n for n in range(len(self.incoming)) if self.incoming.startswith(_MARK, n)]
        if starts and self._until_fault is None:
            start = starts[which % len(starts)]
            self.incoming[start + offset] ^= 0x20
            self._until_fault = start + HEADER_SIZE

    def vanish(self) -> None:
        """End with the process, which takes no note of it."""
        self.is_over = True
        self.incoming.clear()
        self.is_cut = True
        self.other.is_cut = True

    def end(self) -> None:
        """Let go of the line; what is under way to this end is lost."""
        self.vanish()
        if self.connection is not None and self.connection.link is self:
            self.connection.line_over()

    def _check_damage(self, size: int) -> None:
        if self._until_fault is not None:
            self._until_fault -= size
            is_noticed = self.protocol.state in (State.CLOSED, State.PEER_CLOSING)
            assert self._until_fault > 0 or is_noticed, "damage ends the line"

    def _handle(self, event: Event) -> None:
        if self.is_over:
            return  # the connection has been lost to another line meanwhile
        if isinstance(event, Failed):
            faults = self._until_fault, self.other._until_fault
            assert faults != (None, None), "only damage ends a line"
            self.end()
        elif isinstance(event, Connected):
            self.process.connected(event.peer, self)
        elif isinstance(event, Resumed):
            self.process.resumed(event, self)
        elif self.connection is not None:
            self.connection.handle(event)


class Connection:
    """One end of a connection, over all of its lines.

    Attributes
    ----------
    way_in, way_out : Way
        The books of each direction.
    is_closing : bool
        Whether this end wants it to end.
    is_interrupted : bool
        Whether Ctrl-C has the next package kept and written twice.
    lost_at : float
        When it had a line last.
    """

    def __init__(self, process: Process, session: Session, peer_id: int = 0) -> None:
        self.process = process
        self.session = session
        self.peer_id = peer_id
        self.outbox = process.world.new_outbox()
        # Others take their places as soon as both ends know each other.
        self.way_in = self.way_out = Way(self.outbox, Counter())
        self.link: LineEnd | None = None
        self.lost_at = 0.0
        self.is_closing = False
        self.is_interrupted = False
        self.is_over = False

    def go_on(self, link: LineEnd, place: Place | None) -> None:
        """Go on over a line; `place` is what the peer has, None if it knows nothing."""
        if place is None:
            packages, gap = [], self.session.restart()
        else:
            packages, gap = self.session.resume(place)
        self.link = link
        link.connection = self
        link.writer = Writer(link, self.outbox, self._encode, packages)  # type: ignore[arg-type]
        if gap.losses:
            link.writer.add_notice(encode_gap(gap))

    def put(self, package: Package) -> None:
        """Have a package sent."""
        self.way_out.given[package.source_id] += package.count
        self.outbox.put(package)

    def tell_losses(self, losses: Counter[int]) -> None:
        """Have the peer told of messages that were lost before they came here."""
        self.way_out.given += losses
        self.way_out.lost_before += losses.total()
        told = [Loss(FIRST_CHANNEL_SLOT + source, EVERYONE, n) for source, n in losses.items()]
        self.outbox.put(gap_package(told, next(_gap_origins)))

    def tell_gone(self, id: int) -> None:
        """Have the peer told of a context that is gone."""
        self.way_out.gone_told.append(id)
        self.outbox.put(contexts_gone_package([id]))

    def flush(self, room: int) -> None:
        """Write what waits, as far as there is room."""
        link = self.link
        if link is None or link.writer is None:
            return
        link.room = room
        is_written = link.writer.write_pending()
        if is_written and self.is_closing and Input.CLOSE_SENT in TRANSITIONS[link.protocol.state]:
            link.put(link.protocol.send_close())
            if link.protocol.state is State.CLOSED:
                link.end()

    def begin_close(self) -> None:
        """Send what was put before, then say goodbye."""
        self.is_closing = True
        self.process.connections.remove(self)
        if self.link is None:
            self.line_over()

    def line_over(self) -> None:
        """The line has come to its end: keep what it did not take, unless this is the end."""
        self.lost_at = self.process.world.now
        link, self.link = self.link, None
        if self.is_closing:
            self.is_over = True
            self.process.connection_over(self)
        elif link is not None and link.writer is not None:
            for package in link.writer.leave():
                self.session.keep(package)

    def handle(self, event: Event) -> None:
        """Act on what the peer says."""
        if isinstance(event, PackagesReceived):
            self._receive(event.packages)
        elif isinstance(event, Acknowledged):
            self.session.acknowledged(event.received)
        elif isinstance(event, Gap):
            self._receive_gap(event)
        elif isinstance(event, ContextsGone):
            self.way_in.gone_heard.update(event.ids)
        elif isinstance(event, PeerClosed):
            self._receive_goodbye()

    def begin_way_out(self, link: LineEnd) -> None:
        """Begin the books of what goes to a hub that knows nothing of before."""
        source, waiting = self.process.id, self._waiting()
        begun_at = min((seq - count for seq, count in waiting.items()), default=self.process.sent)
        way = Way(self.outbox, Counter({source: begun_at}))
        way.given[source] = sum(waiting.values())
        assert link.other.connection is not None
        self.way_out = link.other.connection.way_in = way

    def _waiting(self) -> dict[int, int]:
        """Get how many messages there are in packages that the peer may lack, by their number."""
        kept = [each.package for each in self.session._kept]
        waiting = {each.source_seq: each.count for each in (*kept, *self.outbox.packages)}
        remembered = self.session._remembered
        return waiting | {each.place[1]: each.loss.messages for each in remembered}

    def _encode(self, package: Package) -> Sequence[bytes]:
        self.session.keep(package)
        is_bundle = isinstance(package, Bundle)
        pieces = encode_bundle(package) if is_bundle else encode_package(package)
        if self.is_interrupted:
            self.is_interrupted = False
            self.session.keep(package)
            pieces *= 2
        return pieces

    def _receive(self, packages: Sequence[Package]) -> None:
        for package in packages:
            self.way_in.note_came(package)
            self.process.receive(package, self)
        if self.session.note_received(packages):
            self.session.take_unacknowledged()
            assert self.link is not None
            assert self.link.writer is not None
            self.link.writer.add_notice(encode_acknowledgement(self.session.received))

    def _receive_gap(self, gap: Gap) -> None:
        losses: Counter[int] = Counter()
        for loss in gap.losses:
            losses[loss.slot - FIRST_CHANNEL_SLOT] += loss.messages
        if not self.session.note_gap(gap):
            return
        self.way_in.missing += losses
        for other in self.process.connections:
            if other is not self:
                other.tell_losses(losses)

    def _receive_goodbye(self) -> None:
        self.way_in.is_finished = True
        assert self.link is not None
        if self.link.protocol.state is State.CLOSED:
            self.link.end()
        elif not self.is_closing:
            self.process.peer_said_goodbye(self)


class Process:
    """A context, as far as the rooms without threads make one.

    Attributes
    ----------
    sent : int
        Messages that it has sent.
    connections : list of Connection
        To where it sends.
    """

    def __init__(self, world: World, id: int) -> None:
        self.world = world
        self.id = id
        self.sent = 0
        self.connections: list[Connection] = []
        self.highest: Counter[int] = Counter()
        self._numbering = Numbering(id)
        self._router = Router(id)

    def identity(self) -> Identity:
        """Get what it tells of itself."""
        raise NotImplementedError

    def connected(self, peer: Identity, link: LineEnd) -> None:
        """The first words have been said on a line."""
        raise NotImplementedError

    def resumed(self, event: Resumed, link: LineEnd) -> None:
        """The other end has said how the session goes on."""
        raise NotImplementedError

    def peer_said_goodbye(self, connection: Connection) -> None:
        """The other end wants a connection to end."""
        raise NotImplementedError

    def connection_over(self, connection: Connection) -> None:
        """A connection has come to its end."""

    def send(self, sizes: Iterable[int], is_bundle: bool) -> None:
        """Send messages of some sizes."""
        for size in sizes:
            self.sent += 1
            self._numbering.add(self._envelope, 0, _message(self.id, self.sent, size))
            if not is_bundle:
                self._numbering.give_out(self._put)
        self._numbering.give_out(self._put)

    def receive(self, package: Package, connection: Connection) -> None:
        """Take a package and pass it on."""
        for news in self._router.parts(package):
            verdict = self._router.decide(news)
            assert not verdict.is_late, "there is one way to each"
            if verdict is not DROP:
                for single in news.packages():
                    source, seq = single.source_id, single.source_seq
                    assert seq > self.highest[source], "in order, none twice"
                    assert single.data == _message(source, seq, len(single.data)), "as it was sent"
                    self.highest[source] = seq
                self._put(news, connection)
            self._router.remember(news, connection)

    @property
    def _envelope(self) -> Envelope:
        return Envelope(FIRST_CHANNEL_SLOT + self.id)

    def _put(self, package: Package, came_by: Connection | None = None) -> None:
        for connection in self.connections:
            if connection is not came_by:
                connection.put(package)


class Leaf(Process):
    """One that connects to the hub, again and again.

    Attributes
    ----------
    connection : Connection
        What it sends by, and is among its connections once the hub has answered.
    is_over : bool
        Whether it has closed.
    """

    def __init__(self, world: World, id: int) -> None:
        super().__init__(world, id)
        self.is_over = False
        self.connection = Connection(self, world.new_session())
        self._line: LineEnd | None = None
        self._peer_id = 0

    @property
    def has_line(self) -> bool:
        """Whether it has a line, as far as it knows."""
        return self._line is not None and not self._line.is_over

    def identity(self) -> Identity:
        """See `Process.identity`."""
        session = self.connection.session
        return Identity(self.id, 1, session=session.token, received=session.received)

    def send(self, sizes: Iterable[int], is_bundle: bool) -> None:
        """See `Process.send`; not before it is connected, as nobody would get that."""
        if self.connections:
            super().send(sizes, is_bundle)

    def dial(self, hub: Hub) -> None:
        """Get a line to the hub."""
        if self.connection not in self.connections:
            # It has never come to an end: to its user, it could not connect.
            self.connection = Connection(self, self.world.new_session())
        self._line = LineEnd(self, self.connection)
        other = LineEnd(hub)
        self._line.other, other.other = other, self._line
        self.world.lines.append(self._line)
        self._line.put_handshake()

    def close(self) -> None:
        """Say goodbye, behind all that it has sent."""
        if self.connection in self.connections:
            self.connection.begin_close()

    def connected(self, peer: Identity, link: LineEnd) -> None:
        """See `Process.connected`; more follows."""
        self._peer_id = peer.id

    def resumed(self, event: Resumed, link: LineEnd) -> None:
        """See `Process.resumed`."""
        connection = self.connection
        if connection not in self.connections:
            self.connections.append(connection)
            connection.begin_way_out(link)
        is_known = event.is_known and self._peer_id == connection.peer_id
        connection.peer_id = self._peer_id
        connection.go_on(link, event.received if is_known else None)

    def peer_said_goodbye(self, connection: Connection) -> None:
        """See `Process.peer_said_goodbye`."""
        connection.begin_close()
        # What is sent from now on waits for another session.
        self.connection = Connection(self, self.world.new_session(), connection.peer_id)
        self.connections.append(self.connection)

    def connection_over(self, connection: Connection) -> None:
        """See `Process.connection_over`."""
        if connection is self.connection:
            self.is_over = True
            if self._line is not None and not self._line.is_over:
                self._line.end()  # on which it was just shaking hands


class Hub(Process):
    """One that all others connect to.

    Attributes
    ----------
    known : list of Connection
        All that it ever had.
    """

    def __init__(self, world: World, id: int) -> None:
        super().__init__(world, id)
        self.known: list[Connection] = []

    def identity(self) -> Identity:
        """See `Process.identity`."""
        return Identity(self.id, 2, keeps_sessions=True)

    def connected(self, peer: Identity, link: LineEnd) -> None:
        """See `Process.connected`."""
        for connection in self.connections:
            if (connection.session.token, connection.peer_id) == (peer.session, peer.id):
                if connection.link is not None:
                    connection.link.end()  # of which this end has not heard
                link.put(encode_resume(True, connection.session.received))
                connection.go_on(link, peer.received)
                return
        connection = Connection(self, self.world.new_session(peer.session), peer.id)
        link.put(encode_resume(False, BEGINNING))
        self.known.append(connection)
        self.connections.append(connection)
        leaf_end = link.other.connection
        assert leaf_end is not None
        connection.way_out = leaf_end.way_in = Way(connection.outbox, self._positions())
        link.connection = connection
        leaf_end.begin_way_out(link.other)
        for other in self.connections:
            other.way_out.skip(peer.id, connection.way_in.position[peer.id])
        connection.go_on(link, BEGINNING)

    def peer_said_goodbye(self, connection: Connection) -> None:
        """See `Process.peer_said_goodbye`."""
        connection.begin_close()

    def connection_over(self, connection: Connection) -> None:
        """See `Process.connection_over`."""
        peer_id = connection.peer_id
        if not any(other.peer_id == peer_id for other in self.connections):
            for other in self.connections:
                other.tell_gone(peer_id)

    def expire(self) -> None:
        """Wait no longer for those who have had no line for too long."""
        for connection in self.connections.copy():
            absence = self.world.now - connection.lost_at
            if connection.link is None and absence >= SESSION_LIFETIME:
                connection.begin_close()

    def _positions(self) -> Counter[int]:
        positions = self.highest | Counter({self.id: self.sent})
        for connection in self.known:
            positions |= connection.way_in.position
        return positions


class World:
    """A hub, those who connect to it, and the time.

    Parameters
    ----------
    kept_size : int
        Bytes that each session keeps.
    limit : int
        Messages that each outbox holds.

    Attributes
    ----------
    lines : list of LineEnd
        The connecting ends of all lines.
    now : float
        Seconds, for all.
    """

    def __init__(self, kept_size: int, limit: int) -> None:
        self._kept_size = kept_size
        self._limit = limit
        self._ids = itertools.count(1)
        self.now = 0.0
        self.lines: list[LineEnd] = []
        self._outboxes: list[Outbox] = []
        self.hub = Hub(self, next(self._ids))
        self.leaves: list[Leaf] = []

    def new_session(self, token: str = "") -> Session:
        """Make a session."""
        return Session(token, self._kept_size)

    def new_outbox(self) -> Outbox:
        """Make a queue of what a connection has to send."""
        self._outboxes.append(Outbox(self._limit, Overflow.DROP_OLD))
        return self._outboxes[-1]

    @property
    def processes(self) -> list[Process]:
        """All that live, the hub first."""
        return [self.hub, *self.leaves]

    @property
    def ends(self) -> list[LineEnd]:
        """Both ends of all lines of which somebody has not seen the end."""
        return [end for line in self.lines for end in (line, line.other) if not end.is_over]

    @property
    def ways(self) -> list[Way]:
        """The books of all connections that the hub knows of."""
        return [way for each in self.hub.known for way in (each.way_in, each.way_out)]

    def join(self) -> Leaf:
        """Have one more process connect."""
        leaf = Leaf(self, next(self._ids))
        self.leaves.append(leaf)
        leaf.dial(self.hub)
        return leaf

    def kill(self, leaf: Leaf) -> None:
        """End a process in the middle of whatever it does."""
        self.leaves.remove(leaf)
        self._kill_lines_of(leaf)

    def kill_hub(self) -> None:
        """End the hub, and have another one in its place."""
        self._kill_lines_of(self.hub)
        self.hub = Hub(self, next(self._ids))

    def _kill_lines_of(self, process: Process) -> None:
        for end in self.ends:
            if end.process is process:
                end.vanish()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.hub.expire()

    def shake_hands(self) -> None:
        """Have all arrive that is under way, and what is said in answer to first words."""
        while under_way := [end for end in self.ends if end.incoming or end.is_cut]:
            for end in under_way:
                end.deliver()

    def exchange(self) -> None:
        """Have all arrive that can, over the lines that there are."""
        is_done = False
        while not is_done:
            self.shake_hands()
            for end in self.ends:
                end.flush(2**30)
            is_done = not any(end.incoming or end.is_cut for end in self.ends)
        self.leaves = [leaf for leaf in self.leaves if not leaf.is_over]
        self.lines = [line for line in self.lines if not (line.is_over and line.other.is_over)]

    def heal(self) -> None:
        """Have everybody get a line again who has none, and all arrive."""
        self.exchange()
        while any(not leaf.has_line for leaf in self.leaves):
            for leaf in self.leaves:
                if not leaf.has_line:
                    leaf.dial(self.hub)
            self.exchange()

    def check(self) -> None:
        """Check what has to hold at any moment."""
        dropped = sum(outbox.dropped for outbox in self._outboxes)
        for way in self.ways:
            way.check(dropped)
            if way.is_finished:
                way.check_finished()

    def check_settled(self) -> None:
        """Check what has to hold when all has arrived."""
        self.check()
        assert not any(leaf.connection.is_closing for leaf in self.leaves), "a goodbye is answered"
        for connection in self.hub.connections:
            if connection.link is not None:
                connection.way_in.check_finished()
                connection.way_out.check_finished()


def _message(source: int, seq: int, size: int) -> bytes:
    """Get a message of at least so many bytes that is unlike all others."""
    return (b"%d.%d." % (source, seq)).ljust(size, b"*")

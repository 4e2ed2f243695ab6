"""The context: a node of the network, where channels and connections meet.

It numbers what the channels send and gives it to all connections, and routes what comes in by
one connection to its channels and to the other connections.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from yoton.address import parse_address
from yoton.announcing import Announcing
from yoton.arrivals import NEW_CONNECTION, Arrivals
from yoton.burst import LOOK_INTERVAL, MAX_COUNT, MAX_SIZE, Burst
from yoton.clock import FOREVER, NOW, Deadline
from yoton.connection.base import END_TIMEOUT, INTERRUPTED, Connection
from yoton.connection.busy import is_busy, keeps_busy
from yoton.connection.framing import DEFAULT_MAX_DATA_SIZE
from yoton.connection.joining import connection_class
from yoton.connection.listener import DEFAULT_MAX_CONNECTIONS, Listener
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import Identity, contexts_gone_package, gap_package
from yoton.connection.reconnecting import ReconnectPolicy, policy_of
from yoton.connection.returning import SESSION_LIFETIME, pid_space
from yoton.demand import Demand
from yoton.ending import attend, attend_worker, process_exit
from yoton.entry import Announcement
from yoton.exceptions import ArgumentError, ConnectionClosed, FlushTimeout, PackageTooLarge
from yoton.gaps import Gap, GapOrigins, Loss
from yoton.interest import Interest, Notice
from yoton.marks import DEFAULT_MAX_SIZE
from yoton.neighbours import (
    ConnectionCollection,
    Neighbours,
    await_end,
    kick_all,
    wait_for_room,
)
from yoton.numbering import Numbering
from yoton.package import EVERYONE, SLOT_CONTEXT, UID, Envelope, Package
from yoton.queues import Overflow
from yoton.routing import Router
from yoton.slots import Receiver, Slots
from yoton.traffic import Books, Departures, add_up

logger = logging.getLogger(__name__)

#: Packages that a queue holds, and which are dropped beyond that, unless the user says
#: otherwise: the values of the yoton inside Pyzo.
DEFAULT_QUEUE_PARAMS = (10000, "old")

CLOSED_BY_CONTEXT = "Closed by the context."
CLOSED_ON_FAILURE = "Closed, as connecting was cut short."


class Context:
    """A node of the network.

    It can have any number of connections to other contexts, and any number of channels, which
    send and receive by way of all of them. What is sent while there is no connection goes to
    the first one that is made. All methods may be called from any thread. As a context manager
    it closes itself.

    Parameters
    ----------
    verbose : bool
        Log what connections do at the level INFO, not DEBUG, of the loggers under "yoton".
    queue_params : tuple of int and str, optional
        How many packages a queue holds, and whether the "old" or the "new" ones are dropped
        beyond that. Default: ``(10000, "old")``. It is wise to have the same everywhere.
    max_data_size : int
        Bytes of the largest message that is sent and accepted. Default: 1 GiB.
    name : str
        Name of the program, told to peers.

    Raises
    ------
    ArgumentError
        queue_params are of another form. A ValueError.
    """

    def __init__(
        self,
        verbose: bool = False,
        queue_params: tuple[int, str] | None = None,
        *,
        max_data_size: int = DEFAULT_MAX_DATA_SIZE,
        name: str = "",
    ) -> None:
        self._queue_params = _checked_queue_params(queue_params)
        self._verbose = verbose
        self._name = name
        self._max_data_size = max_data_size
        # A part of what queues hold: a burst at its end must not push out what it began with.
        self._burst_count = min(MAX_COUNT, max(1, self.queue_limit // 4))
        self._look_interval = min(LOOK_INTERVAL, self._burst_count)
        self._slots = Slots()
        self._begin()
        attend(self)

    def _begin(self) -> None:
        """Be a node that nobody knows yet."""
        self._id = UID().get_int()
        # The routing lock. It guards all that follows. Queues are put to with it held, so their
        # locks come second; no other lock is taken under it.
        self._lock = threading.RLock()
        self._router = Router(self._id)
        self._numbering = Numbering(self._id)
        self._gap_origins = GapOrigins(self._id)
        # What waits for the first connection; made when something does.
        self._startup_queue: Outbox | None = None
        self._burst = Burst(self.flush_burst)
        # Replaced, never changed.
        self._listeners: tuple[Listener, ...] = ()
        # For channels, these two: what is known of those in the network, and of those nearby.
        self.announcing = Announcing(
            self._lock, self._id, self._name, self._router, self._tell_channels_who_is_gone
        )
        self.neighbours = Neighbours(self._max_data_size)
        self._interest = Interest()
        self._demand = Demand(self._lock, self._interest, self.announcing.seal, self.lead)
        # For connections.
        self.arrivals = Arrivals(
            self._lock,
            self._router,
            self._slots,
            self.neighbours,
            self._interest,
            self._demand,
            self.announcing.newcomers_heard,
        )

    def __repr__(self) -> str:
        return (
            f"<Context {self._name!r} {self._id:#x} with {len(self.connections_all)} connections>"
        )

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Properties

    @property
    def id(self) -> int:
        """The 64-bit id of this context, unique in the network."""
        return self._id

    @property
    def connection_count(self) -> int:
        """The number of connected contexts."""
        return len(self.connections)

    @property
    def connections(self) -> ConnectionCollection:
        """The connections that have a peer; a list that is also indexed by name."""
        return ConnectionCollection(c for c in self.neighbours.connections if c.is_connected)

    @property
    def connections_all(self) -> ConnectionCollection:
        """The connections that have a peer or wait for one; also indexed by name."""
        return ConnectionCollection(c for c in self.neighbours.connections if c.is_alive)

    def graph(self) -> dict[str, Any]:
        """Get the network as it is known here, as plain data that can be written as JSON.

        What changes elsewhere is known here some milliseconds later. Contexts of Pyzo's yoton
        tell nothing of themselves: of those that are connected to one that does, nothing but the
        id is known, and of all others nothing. A context whose line is lost and may come back is
        still there, as long as the connection is `Connection.is_reconnecting`.

        Returns
        -------
        dict
            ``"contexts"``: a list of dicts with the keys ``"id"``, ``"pid"``, ``"host"``,
            ``"name"``, ``"program"`` and ``"is_own"``, which is True for this context.
            ``"connections"``: a list of lists with the ids of two contexts that are connected.
            ``"channels"``: a dict that has, for the full name of each slot, a list of dicts with
            the keys ``"context"`` (an id), ``"kind"`` (as ``"PubChannel"``), ``"sends"`` and
            ``"receives"``. All lists are sorted by id.
        """
        return self.announcing.graph()

    def stats(self) -> dict[str, Any]:
        """Get what goes through this context in numbers, as plain data for JSON.

        What was sent so far leaves first, if it was held back for a moment.

        Returns
        -------
        dict
            ``"id"`` and ``"name"`` of the context. ``"total"``: the sums over all connections that
            it has had, with the keys ``"in"``, ``"out"``, ``"dropped"``, ``"resent"``, ``"gaps"``
            and ``"reconnections"`` of `Connection.stats`. ``"connections"``: a list of what that
            gives for each of those that have not ended. ``"channels"``: for each channel, by the
            full name of the slot that it sends on, what `BaseChannel.stats` gives.
            ``"startup_queue"``: what waits for the first connection, with the keys ``"messages"``,
            ``"bytes"``, ``"peak_messages"``, ``"peak_bytes"`` and ``"dropped"``. ``"threads"``: a
            list of the names of all threads of yoton in this process.
        """
        self.flush_burst()
        with self._lock:
            connections, past = self.neighbours.counted, self.neighbours.past
            slots = list(self._slots.sending.values())
            startup_queue = self._startup_queue or self.new_outbox()
        return {
            "id": self._id,
            "name": self._name,
            "total": add_up((past, *(connection.totals() for connection in connections))),
            "connections": [connection.stats() for connection in connections],
            "channels": {slot.name: slot.stats() for slot in slots},
            "startup_queue": {**startup_queue.stats(), "dropped": startup_queue.dropped},
            "threads": sorted(
                thread.name for thread in threading.enumerate() if thread.name.startswith("yoton-")
            ),
        }

    # Connecting

    def bind(self, address: str, max_tries: int = 1, name: str = "") -> Connection:
        """Wait for another context to connect; does not block.

        Parameters
        ----------
        address : str
            ``host:port``, ``unix:///path`` or ``memory://name``, see
            `yoton.address.parse_address`. Port 0 lets the system choose.
        max_tries : int
            Number of ports to try, beginning with the given one. The one that was free is the
            connection's `port1`.
        name : str
            Name for the connection.

        Returns
        -------
        Connection
            Waiting for one peer; over TCP a `TcpConnection`. When the peer has come, the port
            can be bound again.

        Raises
        ------
        AddressError
            The address has another form. A ValueError.
        BindFailed
            None of the ports could be bound. An OSError.
        """
        where = parse_address(address)
        connection = connection_class(where)(self, name)
        connection._bind(where, max_tries)
        return connection

    def listen(
        self,
        address: str,
        max_tries: int = 1,
        name: str = "",
        *,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        session_lifetime: float = SESSION_LIFETIME,
    ) -> Listener:
        """Let any number of other contexts connect; does not block.

        Parameters
        ----------
        address : str
            As for `bind`.
        max_tries : int
            Number of ports to try, beginning with the given one. The one that was free is the
            listener's `port`.
        name : str
            Name for the listener and its connections.
        max_connections : int
            Connections that it has at most at a time; who comes beyond that is sent away.
        session_lifetime : float
            Seconds for which a context that connects with `reconnect`, and has lost its line,
            can come back and go on as if nothing had happened.

        Returns
        -------
        Listener
            Open until it is closed, or this context is.

        Raises
        ------
        AddressError
            The address has another form. A ValueError.
        ArgumentError
            Another argument has a value that it cannot have. A ValueError.
        BindFailed
            None of the ports could be bound. An OSError.
        """
        listener = Listener(
            self, parse_address(address), max_tries, name, max_connections, session_lifetime
        )
        with self._lock:
            self._listeners = (*(each for each in self._listeners if not each.closed), listener)
        return listener

    def connect(
        self,
        address: str,
        timeout: float = 1.0,
        name: str = "",
        *,
        reconnect: bool | ReconnectPolicy = False,
    ) -> Connection:
        """Connect to a context that is bound or listens; blocks until that is done.

        Parameters
        ----------
        address : str
            ``host:port``, ``unix:///path`` or ``memory://name``, see
            `yoton.address.parse_address`.
        timeout : float
            Seconds in which somebody has to listen there, less than 24 days. The handshake may
            take two more.
        name : str
            Name for the connection.
        reconnect : bool or ReconnectPolicy
            Whether to connect again, as often as it takes, when the line or the peer goes away;
            and how. What is sent meanwhile waits. If the peer listens, what was on its way is
            sent again, and arrives once.

        Raises
        ------
        AddressError
            The address has another form. A ValueError.
        ArgumentError
            Another argument has a value that it cannot have. A ValueError.
        ConnectFailed
            Nobody listened there, or it was no yoton. An OSError.
        """
        where = parse_address(address)
        connection = connection_class(where)(self, name)
        try:
            connection._connect(where, timeout, policy_of(reconnect))
            self.join_network(connection)
        except BaseException:
            # Nobody else knows of it, to close it.
            connection.begin_close(CLOSED_ON_FAILURE)
            raise
        return connection

    def flush(self, timeout: float | None = 5.0) -> None:
        """Wait until all that was sent so far has left for the connected contexts.

        Also for one whose line is away, if something waits for it.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait at most; None: without limit.

        Raises
        ------
        FlushTimeout
            It has not left in time. A RuntimeError.
        ConnectionClosed
            A connection ended before; the others have been waited for. Or it was sent when the
            exit of the process had closed all of them. An OSError.
        """
        deadline = Deadline(timeout)
        self.hand_over()
        late: FlushTimeout | None = None
        closed: ConnectionClosed | None = None
        # Of all: one that ends, or is late, does not keep what the others have from leaving.
        for connection in self._all_connections():
            try:
                connection.flush(deadline.remaining())
            except FlushTimeout as error:
                late = late or error
            except ConnectionClosed as error:
                closed = closed or error
        if closed is not None:
            raise closed
        if late is not None:
            raise FlushTimeout(f"not all packages were sent, in {timeout} s at most") from late
        queue = self._startup_queue
        if process_exit.has_come and queue is not None and queue.packages:
            # Else it waits for a first connection, and that is no matter of time.
            raise ConnectionClosed(f"{self!r}: sent when the exit had closed all connections")

    def close(self, timeout: float | None = None) -> None:
        """Close all listeners, all connections in a nice way, then all channels.

        What was sent before still reaches the peers. Blocks until they have taken it and have
        answered, and repliers have finished what they are at. The context can be used again.

        Parameters
        ----------
        timeout : float, optional
            Seconds that it may block in total, however many peers do not answer. Connections
            that have not ended by then are broken off, and what they have not sent is lost.
            More than two give slow peers the time to take much. Default: about two seconds for
            all connections together, and after that one for each replier.

        Notes
        -----
        A connection that is without a line just then ends at once: nobody knows whether it comes
        back. What waited for it is counted as dropped; `flush` before this waits for a line.
        """
        if timeout is None:
            await_end(self.begin_close(), Deadline(END_TIMEOUT))
            self.close_channels()
            return
        deadline = Deadline(timeout)
        await_end(self.begin_close(deadline), deadline)
        self._close_channels(deadline)

    def close_channels(self) -> None:
        """Close all channels of this context, and no connection."""
        self._close_channels(FOREVER)

    def _close_channels(self, deadline: Deadline) -> None:
        # Repliers may wait for a signal handler's own thread.
        deadline = NOW if is_busy() else deadline
        for channel in self._slots.receivers():
            channel.close_within(deadline)

    def _all_connections(self) -> tuple[Connection, ...]:
        return self.neighbours.connections + self.neighbours.ending

    # At the end of the process, and in a forked child, see yoton.ending.Endable

    def begin_close(self, deadline: Deadline | None = None) -> tuple[Connection, ...]:
        """Begin to close all connections, without waiting for that, and get them."""
        for listener in self._listeners:
            listener.close()
        self.flush_burst()
        connections = self._all_connections()
        for connection in connections:
            connection.begin_close(CLOSED_BY_CONTEXT, deadline)
        return connections

    def abandon(self) -> None:
        """Begin anew in a forked child.

        As another node: the network would drop what two nodes send under one id.
        """
        listeners, connections = self._listeners, self._all_connections()
        self._begin()
        for listener in listeners:
            listener.abandon()
        for connection in connections:
            connection.abandon()
        for channel in self._slots.receivers():
            channel.abandon()

    # What channels call

    def next_recv_number(self) -> int:
        """Get a number above those of all messages delivered so far, over all channels."""
        return self.arrivals.next_number

    @property
    def queue_limit(self) -> int:
        """The number of messages that a queue holds."""
        return self._queue_params[0]

    @property
    def queue_overflow(self) -> Overflow:
        """Which messages are dropped when a queue is full."""
        return self._queue_params[1]

    def register(
        self, channel: Receiver, sends_on: str, receives_on: str, books: Books
    ) -> tuple[int, int]:
        """Give a channel its slots, and count what goes over them.

        Returns
        -------
        tuple of int
            The number of the slot that it sends on, and of the one that it receives on.

        Raises
        ------
        SlotError
            Another channel has one of them, or one with another name but the same number.
        """
        with self._lock:
            return self._slots.take(channel, sends_on, receives_on, books)

    def await_senders(self, slot: int) -> None:
        """Wait until all who send on a slot send to this context, if it had declined the slot.

        Parameters
        ----------
        slot : int
            Number of a slot for which a receiver was registered.
        """
        self._demand.await_senders(slot)

    def unregister(self, channel: Receiver) -> None:
        """Take the slots of a channel back."""
        # What it has sent is counted first.
        self.flush_burst()
        with self._lock:
            self._slots.give_back(channel)
        self.announcing.channel_closed(channel)

    def send_package(
        self, envelope: Envelope, data: bytes, dest_seq: int = 0, *, may_wait: bool = True
    ) -> None:
        """Send a message into the network.

        Messages arrive everywhere in the order in which this is called.

        Parameters
        ----------
        envelope : Envelope
            Where it goes.
        data : bytes
            The encoded message; nothing is sent if it is empty.
        dest_seq : int
            For the channels' use.
        may_wait : bool
            Whether to wait, up to a second, for a peer that does not keep up.

        Raises
        ------
        PackageTooLarge
            This context or a connected one accepts no such size. A ValueError.
        """
        size = len(data)
        if not 0 < size <= self.neighbours.max_data_size:
            self.check_size(size)
            return
        numbering = self._numbering
        numbering.add(envelope, dest_seq, data)
        # Only now: the burst may end at any time, and then nobody looks after it any more.
        if self._burst.is_on:
            count = len(numbering)
            if count * size < MAX_SIZE and (count % self._look_interval or self._may_hold(count)):
                return
        self._burst.sending()
        is_written = self.flush_burst()
        self._burst.flushed()
        # A finalizer or a signal handler in the middle of reading or writing would wait for just
        # that.
        if not is_written and may_wait and not is_busy():
            wait_for_room(self.neighbours.connections)

    def _may_hold(self, count: int) -> bool:
        """Tell whether so many messages may still be held back in a burst."""
        return count < self._burst_count and not self._burst.is_late()

    def begin_burst(self) -> None:
        """Hold back what is sent from now on for a moment, as several messages will follow.

        Only in a thread that no Ctrl-C strikes.
        """
        self._burst.begin()

    # A signal handler in here must not wait for those who need the routing lock.
    @keeps_busy
    def flush_burst(self) -> bool:
        """Give all that was sent so far to the connections, and have it written.

        Returns whether nothing is left that a connection would take only later.
        """
        is_written = True
        with self._lock:
            self._numbering.give_out(self._give_out)
        for connection in self.neighbours.connections:
            is_written = connection.kick() and is_written
        return is_written

    def hand_over(self) -> None:
        """Give all that was sent so far to the connections, as `flush_burst`.

        Raises
        ------
        FlushTimeout
            This is a signal handler or a finalizer in the middle of just that.
        """
        is_inside = self._lock._is_owned()  # type: ignore[attr-defined]  # as a WaitPoint asks
        self.flush_burst()
        if is_inside and not self._numbering.is_done:
            raise FlushTimeout(f"{self!r}: {INTERRUPTED}")

    def outboxes(self, *, of_connections_only: bool = False) -> list[Outbox]:
        """Get what waits to be sent, by each connection; if there is none, by the first one."""
        connections = self.neighbours.connections
        if not (connections or of_connections_only):
            # Of what waits nowhere, an empty one tells as much.
            return [self._startup_queue or self.new_outbox()]
        return [connection.outbox for connection in connections]

    def check_size(self, size: int) -> None:
        """Raise a PackageTooLarge for a message of a size that is not accepted."""
        limit = self.neighbours.max_data_size
        if size > limit:
            raise PackageTooLarge(
                f"the message takes {size} bytes, at most {limit} are accepted"
                " here and by the connected contexts"
            )

    def _give_out(self, package: Package) -> None:
        slot = self._slots.sending.get(package.slot)
        if slot is not None:
            sent = slot.flow
            sent.messages += package.count
            sent.bytes += package.size
        declined_by = self._interest.declined_by.get(package.slot, ())
        connections = self.neighbours.connections
        for connection in connections:
            if connection not in declined_by:
                connection.enqueue(package)
        if not connections:
            if self._startup_queue is None:
                self._startup_queue = self.new_outbox()
            self._startup_queue.put(package)

    # What connections call

    @property
    def log_level(self) -> int:
        """At which level to log what connections do."""
        return logging.INFO if self._verbose else logging.DEBUG

    def own_identity(self) -> Identity:
        """Get what to tell a peer of this context."""
        return Identity(
            self._id,
            os.getpid(),
            name=self._name,
            max_data_size=self._max_data_size,
            tells_interest=True,
            tells_directory=True,
            answers_pings=True,
            pid_space=pid_space(),
        )

    def new_outbox(self, departures: Departures | None = None) -> Outbox:
        """Make the queue of what a connection has to send, which counts on there."""
        return Outbox(*self._queue_params, DEFAULT_MAX_SIZE, departures, self._gap_package)

    def _gap_package(self, losses: Iterable[Loss]) -> Package:
        return gap_package(losses, self._gap_origins.new())

    def connection_opened(self, connection: Connection) -> None:
        """Send packages by this connection from now on, first those that had none."""
        attend_worker()
        with self._lock:
            if self._startup_queue is not None:
                for package in self._startup_queue.take_all():
                    connection.enqueue(package)
            self.neighbours.add(connection)

    def connection_made(self, connection: Connection, peer: Identity) -> None:
        """Take note that there is a peer at the other end."""
        with self._lock:
            self._router.line_opened(peer.id, connection)
            self.neighbours.learn()
        self._demand.ask_for_all()
        self.announcing.line_opened(connection, peer)

    def join_network(self, connection: Connection) -> None:
        """Tell those behind a new connection that this context has come; may wait a second."""
        if connection.peer is not None and connection.peer.tells_interest:
            # What is sent from now on comes here, from wherever it is sent.
            self._demand.await_all(connection)
        self.send_package(Envelope(SLOT_CONTEXT), NEW_CONNECTION)
        if connection.peer is not None and connection.peer.is_extended:
            # The one that connects asks the others for their states. It tells its own as well,
            # where repeating it does no harm.
            self._slots.tell_of_connection()

    def connection_resumed(self, connection: Connection, peer: Identity) -> None:
        """Take note that a connection goes on over another line."""
        # What both ends said of what they want may be lost, and is said once more.
        self._demand.line_resumed(connection)
        # So may what they told of others.
        self.announcing.line_closed(connection)
        self.connection_made(connection, peer)

    def gap_found(self, gap: Gap, connection: Connection) -> bool:
        """Tell channels here, and contexts behind other connections, what they will not get.

        Returns False if nobody was told, as the same has come before, by another connection.
        """
        with self._lock:
            if gap.origin is not None and not self._gap_origins.is_news(gap.origin):
                return False
        passed_on = [loss for loss in gap.losses if loss.dest_id != self._id]
        if passed_on:
            origin = gap.origin or self._gap_origins.new()
            self._tell_others(gap_package(passed_on, origin), connection)
        for loss in gap.losses:
            slot = self._slots.receiving.get(loss.slot)
            if slot is not None and loss.dest_id in (EVERYONE, self._id):
                slot.receiver.messages_lost(loss.messages)
        if any(loss.slot in (SLOT_CONTEXT, 0) for loss in gap.losses):
            # It may have been that a context has come.
            self._slots.renew_states()
        return True

    def line_lost(self, connection: Connection) -> None:
        """Have the connection keep all that is sent from now on, for another line."""
        self._demand.line_lost(connection)

    def line_closing(self, connection: Connection) -> None:
        """Have the connection keep what is sent from now on, for another line."""
        with self._lock:
            connection.renew_outbox()
            # The one that said goodbye has declined it, and not the one that comes next.
            self._demand.line_lost(connection)

    def line_cut_short(self, connection: Connection) -> None:
        """Have the connection keep for another line what this one could not take."""
        with self._lock:
            connection.join_outboxes()

    def connection_closing(self, connection: Connection) -> None:
        """Send nothing more by this connection."""
        with self._lock:
            self.neighbours.connection_closing(connection)
        self._demand.forget(connection)
        self.announcing.line_closed(connection)

    def connection_ended(self, connection: Connection) -> None:
        """Take note that the peer can no longer be reached by this connection."""
        with self._lock:
            self.neighbours.connection_ended(connection)
            gone = self._router.line_closed(connection)
        self._demand.forget(connection)
        self.announcing.line_closed(connection)
        self._tell_who_is_gone(gone, connection)

    def connection_closed(self, connection: Connection) -> None:
        """Take note that nothing goes over a connection any more."""
        with self._lock:
            self.neighbours.close_account(connection)

    def contexts_gone(self, ids: Sequence[int], connection: Connection) -> None:
        """Take note that some contexts can no longer be reached by this connection."""
        with self._lock:
            gone = {i for i in ids if self._router.source_gone(i, connection)}
        self._tell_who_is_gone(gone, connection)

    def heard(self, notice: Notice, connection: Connection) -> None:
        """Take note of what is wanted behind a connection, or not."""
        self._demand.heard(notice, connection)

    def announced(self, announcement: Announcement, connection: Connection) -> None:
        """Take note of what a peer told of a context."""
        self.announcing.heard(connection, announcement)

    def lead(self, is_satisfied: Callable[[], object], deadline: Deadline) -> None:
        """Read in this thread while it waits for something, for a little while at most.

        What was sent so far leaves first. It reads only with a single connection: of several,
        nobody knows which one will bring it.
        """
        # What Ctrl-C or a burst has left.
        if not self._numbering.is_done:
            self.flush_burst()
        self._burst.answer_is_awaited()
        connections = self.neighbours.connections
        if len(connections) == 1:
            connections[0].lead(is_satisfied, deadline)

    def _tell_who_is_gone(self, gone: set[int], connection: Connection) -> None:
        if gone:
            self._tell_others(contexts_gone_package(gone), connection)
            self._tell_channels_who_is_gone(gone)

    def _tell_channels_who_is_gone(self, gone: set[int]) -> None:
        for receiver in self._slots.receivers():
            receiver.contexts_gone(gone)

    def _tell_others(self, package: Package, connection: Connection) -> None:
        """Send a package of the link to all extended peers but one."""
        with self._lock:
            told = self.neighbours.extended(connection)
            for other in told:
                other.enqueue(package)
        kick_all(told)


def _checked_queue_params(queue_params: tuple[int, str] | None) -> tuple[int, Overflow]:
    limit, mode = DEFAULT_QUEUE_PARAMS if queue_params is None else queue_params
    try:
        overflow = Overflow(mode)
    except ValueError as error:
        raise ArgumentError(
            f"queue_params have the discard mode {mode!r}, expected 'old' or 'new'"
        ) from error
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ArgumentError(f"queue_params have the size {limit!r}, expected a positive int")
    return limit, overflow

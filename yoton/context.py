"""The context: a node of the network, where channels and connections meet.

It numbers what the channels send and gives it to all connections, and routes what comes in by
one connection to its channels and to the other connections.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import length_hint
from typing import Any, Protocol, SupportsIndex, overload

from yoton.address import parse_address
from yoton.announcing import Announcing
from yoton.burst import LOOK_INTERVAL, MAX_COUNT, MAX_SIZE, Burst
from yoton.clock import FOREVER, Deadline
from yoton.connection.base import END_TIMEOUT, Connection
from yoton.connection.busy import this_thread
from yoton.connection.framing import DEFAULT_MAX_DATA_SIZE
from yoton.connection.joining import connection_class
from yoton.connection.listener import DEFAULT_MAX_CONNECTIONS, Listener
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import (
    OTHER_END_CLOSED,
    Identity,
    contexts_gone_package,
    gap_package,
)
from yoton.connection.reconnecting import ReconnectPolicy
from yoton.connection.returning import SESSION_LIFETIME
from yoton.connection.traffic import Traffic
from yoton.directory import Announcement
from yoton.events.scheduler import scheduler
from yoton.exceptions import ArgumentError, FlushTimeout, PackageTooLarge, SlotError
from yoton.gaps import Gap
from yoton.interest import Interest, Notice, Tell
from yoton.message_types import MSGPACK_AVAILABLE
from yoton.numbering import Numbering
from yoton.package import (
    EVERYONE,
    SLOT_CONTEXT,
    UID,
    Envelope,
    Package,
    slot_number,
)
from yoton.queues import Overflow
from yoton.routing import DROP, Router
from yoton.traffic import Books, Departures, Flow, add_up
from yoton.waiting import WaitPoint
from yoton.workers import EndOfWorker

logger = logging.getLogger(__name__)

#: Packages that a queue holds, and which are dropped beyond that, unless the user says
#: otherwise: the values of the yoton inside Pyzo.
DEFAULT_QUEUE_PARAMS = (10000, "old")

#: Seconds that a send waits for a peer that does not keep up, before it queues all the same.
CONGESTION_TIMEOUT = 1.0

#: Seconds to wait until all who send confirm that they send what was declined before.
CONFIRM_TIMEOUT = 1.0

#: Seconds that the orderly end of all contexts may take when the interpreter exits.
EXIT_TIMEOUT = 1.0

CLOSED_BY_CONTEXT = "Closed by the context."
CLOSED_ON_FAILURE = "Closed, as connecting was cut short."

_NEW_CONNECTION = b"NEW_CONNECTION"
_CLOSE_CONNECTION = b"CLOSE_CONNECTION"


class Receiver(Protocol):
    """What a context knows of a channel.

    `deliver` is called with the routing lock held, so it may only note what came; the others
    are called without, in a thread of the connection.
    """

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Note the messages of a package, each with the next of the numbers.

        One call into C does both, and takes a message before its number: so the numbers tell
        whether it was done when Ctrl-C comes. Returns whether `packages_delivered` has to
        follow.
        """

    def packages_delivered(self) -> None:
        """Act on the packages noted since the last call."""

    def act_leading(self) -> bool:
        """Do so in a thread that leads, where Ctrl-C may strike and nothing may wait.

        Returns False if it has to be done in another thread. What was begun may be repeated.
        """

    def connection_made(self) -> None:
        """A context has come into the network."""

    def contexts_gone(self, ids: set[int]) -> None:
        """Some contexts can no longer be reached."""

    def messages_lost(self, count: int) -> None:
        """So many messages were sent to it that will not come."""

    def peers_have_changed(self) -> None:
        """Somebody has come to the other end of the channel, or is gone."""

    def close_within(self, deadline: Deadline) -> None:
        """Stop sending and receiving; wait for nothing any more at the deadline."""

    def abandon(self) -> None:
        """Be closed in a forked child, whatever other threads were doing at the fork."""


class _Slot:
    """A slot that a channel has: its full name, the channel, and what goes over the slot.

    Besides, what tells all of the counts of the channel.
    """

    # Faster to look at than a tuple with names, and made without the modules of data classes.
    __slots__ = ("flow", "name", "receiver", "stats")

    def __init__(
        self, name: str, receiver: Receiver, flow: Flow, stats: Callable[[], dict[str, Any]]
    ) -> None:
        self.name = name
        self.receiver = receiver
        self.flow = flow
        self.stats = stats


class _Ledger:
    """The connections whose counts are not in the sum of what is over, and that sum."""

    def __init__(self) -> None:
        self.connections: dict[Connection, None] = {}
        self.past: dict[str, Any] = Traffic().totals(0)

    def close(self, connection: Connection) -> None:
        """Add a connection to what is over. It does no harm to repeat that."""
        if connection in self.connections:
            past = add_up((self.past, connection.totals()))
            # No call in between, so no interrupt either.
            del self.connections[connection]
            self.past = past


class ConnectionCollection(list[Connection]):
    """A list of connections that can also be asked for one by its name."""

    @overload
    def __getitem__(self, key: str | SupportsIndex) -> Connection: ...

    @overload
    def __getitem__(self, key: slice) -> list[Connection]: ...

    def __getitem__(self, key: str | SupportsIndex | slice) -> Connection | list[Connection]:
        """Get by index, by slice, or by name (KeyError if no connection has it)."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        for connection in self:
            if connection.name == key:
                return connection
        raise KeyError(f"no connection is named {key!r}")


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
        self._own_max_data_size = max_data_size
        self._id = UID().get_int()
        self._router = Router(self._id)
        # The routing lock. It guards all that follows and the router. Queues are put to with it
        # held, so their locks come second; no other lock is taken under it.
        self._lock = threading.RLock()
        self._numbering = Numbering(self._id)
        # The number of the message that is received next.
        self._next_recv_number = 1
        # The package that is just being delivered, to whom, by which connection, and the numbers
        # left for it; None in between. Whoever delivers next finishes what Ctrl-C cut short.
        self._delivery: tuple[Package, Receiver, Connection, Iterator[int]] | None = None
        self._for_context: deque[tuple[Package, Connection]] = deque()
        self._interest = Interest()
        self._confirmed = WaitPoint(self._lock)
        # For a connection those that got packages which came by it, and have to be kicked.
        self._forwarded: dict[Connection, dict[Connection, None]] = {}
        # Those who have to act on what was delivered to them.
        self._acting: dict[Receiver, None] = {}
        self._sending_slots: dict[int, _Slot] = {}
        self._receiving_slots: dict[int, _Slot] = {}
        self._startup_queue = self.new_outbox()
        self._burst = Burst(self.flush_burst)
        # A part of what queues hold: a burst at its end must not push out what it began with.
        self._burst_count = min(MAX_COUNT, max(1, self.queue_limit // 4))
        self._look_interval = min(LOOK_INTERVAL, self._burst_count)
        # Replaced, never changed: who sends looks at them without the lock.
        self._connections: tuple[Connection, ...] = ()
        self._listeners: tuple[Listener, ...] = ()
        # Those that take nothing more and have not ended: what they hold is on its way.
        self._ending: tuple[Connection, ...] = ()
        # In one, as CPython takes longer to get an attribute of an object that has 30 or more.
        self._ledger = _Ledger()
        # For channels: who is in the network.
        self.announcing = Announcing(self._lock, self._id, name)
        # For channels: whether OBJECT is to be sent in msgpack, as all peers read it, and whether
        # there are peers and all of them speak the extension.
        self.object_is_msgpack = False
        self.peers_are_extended = False
        self._max_data_size = max_data_size
        _contexts.add(self)

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
        return ConnectionCollection(c for c in self._connections if c.is_connected)

    @property
    def connections_all(self) -> ConnectionCollection:
        """The connections that have a peer or wait for one; also indexed by name."""
        return ConnectionCollection(c for c in self._connections if c.is_alive)

    def graph(self) -> dict[str, Any]:
        """Get the network as it is known here, as plain data that can be written as JSON.

        What changes elsewhere is known here some milliseconds later. Contexts of Pyzo's yoton
        tell nothing of themselves: of those that are connected to one that does, nothing but the
        id is known, and of all others nothing.

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
            connections, past = list(self._ledger.connections), self._ledger.past
            slots = list(self._sending_slots.values())
            startup_queue = self._startup_queue
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
            Seconds in which somebody has to listen there. The handshake may take two more.
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
            The policy has values that it cannot have. A ValueError.
        ConnectFailed
            Nobody listened there, or it was no yoton. An OSError.
        """
        where = parse_address(address)
        connection = connection_class(where)(self, name)
        policy = ReconnectPolicy() if reconnect is True else reconnect or None
        try:
            connection._connect(where, timeout, policy)
            self.join_network(connection)
        except BaseException:
            # Nobody else knows of it, to close it.
            connection.begin_close(CLOSED_ON_FAILURE)
            raise
        return connection

    def flush(self, timeout: float = 5.0) -> None:
        """Wait until all that was sent so far has left for the connected contexts.

        Parameters
        ----------
        timeout : float
            Seconds to wait at most.

        Raises
        ------
        FlushTimeout
            It has not left in time. A RuntimeError.
        ConnectionClosed
            A connection ended before. An OSError.
        """
        deadline = Deadline(timeout)
        self.flush_burst()
        for connection in self._connections + self._ending:
            remaining = deadline.remaining()
            assert remaining is not None  # the deadline is finite
            try:
                connection.flush(remaining)
            except FlushTimeout as error:
                raise FlushTimeout(f"not all packages were sent within {timeout} s") from error

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
        """
        if timeout is None:
            _await_end(self._begin_close(), Deadline(END_TIMEOUT))
            self.close_channels()
            return
        deadline = Deadline(timeout)
        _await_end(self._begin_close(deadline), deadline)
        self._close_channels(deadline)

    def close_channels(self) -> None:
        """Close all channels of this context, and no connection."""
        self._close_channels(FOREVER)

    def _close_channels(self, deadline: Deadline) -> None:
        for channel in self._receivers():
            channel.close_within(deadline)

    def _begin_close(self, deadline: Deadline | None = None) -> tuple[Connection, ...]:
        for listener in self._listeners:
            listener.close()
        self.flush_burst()
        connections = self._connections + self._ending
        for connection in connections:
            connection.begin_close(CLOSED_BY_CONTEXT, deadline)
        return connections

    def _abandon(self) -> None:
        self._lock = threading.RLock()
        # Another node from now on: the network would drop what two nodes send under one id.
        self._id = UID().get_int()
        self._router = Router(self._id)
        self._numbering = Numbering(self._id)
        self._burst = Burst(self.flush_burst)
        self._interest = Interest()
        self._confirmed = WaitPoint(self._lock)
        self.announcing = Announcing(self._lock, self._id, self._name)
        self._forwarded.clear()
        self._startup_queue = self.new_outbox()
        for listener in self._listeners:
            listener.abandon()
        connections = self._connections + self._ending
        self._connections = self._ending = ()
        self._ledger = _Ledger()
        for connection in connections:
            connection.abandon()
        for channel in self._receivers():
            channel.abandon()

    # What channels call

    def next_recv_number(self) -> int:
        """Get a number above those of all messages delivered so far, over all channels."""
        return self._next_recv_number

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
        out_number, in_number = slot_number(sends_on), slot_number(receives_on)
        with self._lock:
            _check_free(self._sending_slots, out_number, sends_on)
            _check_free(self._receiving_slots, in_number, receives_on)
            self._sending_slots[out_number] = _Slot(sends_on, channel, books.sent, books.stats)
            self._receiving_slots[in_number] = _Slot(receives_on, channel, books.came, books.stats)
        return out_number, in_number

    def await_senders(self, slot: int) -> None:
        """Wait until all who send on a slot send to this context, if it had declined the slot.

        Parameters
        ----------
        slot : int
            Number of a slot for which a receiver was registered.
        """
        with self._lock:
            is_declined = self._interest.has_declined(slot)
        if is_declined:
            self._await_confirmation(self._ask_for(self._interest.want, (slot,)))

    def unregister(self, channel: Receiver) -> None:
        """Take the slots of a channel back."""
        # What it has sent is counted first.
        self.flush_burst()
        with self._lock:
            for slots in (self._sending_slots, self._receiving_slots):
                for number in [n for n, slot in slots.items() if slot.receiver is channel]:
                    del slots[number]
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
        if not 0 < size <= self._max_data_size:
            self._check_size(size)
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
        if not is_written and may_wait and not this_thread.is_busy:
            _wait_for_room(self._connections)

    def _may_hold(self, count: int) -> bool:
        """Tell whether so many messages may still be held back in a burst."""
        return count < self._burst_count and not self._burst.is_late()

    def begin_burst(self) -> None:
        """Hold back what is sent from now on for a moment, as several messages will follow.

        Only in a thread that no Ctrl-C strikes.
        """
        self._burst.begin()

    def flush_burst(self) -> bool:
        """Give all that was sent so far to the connections, and have it written.

        Returns whether nothing is left that a connection would take only later.
        """
        is_written = True
        with self._lock:
            self._numbering.give_out(self._give_out)
        for connection in self._connections:
            is_written = connection.kick() and is_written
        return is_written

    def _check_size(self, size: int) -> None:
        if size > self._max_data_size:
            raise PackageTooLarge(
                f"the message takes {size} bytes, at most {self._max_data_size} are accepted"
                " here and by the connected contexts"
            )

    def _give_out(self, package: Package) -> None:
        slot = self._sending_slots.get(package.slot)
        if slot is not None:
            sent = slot.flow
            sent.messages += package.count
            sent.bytes += len(package.data)
        declined_by = self._interest.declined_by.get(package.slot, ())
        for connection in self._connections:
            if connection not in declined_by:
                connection.enqueue(package)
        if not self._connections:
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
            max_data_size=self._own_max_data_size,
            tells_interest=True,
            tells_directory=True,
            answers_pings=True,
        )

    def new_outbox(self, departures: Departures | None = None) -> Outbox:
        """Make the queue of what a connection has to send, which counts on there."""
        return Outbox(*self._queue_params, departures)

    def connection_opened(self, connection: Connection) -> None:
        """Send packages by this connection from now on, first those that had none."""
        _end_of_worker.attend()
        with self._lock:
            for package in self._startup_queue.take_all():
                connection.enqueue(package)
            self._ledger.connections[connection] = None
            self._set_connections((*self._connections, connection))

    def connection_made(self, connection: Connection, peer: Identity) -> None:
        """Take note that there is a peer at the other end."""
        with self._lock:
            self._router.line_opened(peer.id, connection)
            self._learn_what_peers_can()
            is_declining = self._interest.is_declining
        if is_declining:
            self._ask_for(self._interest.want_all)
        self.announcing.line_opened(connection, peer)

    def join_network(self, connection: Connection) -> None:
        """Tell those behind a new connection that this context has come; may wait a second."""
        if connection.peer is not None and connection.peer.tells_interest:
            # What is sent from now on comes here, from wherever it is sent.
            self._await_confirmation(self._ask_for(self._interest.want_all, connection))
        self.send_package(Envelope(SLOT_CONTEXT), _NEW_CONNECTION)
        if connection.peer is not None and connection.peer.is_extended:
            # The one that connects asks the others for their states. It tells its own as well,
            # where repeating it does no harm.
            self._tell_receivers_of_connection()

    def connection_resumed(self, connection: Connection, peer: Identity) -> None:
        """Take note that a connection goes on over another line."""
        with self._lock:
            # Both ends forget what they had declined: what they said of that may be lost.
            told = self._forget_interest(connection)
        _kick_all(told)
        # So may what they told of others: that is told once more.
        self.announcing.line_closed(connection)
        self.connection_made(connection, peer)

    def gap_found(self, gap: Gap, connection: Connection) -> None:
        """Tell channels here, and contexts behind other connections, what they will not get."""
        passed_on = [loss for loss in gap.losses if loss.dest_id != self._id]
        if passed_on:
            self._tell_others(gap_package(passed_on), connection)
        for number, dest_id, messages in gap.losses:
            slot = self._receiving_slots.get(number)
            if slot is not None and dest_id in (EVERYONE, self._id):
                slot.receiver.messages_lost(messages)

    def line_closing(self, connection: Connection) -> None:
        """Have the connection keep what is sent from now on, for another line."""
        with self._lock:
            connection.renew_outbox()

    def connection_closing(self, connection: Connection) -> None:
        """Send nothing more by this connection."""
        with self._lock:
            if connection in self._connections:
                self._set_connections(_without(self._connections, connection))
                self._ending = (*self._ending, connection)
            told = self._forget_interest(connection)
        _kick_all(told)
        self.announcing.line_closed(connection)

    def connection_ended(self, connection: Connection) -> None:
        """Take note that the peer can no longer be reached by this connection."""
        with self._lock:
            self._ending = _without(self._ending, connection)
            gone = self._router.line_closed(connection)
            told = self._forget_interest(connection)
        _kick_all(told)
        self.announcing.line_closed(connection)
        self._tell_who_is_gone(gone, connection)

    def connection_closed(self, connection: Connection) -> None:
        """Take note that nothing goes over a connection any more."""
        with self._lock:
            self._ledger.close(connection)

    def contexts_gone(self, ids: Sequence[int], connection: Connection) -> None:
        """Take note that some contexts can no longer be reached by this connection."""
        with self._lock:
            gone = {i for i in ids if self._router.source_gone(i, connection)}
        self._tell_who_is_gone(gone, connection)

    # What is wanted

    def heard(self, notice: Notice, connection: Connection) -> None:
        """Take note of what is wanted behind a connection, or not."""
        with self._lock:
            self._confirmed.wake_all()
            told = self._tell(self._interest.heard(connection, notice))
        _kick_all(told)

    def announced(self, announcement: Announcement, connection: Connection) -> None:
        """Take note of what a peer told of a context."""
        self.announcing.heard(connection, announcement)

    def _forget_interest(self, connection: Connection) -> list[Connection]:
        """Forget what a connection wants that ends, and get those that have to be kicked.

        The routing lock is held.
        """
        self._confirmed.wake_all()
        return self._tell(self._interest.line_closed(connection))

    def _tell(self, tells: Sequence[Tell]) -> list[Connection]:
        """Tell peers what is wanted, before all that waits for them; the routing lock is held.

        Returns the connections that have to be kicked.
        """
        for connection, notice in tells:
            connection.tell(notice)
            self.announcing.seal(connection)
        return [connection for connection, _ in tells]

    def _ask_for(self, want: Callable[..., tuple[int, list[Tell]]], *args: Any) -> list[int]:
        """Have what was declined sent again.

        That is done by the thread of the scheduler, as no Ctrl-C strikes there.

        Returns
        -------
        list of int
            Gets the token for `Interest.is_confirmed`.
        """
        tokens: list[int] = []

        def ask() -> None:
            with self._lock:
                self._confirmed.wake_all()
                token, tells = want(*args)
                told = self._tell(tells)
                tokens.append(token)
            _kick_all(told)

        try:
            scheduler.call_at(scheduler.now(), ask)
        except RuntimeError:
            ask()  # an interpreter that is ending allows no thread
        return tokens

    def _await_confirmation(self, tokens: list[int]) -> None:
        def is_confirmed() -> bool:
            return bool(tokens) and self._interest.is_confirmed(tokens[0])

        # A finalizer or a signal handler in the middle of reading would wait for just that.
        if not this_thread.is_busy:
            deadline = Deadline(CONFIRM_TIMEOUT)
            self.lead(is_confirmed, deadline)
            if not self._confirmed.wait_for(is_confirmed, deadline):
                logger.warning(
                    "%r: not all peers have confirmed that they send what is wanted", self
                )
                with self._lock:
                    self._interest.give_up(tokens)

    def deliver(self, packages: Sequence[Package], connection: Connection) -> None:
        """Give packages that a peer sent to the channels and connections they are for.

        `act` has to follow, or another call after one that Ctrl-C ended.
        """
        has_declined = False
        with self._lock:
            if self._delivery is not None:
                self._finish_delivery(*self._delivery)
            connections = self._connections
            has_others = len(connections) > 1 or connections != (connection,)
            for package in packages:
                if package.count > 1:
                    package = self._router.without_known(package)
                verdict = self._router.decide(package)
                is_wanted = verdict is DROP
                if verdict.forward and has_others:
                    is_wanted = self._forward(package, connection)
                if verdict.deliver:
                    is_wanted = self._deliver(package, connection) or is_wanted
                if not is_wanted and self._decline(package, connection):
                    has_declined = True
                self._router.remember(package, connection)
                # Only now: what is delivered and not remembered would be delivered once more.
                self._delivery = None
        if has_declined:
            connection.kick()

    def _forward(self, package: Package, connection: Connection) -> bool:
        """Pass a package on to others who want it; tells whether somebody does."""
        wanting = self._others_wanting(package.slot, connection)
        if wanting:
            forwarded = self._forwarded.setdefault(connection, {})
            for other in wanting:
                forwarded[other] = None
                other.enqueue(package)
        return bool(wanting)

    def _others_wanting(self, slot: int, connection: Connection) -> list[Connection]:
        declined_by = self._interest.declined_by.get(slot, ())
        return [c for c in self._connections if c is not connection and c not in declined_by]

    def _decline(self, package: Package, connection: Connection) -> bool:
        """Decline what came for nobody here, if it is time to; tells whether that was done.

        The routing lock is held, and the connection has to be kicked.
        """
        peer = connection.peer
        if peer is None or not peer.tells_interest or self._router.has_ring:
            return False
        # What came may be for another context, or this one alone.
        slot = package.slot
        if slot in self._receiving_slots or self._others_wanting(slot, connection):
            return False
        return bool(self._tell(self._interest.came_in_vain(slot, connection, package.count)))

    def _deliver(self, package: Package, connection: Connection) -> bool:
        """Deliver a package to its channel; tells whether there is one."""
        if package.slot == SLOT_CONTEXT:
            self._for_context.extend((single, connection) for single in package.packages())
            return True
        slot = self._receiving_slots.get(package.slot)
        if slot is None:
            return False
        receiver, came = slot.receiver, slot.flow
        first_number = self._next_recv_number
        self._next_recv_number += package.count
        numbers = iter(range(first_number, self._next_recv_number))
        self._delivery = (package, receiver, connection, numbers)
        if receiver.deliver(package, numbers):
            self._acting[receiver] = None
        came.messages += package.count
        came.bytes += len(package.data)
        return True

    def _finish_delivery(
        self, package: Package, receiver: Receiver, connection: Connection, numbers: Iterator[int]
    ) -> None:
        if length_hint(numbers) < package.count:
            self._acting[receiver] = None
            self._router.remember(package, connection)
        self._delivery = None

    def act(self, connection: Connection) -> None:
        """Act on what `deliver` noted, in a thread that no Ctrl-C strikes."""
        forwarded = self._forwarded.pop(connection, {})
        _kick_all(forwarded)
        while self._for_context:
            self._handle_context_package(*self._for_context.popleft())
        while (receiver := self._next_acting()) is not None:
            _have_act(receiver)
        # The peers behind this connection are held back by not reading on.
        _wait_for_room(forwarded)

    def deliver_leading(self, packages: Sequence[Package], connection: Connection) -> bool:
        """Deliver and act in a thread that leads; False if `act` has to follow in another one."""
        self.deliver(packages, connection)
        if self._for_context or len(self._connections) > 1:
            return False
        for receiver in tuple(self._acting):
            if not receiver.act_leading():
                return False
            self._acting.pop(receiver, None)
            if len(self._connections) > 1:
                # One that has just come may have delivered before that, and have found it there.
                self._acting[receiver] = None
                return False
        return True

    def _next_acting(self) -> Receiver | None:
        with self._lock:
            receiver = next(iter(self._acting), None)
            if receiver is not None:
                del self._acting[receiver]
            return receiver

    def lead(self, is_satisfied: Callable[[], object], deadline: Deadline) -> None:
        """Read in this thread while it waits for something, for a little while at most.

        What was sent so far leaves first. It reads only with a single connection: of several,
        nobody knows which one will bring it.
        """
        # What Ctrl-C or a burst has left.
        if not self._numbering.is_done:
            self.flush_burst()
        self._burst.answer_is_awaited()
        connections = self._connections
        if len(connections) == 1:
            connections[0].lead(is_satisfied, deadline)

    def _handle_context_package(self, package: Package, connection: Connection) -> None:
        if package.data == _NEW_CONNECTION:
            self._tell_receivers_of_connection()
        elif package.data == _CLOSE_CONNECTION:
            if connection.id2 == package.source_id:
                connection.begin_close(OTHER_END_CLOSED)
        else:
            logger.warning("unknown context message: %r", package.data[:60])

    def _tell_receivers_of_connection(self) -> None:
        for receiver in self._receivers():
            receiver.connection_made()

    def _set_connections(self, connections: tuple[Connection, ...]) -> None:
        """Take other connections; the routing lock is held."""
        self._connections = connections
        self._learn_what_peers_can()

    def _learn_what_peers_can(self) -> None:
        """Sum up the peers for those who send; the routing lock is held."""
        peers = [c.peer for c in self._connections if c.peer is not None]
        self.object_is_msgpack = (
            MSGPACK_AVAILABLE and bool(peers) and all(peer.speaks_msgpack for peer in peers)
        )
        self.peers_are_extended = bool(peers) and all(peer.is_extended for peer in peers)
        self._max_data_size = min(
            [self._own_max_data_size, *(peer.max_data_size for peer in peers)]
        )

    def _tell_who_is_gone(self, gone: set[int], connection: Connection) -> None:
        if not gone:
            return
        self._tell_others(contexts_gone_package(gone), connection)
        for receiver in self._receivers():
            receiver.contexts_gone(gone)

    def _tell_others(self, package: Package, connection: Connection) -> None:
        """Send a package of the link to all extended peers but one."""
        with self._lock:
            told = [
                other
                for other in self._connections
                if other is not connection and other.peer is not None and other.peer.is_extended
            ]
            for other in told:
                other.enqueue(package)
        _kick_all(told)

    def _receivers(self) -> list[Receiver]:
        with self._lock:
            slots = [*self._sending_slots.values(), *self._receiving_slots.values()]
        return list(dict.fromkeys(slot.receiver for slot in slots))


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


def _check_free(slots: dict[int, _Slot], number: int, name: str) -> None:
    if number not in slots:
        return
    taken = slots[number].name
    if taken.strip().lower() == name.strip().lower():
        raise SlotError(f"slot {name!r} has a channel in this context already")
    raise SlotError(
        f"slot {name!r} and slot {taken!r}, which has a channel in this context, have the same"
        f" number {number:#x} on the wire and would be mixed up; choose another name"
    )


def _without(connections: tuple[Connection, ...], left_out: Connection) -> tuple[Connection, ...]:
    return tuple(connection for connection in connections if connection is not left_out)


def _have_act(receiver: Receiver) -> None:
    try:
        receiver.packages_delivered()
    except Exception:
        # Whatever a peer sent, the thread that reads from it has to live on.
        logger.exception("%r failed to act on what it received", receiver)


def _kick_all(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.kick()


def _wait_for_room(connections: Iterable[Connection]) -> None:
    deadline = None
    for connection in connections:
        if connection.is_congested:
            deadline = deadline or Deadline(CONGESTION_TIMEOUT)
            connection.wait_for_room(deadline)


# All contexts that there are, for the end of the interpreter.
_contexts: weakref.WeakSet[Context] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # Who presses Ctrl-C once more, or has a signal handler exit, does not want to wait. And it
    # would be shown as an error.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        contexts = list(_contexts)
        closing = [connection for context in contexts for connection in context._begin_close()]
        _await_end(closing, Deadline(EXIT_TIMEOUT))


_end_of_worker = EndOfWorker(_close_all)


def _abandon_all() -> None:
    for context in list(_contexts):
        context._abandon()


# A forked child has no threads to serve its copies of the connections, and must not keep them
# open when its parent closes them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _await_end(connections: Iterable[Connection], deadline: Deadline) -> None:
    for connection in connections:
        connection.await_end(deadline)

"""A place where any number of contexts may connect."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from yoton.address import Address, format_place
from yoton.clock import Deadline
from yoton.connection.accepting import HANDSHAKE_TIMEOUT, Acceptor
from yoton.connection.base import Connection, Node
from yoton.connection.joining import NOT_BACK, StreamConnection, connection_class, listen
from yoton.connection.protocol import Event, Identity, Protocol, encode_resume
from yoton.connection.session import Session
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import peer_in, write_out
from yoton.events import Signal
from yoton.exceptions import ArgumentError
from yoton.package import BEGINNING, Place
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Connections that a listener has at a time, unless the user says otherwise. Each has two
#: threads and an open file, of which a process may have 1024 on many systems.
DEFAULT_MAX_CONNECTIONS = 400

#: Seconds that a close waits for connections that are just being made, which takes no time: only
#: for its own thread, in a finalizer there, it would wait in vain.
_SETTLING_TIMEOUT = 1.0


class Listener:
    """A place where any number of contexts may connect; made by `Context.listen`.

    Each of them has a connection of its own, with the name of the listener. All methods may be
    called from any thread. As a context manager it closes itself.

    Parameters
    ----------
    context : Context
        The context that they connect to.
    address : Address
        Where it listens.
    max_tries : int
        Number of ports to try, beginning with the given one.
    name : str
        Name for the listener and its connections.
    max_connections : int
        Connections that it has at most; whoever comes beyond that is sent away.
    session_lifetime : float
        Seconds for which a peer that has lost its line can come back, and go on.

    Raises
    ------
    ArgumentError
        An argument has a value that it cannot have. A ValueError.
    BindFailed
        None of the ports could be bound. An OSError.
    """

    def __init__(
        self,
        context: Node,
        address: Address,
        max_tries: int,
        name: str,
        max_connections: int,
        session_lifetime: float,
    ) -> None:
        _check(name, max_connections, session_lifetime)
        self._context = context
        self._name = name
        self._max_connections = max_connections
        self._session_lifetime = session_lifetime
        self._connection_class = connection_class(address)
        self._connected_signal = Signal()
        # Guards what follows.
        self._lock = threading.RLock()
        self._connections: tuple[StreamConnection, ...] = ()
        # What those tell of themselves that have a place and no connection yet, by `id`, and the
        # sessions that are just begun or resumed: a peer may come by a second line before the
        # first one has got that far.
        self._coming: dict[int, Identity] = {}
        self._unsettled: set[str] = set()
        self._is_closed = False
        self._settled = WaitPoint(self._lock)
        listener = listen(address, max_tries)
        self._host, self._port = listener.address
        self._acceptor = Acceptor(
            listener,
            self._own_identity,
            self._admits,
            self._let_in,
            self._give_back_place,
            is_for_one=False,
        )
        logger.log(context.log_level, "%r listens", self)
        self._acceptor.start()

    def __repr__(self) -> str:
        state = "closed " if self._is_closed else ""
        place = format_place(self._host, self._port)
        return (
            f"<{state}Listener {self._name!r} at {place} with {len(self.connections)} connections>"
        )

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name of the listener and of its connections."""
        return self._name

    @property
    def hostname(self) -> str:
        """The host at which it listens, as a numeric address; or the path, or the name."""
        return self._host

    @property
    def port(self) -> int:
        """The port at which it listens: the one to connect to. 0 if there are no ports."""
        return self._port

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that were made here and have a peer."""
        return tuple(c for c in self._connections if c.is_connected)

    @property
    def max_connections(self) -> int:
        """The number of connections that it has at most."""
        return self._max_connections

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._is_closed

    @property
    def connected(self) -> Signal:
        """Signal that a context has connected; handlers get the connection."""
        return self._connected_signal

    def close(self) -> None:
        """Listen no longer; the connections that were made here stay.

        Those that have lost their line, or lose it, cannot come back, and are closed.
        """
        with self._lock:
            self._is_closed = True
        self._acceptor.stop()
        # Who closes the context next is to find the connections that were just being made.
        self._settled.wait_for(lambda: not self._coming, Deadline(_SETTLING_TIMEOUT))
        for connection in self._living():
            connection.give_up(NOT_BACK)

    def abandon(self) -> None:
        """Be closed in a forked child; the parent's listener stays as it is."""
        self._lock = threading.RLock()
        self._connections = ()
        self._is_closed = True
        self._acceptor.abandon()

    def _let_in(self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event]) -> bool:
        token = peer_in(greeting).session
        with self._lock:
            if token in self._unsettled:
                return False  # the peer tries again
            if token:
                self._unsettled.add(token)
        try:
            return self._settle(stream, protocol, greeting)
        finally:
            with self._lock:
                self._unsettled.discard(token)

    def _settle(self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event]) -> bool:
        peer = peer_in(greeting)
        known = self._connection_of(peer)
        try:
            if known is not None:
                return self._let_back_in(known, stream, protocol, greeting)
            if not self._take_place(peer):
                return False  # it was known until just now
            if peer.session:
                _answer(stream, is_known=False, received=BEGINNING)
        except OSError:
            return False
        return self._let_in_anew(stream, protocol, greeting)

    def _let_back_in(
        self,
        connection: StreamConnection,
        stream: ByteStream,
        protocol: Protocol,
        greeting: Sequence[Event],
    ) -> bool:
        received = connection.lose_line()
        if received is None:
            return False
        _answer(stream, is_known=True, received=received)
        return connection.resume(stream, protocol, greeting, peer_in(greeting).received)

    def _let_in_anew(
        self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event]
    ) -> bool:
        if self._is_closed:
            return False
        peer = peer_in(greeting)
        token = peer.session
        connection = self._connection_class(self._context, self._name)
        if token:
            connection.expect_back(Session(token), self._session_lifetime, lambda: self._is_closed)
        try:
            connection.run(stream, protocol, greeting)
        finally:
            with self._lock:
                self._connections = (*self._living(), connection)
                self._give_back_place(peer)
        self._connected_signal.emit(connection)
        return True

    def _admits(self, peer: Identity) -> bool:
        # Who comes back has its place already.
        return self._connection_of(peer) is not None or self._take_place(peer)

    def _take_place(self, peer: Identity) -> bool:
        """Keep a place for a peer; False if there is none. Repeated, it does nothing more."""
        with self._lock:
            if id(peer) in self._coming:
                return True
            has_room = len(self._living()) + len(self._coming) < self._max_connections
            if has_room:
                self._coming[id(peer)] = peer
            return has_room

    def _give_back_place(self, peer: Identity) -> None:
        with self._lock:
            self._settled.wake_all()
            self._coming.pop(id(peer), None)

    def _connection_of(self, peer: Identity) -> StreamConnection | None:
        """Get the connection whose session a peer wants to go on with."""
        return next((c for c in self._living() if c.has_session_with(peer)), None)

    def _living(self) -> tuple[StreamConnection, ...]:
        return tuple(c for c in self._connections if c.is_alive)

    def _own_identity(self) -> Identity:
        return self._context.own_identity().replaced(keeps_sessions=True)


def _check(name: str, max_connections: int, session_lifetime: float) -> None:
    if not isinstance(name, str):
        raise ArgumentError(f"the name of a listener is a str, not {name!r}")
    is_count = isinstance(max_connections, int) and not isinstance(max_connections, bool)
    if not is_count or max_connections < 1:
        raise ArgumentError(f"max_connections is an int of at least 1, not {max_connections!r}")
    is_time = isinstance(session_lifetime, (int, float)) and not isinstance(session_lifetime, bool)
    if not is_time or not session_lifetime >= 0.0:
        raise ArgumentError(
            f"session_lifetime is a number of seconds of at least 0, not {session_lifetime!r}"
        )


def _answer(stream: ByteStream, *, is_known: bool, received: Place) -> None:
    """Tell a peer how its session goes on."""
    write_out(stream, encode_resume(is_known, received), Deadline(HANDSHAKE_TIMEOUT))

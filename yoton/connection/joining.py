"""How connections come about: bind and connect."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

from yoton.address import Address
from yoton.clock import Deadline, monotonic
from yoton.connection import transports
from yoton.connection.accepting import HANDSHAKE_TIMEOUT, Acceptor
from yoton.connection.base import Connection, Node, Status
from yoton.connection.protocol import Connected, Event, Identity, Protocol, Resumed, Role
from yoton.connection.reconnecting import ReconnectPolicy
from yoton.connection.returning import (
    SESSION_LIFETIME,
    Expectation,
    ProcessWatch,
    Reconnector,
    pid_space,
)
from yoton.connection.session import Session
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import hang_up, peer_in, shake_hands
from yoton.connection.transports import StreamListener
from yoton.exceptions import ArgumentError, BindFailed, ConnectFailed
from yoton.package import Place
from yoton.waiting import SIGNAL_INTERVAL

logger = logging.getLogger(__name__)

#: Seconds that a try to connect again may take until there is a line.
_RECONNECT_TIMEOUT = 3.0

#: Seconds that a socket can be told to wait: it takes milliseconds as an int of 31 bits.
MAX_TIMEOUT = (2**31 - 1) // 1000

NOT_BACK = "The line was lost, and the peer did not come back."

#: An address where nobody listens yet is tried so many times within the timeout, and more often
#: if that is long.
_CONNECT_TRIES = 100


class _Line:
    """The line of a connection, while there is one and after it was lost."""

    __slots__ = ("is_missed", "process", "since")

    def __init__(self, peer: Identity) -> None:
        self.since = monotonic()
        is_visible = peer.pid_space and peer.pid_space == pid_space()
        self.process = ProcessWatch(peer.pid) if is_visible else None
        # Whether the context was told that the peer is gone for now.
        self.is_missed = False


class StreamConnection(Connection):
    """A connection between two contexts over a stream of bytes."""

    def __init__(self, context: Node, name: str = "") -> None:
        super().__init__(context, name)
        self._acceptor: Acceptor | None = None
        self._returning: Reconnector | Expectation | None = None
        self._line: _Line | None = None
        # Whether a thread is telling the context that the peer is gone for now, or back: one at a
        # time, guarded by the lock.
        self._is_telling = False

    def _bind(self, address: Address, max_tries: int) -> None:
        """Wait, in a thread, for a context to connect.

        Raises
        ------
        BindFailed
            None of the ports that were tried can be bound. An OSError; its errno says why.
        """
        listener = listen(address, max_tries)
        self._acceptor = Acceptor(
            listener,
            self._context.own_identity,
            admits=lambda peer: True,
            let_in=self.run,
            settled=lambda peer: None,
            is_for_one=True,
        )
        self._wait_at(listener.address)
        logger.log(self._context.log_level, "%r waits for a peer", self)
        self._acceptor.start()

    def _connect(self, address: Address, timeout: float, policy: ReconnectPolicy | None) -> None:
        """Connect to a context that is bound, or listens.

        Raises
        ------
        ArgumentError
            The timeout is no number of seconds that the system can wait for.
        ConnectFailed
            Nobody listened there within timeout seconds, or the handshake was refused.
        """
        is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not is_number or not timeout <= MAX_TIMEOUT:
            raise ArgumentError(
                f"timeout is a number of seconds, at most {MAX_TIMEOUT}, not {timeout!r}"
            )
        if policy is not None:
            self._session = Session()
            self._returning = Reconnector(
                policy,
                lambda: self._reconnect(address),
                self._tried_in_vain,
                self.give_up,
                str(address),
            )
            self._comes_back = True
        stream = _reach(address, timeout)
        try:
            protocol, greeting = self._shake_hands(stream)
            self.run(stream, protocol, greeting)
        except BaseException:
            if self._link is None:  # which would close it
                stream.close()
            raise
        logger.log(self._context.log_level, "%r made", self)

    def _shake_hands(self, stream: ByteStream) -> tuple[Protocol, list[Event]]:
        """Get a protocol past its handshake, and its events."""
        own = self._context.own_identity()
        if self._session is not None:
            own = own.replaced(session=self._session.token, received=self._session.received)
        protocol = Protocol(Role.CONNECTOR, own)
        try:
            return protocol, shake_hands(stream, protocol, HANDSHAKE_TIMEOUT)
        except ConnectFailed as error:
            hang_up(stream, 0.0)
            raise ConnectFailed(f"Could not connect: {error}") from error

    def _reconnect(self, address: Address) -> None:
        """Connect again to where it was connected, if it is not."""
        if not self.is_reconnecting:
            return
        try:
            stream = transports.connect(address, _RECONNECT_TIMEOUT)
        except OSError as error:
            raise ConnectFailed(f"Cannot connect to {_place(address)}: {error}") from error
        try:
            self._resume_over(stream)
        except BaseException:
            if self._link is None:  # which would close it
                stream.close()
            raise

    def _resume_over(self, stream: ByteStream) -> None:
        protocol, greeting = self._shake_hands(stream)
        place = self._place_to_resume(greeting)
        if self.resume(stream, protocol, greeting, place):
            # Also to the same peer: a state may be among what was lost, here or elsewhere.
            self._join_network_again()
        else:
            stream.close()  # closed meanwhile

    def _join_network_again(self) -> None:
        try:
            self._context.join_network(self)
        except Exception:
            # Nobody behind the peer would know of this end. The next one may be another one.
            logger.exception("%r: let go again, as it cannot join the network", self)
            self.lose_line()

    def _place_to_resume(self, greeting: Sequence[Event]) -> Place | None:
        """Get what the peer got last, None if it is another one, or has forgotten."""
        for event in greeting:
            if isinstance(event, Connected) and event.peer.id != self.id2:
                return None
            if isinstance(event, Resumed):
                return event.received if event.is_known else None
        return None

    def _tried_in_vain(self, absence: float) -> None:
        """Do not let those wait for ever who wait for something from the peer.

        At both ends, however long the session is kept.
        """
        if not (absence > SESSION_LIFETIME or self._has_peer_ended()):
            return
        with self._lock:
            line, is_away = self._line, self._status is Status.RECONNECTING
            if line is None or line.is_missed or not is_away or not self._claim_telling():
                return
        try:
            self._context.connection_ended(self)
            line.is_missed = True
        finally:
            self._end_telling()

    def _claim_telling(self) -> bool:
        is_free, self._is_telling = not self._is_telling, True
        return is_free

    def _end_telling(self) -> None:
        with self._lock:
            self._status_changed.wake_all()
            self._is_telling = False

    def expect_back(
        self, session: Session, lifetime: float, is_in_vain: Callable[[], bool]
    ) -> None:
        """Be a connection whose peer may come back, for so many seconds, if its line is lost.

        Not while `is_in_vain` tells that it cannot.
        """
        self._session = session
        self._returning = Expectation(
            lifetime,
            lambda: self.is_reconnecting,
            self._tried_in_vain,
            lambda: is_in_vain() or self._has_peer_ended(),
            lambda: self.give_up(NOT_BACK),
        )

    def has_session_with(self, peer: Identity) -> bool:
        """Whether it is the session that a peer wants to go on with."""
        session = self._session
        return session is not None and session.token == peer.session and self.id2 == peer.id

    def lose_line(self) -> Place | None:
        """Let go of the line, as if it had been lost; waits until it is.

        For an end whose peer has come by another line already, and for tests.

        Returns
        -------
        tuple of int or None
            The package that came last; None if the connection has been closed meanwhile.
        """
        link = self._link
        if link is not None:
            link.lose_line()
        self._status_changed.wait_for(
            lambda: self._status is not Status.CONNECTED, Deadline(HANDSHAKE_TIMEOUT)
        )
        session = self._session
        return session.received if self.is_reconnecting and session is not None else None

    def _has_peer_ended(self) -> bool:
        process = self._line.process if self._line is not None else None
        return process is not None and process.has_ended

    def run(self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event]) -> bool:
        """See `Connection.run`."""
        self._line = _Line(peer_in(greeting))
        is_running = super().run(stream, protocol, greeting)
        if is_running:
            # It has let its address go, and takes memory.
            self._acceptor = None
        return is_running

    def resume(
        self, stream: ByteStream, protocol: Protocol, greeting: Sequence[Event], place: Place | None
    ) -> bool:
        """See `Connection.resume`."""
        # At the end that listens, another thread may just be telling that the peer is gone.
        if not self._status_changed.wait_for(self._claim_telling, Deadline(HANDSHAKE_TIMEOUT)):
            return False
        try:
            self._line = _Line(peer_in(greeting))
            return super().resume(stream, protocol, greeting, place)
        finally:
            self._end_telling()

    def _line_lost(self) -> None:
        # Else there was none, or its loss would have been the end.
        assert self._returning is not None and self._line is not None
        self._returning.line_lost(monotonic() - self._line.since)

    def abandon(self) -> None:
        """See `Connection.abandon`."""
        acceptor = self._acceptor
        if self._status is Status.WAITING and acceptor is not None:
            acceptor.abandon()
        super().abandon()

    def _stop_waiting(self) -> None:
        acceptor = self._acceptor
        if acceptor is not None:
            acceptor.stop()
        if self._returning is not None:
            self._returning.stop()


class TcpConnection(StreamConnection):
    """A connection between two contexts over TCP."""


class UnixConnection(StreamConnection):
    """A connection between two contexts over a socket in the file system."""


class MemoryConnection(StreamConnection):
    """A connection between two contexts in one process."""


_CLASSES = {"tcp": TcpConnection, "unix": UnixConnection, "memory": MemoryConnection}


def connection_class(address: Address) -> type[StreamConnection]:
    """Get the class of the connections that are made at an address."""
    return _CLASSES[address.transport]


def listen(address: Address, max_tries: int) -> StreamListener:
    """Listen at an address, or at one of the ports that follow.

    Raises
    ------
    BindFailed
        None of the ports that were tried can be bound. An OSError; its errno says why.
    """
    if max_tries < 1:
        raise ArgumentError(f"max_tries is at least 1, not {max_tries}")
    port = address.port
    error: OSError | None = None
    for attempt in range(1, max_tries + 1):
        try:
            return transports.listen(address.replaced(port=port))
        except OSError as failure:
            error = failure
        if address.transport != "tcp":
            break  # there are no other ports
        port += math.isqrt(attempt)
    assert error is not None  # or it would have returned
    if max_tries == 1 or address.transport != "tcp":
        text = f"Could not bind to {address}: {error.strerror or error}"
    else:
        text = (
            f"Could not bind to any of the {max_tries} ports tried, starting with {address.port}."
        )
    raise BindFailed(error.errno, text) from error


def _reach(address: Address, timeout: float) -> ByteStream:
    """Get a stream to an address, trying again until somebody listens there."""
    deadline = Deadline(timeout)
    pause = min(timeout / _CONNECT_TRIES, SIGNAL_INTERVAL)
    while True:
        remaining = deadline.remaining() or 0.0
        try:
            # The first try must have a chance whatever the timeout is.
            return transports.connect(address, max(remaining, 0.1))
        except OSError as error:
            if deadline.passed():
                raise ConnectFailed(f"Cannot connect to {_place(address)}: {error}") from error
        time.sleep(min(pause, deadline.remaining() or 0.0))


def _place(address: Address) -> str:
    return f"{address.host} on {address.port}" if address.transport == "tcp" else str(address)

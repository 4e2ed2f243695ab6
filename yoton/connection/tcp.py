"""Connections over TCP: how they come about."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from yoton.address import Address
from yoton.clock import Deadline
from yoton.connection.base import Connection, Status
from yoton.connection.protocol import Event, Protocol, Role
from yoton.connection.streams import ByteStream, TcpListener, TcpStream, connect_tcp
from yoton.connection.threaded import hang_up, shake_hands
from yoton.exceptions import ArgumentError, BindFailed, ConnectFailed, ConnectionClosed

logger = logging.getLogger(__name__)

#: Seconds that a handshake may take. The peer answers within milliseconds if it is a yoton.
HANDSHAKE_TIMEOUT = 2.0

#: Seconds in which a peer that was refused can read why.
_REFUSAL_TIMEOUT = 1.0

#: Peers that may be shaking hands at once; each has a thread meanwhile. Whoever knocks beyond
#: that pushes out the one that has waited longest.
_MAX_PENDING_HANDSHAKES = 64

#: A port that nobody listens on yet is tried so many times within the timeout.
_CONNECT_TRIES = 100


class TcpConnection(Connection):
    """A connection between two contexts over TCP."""

    _acceptor: _Acceptor | None = None

    def _bind(self, address: Address, max_tries: int) -> None:
        """Wait, in a thread, for a context to connect.

        Raises
        ------
        BindFailed
            None of the ports that were tried can be bound. An OSError; its errno says why.
        """
        listener = _listen(address, max_tries)
        self._acceptor = _Acceptor(listener, self._new_binder, self._run)
        self._wait_at(listener.address)
        logger.log(self._context.log_level, "%r waits for a peer", self)
        self._acceptor.start()

    def _connect(self, address: Address, timeout: float) -> None:
        """Connect to a context that is bound.

        Raises
        ------
        ConnectFailed
            Nobody listened there within timeout seconds, or the handshake was refused.
        """
        stream = _reach(address, timeout)
        protocol = Protocol(Role.CONNECTOR, self._context.own_identity())
        try:
            greeting = shake_hands(stream, protocol, HANDSHAKE_TIMEOUT)
        except ConnectFailed as error:
            hang_up(stream, 0.0)
            raise ConnectFailed(f"Could not connect: {error}") from error
        except BaseException:
            stream.close()
            raise
        self._run(stream, protocol, greeting)
        logger.log(self._context.log_level, "%r made", self)

    def _new_binder(self) -> Protocol:
        return Protocol(Role.BINDER, self._context.own_identity())

    def abandon(self) -> None:
        """See `Connection.abandon`."""
        if self._status is Status.WAITING and self._acceptor is not None:
            self._acceptor.abandon()
        super().abandon()

    def _stop_waiting(self) -> None:
        assert self._acceptor is not None  # a waiting connection was bound
        self._acceptor.stop()


def _reach(address: Address, timeout: float) -> TcpStream:
    """Get a stream to a port, trying again until somebody listens there."""
    deadline = Deadline(timeout)
    while True:
        remaining = deadline.remaining() or 0.0
        try:
            # The first try must have a chance whatever the timeout is.
            stream = connect_tcp(address.host, address.port, max(remaining, 0.1))
        except OSError as error:
            if deadline.passed():
                raise ConnectFailed(
                    f"Cannot connect to {address.host} on {address.port}: {error}"
                ) from error
        else:
            if stream.local_address != stream.peer_address:
                return stream
            # TCP connects a socket to itself when the system picks the very port that is
            # sought and where nobody listens.
            stream.close()
        time.sleep(min(timeout / _CONNECT_TRIES, deadline.remaining() or 0.0))


def _listen(address: Address, max_tries: int) -> TcpListener:
    if max_tries < 1:
        raise ArgumentError(f"max_tries is at least 1, not {max_tries}")
    port = address.port
    error: OSError | None = None
    for attempt in range(1, max_tries + 1):
        try:
            return TcpListener(address.host, port)
        except OSError as failure:
            error = failure
        port += math.isqrt(attempt)
    assert error is not None  # or it would have returned
    if max_tries == 1:
        text = f"Could not bind to {address}: {error.strerror}"
    else:
        text = (
            f"Could not bind to any of the {max_tries} ports tried, starting with {address.port}."
        )
    raise BindFailed(error.errno, text) from error


class _Acceptor:
    """Lets peers knock until one of them has shaken hands.

    Each peer that knocks has a thread for its handshake, so that one that says nothing keeps
    nobody waiting.

    Parameters
    ----------
    listener : TcpListener
        Where they knock; closed in the end.
    new_protocol : callable
        Makes a protocol for a peer.
    let_in : callable
        Gets the stream, the protocol and the events of the peer that was first; returns whether
        it takes it. Called in a thread of the acceptor's, after the port was let go.
    """

    def __init__(
        self,
        listener: TcpListener,
        new_protocol: Callable[[], Protocol],
        let_in: Callable[[ByteStream, Protocol, Sequence[Event]], bool],
    ) -> None:
        self._listener = listener
        self._new_protocol = new_protocol
        self._let_in = let_in
        # Guards the flag and the streams, oldest first.
        self._lock = threading.RLock()
        self._is_over = False
        self._knocking: list[TcpStream] = []
        self._thread = threading.Thread(
            target=self._accept, name=f"yoton-accept {listener.address[1]}", daemon=True
        )

    def start(self) -> None:
        """Begin to let peers knock."""
        self._thread.start()

    def stop(self) -> None:
        """Let the port go, and everybody who is still knocking."""
        if self._claim_end():
            self._let_port_go()

    def abandon(self) -> None:
        """Close this process's copy of the listener; for use in a forked child."""
        self._listener.close()

    def _claim_end(self) -> bool:
        with self._lock:
            is_first, self._is_over = not self._is_over, True
            return is_first

    def _let_port_go(self) -> None:
        self._listener.wake()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            left_over = list(self._knocking)
        for stream in left_over:
            stream.abort()

    def _accept(self) -> None:
        try:
            while True:
                self._admit(self._listener.accept())
        except ConnectionClosed:
            self._listener.close()

    def _admit(self, stream: TcpStream) -> None:
        with self._lock:
            self._knocking.append(stream)
            if len(self._knocking) > _MAX_PENDING_HANDSHAKES:
                self._knocking.pop(0).abort()
        threading.Thread(
            target=self._receive, args=(stream,), name="yoton-handshake", daemon=True
        ).start()

    def _receive(self, stream: TcpStream) -> None:
        protocol = self._new_protocol()
        try:
            greeting = shake_hands(stream, protocol, HANDSHAKE_TIMEOUT)
        except ConnectFailed as error:
            self._forget(stream)
            if not self._is_over:
                logger.warning("Handshake failed: %s (from %s)", error, stream.peer_address)
            hang_up(stream, _REFUSAL_TIMEOUT)
            return
        self._forget(stream)
        if not self._claim_end():
            stream.close()  # another one was faster
            return
        self._let_port_go()
        if not self._let_in(stream, protocol, greeting):
            stream.close()

    def _forget(self, stream: TcpStream) -> None:
        with self._lock:
            if stream in self._knocking:
                self._knocking.remove(stream)

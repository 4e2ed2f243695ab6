"""How connections come about: bind and connect."""

from __future__ import annotations

import logging
import math
import time

from yoton.address import Address
from yoton.clock import Deadline
from yoton.connection import transports
from yoton.connection.accepting import HANDSHAKE_TIMEOUT, Acceptor
from yoton.connection.base import Connection, Status
from yoton.connection.protocol import Protocol, Role
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import hang_up, shake_hands
from yoton.connection.transports import StreamListener
from yoton.exceptions import ArgumentError, BindFailed, ConnectFailed

logger = logging.getLogger(__name__)

#: An address where nobody listens yet is tried so many times within the timeout.
_CONNECT_TRIES = 100


class StreamConnection(Connection):
    """A connection between two contexts over a stream of bytes."""

    _acceptor: Acceptor | None = None

    def _bind(self, address: Address, max_tries: int) -> None:
        """Wait, in a thread, for a context to connect.

        Raises
        ------
        BindFailed
            None of the ports that were tried can be bound. An OSError; its errno says why.
        """
        listener = listen(address, max_tries)
        self._acceptor = Acceptor(
            listener, self._context.own_identity, self.run, lambda: True, is_for_one=True
        )
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
        self.run(stream, protocol, greeting)
        logger.log(self._context.log_level, "%r made", self)

    def abandon(self) -> None:
        """See `Connection.abandon`."""
        if self._status is Status.WAITING and self._acceptor is not None:
            self._acceptor.abandon()
        super().abandon()

    def _stop_waiting(self) -> None:
        assert self._acceptor is not None  # a waiting connection was bound
        self._acceptor.stop()


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
            return transports.listen(address._replace(port=port))
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
    while True:
        remaining = deadline.remaining() or 0.0
        try:
            # The first try must have a chance whatever the timeout is.
            return transports.connect(address, max(remaining, 0.1))
        except OSError as error:
            if deadline.passed():
                raise ConnectFailed(f"Cannot connect to {_place(address)}: {error}") from error
        time.sleep(min(timeout / _CONNECT_TRIES, deadline.remaining() or 0.0))


def _place(address: Address) -> str:
    return f"{address.host} on {address.port}" if address.transport == "tcp" else str(address)

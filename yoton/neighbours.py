"""The contexts that one is connected to: by which connections, what they can, and all counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, SupportsIndex, overload

from yoton.clock import Deadline
from yoton.connection.base import Connection
from yoton.connection.traffic import Traffic
from yoton.message_types import MSGPACK_AVAILABLE
from yoton.traffic import add_up

#: Seconds that a send waits for a peer that does not keep up, before it queues all the same.
CONGESTION_TIMEOUT = 1.0


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


class Neighbours:
    """The connections of a context, and what those at their other ends can.

    All methods but `stats` are called with the routing lock held.

    Parameters
    ----------
    max_data_size : int
        Bytes of the largest message that the context itself accepts.

    Attributes
    ----------
    connections : tuple of Connection
        Those by which it sends. Replaced, never changed: who sends looks at them without the lock.
    ending : tuple of Connection
        Those that take nothing more and have not ended: what they hold is on its way.
    read_msgpack : bool
        Whether OBJECT is to be sent in msgpack, as there are peers and all of them read it.
    are_extended : bool
        Whether there are peers and all of them speak the extension.
    max_data_size : int
        Bytes of the largest message that all of them accept.
    """

    def __init__(self, max_data_size: int) -> None:
        self._own_max_data_size = max_data_size
        self.connections: tuple[Connection, ...] = ()
        self.ending: tuple[Connection, ...] = ()
        self.read_msgpack = False
        self.are_extended = False
        self.max_data_size = max_data_size
        # The connections whose counts are not in the sum of what is over, and that sum.
        self._counted: dict[Connection, None] = {}
        self._past: dict[str, Any] = Traffic().totals(0)

    def add(self, connection: Connection) -> None:
        """Send by a connection from now on."""
        self._counted[connection] = None
        self.connections = (*self.connections, connection)
        self.learn()

    def connection_closing(self, connection: Connection) -> None:
        """Send nothing more by a connection."""
        if connection in self.connections:
            self.connections = _without(self.connections, connection)
            self.ending = (*self.ending, connection)
            self.learn()

    def connection_ended(self, connection: Connection) -> None:
        """Forget a connection, but for its counts."""
        self.ending = _without(self.ending, connection)

    def close_account(self, connection: Connection) -> None:
        """Add the counts of a connection to what is over. It does no harm to repeat that."""
        if connection in self._counted:
            past = add_up((self._past, connection.totals()))
            # No call in between, so no interrupt either.
            del self._counted[connection]
            self._past = past

    def learn(self) -> None:
        """Sum up what the peers can."""
        peers = [c.peer for c in self.connections if c.peer is not None]
        self.read_msgpack = (
            MSGPACK_AVAILABLE and bool(peers) and all(peer.speaks_msgpack for peer in peers)
        )
        self.are_extended = bool(peers) and all(peer.is_extended for peer in peers)
        self.max_data_size = min([self._own_max_data_size, *(peer.max_data_size for peer in peers)])

    def extended(self, left_out: Connection) -> list[Connection]:
        """Get the connections to peers that speak the extension, but for one."""
        return [
            connection
            for connection in self.connections
            if connection is not left_out
            and connection.peer is not None
            and connection.peer.is_extended
        ]

    @property
    def counted(self) -> list[Connection]:
        """The connections whose counts are not in `past`."""
        return list(self._counted)

    @property
    def past(self) -> dict[str, Any]:
        """The sum of the counts of all other connections."""
        return self._past


def kick_all(connections: Iterable[Connection]) -> None:
    """Have what connections hold written; without the routing lock."""
    for connection in connections:
        connection.kick()


def wait_for_room(connections: Iterable[Connection]) -> None:
    """Wait for peers that do not keep up, a second at most; without the routing lock."""
    deadline = None
    for connection in connections:
        if connection.is_congested:
            deadline = deadline or Deadline(CONGESTION_TIMEOUT)
            connection.wait_for_room(deadline)


def await_end(connections: Iterable[Connection], deadline: Deadline) -> None:
    """Wait until connections that are closing have ended, at most until the deadline."""
    for connection in connections:
        connection.await_end(deadline)


def _without(connections: tuple[Connection, ...], left_out: Connection) -> tuple[Connection, ...]:
    return tuple(connection for connection in connections if connection is not left_out)

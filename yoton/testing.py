"""Contexts of one process joined without sockets: for tests of programs that use this package."""

from __future__ import annotations

import threading

from yoton.connection.base import Connection
from yoton.connection.protocol import Protocol, Role
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import hang_up, shake_hands
from yoton.context import Context
from yoton.exceptions import ConnectFailed

#: Seconds that a handshake may take: a test may have made the line a slow one.
_HANDSHAKE_TIMEOUT = 10.0


class JoinedConnection(Connection):
    """A connection over a stream that was there before; see `join_contexts`."""

    def meet(self, stream: ByteStream, role: Role) -> None:
        """Shake hands with the other end and run.

        Raises
        ------
        ConnectFailed
            The handshake did not succeed; the stream is closed.
        """
        protocol = Protocol(role, self._context.own_identity())
        try:
            greeting = shake_hands(stream, protocol, _HANDSHAKE_TIMEOUT)
        except BaseException:
            hang_up(stream, 0.0)
            raise
        self.run(stream, protocol, greeting)


def join_contexts(
    first: Context, second: Context, streams: tuple[ByteStream, ByteStream]
) -> tuple[JoinedConnection, JoinedConnection]:
    """Connect two contexts of this process over a pair of streams; blocks until that is done.

    Parameters
    ----------
    first, second : Context
        What to connect; the first one is the one that connects.
    streams : tuple of ByteStream
        Of each context, in that order: from `memory_stream_pair
        <yoton.connection.memory.memory_stream_pair>` or `faulty_stream_pair
        <yoton.connection.faults.faulty_stream_pair>`. The connections close them.

    Returns
    -------
    tuple of JoinedConnection
        The connections of the two contexts.

    Raises
    ------
    ConnectFailed
        The handshake did not succeed, as the line is cut, damages it, or takes more than ten
        seconds. An OSError.
    """
    own, others = JoinedConnection(first), JoinedConnection(second)
    failures: list[ConnectFailed] = []

    def meet(connection: JoinedConnection, stream: ByteStream, role: Role) -> None:
        try:
            connection.meet(stream, role)
        except ConnectFailed as failure:
            failures.append(failure)

    binding = threading.Thread(
        target=meet, args=(others, streams[1], Role.BINDER), name="yoton-handshake", daemon=True
    )
    binding.start()
    meet(own, streams[0], Role.CONNECTOR)
    binding.join()
    if failures:
        raise ConnectFailed(f"Could not join the contexts: {failures[0]}") from failures[0]
    first.join_network(own)
    return own, others

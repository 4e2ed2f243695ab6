"""The connections: what joins two contexts, from the user's interface down to the bytes."""

from yoton.connection.base import Connection
from yoton.connection.joining import MemoryConnection, TcpConnection, UnixConnection
from yoton.connection.listener import Listener
from yoton.connection.liveness import Liveness
from yoton.connection.memory import MemoryStream, memory_stream_pair
from yoton.connection.reconnecting import ReconnectPolicy
from yoton.connection.streams import ByteStream

__all__ = [
    "ByteStream",
    "Connection",
    "Listener",
    "Liveness",
    "MemoryConnection",
    "MemoryStream",
    "ReconnectPolicy",
    "TcpConnection",
    "UnixConnection",
    "memory_stream_pair",
]

"""The connections: what joins two contexts, from the user's interface down to the bytes."""

from yoton.connection.base import Connection
from yoton.connection.memory import MemoryStream, memory_stream_pair
from yoton.connection.streams import ByteStream
from yoton.connection.tcp import TcpConnection

__all__ = ["ByteStream", "Connection", "MemoryStream", "TcpConnection", "memory_stream_pair"]

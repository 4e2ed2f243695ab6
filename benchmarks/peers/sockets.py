"""Raw TCP sockets: what the system takes, and the least that Python can add."""

from __future__ import annotations

import platform
import socket
import struct
from collections.abc import Callable

from benchmarks.peers.base import LARGE, Listener, Pair, Peer, Publisher, Stream, Subscriber

_HEADER = struct.Struct("<QQ")


class Adapter(Peer):
    """Blocking sockets, and 16 bytes in front of each message."""

    title = "raw sockets"
    import_code = "import socket"
    abilities = frozenset({"pair", "publish"})

    def version(self) -> str:
        return platform.python_version()

    def listen_pair(self, has_traffic: bool) -> Listener[Pair]:
        listener = _listen()
        return Listener([_address(listener)], lambda: _pair(_accept(listener)))

    def connect_pair(self, addresses: list[str], has_traffic: bool) -> Pair:
        return _pair(_connect(addresses[0]))

    def listen_publisher(self, subscribers: int, stream: Stream) -> Listener[Publisher]:
        listener = _listen()

        def accept() -> Publisher:
            senders = [_sender(_accept(listener)) for _ in range(subscribers)]
            return Publisher(senders[0] if subscribers == 1 else _for_all(senders))

        return Listener([_address(listener)] * subscribers, accept)

    def connect_subscriber(self, address: str, stream: Stream) -> Subscriber:
        return Subscriber(_receiver(_connect(address)))


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=1000)


def _address(listener: socket.socket) -> str:
    return str(listener.getsockname()[1])


def _accept(listener: socket.socket) -> socket.socket:
    connected, _ = listener.accept()
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _connect(address: str) -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", int(address)))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _pair(connected: socket.socket) -> Pair:
    return Pair(_sender(connected), _receiver(connected))


def _sender(connected: socket.socket) -> Callable[[bytes], None]:
    def send(message: bytes) -> None:
        header = _HEADER.pack(0, len(message))
        if len(message) < LARGE:
            connected.sendall(header + message)
        else:
            connected.sendall(header)
            connected.sendall(message)

    return send


def _receiver(connected: socket.socket) -> Callable[[], bytes]:
    reader = connected.makefile("rb", LARGE)

    def recv() -> bytes:
        _, size = _HEADER.unpack(reader.read(_HEADER.size))
        message: bytes = reader.read(size)
        return message

    return recv


def _for_all(senders: list[Callable[[bytes], None]]) -> Callable[[bytes], None]:
    def send(message: bytes) -> None:
        for send_one in senders:
            send_one(message)

    return send

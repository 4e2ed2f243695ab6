"""ZeroMQ over tcp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import zmq

from benchmarks.peers.base import LARGE, Caller, Listener, Pair, Peer, Publisher, Stream, Subscriber


class Adapter(Peer):
    """pyzmq, with msgpack where it takes more than bytes."""

    title = "pyzmq tcp"
    import_code = "import zmq"
    abilities = frozenset({"pair", "traffic", "calls", "publish", "messages", "queues", "relay"})

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 2000)

    def version(self) -> str:
        return f"{zmq.__version__} (libzmq {zmq.zmq_version()})"

    def bind(self, socket: Any) -> str:
        """Bind a socket and get its address."""
        socket.bind("tcp://127.0.0.1:*")
        return str(socket.last_endpoint.decode())

    def listen_pair(self, has_traffic: bool) -> Listener[Pair]:
        # A socket is for one thread, so the traffic has its own.
        sockets = [self._context.socket(zmq.PAIR) for _ in range(1 + has_traffic)]
        return Listener([self.bind(socket) for socket in sockets], lambda: _pair(sockets))

    def connect_pair(self, addresses: list[str], has_traffic: bool) -> Pair:
        return _pair([self._connected(zmq.PAIR, address) for address in addresses])

    def listen_calls(self, is_pipelined: bool) -> Listener[Callable[[], None]]:
        socket = self._context.socket(zmq.ROUTER if is_pipelined else zmq.REP)

        def serve() -> None:
            while True:
                *client, request = socket.recv_multipart()
                number, method, arguments = msgpack.unpackb(request)
                reply = msgpack.packb([number, _METHODS[method](*arguments)])
                socket.send_multipart([*client, reply])

        return Listener([self.bind(socket)], lambda: serve)

    def connect_caller(self, addresses: list[str], is_pipelined: bool) -> Caller:
        socket = self._connected(zmq.DEALER if is_pipelined else zmq.REQ, addresses[0])

        def call(a: int, b: int) -> Any:
            socket.send(msgpack.packb([0, "add", (a, b)]))
            return msgpack.unpackb(socket.recv())[1]

        def call_all(pairs: list[tuple[int, int]]) -> list[Any]:
            for number, arguments in enumerate(pairs):
                socket.send(msgpack.packb([number, "add", arguments]))
            replies = dict(msgpack.unpackb(socket.recv()) for _ in pairs)
            return [replies[number] for number in range(len(pairs))]

        return Caller(call, call_all)

    def listen_publisher(self, subscribers: int, stream: Stream) -> Listener[Publisher]:
        # An XPUB is a PUB that says who has subscribed.
        socket = self._context.socket(zmq.XPUB)
        socket.set(zmq.XPUB_VERBOSE, 1)
        if stream.is_lossless:
            socket.set(zmq.SNDHWM, 0)
        address = self.bind(socket)

        def accept() -> Publisher:
            for _ in range(subscribers):
                socket.recv()
            if not stream.has_topics:
                return Publisher(_sender(socket, stream))
            return Publisher(
                lambda message: socket.send_multipart([_WANTED, message]),
                lambda message: socket.send_multipart([_UNWANTED, message]),
            )

        return Listener([address] * subscribers, accept)

    def connect_subscriber(self, address: str, stream: Stream) -> Subscriber:
        socket = self._context.socket(zmq.SUB)
        if stream.is_lossless:
            socket.set(zmq.RCVHWM, 0)
        socket.subscribe(_WANTED if stream.has_topics else b"")
        socket.connect(address)
        if not stream.has_topics:
            return Subscriber(_receiver(socket, stream))
        return Subscriber(lambda: socket.recv_multipart()[1])

    def relay(self, address: str) -> Listener[Callable[[], None]]:
        incoming = self._context.socket(zmq.XSUB)
        outgoing = self._context.socket(zmq.XPUB)
        incoming.set(zmq.RCVHWM, 0)
        outgoing.set(zmq.SNDHWM, 0)
        incoming.connect(address)
        return Listener([self.bind(outgoing)], lambda: lambda: zmq.proxy(incoming, outgoing))

    def _connected(self, kind: int, address: str) -> Any:
        socket = self._context.socket(kind)
        socket.connect(address)
        return socket


_WANTED = b"wanted"
_UNWANTED = b"unwanted"


def _add(a: int, b: int) -> int:
    return a + b


_METHODS = {"add": _add}


def _pair(sockets: list[Any]) -> Pair:
    return Pair(*(call for socket in sockets for call in (socket.send, socket.recv)))


def _sender(socket: Any, stream: Stream) -> Callable[[Any], object]:
    send: Callable[..., object] = socket.send
    if stream.form == "text":
        send = socket.send_string
    elif stream.form == "object":
        return lambda message: send(msgpack.packb(message))
    elif stream.size >= LARGE:
        return lambda message: send(message, copy=False)
    return send


def _receiver(socket: Any, stream: Stream) -> Callable[[], Any]:
    recv: Callable[..., Any] = socket.recv
    if stream.form == "text":
        recv = socket.recv_string
    elif stream.form == "object":
        return lambda: msgpack.unpackb(recv())
    elif stream.size >= LARGE:
        return lambda: recv(copy=False).buffer
    return recv

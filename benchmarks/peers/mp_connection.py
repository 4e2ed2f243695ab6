"""multiprocessing.connection of the standard library."""

from __future__ import annotations

import platform
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from benchmarks.peers import base

_METHODS = {
    "binary": ("send_bytes", "recv_bytes"),
    "text": ("send", "recv"),
    "object": ("send", "recv"),
}


class Adapter(base.Peer):
    """Connections over tcp; texts and objects are pickled."""

    title = "multiprocessing"
    import_code = "import multiprocessing.connection"
    abilities = frozenset({"pair", "publish", "messages"})

    def version(self) -> str:
        return platform.python_version()

    def listen_pair(self, has_traffic: bool) -> base.Listener[base.Pair]:
        listener = _listen()
        return base.Listener([_address(listener)], lambda: _pair(listener.accept()))

    def connect_pair(self, addresses: list[str], has_traffic: bool) -> base.Pair:
        return _pair(_connect(addresses[0]))

    def listen_publisher(
        self, subscribers: int, stream: base.Stream
    ) -> base.Listener[base.Publisher]:
        listener = _listen()
        send_name, _ = _METHODS[stream.form]

        def accept() -> base.Publisher:
            senders = [getattr(listener.accept(), send_name) for _ in range(subscribers)]
            return base.Publisher(senders[0] if subscribers == 1 else _for_all(senders))

        return base.Listener([_address(listener)] * subscribers, accept)

    def connect_subscriber(self, address: str, stream: base.Stream) -> base.Subscriber:
        _, recv_name = _METHODS[stream.form]
        return base.Subscriber(getattr(_connect(address), recv_name))


def _listen() -> connection.Listener:
    return connection.Listener(("127.0.0.1", 0), backlog=1000)


def _address(listener: connection.Listener) -> str:
    _, port = listener.address
    return str(port)


def _connect(address: str) -> Any:
    return connection.Client(("127.0.0.1", int(address)))


def _pair(connected: Any) -> base.Pair:
    return base.Pair(connected.send_bytes, connected.recv_bytes)


def _for_all(senders: list[Callable[[Any], None]]) -> Callable[[Any], None]:
    def send(message: Any) -> None:
        for send_one in senders:
            send_one(message)

    return send

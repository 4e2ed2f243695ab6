"""yoton."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import yoton
from benchmarks.peers.base import Caller, Listener, Pair, Peer, Publisher, Stream, Subscriber

#: So many messages that no run reaches it.
_NO_LIMIT = (10_000_000, "old")
_MESSAGE_TYPES = {"binary": yoton.BINARY, "text": yoton.TEXT, "object": yoton.OBJECT}


class Adder(yoton.RepChannel):
    """What is called."""

    def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b


class Adapter(Peer):
    """The package of this repository."""

    title = "yoton"
    import_code = "import yoton"
    abilities = frozenset({"pair", "traffic", "calls", "publish", "messages", "queues", "relay"})

    def version(self) -> str:
        return str(yoton.__version__)

    def bind(self, context: Any) -> str:
        """Have a context wait for one peer."""
        return f"localhost:{context.bind('localhost:0').port1}"

    def listen_pair(self, has_traffic: bool) -> Listener[Pair]:
        context = yoton.Context(queue_params=_NO_LIMIT)
        pair = _pair(context, "back", "forth")
        return Listener([self.bind(context)], _when_joined(context, 1, pair))

    def connect_pair(self, addresses: list[str], has_traffic: bool) -> Pair:
        context = yoton.Context(queue_params=_NO_LIMIT)
        pair = _pair(context, "forth", "back")
        context.connect(addresses[0])
        return pair

    def listen_calls(self, is_pipelined: bool) -> Listener[Callable[[], None]]:
        context = yoton.Context()
        adder = Adder(context, "adder")
        adder.set_mode("thread")

        def serve() -> None:
            while adder:
                time.sleep(3600)

        return Listener([self.bind(context)], _when_joined(context, 1, serve))

    def connect_caller(self, addresses: list[str], is_pipelined: bool) -> Caller:
        context = yoton.Context()
        adder = yoton.ReqChannel(context, "adder")
        context.connect(addresses[0])

        def call(a: int, b: int) -> Any:
            return adder.add(a, b).result()

        def call_all(pairs: list[tuple[int, int]]) -> list[Any]:
            return [future.result() for future in [adder.add(a, b) for a, b in pairs]]

        return Caller(call, call_all)

    def listen_publisher(self, subscribers: int, stream: Stream) -> Listener[Publisher]:
        context = yoton.Context(queue_params=_NO_LIMIT if stream.is_lossless else None)
        channel = yoton.PubChannel(context, "news", _MESSAGE_TYPES[stream.form])
        unwanted = yoton.PubChannel(context, "unwanted", _MESSAGE_TYPES[stream.form])
        return Listener(
            [self.bind(context) for _ in range(subscribers)],
            _when_joined(context, subscribers, Publisher(channel.send, unwanted.send)),
        )

    def connect_subscriber(self, address: str, stream: Stream) -> Subscriber:
        context = yoton.Context(queue_params=_NO_LIMIT if stream.is_lossless else None)
        channel = yoton.SubChannel(context, "news", _MESSAGE_TYPES[stream.form])
        context.connect(address)
        return Subscriber(channel.recv)

    def relay(self, address: str) -> Listener[Callable[[], None]]:
        context = yoton.Context(queue_params=_NO_LIMIT)
        context.connect(address)

        def serve() -> None:
            while context:
                time.sleep(3600)

        return Listener([self.bind(context)], _when_joined(context, 2, serve))


def _pair(context: Any, sends: str, receives: str) -> Pair:
    outgoing = yoton.PubChannel(context, sends, yoton.BINARY)
    incoming = yoton.SubChannel(context, receives, yoton.BINARY)
    outgoing_traffic = yoton.PubChannel(context, f"{sends}-traffic", yoton.BINARY)
    incoming_traffic = yoton.SubChannel(context, f"{receives}-traffic", yoton.BINARY)
    return Pair(outgoing.send, incoming.recv, outgoing_traffic.send, incoming_traffic.recv)


def _when_joined(context: Any, connections: int, result: Any) -> Callable[[], Any]:
    def accept() -> Any:
        while context.connection_count < connections:
            time.sleep(0.001)
        return result

    return accept

"""rpyc, which calls and does nothing else."""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Callable

import rpyc

from benchmarks.peers.base import Caller, Listener, Peer


class Adder(rpyc.Service):  # type: ignore[misc]
    """What is called."""

    def exposed_add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b


class Adapter(Peer):
    """A service; the remote method is looked up once."""

    title = "rpyc"
    import_code = "import rpyc"
    abilities = frozenset({"calls"})

    def version(self) -> str:
        return importlib.metadata.version("rpyc")

    def listen_calls(self, is_pipelined: bool) -> Listener[Callable[[], None]]:
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> Callable[[], None]:
            connected, _ = listener.accept()
            serve: Callable[[], None] = rpyc.connect_stream(
                rpyc.SocketStream(connected), Adder()
            ).serve_all
            return serve

        return Listener([str(listener.getsockname()[1])], accept)

    def connect_caller(self, addresses: list[str], is_pipelined: bool) -> Caller:
        add = rpyc.connect("127.0.0.1", int(addresses[0])).root.add
        add_later = rpyc.async_(add)

        def call_all(pairs: list[tuple[int, int]]) -> list[int]:
            return [result.value for result in [add_later(a, b) for a, b in pairs]]

        return Caller(add, call_all)

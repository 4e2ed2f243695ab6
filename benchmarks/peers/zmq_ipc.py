"""ZeroMQ over Unix sockets, which it calls ipc."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers import zmq_tcp


class Adapter(zmq_tcp.Adapter):
    """All as over tcp, but for the address."""

    title = "pyzmq ipc"

    def bind(self, socket: Any) -> str:
        # In the abstract namespace of Linux, so that nothing is left over.
        address = f"ipc://@yoton-benchmark-{os.getpid()}-{id(socket)}"
        socket.bind(address)
        return address

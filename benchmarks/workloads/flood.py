"""A publisher at full speed, a slow subscriber, and the limits that they have by themselves."""

from __future__ import annotations

import struct
import time
from typing import Any

from benchmarks import usage
from benchmarks.control import Control
from benchmarks.payload import LossyError
from benchmarks.peers.base import Peer, Stream
from benchmarks.workloads.workload import Figure, Start, Workload

STREAM = Stream(size=1024, is_lossless=False)
#: How many messages the subscriber reads in a second, and how often the time of other runs.
RATE = 100
TIMES_AS_LONG = 6
#: Sent again and again after the flood, since it may be dropped as well.
END = b"end"
END_INTERVAL = 0.05

_NUMBER = struct.Struct("<Q")


def publish(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send as fast as one is let."""
    listener = peer.listen_publisher(1, STREAM)
    control.tell(listener.addresses)
    send = listener.accept().send
    control.tell("joined")
    fill = b"x" * (STREAM.size - _NUMBER.size)
    before = usage.memory()
    end = time.perf_counter() + TIMES_AS_LONG * options["seconds"]
    sent = 0
    while time.perf_counter() < end:
        send(_NUMBER.pack(sent) + fill)
        sent += 1
    control.tell({"sent": sent, "memory": usage.memory() - before})
    while True:
        send(END)
        time.sleep(END_INTERVAL)


def subscribe(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Read slowly during the flood, then all that is left of it."""
    server = start("server")
    recv = peer.connect_subscriber(server.hear()[0], STREAM).recv
    server.hear()
    before = usage.memory()
    numbers = []
    end = time.perf_counter() + TIMES_AS_LONG * options["seconds"]
    while time.perf_counter() < end:
        numbers.append(_number_of(recv()))
        time.sleep(1 / RATE)
    memory = usage.memory() - before
    while (message := recv()) != END:
        numbers.append(_number_of(message))
    report = server.hear()
    if numbers != sorted(set(numbers)):
        raise LossyError("messages came twice, or in another order")
    return {
        "rate": report["sent"] / (TIMES_AS_LONG * options["seconds"]),
        "server memory": report["memory"] / 2**20,
        "client memory": memory / 2**20,
        "dropped": 100 * (1 - len(numbers) / report["sent"]),
    }


def _number_of(message: bytes) -> int:
    if len(message) != STREAM.size:
        raise LossyError(f"got {len(message)} bytes instead of {STREAM.size}")
    number: int = _NUMBER.unpack_from(message)[0]
    return number


WORKLOADS = [
    Workload(
        name="flood",
        title=f"Flood of 1 KiB, {RATE} of them read per second",
        ability="queues",
        figures=(
            Figure("rate", "messages/s", "sent", is_rate=True),
            Figure("dropped", "%", "dropped"),
            Figure("server memory", "MiB", "growth of the publisher"),
            Figure("client memory", "MiB", "growth of the subscriber"),
        ),
        client=subscribe,
        roles={"server": publish},
    )
]

"""Many connections, over which nothing goes.

The server is one publisher; the client is as many subscribers, each on its own.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import usage
from benchmarks.control import Control
from benchmarks.peers.base import Peer, Stream
from benchmarks.workloads.workload import Figure, Start, Workload

#: How long they settle, and how often the time of other runs they are watched.
SETTLE_SECONDS = 1.0
TIMES_AS_LONG = 6
STREAM = Stream(is_lossless=False)


def publish(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Have subscribers and say nothing."""
    before = usage.memory()
    listener = peer.listen_publisher(options["count"], STREAM)
    control.tell(listener.addresses)
    publisher = listener.accept()
    control.tell("joined")
    control.hear()
    control.tell(_figures("server", before, options))
    control.hear()
    publisher.send(b"the end")
    control.hear()


def subscribe(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Be all the subscribers."""
    server = start("server")
    addresses = server.hear()
    before = usage.memory()
    subscribers = [peer.connect_subscriber(address, STREAM) for address in addresses]
    server.hear()
    server.tell("watch")
    figures = _figures("client", before, options)
    figures.update(server.hear())
    server.tell("end")
    for subscriber in subscribers:
        subscriber.recv()
    return figures


def _figures(side: str, memory_before: int, options: dict[str, Any]) -> dict[str, float]:
    time.sleep(SETTLE_SECONDS)
    idling = usage.watch(TIMES_AS_LONG * options["seconds"])
    return {
        f"{side} cpu": idling.cpu,
        f"{side} wakeups": idling.wakeups,
        f"{side} memory": (usage.memory() - memory_before) / options["count"] / 1024,
        f"{side} threads": usage.thread_count(),
    }


_FIGURES = tuple(
    Figure(f"{side} {name}", unit, f"{title} {side}")
    for name, unit, title in [
        ("cpu", "% of a core", "processor,"),
        ("wakeups", "wake-ups/s", "wake-ups,"),
        ("memory", "KiB/connection", "memory,"),
        ("threads", "threads", "threads,"),
    ]
    for side in ("server", "client")
)

WORKLOADS = [
    Workload(
        name=f"idle-{count}",
        title=f"{count} idle connections",
        ability="queues",
        figures=_FIGURES,
        client=subscribe,
        roles={"server": publish},
        options={"count": count},
        only=only,
    )
    for count, only in [
        (50, frozenset({"yoton", "pyzo-yoton", "zmq-tcp"})),
        (500, frozenset({"yoton", "zmq-tcp"})),
    ]
]

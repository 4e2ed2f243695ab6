"""How yoton grows: with its connections, slots, hops, sizes and threads."""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import yoton
from benchmarks.control import Control
from benchmarks.payload import LossyError, Payload
from benchmarks.peers.base import Peer, Publisher, Stream
from benchmarks.summary import median
from benchmarks.workloads import idle, one_way, round_trip
from benchmarks.workloads.workload import Figure, Start, Workload

SIZE = 100
_NO_LIMIT = (10_000_000, "old")
_THREAD_AND_NUMBER = struct.Struct("<QQ")


def publish_on_slots(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send a message on each of many channels in turn."""
    context = yoton.Context(queue_params=_NO_LIMIT)
    sends = [yoton.PubChannel(context, name, yoton.BINARY).send for name in _slots(options["x"])]
    control.tell(f"localhost:{context.bind('localhost:0').port1}")
    control.hear()
    payload = Payload("binary", SIZE)
    while True:
        count = control.hear()
        for number, message in enumerate(payload.first(count)):
            sends[number % len(sends)](message)


def measure_slots(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Receive on each of many channels in turn."""
    server = start("server")
    context = yoton.Context(queue_params=_NO_LIMIT)
    receivers = [
        yoton.SubChannel(context, name, yoton.BINARY).recv for name in _slots(options["x"])
    ]
    context.connect(server.hear())
    server.tell("joined")
    payload = Payload("binary", SIZE)

    def transfer(count: int) -> float:
        server.tell(count)
        begin = 0.0
        for number, message in enumerate(payload.first(count)):
            payload.check(receivers[number % len(receivers)](), message)
            begin = begin or time.perf_counter()
        return time.perf_counter() - begin

    count = one_way.find_count(transfer, SIZE, options["seconds"])
    return {"rate": (count - 1) / transfer(count)}


def _slots(count: int) -> list[str]:
    """Make up names for slots, so unlike each other that none have the same number on the wire."""
    return [hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(count)]


def publish_from_threads(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send from many threads at once, on one channel."""
    listener = peer.listen_publisher(1, Stream(size=SIZE))
    control.tell(listener.addresses)
    publisher = listener.accept()
    control.tell("joined")
    while True:
        count = control.hear()
        threads = [
            threading.Thread(target=_send_numbered, args=[publisher, thread, count])
            for thread in range(options["x"])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def measure_threads(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Receive what many threads send: what each sends, in order."""
    server = start("server")
    recv = peer.connect_subscriber(server.hear()[0], Stream(size=SIZE)).recv
    server.hear()
    threads = options["x"]

    def transfer(count: int) -> float:
        server.tell(-(-count // threads))
        return _receive_numbered(recv, threads, -(-count // threads))

    count = one_way.find_count(transfer, SIZE, options["seconds"])
    return {"rate": (threads * -(-count // threads) - 1) / transfer(count)}


def _send_numbered(publisher: Publisher, thread: int, count: int) -> None:
    send, fill = publisher.send, b"x" * (SIZE - _THREAD_AND_NUMBER.size)
    for number in range(count):
        send(_THREAD_AND_NUMBER.pack(thread, number) + fill)


def _receive_numbered(recv: Callable[[], bytes], threads: int, count: int) -> float:
    begin = 0.0
    expected: dict[int, int] = defaultdict(int)
    for _ in range(threads * count):
        message = recv()
        begin = begin or time.perf_counter()
        thread, number = _THREAD_AND_NUMBER.unpack_from(message)
        if number != expected[thread] or len(message) != SIZE:
            raise LossyError(f"got {number} of a thread instead of {expected[thread]}")
        expected[thread] += 1
    return time.perf_counter() - begin


def measure_hops(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Go round through a chain of relays, each a process."""
    addresses = start("server").hear()
    for _ in range(options["x"]):
        addresses = start("relay", upstream=addresses[0]).hear()
    pair = peer.connect_pair(addresses, has_traffic=False)
    payload = Payload("binary", options["size"])
    # What is sent before the last link stands is kept, and only makes the first trip longer.
    round_trip.go_round(pair, payload, round_trip.WARM_UP * options["seconds"])
    return {"p50": 1e6 * median(round_trip.go_round(pair, payload, options["seconds"]))}


def _workloads(
    name: str, title: str, points: tuple[int, ...], option: str, **common: Any
) -> list[Workload]:
    """Make a workload for each point; option is what the point stands for."""
    options = common.pop("options", {})
    return [
        Workload(
            name=f"scale-{name}-{point}",
            title=f"{title}: {point}",
            ability="",
            only=frozenset({"yoton"}),
            options=options | {option: point},
            **common,
        )
        for point in points
    ]


_CONNECTIONS = (1, 10, 50, 100, 200, 500)
_RATE = (Figure("rate", "messages/s", is_rate=True),)

WORKLOADS = (
    *_workloads(
        "connections",
        "Idle connections of a context",
        _CONNECTIONS,
        "count",
        figures=(Figure("server cpu", "% of a core"),),
        client=idle.subscribe,
        roles={"server": idle.publish},
    ),
    *_workloads(
        "broadcast",
        "Subscribers of a context, all together",
        _CONNECTIONS,
        "subscribers",
        figures=_RATE,
        client=one_way.measure,
        roles=one_way.ROLES,
        # With hundreds of subscribers the first messages alone take a tenth of a second.
        options=one_way.OPTIONS | {"least": 2000},
    ),
    *_workloads(
        "slots",
        "Slots in turn",
        (1, 10, 100, 1000, 10000),
        "x",
        figures=_RATE,
        client=measure_slots,
        roles={"server": publish_on_slots},
    ),
    *_workloads(
        "hops",
        "Round trip through relays",
        (1, 2, 3, 4, 5),
        "x",
        figures=(Figure("p50", "µs"),),
        client=measure_hops,
        roles={"server": round_trip.echo, "relay": one_way.relay},
        options={"size": 16},
    ),
    *_workloads(
        "size",
        "Bytes of a message",
        (1, 16, 256, 2**12, 2**16, 2**20, 2**24, 2**28),
        "size",
        figures=(Figure("bytes", "bytes/s", is_rate=True),),
        client=one_way.measure,
        roles=one_way.ROLES,
        options=one_way.OPTIONS,
    ),
    *_workloads(
        "threads",
        "Threads that send at once",
        (1, 2, 4, 8, 16, 32),
        "x",
        figures=_RATE,
        client=measure_threads,
        roles={"server": publish_from_threads},
    ),
)

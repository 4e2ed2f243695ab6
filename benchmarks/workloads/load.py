"""Round trips while the same process has something else to do as well."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.control import Control
from benchmarks.payload import Payload
from benchmarks.peers.base import Pair, Peer
from benchmarks.summary import median, percentile
from benchmarks.workloads.round_trip import WARM_UP, go_round
from benchmarks.workloads.workload import Figure, Start, Workload

#: The other traffic: 20 MB/s.
TRAFFIC_SIZE = 65536
TRAFFIC_RATE = 20e6 / TRAFFIC_SIZE


def echo(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send back what comes, and let a thread take the traffic."""
    listener = peer.listen_pair(has_traffic=True)
    control.tell(listener.addresses)
    pair = listener.accept()
    threading.Thread(target=_take_traffic, args=[pair], daemon=True).start()
    while True:
        pair.send(pair.recv())


def measure(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Be the one that waits, and has the other work."""
    pair = peer.connect_pair(start("server").hear(), has_traffic=True)
    payload = Payload("binary", 16)
    with _in_thread(_LOADS[options["load"]], pair):
        go_round(pair, payload, WARM_UP * options["seconds"])
        trips = go_round(pair, payload, options["seconds"])
    return {"p50": 1e6 * median(trips), "p99": 1e6 * percentile(trips, 99)}


def _take_traffic(pair: Pair) -> None:
    assert pair.recv_traffic is not None
    while True:
        pair.recv_traffic()


@contextlib.contextmanager
def _in_thread(load: Callable[[Pair, threading.Event], None], pair: Pair) -> Iterator[None]:
    enough = threading.Event()
    thread = threading.Thread(target=load, args=[pair, enough], daemon=True)
    thread.start()
    yield
    enough.set()
    thread.join()


def _nothing(pair: Pair, enough: threading.Event) -> None:
    enough.wait()


def _send_traffic(pair: Pair, enough: threading.Event) -> None:
    assert pair.send_traffic is not None
    message = b"x" * TRAFFIC_SIZE
    due = time.perf_counter()
    while not enough.wait(max(0.0, due - time.perf_counter())):
        pair.send_traffic(message)
        due += 1 / TRAFFIC_RATE


def _compute(pair: Pair, enough: threading.Event) -> None:
    number = 1
    while not enough.is_set():
        for _ in range(1000):
            number = number * 3 % 1000003


_LOADS = {"nothing": _nothing, "traffic": _send_traffic, "computing": _compute}

WORKLOADS = [
    Workload(
        name=f"load-{load}",
        title=f"Round trip, 16 B, {title}",
        ability="traffic",
        figures=(Figure("p50", "µs", "median"), Figure("p99", "µs", "99th percentile")),
        client=measure,
        roles={"server": echo},
        options={"load": load},
        only=frozenset({"yoton", "zmq-tcp"}),
    )
    for load, title in [
        ("nothing", "idle otherwise"),
        ("traffic", "beside 20 MB/s"),
        ("computing", "beside a thread that computes"),
    ]
]

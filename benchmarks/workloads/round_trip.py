"""A message goes there and another one comes back."""

from __future__ import annotations

import time
from itertools import cycle
from typing import Any

from benchmarks.control import Control
from benchmarks.payload import Payload
from benchmarks.peers.base import Pair, Peer
from benchmarks.summary import median, percentile
from benchmarks.workloads.workload import Figure, Start, Workload

#: Share of the time of a run that goes before it, unmeasured.
WARM_UP = 0.2


def echo(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send back what comes, for ever."""
    listener = peer.listen_pair(has_traffic=False)
    control.tell(listener.addresses)
    pair = listener.accept()
    send, recv = pair.send, pair.recv
    while True:
        send(recv())


def go_round(pair: Pair, payload: Payload, seconds: float) -> list[float]:
    """Send messages and wait for each to come back; get the seconds that each took."""
    send, recv, check, clock = pair.send, pair.recv, payload.check, time.perf_counter
    trips = []
    end = clock() + seconds
    for message in cycle(payload.messages):
        begin = clock()
        send(message)
        received = recv()
        now = clock()
        trips.append(now - begin)
        check(received, message)
        if now >= end:
            break
    return trips


def measure(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Be the one that waits."""
    pair = peer.connect_pair(start("server").hear(), has_traffic=False)
    payload = Payload("binary", options["size"])
    go_round(pair, payload, WARM_UP * options["seconds"])
    trips = go_round(pair, payload, options["seconds"])
    return {"p50": 1e6 * median(trips), "p99": 1e6 * percentile(trips, 99)}


_FIGURES = (Figure("p50", "µs"), Figure("p99", "µs", "99th percentile"))

WORKLOADS = [
    Workload(
        name=name,
        title=f"Round trip, 16 B{where}",
        ability="pair",
        figures=_FIGURES,
        client=measure,
        roles={"server": echo},
        options={"size": 16, "is_pinned": is_pinned},
        is_quick=True,
    )
    for name, where, is_pinned in [
        ("round-trip", "", False),
        ("round-trip-pinned", ", both processes on one core", True),
    ]
]

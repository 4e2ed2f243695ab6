"""A function of another process is called: one call after the other, or many at a time."""

from __future__ import annotations

import time
from itertools import cycle
from typing import Any

from benchmarks.control import Control
from benchmarks.payload import LossyError
from benchmarks.peers.base import Caller, Peer
from benchmarks.summary import median
from benchmarks.workloads.round_trip import WARM_UP
from benchmarks.workloads.workload import Figure, Start, Workload

#: Calls that are under way at the same time, when they are.
WINDOW = 100


def serve(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Answer calls, for ever."""
    listener = peer.listen_calls(options["is_pipelined"])
    control.tell(listener.addresses)
    listener.accept()()


def measure(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Be the one that calls."""
    is_pipelined = options["is_pipelined"]
    caller = peer.connect_caller(start("server").hear(), is_pipelined)
    run = _call_all if is_pipelined else _call_one_by_one
    run(caller, WARM_UP * options["seconds"])
    times = run(caller, options["seconds"])
    if is_pipelined:
        return {"rate": WINDOW * len(times) / sum(times)}
    return {"call": 1e6 * median(times)}


def _call_one_by_one(caller: Caller, seconds: float) -> list[float]:
    """Call again and again; get the seconds that each call took."""
    call, clock = caller.call, time.perf_counter
    times = []
    end = clock() + seconds
    for number in cycle(range(WINDOW)):
        begin = clock()
        result = call(number, 4)
        now = clock()
        times.append(now - begin)
        if result != number + 4:
            raise LossyError(f"{number} + 4 is {result}")
        if now >= end:
            break
    return times


def _call_all(caller: Caller, seconds: float) -> list[float]:
    """Call many at a time, again and again; get the seconds that each window of calls took."""
    call_all, clock = caller.call_all, time.perf_counter
    pairs = [(number, 4) for number in range(WINDOW)]
    sums = [a + b for a, b in pairs]
    times: list[float] = []
    end = clock() + seconds
    while not times or clock() < end:
        begin = clock()
        results = call_all(pairs)
        times.append(clock() - begin)
        if results != sums:
            raise LossyError(f"the sums are {results}")
    return times


WORKLOADS = [
    Workload(
        name="call",
        title="Remote call, one after the other",
        ability="calls",
        figures=(Figure("call", "µs"),),
        client=measure,
        roles={"server": serve},
        options={"is_pipelined": False},
        is_quick=True,
    ),
    Workload(
        name="call-pipelined",
        title=f"Remote calls, {WINDOW} at a time",
        ability="calls",
        figures=(Figure("rate", "calls/s", is_rate=True),),
        client=measure,
        roles={"server": serve},
        options={"is_pipelined": True},
        is_quick=True,
    ),
]

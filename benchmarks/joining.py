"""What it costs to join: ``python -m benchmarks.joining 50 100 200 400``.

So many contexts of one process connect to one listener, and wait until each knows all others.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import yoton

#: Contexts that connect at the same time.
_THREADS = 8

#: Seconds between two looks at whether a context knows all.
_LOOK_INTERVAL = 0.01


def main(counts: Sequence[int]) -> None:
    """Measure with so many contexts."""
    for count in counts:
        elapsed, cpu = _join(count)
        print(f"{count:5} contexts: {elapsed:6.2f} s, {cpu:6.2f} s of the processor", flush=True)


def _join(count: int) -> tuple[float, float]:
    hub = yoton.Context()
    listener = hub.listen("localhost:0")
    contexts = [yoton.Context() for _ in range(count)]
    began, began_cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(_THREADS) as pool:
        connected = pool.map(lambda c: c.connect(f"localhost:{listener.port}", 60.0), contexts)
        assert len(list(connected)) == count
    for context in (hub, *contexts):
        while _known_count(context) <= count:
            time.sleep(_LOOK_INTERVAL)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    for context in (*contexts, hub):
        context.close()
    return elapsed, cpu


def _known_count(context: yoton.Context) -> int:
    """Count those who have told of themselves, with the context itself."""
    return sum(1 for known in context.graph()["contexts"] if known["pid"])


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])

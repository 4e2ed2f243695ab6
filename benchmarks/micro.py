"""The parts of yoton alone, measured by pyperf: ``python -m benchmarks.micro``."""

from __future__ import annotations

import pyperf

from yoton.clock import Deadline
from yoton.connection.framing import FrameDecoder, encode_package
from yoton.events.signals import Signal
from yoton.message_types import OBJECT
from yoton.package import Package
from yoton.queues import BoundedQueue, Overflow

_PACKAGE = Package(b"x" * 100, slot=1, source_id=2, source_seq=3)
_FRAME = b"".join(encode_package(_PACKAGE))
_MESSAGE = {"step": 3, "error": 0.25, "name": "measurement", "done": False, "values": [1, 2, 4.5]}
_ENCODED = OBJECT.message_to_msgpack(_MESSAGE)
_NOW = Deadline(0.0)


def main() -> None:
    """Measure what the command line asks for, which is pyperf's."""
    runner = pyperf.Runner()
    decoder = FrameDecoder()
    queue: BoundedQueue[int] = BoundedQueue(1000, Overflow.DROP_OLD)
    signal = Signal()
    signal.bind(_handle)

    def put_and_get() -> None:
        queue.put(1)
        queue.get(_NOW)

    runner.bench_func("framing: encode 100 B", encode_package, _PACKAGE)
    runner.bench_func("framing: decode 100 B", decoder.decode, _FRAME)
    runner.bench_func("OBJECT: encode", OBJECT.message_to_msgpack, _MESSAGE)
    runner.bench_func("OBJECT: decode", OBJECT.message_from_bytes, _ENCODED)
    runner.bench_func("BoundedQueue: put and get", put_and_get)
    runner.bench_func("Signal: emit_now to one handler", signal.emit_now)


def _handle() -> None:
    pass


if __name__ == "__main__":
    main()

"""Waiting until something is written, while other threads go on sending."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from support import PATIENCE

from yoton.clock import Deadline
from yoton.connection.memory import memory_stream_pair
from yoton.connection.outbox import Outbox
from yoton.connection.writer import Writer
from yoton.package import Package
from yoton.queues import Overflow
from yoton.waiting import WaitPoint

PACKAGE = Package(b"x", 1, 2, 3)


def test_what_comes_later_is_not_waited_for() -> None:
    outbox = Outbox(1000, Overflow.DROP_OLD)
    is_over = threading.Event()

    def encode(package: Package) -> Sequence[bytes]:
        # One more for each, so that there always is something to write.
        if not is_over.is_set():
            outbox.put(package)
        return ()

    writer = Writer(memory_stream_pair()[0], outbox, encode)
    outbox.put(PACKAGE)
    thread = threading.Thread(target=writer.write_pending)
    thread.start()
    try:
        assert writer.wait_until_written(Deadline(PATIENCE / 4))
    finally:
        is_over.set()
        thread.join()


def test_what_another_thread_sends_right_after_the_wait_does_not_undo_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outbox = Outbox(1000, Overflow.DROP_OLD)
    writer = Writer(memory_stream_pair()[0], outbox, lambda package: (package.data,))
    wait_for = WaitPoint.wait_for

    def wait_and_put(point: WaitPoint, predicate: Callable[[], bool], deadline: Deadline) -> bool:
        is_true = wait_for(point, predicate, deadline)
        outbox.put(PACKAGE)
        return is_true

    monkeypatch.setattr(WaitPoint, "wait_for", wait_and_put)
    outbox.put(PACKAGE)
    writer.write_pending()
    assert writer.wait_until_written(Deadline(PATIENCE))

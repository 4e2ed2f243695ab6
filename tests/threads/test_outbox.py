from __future__ import annotations

import gc
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from interrupts import random_interrupts
from support import PATIENCE, wait_until

from yoton.clock import Deadline
from yoton.connection.outbox import CONGESTION_COUNT, CONGESTION_SIZE, Outbox
from yoton.package import Package
from yoton.queues import Overflow


def patience() -> Deadline:
    return Deadline(PATIENCE)


def package(seq: int, size: int = 1) -> Package:
    return Package(bytes(size), 8, 9, seq)


def congested_outbox() -> Outbox:
    outbox = Outbox(1000, Overflow.DROP_NEW)
    for seq in range(1, CONGESTION_COUNT + 1):
        outbox.put(package(seq))
    assert outbox.is_congested
    return outbox


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Keep the garbage collector, in whose callbacks an interrupt would be lost, from running."""
    gc.disable()
    yield
    gc.enable()


def waiting_threads(outbox: Outbox) -> int:
    return len(outbox._changed.parked)


@pytest.mark.parametrize(
    "make_room",
    [
        lambda outbox: outbox.move(deque(), 1, math.inf),
        lambda outbox: outbox.take_all(),
        lambda outbox: outbox.close(),
    ],
    ids=["move", "take_all", "close"],
)
def test_all_who_wait_for_room_are_woken_by_what_makes_room(
    make_room: Callable[[Outbox], object],
) -> None:
    outbox = congested_outbox()
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(outbox.wait_for_room(Deadline(None))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: waiting_threads(outbox) == 3)
    assert results == []
    make_room(outbox)
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [True] * 3


def test_who_waits_for_room_is_woken_when_large_packages_are_dropped() -> None:
    outbox = Outbox(1, Overflow.DROP_OLD)
    outbox.put(package(1, CONGESTION_SIZE))
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(outbox.wait_for_room(Deadline(None))))
    thread.start()
    wait_until(lambda: waiting_threads(outbox) == 1)
    outbox.put(package(2))
    thread.join(PATIENCE)
    assert results == [True]


def test_waiting_for_room_ends_at_its_deadline() -> None:
    outbox = congested_outbox()
    start = time.monotonic()
    assert not outbox.wait_for_room(Deadline(0.05))
    assert time.monotonic() - start >= 0.05
    assert outbox.count == CONGESTION_COUNT


def test_too_little_room_wakes_nobody_for_good() -> None:
    outbox = congested_outbox()
    outbox.put(package(1000))
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(outbox.wait_for_room(Deadline(None))))
    thread.start()
    wait_until(lambda: waiting_threads(outbox) == 1)
    outbox.move(deque(), 1, math.inf)
    wait_until(lambda: waiting_threads(outbox) == 1, "it waits again")
    assert outbox.is_congested
    assert results == []
    outbox.move(deque(), 1, math.inf)
    thread.join(PATIENCE)
    assert results == [True]


def test_a_slow_writer_holds_a_sender_back_and_loses_nothing() -> None:
    limit = CONGESTION_COUNT
    outbox = Outbox(limit, Overflow.DROP_NEW)
    count = 2000

    def send() -> None:
        for seq in range(1, count + 1):
            assert outbox.wait_for_room(patience())
            assert outbox.put(package(seq))

    thread = threading.Thread(target=send)
    thread.start()
    taken: list[Package] = []

    def has_taken_all() -> bool:
        assert outbox.count <= limit
        taken.extend(outbox.take_all())
        return len(taken) == count

    wait_until(has_taken_all)
    thread.join(PATIENCE)
    assert [p.source_seq for p in taken] == list(range(1, count + 1))
    assert outbox.dropped == 0


@pytest.mark.usefixtures("no_collections")
def test_interrupts_of_a_sender_lose_nothing_that_is_counted() -> None:
    """What goes in comes out, in order, whenever Ctrl-C strikes."""
    outbox = Outbox(10_000_000, Overflow.DROP_NEW)
    is_over = threading.Event()
    taken: deque[Package] = deque()
    seq = 0

    def send() -> None:
        nonlocal seq
        for _ in range(1000):
            outbox.wait_for_room(patience())
            seq += 1
            outbox.put(package(seq))

    def write() -> None:
        while not is_over.is_set():
            outbox.move(taken, math.inf, math.inf)
            is_over.wait(0.0001)

    thread = threading.Thread(target=write)
    thread.start()
    with random_interrupts() as interrupts:
        for _ in range(100):
            interrupts.interrupt(send)
            wait_until(lambda: not outbox.packages, "all that was put is taken")
            assert outbox.count == 0
    assert interrupts.count > 0
    is_over.set()
    thread.join(PATIENCE)
    numbers = [p.source_seq for p in taken]
    assert numbers == sorted(set(numbers))
    assert seq - len(numbers) <= interrupts.count
    assert outbox._size == 0


@pytest.mark.usefixtures("no_collections")
def test_interrupts_of_a_writer_lose_nothing() -> None:
    outbox = Outbox(10_000_000, Overflow.DROP_NEW)
    is_over = threading.Event()
    taken: deque[Package] = deque()
    seq = 0

    def send() -> None:
        nonlocal seq
        while not is_over.is_set():
            outbox.wait_for_room(patience())
            seq += 1
            outbox.put(package(seq))

    def write() -> None:
        for _ in range(1000):
            outbox.move(taken, math.inf, math.inf)

    thread = threading.Thread(target=send)
    thread.start()
    with random_interrupts() as interrupts:
        for _ in range(200):
            interrupts.interrupt(write)
    assert interrupts.count > 0
    is_over.set()
    outbox.close()
    thread.join(PATIENCE)
    outbox.move(taken, math.inf, math.inf)
    numbers = [p.source_seq for p in taken]
    # An interrupt may have one moved twice.
    assert len(numbers) - len(set(numbers)) <= interrupts.count
    assert numbers == sorted(numbers)
    assert set(range(1, seq + 1)) - set(numbers) <= {seq}
    assert (outbox.count, outbox._size) == (0, 0)

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from interrupts import random_interrupts
from support import PATIENCE, wait_until

from yoton.clock import Deadline
from yoton.queues import BoundedQueue, Overflow

Start = Callable[[Callable[[], object]], threading.Thread]


@pytest.fixture
def start() -> Start:
    def start_thread(func: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=func, daemon=True)
        thread.start()
        return thread

    return start_thread


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def make_queue(limit: int = 1000) -> BoundedQueue[int]:
    return BoundedQueue(limit, Overflow.DROP_NEW)


def waiting_threads(queue: BoundedQueue[int]) -> int:
    return len(queue._changed.parked)


def patience() -> Deadline:
    return Deadline(PATIENCE)


def test_get_waits_for_an_item(start: Start) -> None:
    queue = make_queue()
    taken: list[int | None] = []
    thread = start(lambda: taken.append(queue.get(Deadline(None))))
    wait_until(lambda: waiting_threads(queue) == 1)
    assert taken == []
    queue.put(7)
    thread.join(PATIENCE)
    assert taken == [7]


def test_get_gives_up_at_its_deadline() -> None:
    start_time = time.monotonic()
    assert make_queue().get(Deadline(0.05)) is None
    assert time.monotonic() - start_time >= 0.05


def test_close_wakes_all_that_wait(start: Start) -> None:
    queue = make_queue()
    queue.put(1)
    results: list[object] = []
    first = queue.get(Deadline(None))
    getters = [start(lambda: results.append(queue.get(Deadline(None)))) for _ in range(3)]
    wait_until(lambda: waiting_threads(queue) == 3)
    queue.close()
    for thread in getters:
        thread.join(PATIENCE)
    assert first == 1
    assert results == [None] * 3


def test_items_put_together_wake_as_many_as_can_have_one(start: Start) -> None:
    queue = make_queue()
    taken: list[int | None] = []
    getters = [start(lambda: taken.append(queue.get(Deadline(None)))) for _ in range(3)]
    wait_until(lambda: waiting_threads(queue) == 3)
    queue.put_all([1, 2, 3])
    for thread in getters:
        thread.join(PATIENCE)
    assert sorted(item for item in taken if item is not None) == [1, 2, 3]


@pytest.mark.usefixtures("frequent_switches")
def test_each_item_arrives_once_and_those_of_a_thread_in_order(start: Start) -> None:
    senders, count, getters = 4, 500, 3
    queue: BoundedQueue[int] = make_queue(senders * count)
    results: list[list[int]] = [[] for _ in range(getters)]

    def send(sender: int) -> None:
        for number in range(count):
            assert queue.put(number * senders + sender)

    def receive(result: list[int]) -> None:
        while (item := queue.get(patience())) is not None:
            result.append(item)

    receiving = [start(lambda result=result: receive(result)) for result in results]
    sending = [start(lambda sender=sender: send(sender)) for sender in range(senders)]
    for thread in sending:
        thread.join(PATIENCE)
    queue.close()
    for thread in receiving:
        thread.join(PATIENCE)
    assert sorted(item for result in results for item in result) == list(range(senders * count))
    for result in results:
        for sender in range(senders):
            of_sender = [item for item in result if item % senders == sender]
            assert of_sender == sorted(of_sender)


def test_interrupts_of_a_sender_leave_no_taker_asleep(start: Start) -> None:
    queue = make_queue()
    taken = 0

    def take() -> None:
        nonlocal taken
        while queue.get(Deadline(None)) is not None:
            taken += 1

    def send() -> None:
        while True:
            queue.put(1)

    thread = start(take)
    with random_interrupts() as interrupts:
        for _ in range(40):
            assert interrupts.interrupt(send)
            wait_until(lambda: not len(queue), "all that was put is taken")
    queue.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert taken > 0


def test_interrupts_of_a_taker_lose_at_most_what_it_was_taking(start: Start) -> None:
    queue = make_queue(10_000_000)
    is_over = False
    sent = 0
    taken: list[int] = []

    def send() -> None:
        nonlocal sent
        while not is_over:
            wait_until(lambda: len(queue) < 100, "those before are taken")
            queue.put(sent)
            sent += 1

    def take() -> None:
        while True:
            item = queue.get(Deadline(None))
            assert item is not None
            taken.append(item)

    thread = start(send)
    with random_interrupts() as interrupts:
        for _ in range(300):
            assert interrupts.interrupt(take)
    is_over = True
    queue.take_all()
    thread.join(PATIENCE)
    assert not queue._lock._is_owned()  # type: ignore[attr-defined]
    assert taken == sorted(set(taken))
    lost = taken[-1] + 1 - len(taken)
    assert lost <= interrupts.count


def test_an_interrupt_gets_through_a_wait_for_an_item() -> None:
    queue = make_queue()
    with random_interrupts() as interrupts:
        for _ in range(200):
            assert interrupts.interrupt(lambda: queue.get(Deadline(None)))
    assert queue.put(1)
    assert queue.get(patience()) == 1

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from interrupts import random_interrupts
from support import PATIENCE, wait_until

from yoton import waiting
from yoton.clock import Deadline
from yoton.waiting import Bell, Mailbox, WaitPoint


class Counter:
    """A number that threads wait for."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = WaitPoint(self.lock)
        self.value = 0

    def add(self, number: int) -> None:
        with self.lock:
            self.changed.wake_all()
            self.value += number

    def wait_for_value(self, value: int, timeout: float | None = PATIENCE) -> bool:
        return self.changed.wait_for(lambda: self.value >= value, Deadline(timeout))

    def waiting_threads(self) -> int:
        return len(self.changed.parked)


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def run() -> Callable[[Callable[[], object]], threading.Thread]:
    def start(func: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=func, daemon=True)
        thread.start()
        return thread

    return start


Run = Callable[[Callable[[], object]], threading.Thread]


def test_a_change_wakes_all_that_wait(counter: Counter, run: Run) -> None:
    results: list[bool] = []
    threads = [
        run(lambda: results.append(counter.wait_for_value(1, None))),
        run(lambda: results.append(counter.wait_for_value(1))),
    ]
    wait_until(lambda: counter.waiting_threads() == 2)
    counter.add(1)
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [True, True]
    assert counter.waiting_threads() == 0


def test_who_is_woken_for_nothing_waits_on(counter: Counter, run: Run) -> None:
    results: list[bool] = []
    thread = run(lambda: results.append(counter.wait_for_value(2)))
    for value in (1, 2):
        wait_until(lambda: counter.waiting_threads() == 1)
        assert results == []
        counter.add(1)
        assert counter.value == value
    thread.join(PATIENCE)
    assert results == [True]


def test_the_lock_is_free_while_a_thread_waits(counter: Counter, run: Run) -> None:
    thread = run(lambda: counter.wait_for_value(1))
    wait_until(lambda: counter.waiting_threads() == 1)
    with counter.lock:
        pass
    counter.add(1)
    thread.join(PATIENCE)


def test_a_wait_ends_at_its_deadline_while_others_go_on(counter: Counter, run: Run) -> None:
    thread = run(lambda: counter.wait_for_value(1))
    wait_until(lambda: counter.waiting_threads() == 1)
    start = time.monotonic()
    assert not counter.wait_for_value(1, 0.05)
    assert 0.05 <= time.monotonic() - start < PATIENCE
    assert counter.waiting_threads() == 1
    counter.add(1)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_no_change_is_missed(counter: Counter, run: Run) -> None:
    """Two threads take turns; one that misses its turn would wait until the deadline."""
    rounds = 2000
    results: list[bool] = []

    def take_turns(first: int) -> None:
        for value in range(first, rounds, 2):
            results.append(counter.wait_for_value(value))
            counter.add(1)

    start = time.monotonic()
    for thread in [run(lambda: take_turns(0)), run(lambda: take_turns(1))]:
        thread.join(PATIENCE)
    assert results == [True] * rounds
    assert time.monotonic() - start < PATIENCE


def test_an_interrupt_gets_through_a_wait_and_leaves_nothing_behind(counter: Counter) -> None:
    with random_interrupts() as interrupts:
        for _ in range(300):
            assert interrupts.interrupt(lambda: counter.wait_for_value(1, None))
    assert not counter.lock._is_owned()  # type: ignore[attr-defined]
    # Until the next call to wake, a few tickets of interrupted waits may lie about.
    counter.add(1)
    assert counter.waiting_threads() == 0


def test_interrupts_of_the_one_that_wakes_leave_nobody_asleep(counter: Counter, run: Run) -> None:
    seen = 0
    is_over = False

    def watch() -> None:
        nonlocal seen
        while not is_over:
            counter.wait_for_value(seen + 1)
            seen = counter.value

    def change() -> None:
        while True:
            counter.add(1)

    thread = run(watch)
    with random_interrupts() as interrupts:
        for _ in range(100):
            assert interrupts.interrupt(change)
            wait_until(lambda: seen == counter.value, "the last change is noticed")
    is_over = True
    counter.add(1)
    thread.join(PATIENCE)
    assert not thread.is_alive()


# The bell


def test_a_bell_that_was_rung_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(waiting, "SIGNAL_INTERVAL", PATIENCE)
    bell = Bell()
    bell.ring()
    bell.ring()
    begin = time.monotonic()
    bell.wait(Deadline(PATIENCE))
    assert time.monotonic() - begin < PATIENCE / 2
    bell.wait(Deadline(0.0))
    assert not bell._lock.acquire(blocking=False)


def test_a_bell_wakes_who_waits():
    bell = Bell()
    thread = threading.Thread(target=bell.wait, args=(Deadline(PATIENCE),))
    thread.start()
    bell.ring()
    thread.join(PATIENCE / 2)
    assert not thread.is_alive()


def test_a_wait_for_a_bell_ends_however_late_its_thread_gets_the_processor():
    # So short that the time is over before the thread sleeps, again and again.
    for _ in range(20_000):
        Bell().wait(Deadline(2e-6))


# The mailbox


def test_who_waits_for_an_item_gets_it_at_once():
    mailbox, taken = Mailbox(), []
    thread = threading.Thread(target=lambda: taken.extend([mailbox.get(), mailbox.get()]))
    thread.start()
    wait_until(lambda: mailbox._is_awaited)
    mailbox.put(1)
    mailbox.put(2)
    thread.join(PATIENCE / 2)
    assert taken == [1, 2]


def test_no_item_is_overslept_however_many_are_put():
    mailbox, taken = Mailbox(), []
    thread = threading.Thread(target=lambda: taken.extend(mailbox.get() for _ in range(20_000)))
    thread.start()
    for number in range(20_000):
        mailbox.put(number)
    thread.join(PATIENCE)
    assert taken == list(range(20_000))

from __future__ import annotations

import threading
import time
from collections import deque

import pytest
from interrupts import call_with

from yoton import waiting
from yoton.clock import FOREVER, LONGEST_WAIT, Deadline
from yoton.exceptions import ArgumentError
from yoton.waiting import SIGNAL_INTERVAL, Bell, Mailbox, WaitPoint, wait_time


@pytest.fixture
def lock() -> threading.RLock:
    return threading.RLock()


@pytest.fixture
def point(lock: threading.RLock) -> WaitPoint:
    return WaitPoint(lock)


def is_held(lock: threading.RLock) -> bool:
    return bool(lock._is_owned())  # type: ignore[attr-defined]


# The clock


def test_a_deadline_counts_down_and_passes() -> None:
    now = 100.0
    deadline = Deadline(2.0, lambda: now)
    assert deadline.remaining() == 2.0
    assert not deadline.passed()
    now = 101.5
    assert deadline.remaining() == 0.5
    now = 102.0
    assert deadline.passed()
    assert deadline.remaining() == 0.0
    now = 110.0
    assert deadline.remaining() == 0.0


def test_a_deadline_of_none_never_passes() -> None:
    deadline = Deadline(None)
    assert deadline.remaining() is None
    assert not deadline.passed()


def test_a_negative_timeout_has_passed_at_once() -> None:
    deadline = Deadline(-1.0, lambda: 5.0)
    assert deadline.passed()
    assert deadline.remaining() == 0.0


def test_who_waits_for_long_looks_from_time_to_time() -> None:
    now = 5.0
    deadline = Deadline(float("inf"), lambda: now)
    assert deadline.remaining() == LONGEST_WAIT
    assert not deadline.passed()
    deadline = Deadline(LONGEST_WAIT + 10.0, lambda: now)
    assert deadline.remaining() == LONGEST_WAIT
    now += LONGEST_WAIT
    assert deadline.remaining() == 10.0


def test_what_is_no_number_is_no_timeout() -> None:
    with pytest.raises(ArgumentError, match="nan"):
        Deadline(float("nan"))


# Waiting


def test_what_holds_already_is_not_waited_for(point: WaitPoint) -> None:
    assert point.wait_for(lambda: True, Deadline(0.0))
    assert point.wait_for(lambda: True, Deadline(None))


def test_waiting_ends_at_the_deadline(point: WaitPoint, lock: threading.RLock) -> None:
    assert not point.wait_for(lambda: False, Deadline(0.0))
    assert not point.wait_for(lambda: False, Deadline(0.01))
    assert not is_held(lock)


def test_what_comes_true_as_the_deadline_passes_is_seen(point: WaitPoint) -> None:
    times = iter([0.0, 0.0, 1.0])
    answers = iter([False, True])
    assert point.wait_for(lambda: next(answers), Deadline(0.001, lambda: next(times)))


def test_the_predicate_is_called_with_the_lock_held(
    point: WaitPoint, lock: threading.RLock
) -> None:
    held: list[bool] = []

    def look() -> bool:
        held.append(is_held(lock))
        return len(held) == 2

    assert point.wait_for(look, Deadline(0.01))
    assert held == [True, True]


def test_an_error_in_the_predicate_leaves_the_lock_free(
    point: WaitPoint, lock: threading.RLock
) -> None:
    with pytest.raises(ZeroDivisionError):
        point.wait_for(lambda: 1 / 0 > 0, Deadline(None))
    assert not is_held(lock)


def test_a_finalizer_does_not_wait_for_what_its_own_thread_holds_up(
    point: WaitPoint, lock: threading.RLock
) -> None:
    with lock:
        assert not point.wait_for(lambda: False, Deadline(None))
        assert point.wait_for(lambda: True, Deadline(None))


def test_a_wait_that_is_given_up_leaves_nothing_behind(point: WaitPoint) -> None:
    for _ in range(3):
        point.wait_for(lambda: False, Deadline(0.001))
    assert point.parked == []


def test_nobody_waiting_is_no_problem(point: WaitPoint, lock: threading.RLock) -> None:
    with lock:
        point.wake_all()
        point.wake_all()


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a thread waits for a lock with; none takes any time."""
    timeouts: list[float] = []

    class Ticket:
        def acquire(self, timeout: float = -1) -> None:
            timeouts.append(timeout)

    monkeypatch.setattr(waiting.threading, "Lock", Ticket)
    return timeouts


def wait_once(point: WaitPoint, deadline: Deadline) -> None:
    answers = iter([False, True])
    assert point.wait_for(lambda: next(answers), deadline)


@pytest.mark.parametrize("deadline", [FOREVER, Deadline(float("inf"))])
def test_no_wait_is_longer_than_a_lock_can_count(
    point: WaitPoint, timeouts: list[float], monkeypatch: pytest.MonkeyPatch, deadline: Deadline
) -> None:
    monkeypatch.setattr(waiting.threading, "get_ident", lambda: 0)
    wait_once(point, deadline)
    Bell().wait(deadline)
    assert [timeout for timeout in timeouts if timeout != -1] == [LONGEST_WAIT] * 2


@pytest.mark.parametrize("deadline", [FOREVER, Deadline(float("inf"))])
def test_the_main_thread_looks_again_and_again_as_a_signal_may_not_wake_it(
    point: WaitPoint, timeouts: list[float], deadline: Deadline
) -> None:
    wait_once(point, deadline)
    Bell().wait(deadline)
    assert [timeout for timeout in timeouts if timeout != -1] == [SIGNAL_INTERVAL] * 2


def test_a_shorter_wait_ends_at_its_deadline() -> None:
    now = 0.0
    deadline = Deadline(SIGNAL_INTERVAL, lambda: now)
    now = 0.25 * SIGNAL_INTERVAL
    assert wait_time(deadline) == 0.75 * SIGNAL_INTERVAL
    now = 2 * SIGNAL_INTERVAL
    assert wait_time(deadline) == 0.0


def test_a_wait_of_several_pieces_is_a_whole_one(
    point: WaitPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SIGNAL_INTERVAL", 0.01)
    start = time.monotonic()
    assert not point.wait_for(lambda: False, Deadline(0.05))
    assert time.monotonic() - start >= 0.05
    assert point.parked == []


def test_a_mailbox_gives_its_items_in_order() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert mailbox.is_empty()
    mailbox.put(1)
    mailbox.put(2)
    assert [mailbox.get(), mailbox.get()] == [1, 2]
    assert mailbox.is_empty()


def test_what_is_put_just_before_the_wait_is_not_waited_for() -> None:
    mailbox: Mailbox[int] = Mailbox()

    class Late(deque[int]):
        """Somebody puts an item between the two looks at that."""

        looks = 0

        def __bool__(self) -> bool:
            self.looks += 1
            if self.looks == 2:
                mailbox.put(1)
            return len(self) > 0

    class Unused:
        """A bell that nobody waits for."""

        def ring(self) -> None:
            pass

    mailbox._items = Late()
    mailbox._bell = Unused()  # type: ignore[assignment]
    assert mailbox.get() == 1


def test_a_call_to_wake_that_was_cut_short_can_be_repeated(
    point: WaitPoint, lock: threading.RLock
) -> None:
    opened, closed = threading.Lock(), threading.Lock()
    closed.acquire()
    # As an interrupt between the two leaves them.
    point.parked += [opened, closed]
    with lock:
        point.wake_all()
    assert not closed.locked()
    assert point.parked == []


def test_a_change_that_a_finalizer_makes_in_the_waiting_thread_is_noticed(
    point: WaitPoint, lock: threading.RLock
) -> None:
    """It may come between looking and waiting, where nobody else can make a change."""
    timeout = 0.3
    changed_at: list[float] = []

    def change() -> None:
        with lock:
            point.wake_all()
            changed_at.append(time.monotonic())

    def seconds_until_change(moment: int) -> float:
        changed_at.clear()
        start = time.monotonic()
        results: list[bool] = []
        assert call_with(
            lambda: results.append(point.wait_for(lambda: bool(changed_at), Deadline(timeout))),
            change,
            moment,
        )
        assert not is_held(lock)
        if changed_at[0] < start + timeout:
            assert results == [True]
            assert time.monotonic() < start + timeout
        return changed_at[0] - start

    moment = 1
    while seconds_until_change(moment) < timeout:
        moment += 1
    assert moment > 10

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from manual_scheduler import ManualScheduler

from yoton.events.scheduler import Agenda, Alarm

_times = st.integers(min_value=0, max_value=10).map(float)


class AgendaMachine(RuleBasedStateMachine):
    """An agenda against a list that is searched each time."""

    added = Bundle("added")

    def __init__(self) -> None:
        super().__init__()
        self.agenda = Agenda()
        self.expected: list[tuple[float, int, Callable[[], object]]] = []

    @rule(target=added, due=_times)
    def add(self, due: float) -> tuple[float, int, Callable[[], object]]:
        call = self.agenda.add(due, lambda: None)
        self.expected.append(call)
        return call

    @rule(call=consumes(added))
    def discard(self, call: tuple[float, int, Callable[[], object]]) -> None:
        self.agenda.discard(call)
        self.agenda.discard(call)
        if call in self.expected:
            self.expected.remove(call)

    @rule(now=_times)
    def take(self, now: float) -> None:
        # min() takes the first of equals: the one that was added before.
        first = min(self.expected, key=lambda call: call[0], default=None)
        func = self.agenda.take_due(now)
        if first is not None and first[0] <= now:
            assert func is first[2]
            self.expected.remove(first)
        else:
            assert func is None

    @invariant()
    def nothing_else_is_kept(self) -> None:
        due_times = [call[0] for call in self.expected]
        assert self.agenda.next_due() == min(due_times, default=None)
        assert len(self.agenda._calls) == len(due_times)


TestAgenda = AgendaMachine.TestCase


def test_calls_are_made_at_their_times_in_order() -> None:
    scheduler = ManualScheduler()
    calls: list[tuple[str, float]] = []
    start = scheduler.now()

    def note(name: str) -> Callable[[], None]:
        return lambda: calls.append((name, scheduler.now() - start))

    scheduler.call_after(2.0, note("second"))
    scheduler.call_after(1.0, note("first"))
    scheduler.call_at(start + 2.0, note("third"))
    scheduler.call_after(-1.0, note("late"))
    scheduler.advance(1.5)
    assert calls == [("late", 0.0), ("first", 1.0)]
    scheduler.advance(1.5)
    assert calls[2:] == [("second", 2.0), ("third", 2.0)]


def test_a_cancelled_call_is_not_made_and_not_kept() -> None:
    scheduler = ManualScheduler()
    calls: list[int] = []
    scheduled = [
        scheduler.call_after(1.0, lambda number=number: calls.append(number)) for number in range(3)
    ]
    scheduled[1].cancel()
    scheduled[1].cancel()
    assert len(scheduler._agenda._calls) == 2
    scheduler.advance(1.0)
    scheduled[0].cancel()
    assert calls == [0, 2]


def test_a_call_may_cancel_one_that_is_due_as_well() -> None:
    scheduler = ManualScheduler()
    calls: list[str] = []
    scheduler.call_after(1.0, lambda: second.cancel())
    second = scheduler.call_after(1.0, lambda: calls.append("second"))
    scheduler.advance(2.0)
    assert calls == []


def test_the_scheduler_can_be_used_by_a_thread_that_is_inside() -> None:
    """As a signal handler or a finalizer does."""
    scheduler = ManualScheduler()
    calls: list[int] = []
    with scheduler._lock:
        scheduler.call_after(1.0, lambda: calls.append(1))
        scheduler.call_after(1.0, int).cancel()
    scheduler.advance(1.0)
    assert calls == [1]


def test_a_time_has_to_be_a_number() -> None:
    with pytest.raises(ValueError, match="not a number"):
        ManualScheduler().call_after(float("nan"), int)


class Sleeper:
    """Has an alarm that it sets anew, as it has to."""

    def __init__(self, scheduler: ManualScheduler) -> None:
        self.scheduler = scheduler
        self.alarm = Alarm(scheduler, self.wake)
        self.woken_at: list[float] = []
        self.next_due: float | None = None

    def wake(self) -> None:
        self.woken_at.append(self.scheduler.time)
        self.alarm.reset(self.next_due)


def test_an_alarm_comes_at_the_earliest_time_it_was_set_to_and_again_when_it_is_reset() -> None:
    scheduler = ManualScheduler()
    sleeper = Sleeper(scheduler)
    begin = scheduler.time
    for due in (begin + 5.0, begin + 3.0, begin + 4.0):
        sleeper.alarm.set(due)
    sleeper.next_due = begin + 4.0
    scheduler.advance(3.5)
    sleeper.next_due = None
    scheduler.advance(10.0)
    assert sleeper.woken_at == [begin + 3.0, begin + 4.0]
    sleeper.alarm.set(begin + 20.0)
    scheduler.advance(10.0)
    assert sleeper.woken_at[2:] == [begin + 20.0]


def test_an_alarm_that_is_set_to_nothing_does_not_come() -> None:
    scheduler = ManualScheduler()
    sleeper = Sleeper(scheduler)
    sleeper.alarm.set(None)
    sleeper.alarm.set(scheduler.time + 1.0)
    sleeper.alarm.set(None)
    assert scheduler._agenda.next_due() is None


def test_an_alarm_keeps_nobody_alive() -> None:
    scheduler = ManualScheduler()
    sleeper = Sleeper(scheduler)
    sleeper.alarm.set(scheduler.time + 1.0)
    gone = weakref.ref(sleeper)
    del sleeper
    gc.collect()
    assert gone() is None
    scheduler.advance(2.0)


def test_an_alarm_is_silent_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(due: float, func: object) -> None:
        raise RuntimeError("can't start new thread")

    scheduler = ManualScheduler()
    sleeper = Sleeper(scheduler)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "call_at", refuse)
        sleeper.alarm.set(scheduler.time + 1.0)
    sleeper.alarm.set(scheduler.time + 1.0)
    scheduler.advance(1.0)
    assert len(sleeper.woken_at) == 1

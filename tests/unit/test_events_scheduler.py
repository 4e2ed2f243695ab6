from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from manual_scheduler import ManualScheduler

from yoton.events.scheduler import Agenda

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

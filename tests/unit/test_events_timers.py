from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manual_scheduler import ManualScheduler

from yoton.events import timers as timers_module
from yoton.events.queue import MAX_QUEUED_EVENTS, Event, EventQueue
from yoton.events.scheduler import ScheduledCall
from yoton.events.timers import Timer, next_due


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> EventQueue:
    queue = EventQueue()
    monkeypatch.setattr(timers_module, "app", queue)
    return queue


@pytest.fixture
def scheduler(queue: EventQueue, monkeypatch: pytest.MonkeyPatch) -> ManualScheduler:
    scheduler = ManualScheduler()
    monkeypatch.setattr(timers_module, "scheduler", scheduler)
    return scheduler


class Beats:
    """Notes at which times, counted from the first use, a timer called it."""

    def __init__(self, timer: Timer, scheduler: ManualScheduler) -> None:
        self.times: list[float] = []
        start = scheduler.now()
        self.handler: Callable[[], None] = lambda: self.times.append(
            round(scheduler.now() - start, 6)
        )
        timer.bind(self.handler)


def test_a_oneshot_timer_is_emitted_once(queue: EventQueue, scheduler: ManualScheduler) -> None:
    timer = Timer(2.0)
    beats = Beats(timer, scheduler)
    assert not timer.running
    timer.start()
    assert timer.running
    scheduler.advance(1.9)
    queue.process_events()
    assert beats.times == []
    scheduler.advance(0.2)
    assert not timer.running
    queue.process_events()
    scheduler.advance(10)
    queue.process_events()
    assert len(beats.times) == 1


def test_handlers_get_no_arguments_and_are_called_by_the_event_loop(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    calls: list[object] = []
    timer = Timer()
    timer.bind(lambda *args, **kwargs: calls.append((args, kwargs)))
    timer.start()
    scheduler.advance(1.0)
    assert calls == []
    queue.process_events()
    assert calls == [((), {})]


def test_a_timer_beats_until_it_is_stopped(queue: EventQueue, scheduler: ManualScheduler) -> None:
    timer = Timer(0.5, oneshot=False)
    beats = Beats(timer, scheduler)
    timer.start()
    for _ in range(4):
        scheduler.advance(0.5)
        queue.process_events()
    assert timer.running
    timer.stop()
    assert not timer.running
    scheduler.advance(2.0)
    queue.process_events()
    assert beats.times == [0.5, 1.0, 1.5, 2.0]


def test_a_slow_event_loop_gets_one_emission_for_many_beats(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(0.1, oneshot=False)
    beats = Beats(timer, scheduler)
    timer.start()
    scheduler.advance(1.05)
    queue.process_events()
    assert beats.times == [1.05]
    scheduler.advance(0.1)
    queue.process_events()
    assert beats.times == [1.05, 1.15]


def test_a_late_scheduler_leaves_beats_out_and_does_not_drift(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(0.5, oneshot=False)
    beats = Beats(timer, scheduler)
    timer.start()
    scheduler.time += 1.8
    scheduler.make_due_calls()
    queue.process_events()
    scheduler.advance(0.2)
    queue.process_events()
    assert beats.times == [1.8, 2.0]


def test_a_start_while_it_runs_starts_anew(queue: EventQueue, scheduler: ManualScheduler) -> None:
    timer = Timer(1.0, oneshot=False)
    beats = Beats(timer, scheduler)
    timer.start()
    scheduler.advance(0.7)
    timer.start(0.5, oneshot=True)
    scheduler.advance(5.0)
    queue.process_events()
    assert (timer.interval, timer.oneshot, timer.running) == (0.5, True, False)
    assert len(beats.times) == 1


@pytest.mark.parametrize("oneshot", [True, False])
def test_an_emission_in_the_queue_is_left_out_after_a_stop(
    queue: EventQueue, scheduler: ManualScheduler, oneshot: bool
) -> None:
    timer = Timer(1.0, oneshot)
    beats = Beats(timer, scheduler)
    timer.start()
    scheduler.advance(1.0)
    timer.stop()
    queue.process_events()
    assert beats.times == []


def test_an_emission_of_an_earlier_start_does_not_count_for_a_later_one(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(1.0)
    beats = Beats(timer, scheduler)
    timer.start()
    scheduler.advance(1.0)
    timer.start()
    queue.process_events()
    assert beats.times == []
    scheduler.advance(1.0)
    queue.process_events()
    assert beats.times == [2.0]


def test_a_handler_may_start_its_oneshot_timer_again(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(1.0)
    beats = Beats(timer, scheduler)
    restart = timer.start
    timer.bind(lambda: restart())
    timer.start()
    for _ in range(3):
        scheduler.advance(1.0)
        queue.process_events()
    assert beats.times == [1.0, 2.0, 3.0]


def test_an_emission_that_the_full_queue_dropped_is_not_waited_for(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(1.0, oneshot=False)
    beats = Beats(timer, scheduler)
    timer.start()
    for _ in range(MAX_QUEUED_EVENTS):
        queue.post(Event(int))
    scheduler.advance(1.0)
    queue.process_events()
    assert beats.times == []
    scheduler.advance(1.0)
    queue.process_events()
    assert beats.times == [2.0]


def test_a_new_interval_counts_from_the_next_beat(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(1.0, oneshot=False)
    beats = Beats(timer, scheduler)
    timer.start()
    timer.interval = 0.25
    for _ in range(6):
        scheduler.advance(0.25)
        queue.process_events()
    assert beats.times == [1.0, 1.25, 1.5]


def test_a_timer_that_is_made_oneshot_stops_at_its_next_beat(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    timer = Timer(1.0, oneshot=False)
    timer.start()
    timer.oneshot = True
    scheduler.advance(1.0)
    assert not timer.running


@pytest.mark.parametrize("interval", [0, -1, float("nan"), "1", None])
def test_an_interval_is_a_number_above_zero(scheduler: ManualScheduler, interval: object) -> None:
    with pytest.raises(ValueError, match="expected a number of seconds greater than zero"):
        Timer(interval)  # type: ignore[arg-type]
    timer = Timer(2.0)
    with pytest.raises(ValueError, match="greater than zero"):
        timer.interval = interval  # type: ignore[assignment]
    assert timer.interval == 2.0


def test_a_start_with_a_bad_interval_changes_nothing(scheduler: ManualScheduler) -> None:
    timer = Timer(2.0, oneshot=False)
    timer.start()
    with pytest.raises(ValueError, match="greater than zero"):
        timer.start(-1, oneshot=True)
    assert (timer.interval, timer.oneshot, timer.running) == (2.0, False, True)


def test_a_start_that_fails_leaves_the_timer_stopped(
    scheduler: ManualScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: object) -> None:
        raise RuntimeError("no thread")

    monkeypatch.setattr(scheduler, "_start_thread", fail)
    timer = Timer()
    with pytest.raises(RuntimeError, match="no thread"):
        timer.start()
    assert not timer.running


def test_a_with_block_stops_the_timer_and_does_not_start_it(scheduler: ManualScheduler) -> None:
    with Timer() as timer:
        assert not timer.running
        timer.start()
    assert not timer.running


def test_a_stopped_timer_can_be_stopped(scheduler: ManualScheduler) -> None:
    Timer().stop()


def test_a_stopped_timer_leaves_nothing_in_the_scheduler(scheduler: ManualScheduler) -> None:
    timer = Timer(1000.0)
    timer.start()
    timer.stop()
    assert scheduler._agenda.next_due() is None


def test_a_beat_that_is_about_to_come_is_left_out_after_a_stop(
    queue: EventQueue, scheduler: ManualScheduler
) -> None:
    """The thread of the scheduler has taken the call, and then another one stops the timer."""
    timer = Timer(1.0, oneshot=False)
    timer.start()
    beat = scheduler._agenda.take_due(scheduler.now() + 1.0)
    assert beat is not None
    timer.stop()
    beat()
    assert scheduler._agenda.next_due() is None


def test_a_stop_while_the_next_beat_is_scheduled_takes_it_back(
    scheduler: ManualScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_at = scheduler.call_at

    def stop_meanwhile(due: float, func: Callable[[], object]) -> ScheduledCall:
        call = call_at(due, func)
        timer.stop()
        return call

    timer = Timer(1.0, oneshot=False)
    monkeypatch.setattr(scheduler, "call_at", stop_meanwhile)
    timer.start()
    assert scheduler._agenda.next_due() is None


def test_a_timer_is_a_signal(scheduler: ManualScheduler) -> None:
    assert Timer().type is Timer


_seconds = st.floats(min_value=0, max_value=1e6)
_intervals = st.floats(min_value=1e-3, max_value=1e4)


@given(due=_seconds, interval=_intervals, late=_seconds)
def test_the_next_beat_is_the_first_to_come_in_step(
    due: float, interval: float, late: float
) -> None:
    now = due + late
    following = next_due(due, interval, now)
    beats = (following - due) / interval
    assert math.isclose(beats, round(beats), rel_tol=1e-6)
    assert -1e-6 <= following - now <= interval + 1e-6


@given(due=_seconds, interval=_intervals, early=_seconds)
def test_a_beat_that_comes_early_is_followed_an_interval_later(
    due: float, interval: float, early: float
) -> None:
    assert next_due(due, interval, due - early) == due + interval

from __future__ import annotations

import pytest
from manual_scheduler import ManualScheduler

from yoton.events import repeating
from yoton.events.repeating import RepeatedCall


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> ManualScheduler:
    scheduler = ManualScheduler()
    monkeypatch.setattr(repeating, "scheduler", scheduler)
    return scheduler


def test_it_is_made_at_once_and_after_each_delay_until_there_is_none(
    scheduler: ManualScheduler,
) -> None:
    begin = scheduler.now()
    delays, times = iter([1.0, 2.0, None]), list[float]()

    def note() -> float | None:
        times.append(scheduler.now() - begin)
        return next(delays)

    RepeatedCall(note).start()
    scheduler.advance(100.0)
    assert times == [0.0, 1.0, 3.0]


def test_it_is_not_made_when_it_is_stopped(scheduler: ManualScheduler) -> None:
    times: list[float] = []
    call = RepeatedCall(lambda: times.append(scheduler.now()) or 1.0)
    call.stop()
    call.start()
    scheduler.advance(100.0)
    assert times == []


def test_it_can_be_stopped_from_inside_and_outside(scheduler: ManualScheduler) -> None:
    made: list[str] = []

    def stop_itself() -> float:
        made.append("inside")
        inside.stop()
        return 1.0

    def go_on() -> float:
        made.append("outside")
        return 1.0

    inside, outside = RepeatedCall(stop_itself), RepeatedCall(go_on)
    inside.start()
    outside.start()
    scheduler.advance(1.5)
    outside.stop()
    scheduler.advance(100.0)
    assert made == ["inside", "outside", "outside"]

"""Looking after a peer, with a scheduler that the test moves."""

from __future__ import annotations

import pytest
from manual_scheduler import ManualScheduler

from yoton.connection import diagnosis
from yoton.connection.diagnosis import Diagnosis
from yoton.connection.heartbeat import LOOK_INTERVAL, MAX_STEP
from yoton.connection.liveness import Liveness
from yoton.events import repeating


class Patient:
    """A peer, and what was told of it."""

    def __init__(self) -> None:
        self.liveness = Liveness.NOT_RUNNING_PYTHON
        self.looks: list[float] = []
        self.told: list[Liveness] = []
        self.considered: list[float] = []

    def look(self, silent_for: float) -> Liveness:
        self.looks.append(silent_for)
        return self.liveness


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> ManualScheduler:
    scheduler = ManualScheduler()
    monkeypatch.setattr(repeating, "scheduler", scheduler)
    monkeypatch.setattr(diagnosis, "monotonic", scheduler.now)
    return scheduler


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def examined(scheduler: ManualScheduler, patient: Patient) -> Diagnosis:
    return Diagnosis(patient.look, patient.told.append, patient.considered.append)


def test_nobody_looks_before_there_is_silence(
    scheduler: ManualScheduler, patient: Patient, examined: Diagnosis
) -> None:
    examined.end(Liveness.RUNNING)
    scheduler.advance(100.0)
    assert patient.looks == []
    assert patient.told == [Liveness.RUNNING]


def test_silence_is_looked_at_until_it_ends_and_told_when_it_changes(
    scheduler: ManualScheduler, patient: Patient, examined: Diagnosis
) -> None:
    examined.begin(0.5)
    scheduler.advance(3 * LOOK_INTERVAL)
    assert patient.looks == pytest.approx([0.5 + n * LOOK_INTERVAL for n in range(4)])
    patient.liveness = Liveness.LINE_LOST
    scheduler.advance(LOOK_INTERVAL)
    assert examined.liveness is Liveness.LINE_LOST
    examined.end(Liveness.RUNNING)
    scheduler.advance(100.0)
    assert len(patient.looks) == 5
    assert patient.told == [Liveness.NOT_RUNNING_PYTHON, Liveness.LINE_LOST, Liveness.RUNNING]


def test_an_end_in_the_middle_of_a_look_counts(
    scheduler: ManualScheduler, patient: Patient
) -> None:
    def look(silent_for: float) -> Liveness:
        examined.end(Liveness.NOT_CONNECTED)
        return Liveness.SILENT

    examined = Diagnosis(look, patient.told.append, patient.considered.append)
    examined.end(Liveness.RUNNING)
    examined.begin(0.5)
    scheduler.advance(100.0)
    assert examined.liveness is Liveness.NOT_CONNECTED
    assert patient.told == [Liveness.RUNNING, Liveness.NOT_CONNECTED]
    assert patient.considered == []


def test_a_silence_that_begins_again_is_looked_at_once_each_time(
    scheduler: ManualScheduler, patient: Patient, examined: Diagnosis
) -> None:
    examined.begin(0.5)
    scheduler.advance(0.0)
    examined.begin(0.0)
    scheduler.advance(LOOK_INTERVAL)
    assert patient.looks == [0.5, 0.0, LOOK_INTERVAL]


def test_whether_it_is_too_long_is_considered_from_the_second_look_on(
    scheduler: ManualScheduler, patient: Patient, examined: Diagnosis
) -> None:
    examined.begin(0.5)
    scheduler.advance(2 * LOOK_INTERVAL)
    assert patient.considered == pytest.approx([0.5 + n * LOOK_INTERVAL for n in (1, 2)])


def test_time_in_which_this_end_did_not_run_is_no_silence_of_the_peer(
    scheduler: ManualScheduler, patient: Patient, examined: Diagnosis
) -> None:
    examined.begin(0.5)
    scheduler.advance(0.0)
    scheduler.time += 1000.0
    scheduler.make_due_calls()
    assert patient.looks == pytest.approx([0.5, 0.5 + MAX_STEP])
    assert patient.considered == [], "what came meanwhile has not been read yet"
    scheduler.advance(LOOK_INTERVAL)
    assert patient.considered == pytest.approx([0.5 + MAX_STEP + LOOK_INTERVAL])

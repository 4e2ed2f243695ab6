"""Who notices silence, with a clock that the test moves; the two threads of a link are one here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from yoton.connection import silence
from yoton.connection.heartbeat import LOOK_INTERVAL, MAX_STEP
from yoton.connection.silence import SilenceDetector

TIMEOUT = 0.5


class Line:
    """A stream, an observer and a clock: what happens is what the test does while one waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.silent_after = TIMEOUT
        self.told: list[bool] = []
        #: What happens during each wait; bytes come at the end of it.
        self.happenings: list[Callable[[], object]] = []
        self.timeouts: list[float | None] = []

    def silence_changed(self, is_silent: bool) -> None:
        self.told.append(is_silent)

    def wait_readable(self, timeout: float | None) -> bool:
        self.timeouts.append(timeout)
        if self.happenings:
            self.happenings.pop(0)()
            return True
        assert timeout is not None, "who sleeps is woken"
        self.now += timeout
        return False

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    line = Line()
    monkeypatch.setattr(silence, "monotonic", lambda: line.now)
    return line


def detector_on(line: Line, is_watching: bool = False) -> SilenceDetector:
    return SilenceDetector(line, line, is_watching)  # type: ignore[arg-type]  # needs no more


def test_who_is_not_watched_is_waited_for_without_a_deadline(line: Line) -> None:
    detector = detector_on(line)
    line.happenings = [lambda: line.pass_time(1e6)] * 2
    for _ in range(2):
        detector.wait_for_bytes()
        detector.heard()
    assert line.timeouts == [None, None]
    assert line.told == []
    assert detector.look() == float("inf")


def test_who_is_watched_is_told_of_once(line: Line) -> None:
    detector = detector_on(line, is_watching=True)

    def sleep_on() -> None:
        assert line.told == [True]
        assert line.timeouts == [TIMEOUT, None]

    def wait(timeout: float | None) -> bool:
        result = Line.wait_readable(line, timeout)
        line.happenings = [sleep_on]
        return result

    line.wait_readable = wait  # type: ignore[method-assign]
    detector.wait_for_bytes()
    detector.heard()
    detector.heard()
    assert line.told == [True, False]


def look_until_told(line: Line, detector: SilenceDetector) -> float:
    """Be the send thread; returns the seconds that it took."""
    start = line.now
    while (delay := detector.look()) < 1.0:
        line.pass_time(delay)
    assert line.told == [True]
    return line.now - start


def test_who_is_silent_already_is_noticed_too(line: Line) -> None:
    detector = detector_on(line)

    def watch() -> None:
        line.pass_time(1e6)
        detector.begin()
        assert look_until_told(line, detector) == TIMEOUT

    line.happenings = [watch]
    detector.wait_for_bytes()
    detector.heard()
    assert line.told == [True, False]
    line.happenings = [lambda: None]
    detector.wait_for_bytes()
    assert line.timeouts == [None, TIMEOUT], "the receive thread looks itself now"
    assert detector.look() == float("inf")


def test_the_timeout_counts_that_one_has_when_it_is_over(line: Line) -> None:
    detector = detector_on(line)
    line.silent_after = 60.0

    def watch() -> None:
        detector.begin()
        assert detector.look() == LOOK_INTERVAL
        line.silent_after = 2.0
        line.pass_time(LOOK_INTERVAL)
        assert look_until_told(line, detector) == 2.0 - LOOK_INTERVAL

    line.happenings = [watch]
    detector.wait_for_bytes()


def test_who_is_heard_in_time_is_not_told_of(line: Line) -> None:
    detector = detector_on(line)

    def watch() -> None:
        detector.begin()
        detector.look()
        line.pass_time(LOOK_INTERVAL)

    line.happenings = [watch, lambda: None]
    detector.wait_for_bytes()
    detector.heard()
    line.pass_time(10.0)
    assert detector.look() == float("inf")
    assert line.told == []


def test_nobody_stands_in_for_who_is_awake(line: Line) -> None:
    detector = detector_on(line)
    detector.begin()
    detector.look()
    line.pass_time(LOOK_INTERVAL)
    assert detector.look() == float("inf")
    line.pass_time(10.0)
    assert detector.look() == float("inf")
    assert line.told == []


def test_time_in_which_this_end_did_not_run_is_no_silence(line: Line) -> None:
    detector = detector_on(line)

    def watch() -> None:
        detector.begin()
        detector.look()
        line.pass_time(1000.0)
        assert detector.look() == LOOK_INTERVAL, "what came meanwhile has not been read yet"
        assert line.told == []
        line.pass_time(MAX_STEP)
        assert detector.look() == float("inf")
        assert line.told == [True]

    line.happenings = [watch]
    detector.wait_for_bytes()


def test_who_begins_just_before_the_sleep_is_not_overslept(line: Line) -> None:
    class Late(SilenceDetector):
        """Somebody begins to watch between the two looks at that."""

        __slots__ = ()

        def _sleep(self) -> bool:
            self.begin()
            return super()._sleep()

    detector = Late(line, line, is_watching=False)  # type: ignore[arg-type]
    line.happenings = [lambda: None]
    detector.wait_for_bytes()
    assert line.timeouts == [TIMEOUT]
    assert detector.look() == float("inf")


def test_who_looks_while_somebody_is_about_to_begin_leaves_it_at_that(line: Line) -> None:
    detector = detector_on(line)

    def watch() -> None:
        detector.begin()
        detector.is_watching = False  # as before the last of its steps
        assert detector.look() == float("inf")
        detector.is_watching = True
        assert look_until_told(line, detector) == TIMEOUT

    line.happenings = [watch]
    detector.wait_for_bytes()


def test_who_begins_a_second_time_changes_nothing(line: Line) -> None:
    detector = detector_on(line)
    detector.begin()
    stand_in = detector._stand_in
    detector.begin()
    assert detector._stand_in is stand_in

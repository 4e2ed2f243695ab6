from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton.connection.heartbeat import (
    BEAT_INTERVAL,
    MIN_SILENCE_TIMEOUT,
    UNWATCHED_BEAT_INTERVAL,
    SilenceWatch,
    beat_delay,
)

TIMEOUT = 0.5


def test_the_intervals_are_those_of_pyzo() -> None:
    assert (BEAT_INTERVAL, MIN_SILENCE_TIMEOUT) == (0.25, 0.5)


def test_who_is_not_watched_beats_rarely():
    assert beat_delay(100.0, 100.25, is_watched=False) == UNWATCHED_BEAT_INTERVAL - 0.25


@pytest.mark.parametrize(
    ("last_sent", "now", "delay"),
    [(10.0, 10.0, 0.25), (10.0, 10.125, 0.125), (10.0, 10.25, 0.0), (10.0, 99.0, 0.0)],
)
def test_a_beat_is_due_a_quarter_second_after_the_last_write(
    last_sent: float, now: float, delay: float
) -> None:
    assert beat_delay(last_sent, now, is_watched=True) == delay


def test_silence_is_told_once() -> None:
    watch = SilenceWatch(10.0)
    assert not watch.look(10.4, TIMEOUT)
    assert watch.look(10.5, TIMEOUT)
    assert not watch.look(10.6, TIMEOUT)
    assert not watch.look(99.0, TIMEOUT)


def test_the_end_of_silence_is_told_once() -> None:
    watch = SilenceWatch(10.0)
    watch.look(10.5, TIMEOUT)
    assert watch.heard()
    assert not watch.heard()


def test_a_peer_that_is_heard_in_time_is_never_silent() -> None:
    watch = SilenceWatch(10.0)
    for now in (10.4, 10.8, 11.2):
        assert not watch.look(now, TIMEOUT)
        assert not watch.heard()
        watch.restart(now)
    assert watch.look(11.7, TIMEOUT)


def test_silence_can_come_again() -> None:
    watch = SilenceWatch(10.0)
    assert watch.look(10.5, TIMEOUT)
    watch.heard()
    watch.restart(20.0)
    assert not watch.look(20.4, TIMEOUT)
    assert watch.look(20.5, TIMEOUT)


def test_the_delay_is_what_is_left_until_silence() -> None:
    watch = SilenceWatch(10.0)
    assert watch.delay(10.0, TIMEOUT) == 0.5
    assert watch.delay(10.25, TIMEOUT) == 0.25
    assert watch.delay(99.0, TIMEOUT) == 0.0


def test_nothing_is_due_while_the_peer_is_silent() -> None:
    watch = SilenceWatch(10.0)
    watch.look(10.5, TIMEOUT)
    assert watch.delay(10.5, TIMEOUT) is None
    watch.heard()
    assert watch.delay(10.5, TIMEOUT) is not None


def test_the_timeout_may_change_at_any_time() -> None:
    watch = SilenceWatch(10.0)
    assert watch.delay(11.0, 5.0) == 4.0
    assert watch.look(11.0, 0.5)


@given(st.floats(0, 1e6), st.floats(0, 10), st.floats(0.5, 10))
def test_the_watch_is_due_when_its_delay_has_passed(
    start: float, pause: float, timeout: float
) -> None:
    watch = SilenceWatch(start)
    now = start + pause
    delay = watch.delay(now, timeout)
    assert delay is not None
    assert (delay == 0.0) is watch.look(now, timeout)

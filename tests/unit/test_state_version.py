"""Which of two states is the newer one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yoton.channels.state import Version

FIRST = Version(0, 0)


def test_a_state_that_is_set_later_is_newer():
    one = FIRST.next(context_id=5, now=1000.0)
    two = one.next(context_id=3, now=1000.000001)
    assert FIRST < one < two


def test_a_clock_that_is_behind_does_no_harm_to_who_knows_the_state():
    ahead = FIRST.next(context_id=5, now=5000.0)
    assert ahead.next(context_id=3, now=1000.0) > ahead


def test_a_program_that_is_started_anew_is_newer_though_it_knows_nothing():
    before = FIRST
    for moment in range(100):
        before = before.next(context_id=5, now=1000.0 + moment)
    assert FIRST.next(context_id=3, now=1100.0) > before


def test_the_mark_decides_when_two_set_it_at_once():
    one, two = FIRST.next(context_id=5, now=1.0), FIRST.next(context_id=3, now=1.0)
    assert one != two and max(one, two) == one


@given(st.integers(0, 2**52 - 1), st.integers(0, 2**12 - 1))
def test_it_travels_in_64_bits(time, mark):
    version = Version(time, mark)
    assert 0 <= version.to_dest_seq() < 2**64
    assert Version.from_dest_seq(version.to_dest_seq()) == version

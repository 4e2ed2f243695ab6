from __future__ import annotations

import os

import pytest

from yoton.connection.spin import MAX_OMISSIONS, SPIN_TIME, Spin, processor_count

#: Seconds that one look takes.
LOOK = SPIN_TIME / 10


class Line:
    """Something to spin on, and how often it was looked at."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.spin = Spin(lambda: self.now)
        self.looks = 0
        self.comes_after = 0

    def wait(self, comes_after: int) -> int:
        """Wait for what comes after so many looks, and get how many were made."""
        self.looks, self.comes_after = 0, comes_after
        self.spin.wait(self._has_come)
        return self.looks

    def _has_come(self) -> bool:
        self.looks += 1
        self.now += LOOK
        return self.looks > self.comes_after

    def waits_in_vain(self, count: int) -> int:
        """Wait so often for what never comes, and get how often it was looked for."""
        return sum(self.wait(MAX_OMISSIONS) > 0 for _ in range(count))


@pytest.mark.parametrize("comes_after", [0, 1, 9])
def test_it_looks_until_it_has_come(comes_after: int) -> None:
    line = Line()
    for _ in range(3):
        assert line.wait(comes_after) == comes_after + 1


def test_it_gives_up_after_a_while() -> None:
    line = Line()
    line.wait(MAX_OMISSIONS)
    assert SPIN_TIME <= line.looks * LOOK < 2 * SPIN_TIME


def test_what_was_in_vain_is_left_out_twice_as_often_each_time() -> None:
    line = Line()
    looked = [line.wait(MAX_OMISSIONS) > 0 for _ in range(16)]
    assert [index for index, has_looked in enumerate(looked) if has_looked] == [0, 2, 5, 10]


def test_in_the_long_run_what_is_always_in_vain_is_hardly_ever_done() -> None:
    line = Line()
    line.waits_in_vain(3 * MAX_OMISSIONS)
    assert 1 <= line.waits_in_vain(10 * (MAX_OMISSIONS + 1)) <= 10


def test_one_success_by_chance_does_not_make_it_try_again_and_again() -> None:
    line = Line()
    line.waits_in_vain(3 * MAX_OMISSIONS)
    while line.wait(0) == 0:
        pass
    assert line.waits_in_vain(MAX_OMISSIONS // 2) == 1


def test_it_comes_back_when_it_pays_again() -> None:
    line = Line()
    line.waits_in_vain(3 * MAX_OMISSIONS)
    for _ in range(3 * MAX_OMISSIONS):
        line.wait(0)
    assert line.waits_in_vain(1) == 1
    assert [line.wait(0) for _ in range(3)] == [0, 1, 1]


def test_it_knows_how_many_processors_it_may_use() -> None:
    assert 1 <= processor_count() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux restricts them so")
def test_processors_that_it_may_not_use_do_not_count() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processor_count() == 1
    finally:
        os.sched_setaffinity(0, before)

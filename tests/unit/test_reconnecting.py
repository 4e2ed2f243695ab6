from __future__ import annotations

import math
import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton.connection.reconnecting import MIN_DELAY, ReconnectPolicy, policy_of
from yoton.exceptions import ArgumentError


def delays(policy: ReconnectPolicy, count: int) -> list[float]:
    return list(islice(policy.delays(random.Random(1).random), count))


def test_delays_grow_up_to_the_ceiling() -> None:
    policy = ReconnectPolicy(first_delay=1.0, factor=2.0, ceiling=5.0, jitter=0.0)
    assert delays(policy, 5) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_it_is_no_busy_loop_whatever_the_policy_is() -> None:
    for policy in (
        ReconnectPolicy(first_delay=0.0),
        ReconnectPolicy(first_delay=0.0, factor=1.0),
        ReconnectPolicy(first_delay=0.0, ceiling=1e-9),
        ReconnectPolicy(first_delay=0.0, factor=1.0, jitter=1.0),
    ):
        policy.check()
        first, *others = delays(policy, 20)
        assert first == 0.0
        assert min(others) >= MIN_DELAY


@given(st.floats(0, 10), st.floats(1, 10), st.floats(MIN_DELAY, 10), st.floats(0, 1))
def test_chance_takes_no_more_than_its_part(
    first_delay: float, factor: float, ceiling: float, jitter: float
) -> None:
    policy = ReconnectPolicy(first_delay, factor, ceiling, jitter)
    policy.check()
    steady = delays(policy.replaced(jitter=0.0), 20)
    for delay, longest in zip(delays(policy, 20), steady, strict=True):
        assert longest * (1 - jitter) - 1e-9 <= delay <= longest <= ceiling


def test_delays_go_on_for_ever() -> None:
    assert delays(ReconnectPolicy(factor=1e10, jitter=0.0), 1000)[-1] == ReconnectPolicy().ceiling


@pytest.mark.parametrize(
    "changes",
    [
        {"first_delay": -1.0},
        {"factor": 0.5},
        {"factor": math.inf},
        {"factor": math.nan},
        {"ceiling": math.inf},
        {"ceiling": 0.0},
        {"ceiling": math.nan},
        {"jitter": 1.5},
        {"give_up_after": -0.1},
        {"first_delay": "soon"},
    ],
)
def test_values_that_make_no_sense_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ArgumentError):
        ReconnectPolicy().replaced(**changes).check()


def test_whether_to_connect_again_is_a_bool_or_a_policy() -> None:
    policy = ReconnectPolicy(factor=3.0)
    assert policy_of(policy) is policy
    assert policy_of(True) == ReconnectPolicy()
    assert policy_of(False) is None


@pytest.mark.parametrize("wanted", [1, 0, "yes", None, (0.1, 2.0, 5.0, 0.5, None)])
def test_what_is_neither_is_refused(wanted: bool) -> None:
    with pytest.raises(ArgumentError, match="a bool or a ReconnectPolicy"):
        policy_of(wanted)


def test_a_policy_is_checked() -> None:
    with pytest.raises(ArgumentError, match="factor"):
        policy_of(ReconnectPolicy(factor=0.0))

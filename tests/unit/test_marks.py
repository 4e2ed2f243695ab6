from __future__ import annotations

import pickle
from typing import Any

import pytest

from yoton.channels import SubChannel
from yoton.context import Context
from yoton.exceptions import ArgumentError, HighWaterMarkReached
from yoton.marks import DEFAULT_MAX_SIZE, HighWaterMark, Policy, checked_mark


def test_the_policies_have_the_names_that_users_give() -> None:
    names = {policy.value for policy in Policy}
    assert names == {"block", "drop_old", "drop_new", "latest", "error"}


def fields(mark: HighWaterMark) -> tuple[object, ...]:
    return mark.messages, mark.size, mark.policy, mark.timeout


def test_what_the_user_does_not_say_has_a_default() -> None:
    mark = checked_mark(None, None, "drop_old", None, 7)
    assert fields(mark) == (7, DEFAULT_MAX_SIZE, Policy.DROP_OLD, None)
    assert checked_mark(None, 5, "latest", None, 7).messages == 1
    assert fields(checked_mark(3, 5, "block", 0.5, 7)) == (3, 5, Policy.BLOCK, 0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"messages": 0},
        {"messages": True},
        {"messages": 1.5},
        {"size": -1},
        {"size": "1"},
        {"policy": "old"},
        {"policy": None},
        {"timeout": 1.0},
        {"policy": "block", "timeout": -1},
        {"policy": "block", "timeout": float("nan")},
        {"policy": "block", "timeout": float("inf")},
        {"policy": "block", "timeout": "1"},
        {"policy": "block", "timeout": True},
    ],
    ids=str,
)
def test_arguments_are_checked_and_change_nothing(arguments: dict[str, Any]) -> None:
    channel = SubChannel(Context(), "x")
    bounds = vars(channel._inbox).copy()
    with pytest.raises(ArgumentError):
        channel.set_high_water_mark(**arguments)
    assert vars(channel._inbox) == bounds


def test_the_exception_says_how_many_also_in_another_process() -> None:
    error = HighWaterMarkReached("too many", 3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.dropped) == ("too many", 3)

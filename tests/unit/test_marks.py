from __future__ import annotations

import gc
import itertools
import pickle
import weakref
from typing import Any

import pytest
from interrupts import is_interrupted
from manual_scheduler import ManualScheduler

from yoton.channels import SubChannel, subscribing
from yoton.channels.sync import FULL, OK, REPEAT_INTERVAL, WAIT
from yoton.context import Context
from yoton.events import repeating
from yoton.exceptions import ArgumentError, HighWaterMarkReached
from yoton.marks import DEFAULT_MAX_SIZE, HighWaterMark, Policy, checked_mark
from yoton.package import Bundle


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


def said(context: Context) -> list[bytes]:
    """Get what was sent, of a context without connections."""
    context.flush_burst()
    queue = context._startup_queue
    return [data for p in list(queue.packages if queue else ()) for data in p.messages()]


def deliver(sub: SubChannel, messages: list[bytes]) -> None:
    sub.deliver(Bundle(b"".join(messages), [*map(len, messages)], 8, 9, 10), itertools.count())
    sub.packages_delivered()


def test_a_receiver_that_blocks_says_so_at_its_mark_and_below_half_of_it() -> None:
    context = Context()
    sub = SubChannel(context, "x")
    sub.set_high_water_mark(4, policy="block", timeout=1.5)
    deliver(sub, [b"a"] * 3)
    assert said(context) == [OK]
    deliver(sub, [b"a"])
    assert said(context) == [OK, WAIT + b" 1.5", FULL]
    for _ in range(2):
        sub.recv(False)
    assert len(said(context)) == 3
    sub.recv(False)
    assert said(context)[3:] == [OK]


def test_a_channel_that_closes_while_another_thread_speaks_has_the_last_word() -> None:
    context = Context()
    sub = SubChannel(context, "x")
    sub.set_high_water_mark(1, policy="block")
    say = sub._say

    def say_late(word: bytes) -> None:
        if word.startswith(WAIT):
            sub.close()
        say(word)

    sub._say = say_late  # type: ignore[method-assign]
    deliver(sub, [b"a"])
    assert said(context)[-1] == OK
    assert sub.recv() == "a"


def test_a_word_that_was_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = ManualScheduler()
    monkeypatch.setattr(repeating, "scheduler", scheduler)
    monkeypatch.setattr(subscribing, "monotonic", scheduler.now)
    context = Context()
    sub = SubChannel(context, "x")
    sub.set_high_water_mark(1, policy="block")
    scheduler.advance(3 * REPEAT_INTERVAL)
    assert said(context) == [OK] * 4
    # Who waited may not have heard that nobody has to any more.
    sub.set_sync_mode(False)
    scheduler.advance(3 * REPEAT_INTERVAL)
    assert said(context) == [OK] * 7
    sub.close()
    scheduler.advance(3 * REPEAT_INTERVAL)
    assert said(context) == [OK] * 7


def test_words_are_repeated_for_no_channel_that_is_forgotten() -> None:
    forgotten = SubChannel(Context(), "x")
    forgotten.set_high_water_mark(1, policy="block")
    reference = weakref.ref(forgotten)
    del forgotten
    gc.collect()
    assert reference() is None


def test_the_last_word_is_true_whenever_an_interrupt_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Or its thread might just be saying the word before, and look again only after that.
    monkeypatch.setattr(repeating, "scheduler", ManualScheduler())
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        context = Context()
        sub = SubChannel(context, "x")
        sub.set_high_water_mark(4, policy="block")
        is_over = not is_interrupted(
            lambda sub=sub: (deliver(sub, [b"a"] * 4), sub.recv_all()), moment
        )
        assert not sub._sync_lock._is_owned()  # type: ignore[attr-defined]
        if len(sub._inbox) == 4:
            sub.packages_delivered()
            assert said(context)[-1] == FULL
        sub.recv_all()
        assert said(context)[-1] == OK
    assert moment > 50

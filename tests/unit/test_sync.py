from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton.channels import sync
from yoton.channels.sync import (
    FULL,
    FULL_ABOVE,
    FULL_LIFETIME,
    HOLD_TIMEOUT,
    OK,
    OK_BELOW,
    REPEAT_INTERVAL,
    WAIT,
    ReceiverWord,
    SenderHold,
    wait_word,
)

ALICE, BOB = 11, 12


def say(word: ReceiverWord, pending: int, now: float) -> bytes | None:
    """Look, and say what has to be said."""
    said = word.look(pending, now)
    if said is not None:
        word.said(said, now)
    return said


# The receiver


def test_the_words_are_those_on_the_wire() -> None:
    assert (FULL, OK) == (b"full", b"ok")
    assert (FULL_ABOVE, OK_BELOW) == (32, 16)


def test_the_very_first_look_says_ok() -> None:
    word = ReceiverWord()
    assert say(word, 0, 100.0) == OK
    assert say(word, 0, 100.0) is None
    assert not word.is_full


def test_the_very_first_look_can_say_full() -> None:
    assert say(ReceiverWord(), 33, 100.0) == FULL


def test_full_is_said_above_32_and_ok_below_16() -> None:
    word = ReceiverWord()
    say(word, 0, 0.0)
    assert say(word, 32, 1.0) is None
    assert say(word, 33, 1.0) == FULL
    assert word.is_full
    assert say(word, 34, 1.0) is None
    assert say(word, 16, 1.0) is None
    assert say(word, 15, 1.0) == OK
    assert not word.is_full
    assert say(word, 32, 1.0) is None


def test_the_present_word_is_repeated_every_four_seconds() -> None:
    word = ReceiverWord()
    say(word, 0, 0.0)
    assert say(word, 0, 3.9) is None
    assert say(word, 0, 4.0) == OK
    assert say(word, 0, 7.9) is None
    assert say(word, 33, 8.0) == FULL
    assert say(word, 20, 11.9) is None
    assert say(word, 20, 12.0) == FULL


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0.0, 3.0))))
def test_the_senders_know_whether_it_is_full_after_each_look(
    looks: list[tuple[int, float]],
) -> None:
    word = ReceiverWord()
    now = 0.0
    last_word = None
    last_said = 0.0
    for pending, pause in looks:
        now += pause
        said = say(word, pending, now)
        if said is not None:
            last_word, last_said = said, now
        assert word.is_full is (last_word == FULL)
        assert pending <= FULL_ABOVE or word.is_full
        assert pending >= OK_BELOW or not word.is_full
        assert now < last_said + REPEAT_INTERVAL


def test_a_word_that_was_not_said_has_to_be_said_still() -> None:
    word = ReceiverWord()
    assert word.look(0, 0.0) == OK
    assert word.look(0, 0.0) == OK
    word.said(OK, 0.0)
    assert word.look(33, 1.0) == FULL
    assert word.look(0, 1.0) is None  # it was never said


def test_a_word_is_repeated_for_those_who_came() -> None:
    word = ReceiverWord()
    assert say(word, 33, 0.0) == FULL
    word.forget()
    assert say(word, 33, 0.1) == FULL
    assert say(word, 33, 0.1) is None


def test_a_receiver_can_be_full_by_size() -> None:
    word = ReceiverWord(max_size=100)
    sizes = [10] * 11
    is_over = lambda size: sum(sizes) > size  # noqa: E731
    assert word.look(11, 0.0, is_over) == FULL
    word.said(FULL, 0.0)
    while (said := word.look(len(sizes), 0.0, is_over)) is None:
        sizes.pop()
    assert said == OK
    assert sum(sizes) == 50


def test_what_is_full_by_size_is_weighed_now_and_then_only() -> None:
    word = ReceiverWord(ok_below=10_000, max_size=100)
    weighings: list[int] = []

    def is_over(size: float) -> bool:
        weighings.append(pending)
        return pending > size

    for pending in range(1000, 0, -1):
        word.look(pending, 0.0, is_over)
        if not word.is_full:
            break
    assert 40 < pending <= 50
    assert len(weighings) < 40


# The sender


def test_a_sender_is_held_while_some_receiver_is_full() -> None:
    hold = SenderHold()
    assert not hold.is_on(0.0)
    hold.hear(ALICE, FULL, 0.0)
    hold.hear(BOB, FULL, 1.0)
    assert hold.is_on(1.0)
    hold.hear(ALICE, OK, 2.0)
    assert hold.is_on(2.0)
    hold.hear(BOB, OK, 3.0)
    assert not hold.is_on(3.0)


def test_any_other_word_counts_as_ok() -> None:
    hold = SenderHold()
    hold.hear(ALICE, FULL, 0.0)
    hold.hear(ALICE, b"FULL", 0.0)
    assert not hold.is_on(0.0)


def test_receivers_that_are_gone_hold_nobody() -> None:
    hold = SenderHold()
    hold.hear(ALICE, FULL, 0.0)
    hold.hear(BOB, FULL, 0.0)
    hold.forget([ALICE])
    assert hold.is_on(0.0)
    hold.forget([ALICE, BOB])
    assert not hold.is_on(0.0)


def test_a_hold_ends_ten_seconds_after_the_last_full() -> None:
    hold = SenderHold()
    hold.hear(ALICE, FULL, 0.0)
    hold.hear(ALICE, FULL, 5.0)
    assert hold.is_on(14.9)
    assert not hold.is_on(5.0 + FULL_LIFETIME)
    assert not hold.is_on(5.0)
    hold.hear(ALICE, FULL, 20.0)
    assert hold.is_on(20.0)


def test_receivers_that_are_made_up_take_a_bounded_amount_of_memory() -> None:
    hold = SenderHold()
    for receiver_id in range(sync._MAX_FULL_RECEIVERS + 10):
        hold.hear(receiver_id, FULL, 0.0)
    assert len(hold.full_receivers) == sync._MAX_FULL_RECEIVERS


def test_who_said_wait_is_waited_for_and_not_forgotten() -> None:
    hold = SenderHold()
    hold.hear(ALICE, WAIT, 0.0)
    hold.hear(ALICE, FULL, 0.0)  # for those who do not know the other word
    assert hold.is_lasting
    assert hold.patience == math.inf
    assert hold.is_on(FULL_LIFETIME * 100, waited=1e9)
    hold.hear(ALICE, OK, 0.0)
    assert not hold.is_on(0.0)
    assert not hold.is_lasting


def test_who_said_wait_and_is_gone_is_not_waited_for() -> None:
    hold = SenderHold()
    hold.hear(ALICE, WAIT, 0.0)
    hold.forget([ALICE])
    assert not hold.is_on(0.0)
    assert hold.patience == 0.0


def test_a_message_waits_for_each_receiver_as_long_as_that_one_says() -> None:
    hold = SenderHold()
    hold.hear(ALICE, FULL, 0.0)
    hold.hear(BOB, wait_word(2.5), 0.0)
    assert wait_word(2.5) == b"wait 2.5"
    assert hold.patience == 2.5
    assert hold.is_on(1.5, waited=1.5)
    hold.hear(BOB, OK, 2.0)
    assert hold.is_on(2.0, waited=0.9)
    assert not hold.is_on(2.0, waited=HOLD_TIMEOUT)


@pytest.mark.parametrize("word", [b"wait x", b"wait -1", b"wait nan"])
def test_a_wait_that_cannot_be_understood_is_a_full(word: bytes) -> None:
    hold = SenderHold()
    hold.hear(ALICE, word, 0.0)
    assert hold.patience == HOLD_TIMEOUT


def test_who_says_wait_takes_a_bounded_amount_of_memory() -> None:
    hold = SenderHold()
    for receiver_id in range(sync._MAX_FULL_RECEIVERS + 10):
        hold.hear(receiver_id, WAIT, 0.0)
    assert len(hold._lasting) == len(hold.full_receivers) == sync._MAX_FULL_RECEIVERS


def test_a_message_waits_as_long_as_somebody_wants_it_to() -> None:
    hold = SenderHold()
    hold.hear(1, FULL, 0.0)
    assert not hold.is_lasting_for(0.0)
    hold.hear(2, wait_word(2.0), 0.0)
    assert hold.is_lasting_for(1.9)
    assert not hold.is_lasting_for(2.0)
    hold.hear(3, wait_word(None), 0.0)
    assert hold.is_lasting_for(1e9)

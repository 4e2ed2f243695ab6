from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yoton.channels import sync
from yoton.channels.sync import (
    FULL,
    FULL_ABOVE,
    FULL_LIFETIME,
    OK,
    OK_BELOW,
    REPEAT_INTERVAL,
    ReceiverWord,
    SenderHold,
)

ALICE, BOB = 11, 12

# The receiver


def test_the_words_are_those_on_the_wire() -> None:
    assert (FULL, OK) == (b"full", b"ok")
    assert (FULL_ABOVE, OK_BELOW) == (32, 16)


def test_the_very_first_look_says_ok() -> None:
    word = ReceiverWord()
    assert word.look(0, 100.0) == OK
    assert word.look(0, 100.0) is None
    assert not word.is_full


def test_the_very_first_look_can_say_full() -> None:
    assert ReceiverWord().look(33, 100.0) == FULL


def test_full_is_said_above_32_and_ok_below_16() -> None:
    word = ReceiverWord()
    word.look(0, 0.0)
    assert word.look(32, 1.0) is None
    assert word.look(33, 1.0) == FULL
    assert word.is_full
    assert word.look(34, 1.0) is None
    assert word.look(16, 1.0) is None
    assert word.look(15, 1.0) == OK
    assert not word.is_full
    assert word.look(32, 1.0) is None


def test_the_present_word_is_repeated_every_four_seconds() -> None:
    word = ReceiverWord()
    word.look(0, 0.0)
    assert word.look(0, 3.9) is None
    assert word.look(0, 4.0) == OK
    assert word.look(0, 7.9) is None
    assert word.look(33, 8.0) == FULL
    assert word.look(20, 11.9) is None
    assert word.look(20, 12.0) == FULL


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
        said = word.look(pending, now)
        if said is not None:
            last_word, last_said = said, now
        assert word.is_full is (last_word == FULL)
        assert pending <= FULL_ABOVE or word.is_full
        assert pending >= OK_BELOW or not word.is_full
        assert now < last_said + REPEAT_INTERVAL


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

from __future__ import annotations

import pytest

from yoton.channels.replier_status import (
    BUSY_AFTER,
    MAX_NAME_LENGTH,
    STATUS,
    ReplierStatus,
    Work,
    status_of,
)
from yoton.entry import Peer
from yoton.message_types import OBJECT

PEER = Peer(7, 4711, "host", "name", "program.py")


def test_who_does_nothing_says_so() -> None:
    status = status_of(PEER, Work().report(100.0, 0))
    assert status == ReplierStatus(PEER, True, "", 0.0, 0)
    assert not status.is_busy


def test_who_is_at_work_says_at_what_and_for_how_long() -> None:
    work = Work()
    work.begin((1, 2), "add", 100.0)
    work.begin((1, 3), "later", 101.0)
    status = status_of(PEER, work.report(102.5, 3))
    assert status == ReplierStatus(PEER, True, "add", 2.5, 3)
    assert status.is_busy
    work.end((1, 2))
    assert status_of(PEER, work.report(102.5, 0)).method == "later"
    work.end((1, 3))
    work.end((1, 3))
    assert not status_of(PEER, work.report(102.5, 0)).is_busy


@pytest.mark.parametrize(
    "text",
    [
        None,
        STATUS,
        STATUS + b"\xff",
        STATUS + b"s",  # a text, which ends too early
        STATUS + OBJECT.message_to_bytes(("add", 1.0)),
        STATUS + OBJECT.message_to_bytes((1, 1.0, 1)),
    ],
)
def test_what_is_no_answer_is_none(text: bytes | None) -> None:
    assert status_of(PEER, text) == ReplierStatus(PEER, False, "", 0.0, 0)


def test_names_are_bounded() -> None:
    work = Work()
    work.begin(1, "x" * 1000, 0.0)
    assert len(work.report(0.0, 0)) < 2 * MAX_NAME_LENGTH
    text = STATUS + OBJECT.message_to_bytes(("x" * 1000, 1.0, 1))
    assert status_of(PEER, text).method == "x" * MAX_NAME_LENGTH


def test_others_hear_once_that_a_replier_is_busy_and_once_that_it_is_not() -> None:
    work = Work()
    assert work.next_deadline() is None
    assert not work.look(100.0)
    work.begin(1, "add", 100.0)
    assert work.next_deadline() == 100.0 + BUSY_AFTER
    assert not work.look(100.0 + BUSY_AFTER - 0.1)
    assert work.look(100.0 + BUSY_AFTER)
    assert work.next_deadline() is None
    assert not work.look(200.0)
    work.begin(2, "later", 200.0)
    assert not work.end(1)
    assert work.end(2)
    assert not work.end(2)
    assert work.next_deadline() is None


def test_nobody_hears_of_what_is_quick() -> None:
    work = Work()
    for now in (100.0, 100.9, 101.8):
        work.begin(1, "add", now)
        assert not work.look(now + 0.1)
        assert not work.end(1)

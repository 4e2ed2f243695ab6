"""How errors are told to requesters, and recognized by them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton.channels.error_replies import MAX_TEXT_LENGTH, error_reply, request_error
from yoton.exceptions import RequestError
from yoton.message_types import OBJECT

MARK = "yoton_ERROR_HANDLING_REQUEST"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


LINE = raised.__code__.co_firstlineno + 2


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError(), SystemExit(3), OSError(2, "no")])
def test_the_text_is_that_of_the_error_and_the_place(error):
    reply = error_reply(raised(error), is_extended=False)
    assert reply == (MARK, f"{error}\nline {LINE} of {__file__}.")


def test_the_place_is_where_the_error_was_raised():
    def inner():
        return {}["x"]

    try:
        inner()
    except KeyError as error:
        _, text = error_reply(error, is_extended=False)
    assert text == f"'x'\nline {inner.__code__.co_firstlineno + 1} of {__file__}."


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), OverflowError("v"), SyntaxError("v"), json.JSONDecodeError("v", "", 0)],
)
def test_some_errors_have_no_place(error):
    assert error_reply(raised(error), is_extended=False) == (MARK, f"{error}\n")


def test_an_error_that_was_not_raised_has_no_place():
    assert error_reply(OSError("refused"), is_extended=False) == (MARK, "refused\n")


def test_extended_requesters_get_the_type_and_the_traceback():
    mark, text, remote_type, remote_traceback = error_reply(raised(KeyError("x")), is_extended=True)
    assert (mark, text) == (MARK, f"'x'\nline {LINE} of {__file__}.")
    assert remote_type == "KeyError"
    assert remote_traceback.startswith("Traceback (most recent call last):\n")
    assert f'File "{__file__}", line {LINE}, in raised' in remote_traceback
    assert remote_traceback.endswith("KeyError: 'x'\n")


def test_the_cause_is_part_of_the_traceback():
    error = KeyError("effect")
    error.__cause__ = raised(OSError("cause"))
    assert "OSError: cause" in error_reply(raised(error), is_extended=True)[3]


def test_an_error_without_a_text_can_be_told():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    for is_extended in (False, True):
        reply = error_reply(raised(Mute()), is_extended)
        assert reply[1].startswith("Mute")


def test_texts_are_bounded():
    for part in error_reply(raised(KeyError("x" * 10**6)), is_extended=True):
        assert len(part) < MAX_TEXT_LENGTH + 10


@given(st.text(st.characters(exclude_categories=())), st.booleans())
def test_each_text_can_be_sent(text, is_extended):
    reply = error_reply(raised(KeyError(text)), is_extended)
    assert OBJECT.message_from_bytes(OBJECT.message_to_bytes(reply)) == reply


@pytest.mark.parametrize("is_extended", [False, True])
def test_the_requester_gets_the_error_back(is_extended):
    reply = error_reply(raised(ValueError("bad")), is_extended)
    error = request_error(reply)
    assert isinstance(error, RequestError)
    assert str(error) == "bad\n"
    assert error.remote_type == ("ValueError" if is_extended else "")
    assert ("ValueError: bad" in error.remote_traceback) is is_extended


class Incomparable:
    def __eq__(self, other):
        raise ValueError("the truth value of an array")

    __hash__ = None


@pytest.mark.parametrize(
    "reply",
    [
        None,
        (Incomparable(), "text"),
        7,
        "text",
        MARK,
        (),
        (MARK,),
        [MARK, "text"],
        ("other", "text"),
        (MARK, "a", "b", "c", "d"),
        ([], 1),
        {MARK: "text"},
    ],
)
def test_results_are_no_errors(reply):
    assert request_error(reply) is None


def test_an_error_whose_parts_are_no_texts_is_one_all_the_same():
    error = request_error((MARK, 5, None))
    assert error is not None
    assert str(error) == "5"
    assert error.remote_type == "None"

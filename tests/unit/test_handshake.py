from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import HELLO_ON_CHAT, LINE_OF_X, LINE_OF_Y, X_ID, X_PID, Y_ID, Y_PID

from yoton.connection.handshake import (
    MAX_LINE_SIZE,
    HandshakeRefused,
    Line,
    encode_line,
    parse_line,
    split_line,
)
from yoton.exceptions import RemoteProtocolError

NOT_YOTON = b"ERROR: this is Yoton.\r\n"
BAD_ID = b"ERROR: could not parse id.\r\n"


def read_line(data: bytes) -> Line:
    parts = split_line(data)
    assert parts is not None
    return parse_line(parts[0])


# Recorded lines


@pytest.mark.parametrize(
    ("line", "context_id", "pid"), [(LINE_OF_X, X_ID, X_PID), (LINE_OF_Y, Y_ID, Y_PID)]
)
def test_recorded_lines_are_read(line: bytes, context_id: int, pid: int) -> None:
    assert read_line(line) == Line(context_id, pid, is_extended=False)


@pytest.mark.parametrize(("line", "context_id", "pid"), [(LINE_OF_X, X_ID, X_PID)])
def test_a_line_is_written_as_recorded_but_for_the_plus(
    line: bytes, context_id: int, pid: int
) -> None:
    assert encode_line(context_id, pid) == line.replace(b".", b".+")


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32))
def test_a_line_of_this_package_says_that_it_knows_the_extension(context_id: int, pid: int) -> None:
    assert read_line(encode_line(context_id, pid)) == Line(context_id, pid, is_extended=True)


# Where a line ends


@pytest.mark.parametrize("behind", [b"", HELLO_ON_CHAT, b"\r\n", bytes(3 * MAX_LINE_SIZE)])
def test_what_follows_the_line_in_the_same_segment_is_kept(behind: bytes) -> None:
    assert split_line(LINE_OF_Y + behind) == (LINE_OF_Y[:-2], behind)


def test_a_line_is_complete_with_its_last_byte() -> None:
    for end in range(len(LINE_OF_Y)):
        assert split_line(LINE_OF_Y[:end]) is None
    assert split_line(LINE_OF_Y) == (LINE_OF_Y[:-2], b"")


def test_a_line_has_to_end_within_the_limit() -> None:
    longest = b"YOTON!" + bytes(MAX_LINE_SIZE - 8)
    assert split_line(longest) is None
    assert split_line(longest + b"\r\n") == (longest, b"")
    assert split_line(longest + b"\r\n" + b"rest") == (longest, b"rest")
    assert split_line(longest + b"\0") is None
    for too_long in (longest + b"\0\r\n", longest + bytes(2), longest + bytes(100) + b"\r\n"):
        with pytest.raises(HandshakeRefused) as raised:
            split_line(too_long)
        assert raised.value.answer == BAD_ID


@pytest.mark.parametrize(
    "data",
    [b"G", b"GET / HTTP/1.1\r\n", b"YOTAN!", b"yoton!", b"YOTON ", b"\r\n", b"\0", HELLO_ON_CHAT],
)
def test_what_is_no_yoton_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    with pytest.raises(HandshakeRefused) as raised:
        split_line(data)
    assert raised.value.answer == NOT_YOTON
    assert isinstance(raised.value, RemoteProtocolError)


# Numbers


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"YOTON!1.2", Line(1, 2, False)),
        (b"YOTON!FA598EB88776C814.1", Line(X_ID, 1, False)),
        (b"YOTON!0000000000fa598eb88776c814.1", Line(X_ID, 1, False)),
        (b"YOTON! 1f . 2 ", Line(0x1F, 2, False)),
        (b"YOTON!1. +2", Line(1, 2, True)),
        (b"YOTON!1.+2\r", Line(1, 2, True)),
        (b"YOTON!0.0", Line(0, 0, False)),
        (b"YOTON!ffffffffffffffff.1", Line(2**64 - 1, 1, False)),
    ],
)
def test_numbers_are_read_leniently(line: bytes, expected: Line) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"YOTON!",
        b"YOTON!.",
        b"YOTON!1",
        b"YOTON!1.",
        b"YOTON!.1",
        b"YOTON!1.x",
        b"YOTON!1.1.1",
        b"YOTON!1.1f",
        b"YOTON!xyz.1",
        b"YOTON!1.++1",
        b"YOTON!\xff.1",
        b"YOTON!\x00.1",
        b"YOTON!-1.1",
        b"YOTON!10000000000000000.1",
    ],
)
def test_numbers_that_do_not_parse_are_refused(line: bytes) -> None:
    with pytest.raises(HandshakeRefused) as raised:
        parse_line(line)
    assert raised.value.answer == BAD_ID


@pytest.mark.parametrize("line", [b"", b"YOTON", b"GET / HTTP/1.1"])
def test_a_line_with_another_greeting_is_refused(line: bytes) -> None:
    with pytest.raises(HandshakeRefused) as raised:
        parse_line(line)
    assert raised.value.answer == NOT_YOTON


@given(st.binary(max_size=3000))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    for stream in (data, b"YOTON!" + data, b"YOTON!" + data + b"\r\n"):
        try:
            parts = split_line(stream)
            if parts is not None:
                parse_line(parts[0])
        except HandshakeRefused as refusal:
            assert refusal.answer in (NOT_YOTON, BAD_ID)
            assert len(str(refusal)) < 400


@given(st.binary(max_size=100))
def test_a_refusal_stands_whatever_follows(data: bytes) -> None:
    def outcome(stream: bytes) -> object:
        try:
            return split_line(stream)
        except HandshakeRefused as refusal:
            return refusal.answer

    stream = b"YOTON!" + data
    for end in range(len(stream)):
        if isinstance(outcome(stream[:end]), bytes):
            assert outcome(stream) == outcome(stream[:end])

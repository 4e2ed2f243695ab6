"""Finding the end of a request in bytes that come in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton.exceptions import RemoteProtocolError
from yoton.request_line import RequestLine


def feed_pieces(line: RequestLine, pieces: list[bytes]) -> bytes | None:
    """Feed the pieces up to the one that completes the request."""
    for piece in pieces:
        request = line.feed(piece)
        if request is not None:
            return request
    return None


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


CASES = [
    (b"hello\r\n", b"hello\r\n"),
    (b"\r\n", b"\r\n"),
    (b"first\r\nsecond\r\n", b"first\r\n"),
    (b"a\rb\nc\n\rd\r\n", b"a\rb\nc\n\rd\r\n"),
    (b"\r\r\n\n", b"\r\r\n"),
    ("h\u00e9llo\r\n".encode(), "h\u00e9llo\r\n".encode()),
    (b"not yet", None),
    (b"not yet\r", None),
    (b"not yet\n", None),
]


@pytest.mark.parametrize(("data", "request_"), CASES)
def test_a_request_ends_at_the_first_cr_lf(data: bytes, request_: bytes | None) -> None:
    assert RequestLine(100).feed(data) == request_
    assert feed_pieces(RequestLine(100), byte_by_byte(data)) == request_


@given(st.lists(st.text("\r\nab\u20ac", max_size=4).map(str.encode), max_size=8))
def test_the_same_request_comes_out_however_the_bytes_are_cut(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    text, separator, _ = data.partition(b"\r\n")
    expected = text + separator if separator else None
    assert feed_pieces(RequestLine(100), pieces) == expected


def test_the_end_of_the_stream_ends_a_request() -> None:
    line = RequestLine(100)
    assert line.feed(b"hel") is None
    assert line.feed(b"lo") is None
    assert line.end_of_stream() == b"hello"


def test_no_bytes_are_no_request() -> None:
    assert RequestLine(100).end_of_stream() is None
    assert RequestLine(100).out_of_time() is None


def test_when_the_time_is_up_a_lone_lf_ends_a_request() -> None:
    line = RequestLine(100)
    assert line.feed(b"hello\n") is None
    assert line.out_of_time() == b"hello\n"


@pytest.mark.parametrize("part", [b"rm /home", b"rm /home\r", b"a\nb"])
def test_when_the_time_is_up_a_part_is_no_request(part: bytes) -> None:
    line = RequestLine(100)
    assert line.feed(part) is None
    with pytest.raises(RemoteProtocolError, match="in time"):
        line.out_of_time()


def test_a_request_may_have_exactly_the_largest_size() -> None:
    assert RequestLine(7).feed(b"hello\r\n") == b"hello\r\n"
    assert feed_pieces(RequestLine(7), byte_by_byte(b"hello\r\n")) == b"hello\r\n"


@pytest.mark.parametrize("data", [b"hello!\r\n", b"hello!!!", b"hello!!!" * 1000])
def test_a_larger_request_is_an_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="larger than 7 bytes"):
        RequestLine(7).feed(data)
    with pytest.raises(RemoteProtocolError, match="larger than 7 bytes"):
        feed_pieces(RequestLine(7), byte_by_byte(data))


def test_what_follows_a_request_does_not_count_for_its_size() -> None:
    assert RequestLine(7).feed(b"hello\r\n" + b"x" * 1000) == b"hello\r\n"

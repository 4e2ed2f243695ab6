"""The streams in memory, by one thread and without waiting."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from interrupts import is_interrupted

import yoton
from yoton.connection.memory import MIN_CAPACITY, memory_stream_pair
from yoton.exceptions import ArgumentError
from yoton.testing import join_contexts


def test_interrupts_of_a_read_lose_nothing_and_double_nothing() -> None:
    for moment in itertools.count(1):
        stream, peer = memory_stream_pair()
        peer.write([b"abcdef"], [])
        chunks: list[bytes] = []
        was_interrupted = is_interrupted(lambda to=chunks, s=stream: s.read(to, 4), moment)
        stream.read(chunks)
        stream.read(chunks)
        assert b"".join(chunks) == b"abcdef"
        if not was_interrupted:
            break
    assert moment > 1


def test_interrupts_of_a_write_are_known_to_the_writer() -> None:
    for moment in itertools.count(1):
        stream, peer = memory_stream_pair()
        counts: list[int] = []
        was_interrupted = is_interrupted(
            lambda to=counts, s=stream: s.write([b"abc", b"def"], to), moment
        )
        chunks: list[bytes] = []
        peer.read(chunks)
        assert sum(counts) == len(b"".join(chunks))
        if not was_interrupted:
            break
    assert moment > 1


@pytest.mark.parametrize("capacity", [MIN_CAPACITY - 1, -5, 1e6, True, "1000", None])
def test_a_capacity_that_holds_nothing_is_refused(capacity: Any) -> None:
    with pytest.raises(ArgumentError, match=f"at least {MIN_CAPACITY}"):
        memory_stream_pair(capacity)


def test_contexts_can_be_joined_over_the_smallest_streams() -> None:
    with yoton.Context(name="a program with a long name") as one, yoton.Context() as other:
        join_contexts(one, other, memory_stream_pair(MIN_CAPACITY))
        assert one.connection_count == 1

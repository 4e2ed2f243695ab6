"""The streams in memory, by one thread and without waiting."""

from __future__ import annotations

import itertools

from interrupts import is_interrupted

from yoton.connection.memory import memory_stream_pair


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

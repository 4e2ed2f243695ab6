"""Streams on which things go wrong: waiting, cutting, stalling, and the end."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from interrupts import is_interrupted
from support import PATIENCE, wait_until

from yoton.address import parse_address
from yoton.connection.fault_plan import MAX_UNDER_WAY
from yoton.connection.faults import Faults, FaultyStream, faulty_stream_pair
from yoton.connection.memory import memory_stream_pair
from yoton.connection.streams import ByteStream
from yoton.connection.transports import connect, listen

DATA = bytes(range(256))


def write(stream: ByteStream, data: bytes) -> None:
    counts: list[int] = []
    stream.write([data], counts)
    assert counts == [len(data)]


def read(stream: ByteStream, timeout: float = PATIENCE) -> bytes | None:
    """Read what comes in time."""
    chunks: list[bytes] = []
    if stream.wait_readable(timeout):
        stream.read(chunks)
        assert len(chunks) == 1
    return chunks[0] if chunks else None


def read_to_end(stream: ByteStream) -> list[bytes]:
    pieces = []
    while piece := read(stream):
        pieces.append(piece)
    assert piece == b""
    return pieces


@contextmanager
def waiting(wait: Callable[[float], bool], stream: FaultyStream) -> Iterator[list[bool]]:
    """Have a thread wait at a stream, until after the block at most; gives what it got."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(wait(2 * PATIENCE)))
    thread.start()
    inner = stream._stream
    parked = (stream._changed, inner._incoming._changed, inner._outgoing._changed)
    wait_until(lambda: any(point.parked for point in parked))
    yield results
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("max_piece", [None, 1, 10])
def test_all_bytes_arrive_in_order_and_then_the_end(max_piece: int | None) -> None:
    faults = Faults(delay=(0.0, 0.002), bandwidth=100_000.0, max_piece=max_piece)
    stream, peer = faulty_stream_pair(faults)
    for start in range(0, 256, 64):
        write(stream, DATA[start : start + 64])
    stream.shutdown_write()
    pieces = read_to_end(peer)
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) <= (max_piece or 256)
    assert read(peer) == b""


def test_each_direction_has_faults_of_its_own() -> None:
    ends = faulty_stream_pair(Faults(corrupt_probability=0.5), seed=1)
    for end in ends:
        write(end, DATA)
    there, back = (read(end) for end in ends)
    assert DATA != there != back != DATA


def test_a_reader_waits_until_bytes_are_due() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=0.3))
    start = time.monotonic()
    write(stream, b"late")
    assert not peer.wait_readable(0.0)
    assert not peer.wait_readable(0.01)
    chunks: list[bytes] = []
    peer.read(chunks)
    peer.read(chunks, timeout=0.01)
    assert chunks == []
    assert read(peer) == b"late"
    assert 0.3 <= time.monotonic() - start < PATIENCE


def test_a_read_waits_itself() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=0.02))
    write(stream, b"late")
    chunks: list[bytes] = []
    peer.read(chunks, timeout=PATIENCE)
    assert chunks == [b"late"]


def test_what_is_written_while_others_are_under_way_is_under_way_with_them() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=10 * PATIENCE))
    with waiting(peer.wait_readable, peer) as results:
        for count in (1, 2):
            write(stream, b"late")
            wait_until(lambda count=count: len(peer._plan._pieces) == count)
        assert results == []
        peer.abort()


def test_a_read_takes_no_more_than_is_missing() -> None:
    stream, peer = faulty_stream_pair(Faults())
    write(stream, b"abcdef")
    chunks: list[bytes] = []
    peer.read(chunks, 4)
    peer.read(chunks, 4)
    assert chunks == [b"abcd", b"ef"]


def test_a_writer_that_is_faster_than_the_line_finds_it_full() -> None:
    stream, peer = faulty_stream_pair(Faults(bandwidth=1e6), capacity=1000)
    sent = 0
    while stream.wait_writable(0.0):
        counts: list[int] = []
        stream.write([bytes(1000)], counts)
        sent += counts[0]
        peer.wait_readable(0.0)
    assert MAX_UNDER_WAY <= sent <= MAX_UNDER_WAY + 3000
    with waiting(stream.wait_writable, stream) as results:
        while not results:
            assert read(peer)


def test_the_end_comes_behind_the_bytes_that_are_under_way() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=0.02))
    write(stream, b"last")
    stream.close()
    assert read_to_end(peer) == [b"last"]


def test_who_waits_for_what_is_due_uses_no_processor() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=0.1))
    write(stream, bytes(MAX_UNDER_WAY))
    write_end = time.thread_time()
    assert read(peer)
    stream.close()
    assert read(peer) == b""
    assert time.thread_time() - write_end < 0.05


# Cutting


def test_a_line_that_is_cut_fails_at_this_end_and_ends_at_the_other() -> None:
    stream, peer = faulty_stream_pair(Faults())
    write(stream, b"has left")
    stream.cut()
    for _ in range(2):
        assert stream.wait_readable(0.0)
        assert stream.wait_writable(0.0)
        with pytest.raises(ConnectionResetError, match="the line was cut"):
            stream.read([])
        with pytest.raises(ConnectionResetError, match="the line was cut"):
            stream.write([b"more"], [])
    assert read_to_end(peer) == [b"has left"]
    with pytest.raises(BrokenPipeError):
        peer.write([b"more"], [])


def test_what_is_under_way_to_a_cut_end_is_lost() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=10 * PATIENCE))
    write(stream, b"lost")
    assert not peer.wait_readable(0.0)
    peer.cut()
    peer.abort()
    with pytest.raises(ConnectionResetError):
        peer.read([])


def test_a_line_is_cut_both_ways_after_so_many_bytes() -> None:
    stream, peer = faulty_stream_pair(Faults(cut_after=100))
    write(stream, DATA)
    assert read(peer) == DATA[:100]
    assert peer.wait_readable(0.0)
    with pytest.raises(ConnectionResetError, match="the line was cut"):
        peer.read([])
    with pytest.raises(ConnectionResetError, match="the line was cut"):
        peer.write([b"more"], [])
    assert read(stream) == b""


@pytest.mark.parametrize("end", [FaultyStream.cut, FaultyStream.abort])
@pytest.mark.parametrize("faults", [Faults(), Faults(delay=10 * PATIENCE)])
def test_who_waits_to_read_is_told_of_the_end(
    end: Callable[[FaultyStream], None], faults: Faults
) -> None:
    stream, peer = faulty_stream_pair(faults)
    write(stream, bytes(MAX_UNDER_WAY))
    if not faults.delay:
        read(peer)
    with waiting(peer.wait_readable, peer) as results:
        end(peer)
    assert results == [True]


@pytest.mark.parametrize("end", [FaultyStream.cut, FaultyStream.abort])
@pytest.mark.parametrize("is_stalled", [False, True])
def test_who_waits_to_write_is_told_of_the_end(
    end: Callable[[FaultyStream], None], is_stalled: bool
) -> None:
    stream, _ = faulty_stream_pair(Faults(), capacity=10)
    write(stream, bytes(10))
    if is_stalled:
        stream.stall()
    with waiting(stream.wait_writable, stream) as results:
        end(stream)
    assert results == [True]
    with pytest.raises(ConnectionError):
        stream.write([b"more"], [])


def test_after_an_abort_what_was_under_way_can_be_read_at_once() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=10 * PATIENCE), capacity=10**6)
    write(stream, bytes(10**5))
    assert not peer.wait_readable(0.0)
    peer.stall()
    peer.abort()
    assert b"".join(read_to_end(peer)) == bytes(10**5)


# Stalling


def test_nothing_passes_while_a_line_is_stalled_and_all_of_it_later() -> None:
    stream, peer = faulty_stream_pair(Faults())
    write(peer, b"there")
    write(stream, b"back")
    stream.stall()
    stream.stall()
    assert not stream.wait_readable(0.0)
    assert not stream.wait_readable(0.01)
    assert not stream.wait_writable(0.01)
    chunks: list[bytes] = []
    stream.read(chunks)
    counts: list[int] = []
    stream.write([b"more"], counts)
    assert (chunks, counts) == ([], [0])
    assert read(peer) == b"back"
    stream.resume()
    assert read(stream) == b"there"
    write(stream, b"more")
    assert read(peer) == b"more"


@pytest.mark.parametrize("wait", [FaultyStream.wait_readable, FaultyStream.wait_writable])
def test_who_waits_at_a_stalled_line_goes_on_when_it_resumes(
    wait: Callable[[FaultyStream, float], bool],
) -> None:
    stream, peer = faulty_stream_pair(Faults())
    write(peer, b"there")
    stream.stall()
    with waiting(lambda timeout: wait(stream, timeout), stream) as results:
        wait_until(lambda: stream._changed.parked)
        assert results == []
        stream.resume()
    assert results == [True]


def test_a_line_may_stall_while_somebody_waits() -> None:
    stream, peer = faulty_stream_pair(Faults())
    with waiting(stream.wait_readable, stream) as results:
        stream.stall()
        write(peer, b"there")
        wait_until(lambda: stream._changed.parked)
        assert results == []
        stream.resume()
    assert results == [True]
    assert read(stream) == b"there"


def test_what_is_under_way_comes_at_once_when_a_stall_was_longer() -> None:
    stream, peer = faulty_stream_pair(Faults(delay=0.01))
    write(stream, b"late")
    peer.wait_readable(0.0)
    peer.stall()
    time.sleep(0.02)
    peer.resume()
    assert peer.wait_readable(0.0)


# Before other streams


def test_it_can_stand_before_a_tcp_stream() -> None:
    listener = listen(parse_address("localhost:0"))
    carrier = connect(parse_address(f"localhost:{listener.address[1]}"), PATIENCE)
    stream = FaultyStream(carrier, Faults(max_piece=10, delay=(0.0, 0.002)))
    peer = FaultyStream(listener.accept(), Faults(max_piece=10, delay=(0.0, 0.002)))
    listener.close()
    assert stream.local_address == carrier.local_address == peer.peer_address
    peer.acknowledge_at_once()
    write(stream, DATA)
    stream.shutdown_write()
    assert b"".join(read_to_end(peer)) == DATA
    write(peer, DATA)
    peer.cut()
    assert b"".join(read_to_end(stream)) == DATA
    stream.close()
    peer.close()


def test_an_error_of_a_tcp_stream_is_told_when_it_is_read() -> None:
    listener = listen(parse_address("localhost:0"))
    with socket.create_connection(listener.address) as carrier:
        stream = FaultyStream(listener.accept(), Faults())
        # Closed like this it resets the connection.
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    listener.close()
    assert stream.wait_readable(PATIENCE)
    assert stream.wait_readable(PATIENCE)
    with pytest.raises(ConnectionResetError):
        stream.read([])
    stream.close()


# Interrupts


def test_interrupts_of_a_read_lose_nothing_and_double_nothing() -> None:
    for moment in itertools.count(1):
        inner, peer = memory_stream_pair()
        stream = FaultyStream(inner, Faults(max_piece=4))
        peer.write([b"abcdef"], [])
        chunks: list[bytes] = []

        def go_on(stream: FaultyStream = stream, chunks: list[bytes] = chunks) -> None:
            assert stream.wait_readable(PATIENCE)
            stream.read(chunks, 2)

        was_interrupted = is_interrupted(go_on, moment)
        peer.close()
        assert b"".join([*chunks, *read_to_end(stream)]) == b"abcdef"
        if not was_interrupted:
            break
    assert moment > 50


def test_interrupts_of_a_write_are_known_to_the_writer() -> None:
    for moment in itertools.count(1):
        stream, peer = faulty_stream_pair(Faults())
        counts: list[int] = []
        was_interrupted = is_interrupted(
            lambda to=counts, s=stream: s.write([b"abc", b"def"], to), moment
        )
        stream.close()
        assert sum(counts) == len(b"".join(read_to_end(peer)))
        if not was_interrupted:
            break
    assert moment > 1

"""Two threaded links, or one and a peer in this file, over a stream in memory."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from interrupts import Interrupted, random_interrupts
from links import OTHER, OWN, End, patience
from recorded import BEAT, CLOSE, LINE_OF_Y, plain_package, read_plain_packages
from support import PATIENCE, wait_until

from yoton import waiting
from yoton.clock import Deadline
from yoton.connection import heartbeat, threaded
from yoton.connection.busy import is_busy
from yoton.connection.framing import encode_package
from yoton.connection.memory import MemoryStream, memory_stream_pair
from yoton.connection.protocol import Protocol, Role, State, contexts_gone_package
from yoton.connection.streams import read_some
from yoton.connection.threaded import hang_up, shake_hands
from yoton.exceptions import ConnectFailed
from yoton.message_types import OBJECT
from yoton.package import Package

OWN_LINE = b"YOTON!0000000000000001.+10\r\n"

#: Bytes that a stream holds: little more than a package, and than a handshake and a hello.
TINY = 100
SMALL = 300

Log = pytest.LogCaptureFixture


class PlainPeer:
    """The other end of a stream, by hand."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.received = b""

    def write(self, data: bytes) -> None:
        while data:
            counts: list[int] = []
            self.stream.write([data], counts)
            data = data[counts[0] :]
            assert self.stream.wait_writable(PATIENCE)

    def read_some(self) -> bytes:
        data = read_some(self.stream, PATIENCE)
        assert data is not None, "bytes come"
        self.received += data
        return data

    def read_until(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            assert self.read_some(), "the stream goes on"

    def read_to_end(self) -> None:
        while self.read_some():
            pass

    def messages(self) -> list[bytes]:
        """Get the data of the packages that came; they must be whole."""
        return [data for _, data in read_plain_packages(self.received) if data]


class WrappedStream(MemoryStream):
    """A stream whose methods a test can replace."""

    def __init__(self, stream: MemoryStream) -> None:
        super().__init__(stream._incoming, stream._outgoing)


def shake_each_others_hands(own: End, other: End) -> None:
    binding = threading.Thread(target=other.shake_hands)
    binding.start()
    own.shake_hands()
    binding.join(PATIENCE)


class Harness:
    """Makes links, and ends them after the test."""

    def __init__(self) -> None:
        self._ends: list[End] = []

    def pair(
        self,
        capacity: int = 65536,
        timeout: float = PATIENCE,
        others_max_data_size: int = 10**6,
    ) -> tuple[End, End]:
        """Make two ends that have shaken hands and run."""
        own_stream, other_stream = memory_stream_pair(capacity)
        other_identity = OTHER.replaced(max_data_size=others_max_data_size)
        own = End(own_stream, Protocol(Role.CONNECTOR, OWN), OWN, timeout)
        other = End(other_stream, Protocol(Role.BINDER, other_identity), OTHER, timeout)
        shake_each_others_hands(own, other)
        self.start(own)
        self.start(other)
        return own, other

    def with_plain_peer(
        self,
        capacity: int = 65536,
        timeout: float = PATIENCE,
        behind_line: bytes = b"",
        wrap: Callable[[MemoryStream], MemoryStream] = lambda stream: stream,
    ) -> tuple[End, PlainPeer]:
        """Make an end that runs, and the peer that it is connected to."""
        own_stream, peer_stream = memory_stream_pair(capacity)
        peer = PlainPeer(peer_stream)
        peer.write(LINE_OF_Y + behind_line)
        own = End(wrap(own_stream), Protocol(Role.CONNECTOR, OWN), OWN, timeout)
        own.shake_hands()
        peer.read_until(lambda: peer.received.endswith(b"\r\n"))
        assert peer.received == OWN_LINE
        peer.received = b""
        self.start(own)
        return own, peer

    def start(self, end: End) -> None:
        self._ends.append(end)
        end.link.start()
        end.link.watch()

    def with_silent_peer(self) -> tuple[End, End]:
        """Make an end that runs and does not watch, and one that has only shaken hands."""
        own_stream, other_stream = memory_stream_pair()
        own = End(own_stream, Protocol(Role.CONNECTOR, OWN), OWN, timeout=0.05)
        other = End(other_stream, Protocol(Role.BINDER, OTHER), OTHER)
        shake_each_others_hands(own, other)
        self._ends.append(own)
        own.link.start()
        return own, other

    def close(self) -> None:
        for end in self._ends:
            end.link.abort("after the test")
        for end in self._ends:
            end.join()
            assert len(end.owner.closing) == len(end.owner.ended) == 1


@pytest.fixture
def harness() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    harness.close()


@pytest.fixture
def fast_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_INTERVAL", 0.02)


@pytest.fixture
def short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.1)


def numbers(count: int) -> list[int]:
    return list(range(1, count + 1))


def messages_of(log: Log, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= level]


# Packages


def test_packages_arrive_in_order(harness: Harness) -> None:
    own, other = harness.pair()
    own.send(b"one", b"two", b"three")
    other.send(b"back")
    wait_until(lambda: len(other.owner.packages) == 3 and own.owner.packages)
    assert [package.data for package in other.owner.packages] == [b"one", b"two", b"three"]
    assert [package.data for package in own.owner.packages] == [b"back"]


@pytest.mark.parametrize("capacity", [SMALL, 65536])
def test_packages_of_many_threads_arrive_in_order(harness: Harness, capacity: int) -> None:
    own, other = harness.pair(capacity)
    threads, count = 8, 200
    data = bytes(30)

    def send() -> None:
        for _ in range(count):
            own.send(data)

    senders = [threading.Thread(target=send) for _ in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(PATIENCE)
    wait_until(lambda: len(other.owner.packages) == threads * count)
    assert other.owner.numbers == numbers(threads * count)


def test_both_ends_can_send_more_than_the_stream_holds_at_the_same_time(harness: Harness) -> None:
    ends = harness.pair(SMALL)
    for end in ends:
        end.send(bytes(20_000))
    wait_until(lambda: all(end.owner.packages for end in ends))
    assert [len(end.owner.packages[0].data) for end in ends] == [20_000, 20_000]


def test_what_came_behind_the_handshake_is_handed_on_first(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(behind_line=plain_package(b"first", 1))
    peer.write(plain_package(b"second", 2))
    wait_until(lambda: len(own.owner.packages) == 2)
    assert [package.data for package in own.owner.packages] == [b"first", b"second"]


def test_contexts_that_are_gone_are_told(harness: Harness) -> None:
    own, other = harness.pair()
    own.outbox.put(contexts_gone_package([77, 78]))
    own.link.kick()
    wait_until(lambda: other.owner.gone)
    assert other.owner.gone == [77, 78]
    assert other.owner.packages == []


def test_a_package_over_the_limit_of_the_peer_is_left_out(harness: Harness, caplog: Log) -> None:
    own, other = harness.pair(others_max_data_size=10)
    own.send(bytes(11), bytes(10))
    wait_until(lambda: other.owner.packages)
    assert other.owner.numbers == [2]
    assert "too large for this peer, not sent" in caplog.text


def test_what_the_link_has_to_tell_is_never_too_large(harness: Harness) -> None:
    own, other = harness.pair(others_max_data_size=10)
    own.outbox.put(contexts_gone_package([77, 78]))
    own.link.kick()
    wait_until(lambda: other.owner.gone)
    assert other.owner.gone == [77, 78]


def test_a_plain_peer_hears_nothing_of_what_only_extended_ones_know(harness: Harness) -> None:
    own, peer = harness.with_plain_peer()
    own.outbox.put(contexts_gone_package([77, 78]))
    own.put(b"last")
    own.link.kick()
    own.link.close("enough")
    peer.read_to_end()
    assert peer.messages() == [b"last"]


def test_objects_in_msgpack_are_written_as_a_plain_peer_reads_them(harness: Harness) -> None:
    own, peer = harness.with_plain_peer()
    own.put(OBJECT.message_to_msgpack({"a": (1, 2)}), is_msgpack=True)
    own.put(OBJECT.message_to_msgpack("x"), is_msgpack=True)
    own.link.kick()
    own.link.close("enough")
    peer.read_to_end()
    assert peer.messages() == [OBJECT.message_to_bytes({"a": (1, 2)}), b"s\x01x"]


def test_what_a_plain_peer_cannot_read_is_left_out(harness: Harness, caplog: Log) -> None:
    own, peer = harness.with_plain_peer()
    own.put(OBJECT.message_to_msgpack({1, 2}), is_msgpack=True)
    own.put(b"\xc1 no msgpack", is_msgpack=True)
    own.put(b"last")
    own.link.kick()
    own.link.close("enough")
    peer.read_to_end()
    assert peer.messages() == [b"last"]
    assert caplog.text.count("cannot be read by this peer") == 2


def test_flush_waits_until_the_stream_has_taken_all(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(TINY)
    own.put(bytes(1000))
    assert not own.link.flush(Deadline(0.05))
    reader = threading.Thread(target=peer.read_to_end)
    reader.start()
    assert own.link.flush(patience())
    own.link.close("enough")
    reader.join(PATIENCE)
    assert peer.messages() == [bytes(1000)]


def test_flush_waits_until_the_system_has_sent_all(harness: Harness) -> None:
    own, _ = harness.with_plain_peer(wrap=WrappedStream)
    unsent = 1

    def tell() -> int:
        return unsent

    own.stream.unsent = tell  # type: ignore[method-assign]
    own.send(b"slow")
    assert not own.link.flush(Deadline(0.05))
    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(own.link.flush, patience())
        assert not wait([flushing], 0.05).done
        unsent = 0
        assert flushing.result()


def test_flush_does_not_wait_until_the_system_has_sent_what_comes_later(harness: Harness) -> None:
    own, _ = harness.with_plain_peer(wrap=WrappedStream)

    def tell_while_more_comes() -> int:
        own.send(bytes(100))
        return 100

    own.send(bytes(100))
    own.stream.unsent = tell_while_more_comes  # type: ignore[method-assign]
    assert own.link.flush(patience())


def test_flush_ends_with_a_line_on_which_not_all_was_sent(harness: Harness) -> None:
    own, _ = harness.with_plain_peer(wrap=WrappedStream)
    own.stream.unsent = lambda: 1  # type: ignore[method-assign]
    own.send(b"slow")
    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(own.link.flush, Deadline(None))
        assert not wait([flushing], 0.05).done
        # As a closed one does, of which nobody can tell.
        own.stream.unsent = lambda: 1 - own.link.takes_no_more  # type: ignore[method-assign]
        own.link.abort("enough")
        assert not flushing.result(PATIENCE)


def test_interrupts_of_a_sender_lose_nothing_and_cut_nothing(harness: Harness) -> None:
    own, other = harness.pair(SMALL)

    def send() -> None:
        while True:
            own.outbox.wait_for_room(patience())
            own.put(bytes(40))
            own.link.kick()

    with random_interrupts() as interrupts:
        for _ in range(100):
            assert interrupts.interrupt(send)
    own.link.close("enough")
    own.join()
    other.join()
    assert own.owner.ended == ["enough"]
    assert other.owner.ended == ["Closed from other end."]
    arrived = other.owner.numbers
    news = [seq for place, seq in enumerate(arrived) if not place or seq > max(arrived[:place])]
    # A number that was interrupted before its package was put does not come.
    assert set(arrived) <= set(numbers(own._seq))
    assert own._seq - len(news) <= interrupts.count
    assert news == sorted(set(arrived))


# The orderly end


@pytest.mark.parametrize("capacity", [SMALL, 65536])
def test_close_delivers_all_that_was_sent_before_and_then_the_goodbye(
    harness: Harness, capacity: int
) -> None:
    own, other = harness.pair(capacity)
    for _ in range(100):
        own.put(bytes(40))
    own.link.close("enough")
    own.join()
    other.join()
    assert other.owner.numbers == numbers(100)
    assert other.owner.closing == other.owner.ended == ["Closed from other end."]
    assert own.owner.closing == own.owner.ended == ["enough"]
    assert own.protocol.state is other.protocol.state is State.CLOSED


@pytest.mark.parametrize("capacity", [SMALL, 65536])
def test_both_ends_can_close_at_the_same_time(harness: Harness, capacity: int, caplog: Log) -> None:
    for _ in range(20):
        ends = harness.pair(capacity)
        barrier = threading.Barrier(2)

        def close(end: End, barrier: threading.Barrier = barrier) -> None:
            for _ in range(10):
                end.put(bytes(40))
            barrier.wait(PATIENCE)
            end.link.close("enough")

        closing = [threading.Thread(target=close, args=(end,)) for end in ends]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(PATIENCE)
        for end in ends:
            end.join()
            assert end.owner.numbers == numbers(10)
            # The peer's goodbye may have been faster.
            assert end.owner.ended[0] in ("enough", "Closed from other end.")
            assert end.owner.closing == end.owner.ended
        assert "enough" in ends[0].owner.ended + ends[1].owner.ended
    assert messages_of(caplog) == []


def test_what_the_peer_sends_until_its_own_goodbye_still_arrives(harness: Harness) -> None:
    own, other = harness.pair()
    other.owner.on_closing = lambda: other.put(b"last word")
    own.link.close("enough")
    own.join()
    assert [package.data for package in own.owner.packages] == [b"last word"]


def test_what_is_sent_while_the_owner_hears_of_the_end_goes_before_the_goodbye(
    harness: Harness,
) -> None:
    own, peer = harness.with_plain_peer()

    def send_late() -> None:
        own.send(b"late")
        # Time for a send thread that would not wait for this.
        wait_until(lambda: not own.outbox.packages)
        own.send(b"later")

    own.owner.on_closing = send_late
    own.link.close("enough")
    assert not own.put(b"too late")
    peer.read_to_end()
    assert peer.messages() == [b"late", b"later"]
    assert peer.received.endswith(CLOSE)


def test_only_the_first_reason_counts(harness: Harness) -> None:
    own, other = harness.pair()
    own.link.close("first")
    own.link.close("second")
    own.link.abort("third")
    own.join()
    other.join()
    assert own.owner.closing == own.owner.ended == ["first"]


def test_closing_again_after_the_end_changes_nothing(harness: Harness) -> None:
    own, other = harness.pair()
    own.link.close("enough")
    other.join()
    own.join()
    for link in (own.link, other.link):
        link.close("again")
        link.abort("again")
        link.kick()
        assert link.flush(Deadline(0.0))
        assert link.join(Deadline(0.0))
    assert own.owner.ended == ["enough"]


def test_a_close_that_was_interrupted_can_be_repeated(harness: Harness) -> None:
    own, other = harness.pair()

    def interrupt() -> None:
        raise KeyboardInterrupt

    own.owner.on_closing = interrupt
    with pytest.raises(KeyboardInterrupt):
        own.link.close("enough")
    other.join()
    own.join()
    assert own.owner.ended == ["enough"]


def test_a_goodbye_while_another_thread_writes_waits_for_that_one(harness: Harness) -> None:
    """The other one finds the stream full, and nobody else would write the rest."""
    gate = threading.Event()
    is_inside = threading.Event()

    class GatedStream(WrappedStream):
        def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
            if threading.current_thread() is kicker:
                is_inside.set()
                assert gate.wait(PATIENCE)
            super().write(pieces, counts)

    kicker = threading.Thread(target=lambda: own.link.kick())
    own, peer = harness.with_plain_peer(TINY, wrap=GatedStream)
    for _ in range(10):
        own.put(bytes(100))
    kicker.start()
    assert is_inside.wait(PATIENCE)
    own.link.close("enough")
    wait_until(lambda: own.protocol.state is State.CLOSING)
    start = time.monotonic()
    gate.set()
    peer.read_to_end()
    kicker.join(PATIENCE)
    assert peer.messages() == 10 * [bytes(100)]
    assert peer.received.endswith(CLOSE)
    assert time.monotonic() - start < threaded.CLOSE_TIMEOUT


def test_a_plain_peer_that_hangs_up_at_the_goodbye_is_a_good_end(
    harness: Harness, caplog: Log
) -> None:
    own, peer = harness.with_plain_peer()
    own.send(b"one")
    own.link.close("enough")
    peer.read_until(lambda: peer.received.endswith(CLOSE))
    peer.stream.close()
    own.join()
    assert peer.messages() == [b"one"]
    assert own.owner.ended == ["enough"]
    assert messages_of(caplog) == []


@pytest.mark.usefixtures("short_close")
def test_a_peer_that_never_answers_the_goodbye_is_not_waited_for(
    harness: Harness, caplog: Log
) -> None:
    own, peer = harness.with_plain_peer()
    start = time.monotonic()
    own.link.close("enough")
    own.join()
    assert 0.1 <= time.monotonic() - start < PATIENCE
    assert own.owner.ended == ["enough"]
    assert messages_of(caplog) == ["to test: the peer did not answer the goodbye"]
    peer.read_to_end()
    assert peer.received.endswith(CLOSE)


@pytest.mark.usefixtures("short_close")
def test_a_peer_that_reads_nothing_is_not_waited_for(harness: Harness, caplog: Log) -> None:
    own, _ = harness.with_plain_peer(TINY)
    own.send(bytes(100), bytes(100))
    own.link.close("enough")
    own.join()
    assert own.owner.ended == ["enough"]
    assert messages_of(caplog) == [
        "to test: the peer did not answer the goodbye",
        "to test: closed with 2 packages not sent",
    ]
    assert not own.link.flush(Deadline(0.0))


def close_for_long(own: End) -> None:
    """Do what a signal handler does that closes and then takes longer than a close may."""
    if not own.owner.closing:
        own.link.close("enough")
        time.sleep(3 * threaded.CLOSE_TIMEOUT)


def test_an_end_waits_for_the_thread_that_was_interrupted_in_writing(
    harness: Harness, caplog: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.5)
    own, peer = harness.with_plain_peer(wrap=WrappedStream)
    write = own.stream.write

    def write_and_close(pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        write(pieces, counts)
        close_for_long(own)

    own.stream.write = write_and_close  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(peer.read_to_end)
        own.send(b"last")
        reading.result(PATIENCE)
        peer.stream.shutdown_write()
    own.join()
    assert peer.messages() == [b"last"]
    assert peer.received.endswith(CLOSE)
    assert messages_of(caplog) == []


def test_an_end_waits_for_the_thread_that_was_interrupted_in_reading(
    harness: Harness, caplog: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.5)
    own, peer = harness.with_plain_peer(wrap=WrappedStream)
    read, leading, packages = own.stream.read, threading.current_thread(), own.owner.packages

    def read_and_close(chunks: list[bytes], missing: int = 0, timeout: float = 0.0) -> None:
        if threading.current_thread() is leading:
            close_for_long(own)
        read(chunks, missing, timeout)

    own.stream.read = read_and_close  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(peer.read_until, lambda: peer.received.endswith(CLOSE))
        reading.add_done_callback(lambda _: peer.stream.shutdown_write())
        # The receive thread leaves the reading to who got what it waited for.
        for count in itertools.count(1):
            own.link.lead(lambda count=count: len(packages) >= count, patience())
            if own.owner.closing:
                break
            peer.write(plain_package(b"x", count))
            wait_until(lambda count=count: len(packages) >= count)
    own.join()
    assert messages_of(caplog) == []


@pytest.mark.usefixtures("short_close")
def test_a_peer_that_goes_on_sending_is_not_listened_to_for_ever(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(TINY)
    is_over = threading.Event()

    def send_on() -> None:
        while not is_over.is_set():
            try:
                peer.write(BEAT)
            except BrokenPipeError:
                return

    sender = threading.Thread(target=send_on)
    sender.start()
    try:
        own.link.close("enough")
        own.join()
    finally:
        is_over.set()
        sender.join(PATIENCE)
    assert own.owner.ended == ["enough"]


# Other ends


def test_abort_says_no_goodbye(harness: Harness) -> None:
    own, other = harness.pair()
    own.link.abort("broken")
    own.join()
    other.join()
    assert own.owner.closing == own.owner.ended == ["broken"]
    assert other.owner.ended == ["Other end dropped the connection."]


def test_abort_sends_no_goodbye_even_if_the_stream_takes_its_time(harness: Harness) -> None:
    class SlowStream(WrappedStream):
        def abort(self) -> None:
            if threading.current_thread() is threading.main_thread():
                own.link._send_thread.join(1.0)
            super().abort()

    own, peer = harness.with_plain_peer(wrap=SlowStream)
    own.link.abort("broken")
    peer.read_to_end()
    assert CLOSE not in peer.received


def test_abort_ends_a_link_whose_peer_reads_nothing(harness: Harness, caplog: Log) -> None:
    own, _ = harness.with_plain_peer(TINY)
    own.send(*10 * [bytes(100)])
    start = time.monotonic()
    own.link.abort("broken")
    own.join()
    assert time.monotonic() - start < threaded.CLOSE_TIMEOUT
    assert own.owner.ended == ["broken"]
    assert messages_of(caplog) == ["to test: closed with 10 packages not sent"]


@pytest.mark.parametrize("size", range(1, 57, 11))
def test_a_stream_that_ends_inside_a_package_ends_the_link(
    harness: Harness, caplog: Log, size: int
) -> None:
    own, peer = harness.with_plain_peer()
    peer.write(plain_package(b"whole", 1) + plain_package(b"cut off", 2)[:size])
    peer.stream.shutdown_write()
    own.join()
    assert [package.data for package in own.owner.packages] == [b"whole"]
    assert own.owner.ended == ["Other end dropped the connection."]
    assert messages_of(caplog) == ["to test: The stream ended in the middle of a package."]


def test_a_peer_that_hangs_up_ends_the_link(harness: Harness, caplog: Log) -> None:
    own, peer = harness.with_plain_peer()
    peer.write(plain_package(b"last", 1))
    peer.stream.close()
    own.join()
    assert own.owner.numbers == [1]
    assert own.owner.ended == ["Other end dropped the connection."]
    assert messages_of(caplog) == []


def test_a_peer_that_hangs_up_while_much_waits_ends_the_link(harness: Harness, caplog: Log) -> None:
    own, peer = harness.with_plain_peer(TINY)
    own.send(*5 * [bytes(100)])
    peer.stream.close()
    own.join()
    assert own.owner.ended == ["Other end dropped the connection."]
    assert messages_of(caplog) == ["to test: closed with 5 packages not sent"]


def test_garbage_ends_the_link_after_what_came_before(harness: Harness, caplog: Log) -> None:
    own, peer = harness.with_plain_peer()
    peer.write(plain_package(b"one", 1) + bytes(56))
    own.join()
    assert own.owner.numbers == [1]
    assert own.owner.ended == ["Lost track of the stream."]
    assert messages_of(caplog) == ["to test: Lost track of the stream."]
    peer.read_to_end()
    assert CLOSE not in peer.received


@pytest.mark.parametrize(
    ("behind_line", "reason"),
    [
        (CLOSE, "Closed from other end."),
        (bytes(56), "Lost track of the stream."),
        (plain_package(b"one", 1) + CLOSE, "Closed from other end."),
    ],
)
def test_a_link_can_end_with_what_came_behind_the_handshake(
    harness: Harness, behind_line: bytes, reason: str
) -> None:
    own, peer = harness.with_plain_peer(behind_line=behind_line)
    peer.stream.shutdown_write()
    own.join()
    assert own.owner.ended == [reason]


def test_an_error_of_the_stream_ends_the_link(harness: Harness) -> None:
    class BreakingStream(WrappedStream):
        def read(self, chunks: list[bytes], missing: int = 0) -> None:
            super().read(chunks, missing)
            if chunks == [b"break"]:
                raise ConnectionResetError(104, "reset by peer")

    own, peer = harness.with_plain_peer(wrap=BreakingStream)
    peer.write(b"break")
    own.join()
    assert own.owner.ended == ["Socket error: [Errno 104] reset by peer"]


@pytest.mark.parametrize("error", [ValueError("bad"), OSError("bad")])
def test_an_owner_that_fails_ends_the_link(harness: Harness, caplog: Log, error: Exception) -> None:
    own, peer = harness.with_plain_peer()

    def fail(packages: Sequence[Package]) -> None:
        raise error

    own.owner.on_packages = fail
    peer.write(plain_package(b"one", 1))
    own.join()
    assert own.owner.ended == ["Error while handling what came."]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error
    peer.read_to_end()


def test_the_owner_may_close_the_link_in_a_call_from_it(harness: Harness) -> None:
    own, other = harness.pair()
    joined: list[bool] = []

    def close(packages: Sequence[Package]) -> None:
        own.link.close("enough")
        joined.append(own.link.join(patience()))

    own.owner.on_packages = close
    other.send(b"go")
    own.join()
    other.join()
    assert joined == [False]
    assert own.owner.ended == ["enough"]
    assert other.owner.ended == ["Closed from other end."]


def test_join_gives_up_at_its_deadline(harness: Harness) -> None:
    own, _ = harness.pair()
    assert not own.link.join(Deadline(0.0))
    assert not own.link.join(Deadline(0.05))


def test_a_link_can_be_joined_before_it_is_started() -> None:
    stream, peer_stream = memory_stream_pair()
    peer = PlainPeer(peer_stream)
    peer.write(LINE_OF_Y + CLOSE)
    peer.stream.shutdown_write()
    own = End(stream, Protocol(Role.CONNECTOR, OWN), OWN)
    own.shake_hands()
    joined: list[bool] = []
    joining = threading.Thread(target=lambda: joined.append(own.link.join(patience())))
    joining.start()
    wait_until(lambda: own.link._changed.parked)
    own.link.start()
    joining.join(PATIENCE)
    assert joined == [True]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("is_started", [False, True])
def test_an_interrupt_while_threads_are_started_ends_the_link(
    monkeypatch: pytest.MonkeyPatch, count: int, is_started: bool
) -> None:
    own_stream, peer_stream = memory_stream_pair()
    peer = PlainPeer(peer_stream)
    peer.write(LINE_OF_Y)
    own = End(own_stream, Protocol(Role.CONNECTOR, OWN), OWN)
    own.shake_hands()
    start, started = threading.Thread.start, list[threading.Thread]()

    def start_and_interrupt(thread: threading.Thread) -> None:
        if len(started) < count:
            start(thread)
            started.append(thread)
            return
        if is_started:
            start(thread)
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_and_interrupt)
        if count < 2:
            with pytest.raises(Interrupted):
                own.link.start()
            own.link.end_here()
        else:
            own.link.start()
            own.link.abort("enough")
    own.join()
    assert len(own.owner.ended) == 1
    wait_until(lambda: not any(t.name.endswith("to test") for t in threading.enumerate()))


def test_what_runs_in_the_threads_of_a_link_does_not_wait_for_its_peer(harness: Harness) -> None:
    own, other = harness.pair()
    seen: list[bool] = []
    other.owner.on_packages = lambda packages: seen.append(is_busy())
    own.send(b"x")
    wait_until(lambda: seen)
    assert seen == [True]
    assert not is_busy()


def test_the_threads_of_a_link_have_names_and_end_with_it(harness: Harness) -> None:
    own, other = harness.pair()
    own_threads = [thread for thread in threading.enumerate() if thread.name.endswith("to test")]
    assert sorted(thread.name for thread in own_threads) == (
        2 * ["yoton-receive to test"] + 2 * ["yoton-send to test"]
    )
    assert all(thread.daemon for thread in own_threads)
    own.link.close("enough")
    other.join()
    own.join()
    assert not any(thread.is_alive() for thread in own_threads)


# Beats and silence


@pytest.mark.usefixtures("fast_beats")
def test_beats_are_sent_when_nothing_else_is(harness: Harness) -> None:
    own, peer = harness.with_plain_peer()
    start = time.monotonic()
    peer.read_until(lambda: len(peer.received) >= 5 * len(BEAT))
    elapsed = time.monotonic() - start
    assert peer.received == len(peer.received) // len(BEAT) * BEAT
    assert elapsed >= 4 * 0.02
    assert len(peer.received) // len(BEAT) <= elapsed / 0.02 + 1
    own.link.close("enough")
    peer.read_to_end()


@pytest.mark.usefixtures("fast_beats")
def test_beats_do_not_pile_up_when_the_peer_reads_nothing(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(TINY)
    own.send(bytes(1000))
    start = time.monotonic()
    wait_until(lambda: time.monotonic() > start + 0.2)
    own.link.close("enough")
    peer.read_to_end()
    assert peer.messages() == [bytes(1000)]
    assert len(read_plain_packages(peer.received)) <= 3


def test_silence_is_told_once_and_so_is_its_end(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(timeout=0.1)
    start = time.monotonic()
    wait_until(lambda: own.owner.silence)
    assert time.monotonic() - start >= 0.05
    wait_until(lambda: time.monotonic() > start + 0.5)
    assert own.owner.silence == [True]
    own.owner.silent_after = PATIENCE
    peer.write(BEAT)
    wait_until(lambda: len(own.owner.silence) == 2)
    peer.write(BEAT)
    peer.write(plain_package(b"one", 1))
    wait_until(lambda: own.owner.packages)
    assert own.owner.silence == [True, False]


def test_a_peer_that_stalls_inside_a_package_is_silent(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(timeout=0.05)
    data = plain_package(b"one", 1)
    peer.write(data[:40])
    wait_until(lambda: own.owner.silence == [True])
    own.owner.silent_after = PATIENCE
    peer.write(data[40:])
    wait_until(lambda: own.owner.packages)
    assert own.owner.silence == [True, False]


def test_the_end_of_the_stream_is_no_sign_of_life(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(timeout=0.05)
    wait_until(lambda: own.owner.silence == [True])
    peer.stream.close()
    own.join()
    assert own.owner.silence == [True]
    assert own.owner.ended == ["Other end dropped the connection."]


@pytest.mark.usefixtures("fast_beats")
def test_two_links_that_are_idle_hear_each_other(harness: Harness) -> None:
    ends = harness.pair(timeout=0.5)
    start = time.monotonic()
    wait_until(lambda: time.monotonic() > start + 1.2)
    assert [end.owner.silence for end in ends] == [[], []]


def test_a_reader_that_is_busy_does_not_take_the_peer_for_silent(harness: Harness) -> None:
    own, peer = harness.with_plain_peer(timeout=0.1)
    go_on = threading.Event()
    own.owner.on_packages = lambda packages: go_on.wait(PATIENCE)
    peer.write(plain_package(b"one", 1))
    wait_until(lambda: own.owner.packages)
    own.owner.on_packages = lambda packages: None
    start = time.monotonic()
    wait_until(lambda: time.monotonic() > start + 0.3)
    own.owner.silent_after = PATIENCE
    peer.write(plain_package(b"two", 2))
    go_on.set()
    wait_until(lambda: len(own.owner.packages) == 2)
    assert own.owner.silence == []


def is_asleep(end: End) -> bool:
    return end.link._silence._is_asleep


def test_a_peer_that_is_silent_when_one_begins_to_watch_is_told_of(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "UNWATCHED_BEAT_INTERVAL", 2 * PATIENCE)
    own, other = harness.with_silent_peer()
    wait_until(lambda: is_asleep(own))
    own.link.watch()
    wait_until(lambda: own.owner.silence == [True])
    own.owner.silent_after = PATIENCE
    harness.start(other)
    wait_until(lambda: own.owner.silence == [True, False])
    assert not is_asleep(own)


def test_a_peer_is_asked_for_beats_before_all_that_waits(harness: Harness) -> None:
    own, other = harness.with_silent_peer()
    own.owner.silent_after = PATIENCE
    for _ in range(10):
        own.send(bytes(100_000))
    own.link.watch()
    was_asked: list[bool] = []
    other.owner.on_packages = lambda packages: was_asked.append(other.link._is_watched)
    harness.start(other)
    wait_until(lambda: len(other.owner.packages) == 10)
    assert was_asked[-1]


def test_ctrl_c_leaves_no_peer_that_is_watched_and_not_asked(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = harness.with_silent_peer()
    own.owner.silent_after = PATIENCE
    writer = own.link._writer

    def interrupt(notice: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writer, "add_notice", interrupt)
        own.link.watch()
    own.link.watch()
    harness.start(other)
    wait_until(lambda: other.link._is_watched)


def test_who_cannot_tell_of_silence_breaks_off(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: Log
) -> None:
    own, _ = harness.with_silent_peer()
    own.owner.silent_after = 0.05

    def fail(is_silent: bool) -> None:
        raise ValueError("of the test")

    monkeypatch.setattr(own.owner, "silence_changed", fail)
    wait_until(lambda: is_asleep(own))
    own.link.watch()
    own.join()
    assert "broken off, as its send thread failed" in caplog.text


def test_the_end_of_a_silence_is_told_behind_its_beginning(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = harness.with_silent_peer()
    is_telling, go_on = threading.Event(), threading.Event()

    def tell(is_silent: bool) -> None:
        if is_silent:
            is_telling.set()
            go_on.wait(PATIENCE)
        own.owner.silence.append(is_silent)

    monkeypatch.setattr(own.owner, "silence_changed", tell)
    wait_until(lambda: is_asleep(own))
    own.link.watch()
    assert is_telling.wait(PATIENCE)
    own.owner.silent_after = PATIENCE
    harness.start(other)
    wait_until(lambda: not is_asleep(own))
    start = time.monotonic()
    wait_until(lambda: own.owner.silence or time.monotonic() > start + 0.1)
    go_on.set()
    wait_until(lambda: len(own.owner.silence) == 2)
    assert own.owner.silence == [True, False]


def test_it_is_told_of_also_if_nothing_can_be_written(harness: Harness) -> None:
    own, other = harness.with_silent_peer()
    own.send(bytes(100_000))
    wait_until(lambda: is_asleep(own))
    own.link.watch()
    wait_until(lambda: own.owner.silence == [True])
    own.owner.silent_after = PATIENCE
    harness.start(other)
    wait_until(lambda: own.owner.silence == [True, False])


def test_a_busy_reader_takes_nobody_for_silent_when_one_begins_to_watch(harness: Harness) -> None:
    own, other = harness.with_silent_peer()
    go_on = threading.Event()
    own.owner.on_packages = lambda packages: go_on.wait(PATIENCE)
    harness.start(other)
    other.send(b"one")
    wait_until(lambda: own.owner.packages)
    own.link.watch()
    start = time.monotonic()
    wait_until(lambda: time.monotonic() > start + 2 * heartbeat.MAX_STEP)
    own.owner.silent_after = PATIENCE
    go_on.set()
    other.send(b"two")
    wait_until(lambda: len(own.owner.packages) == 2)
    assert own.owner.silence == []


def test_a_writer_that_is_stuck_does_not_hide_a_silent_peer(harness: Harness) -> None:
    own, _ = harness.with_plain_peer(TINY, timeout=0.05)
    own.send(bytes(1000))
    wait_until(lambda: own.owner.silence == [True])


# Shaking hands


def new_protocol(role: Role = Role.BINDER) -> Protocol:
    return Protocol(role, OWN)


def test_the_main_thread_waits_for_a_handshake_in_pieces_and_until_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "SIGNAL_INTERVAL", 0.01)
    stream, peer = memory_stream_pair()
    answer = threading.Timer(0.1, peer.write, ([b"late"], []))
    answer.start()
    assert read_some(stream, PATIENCE) == b"late"
    answer.join()
    start = time.monotonic()
    assert read_some(stream, 0.05) is None
    assert time.monotonic() - start >= 0.05


def test_a_peer_that_says_nothing_is_waited_for_until_the_timeout() -> None:
    stream, _ = memory_stream_pair()
    start = time.monotonic()
    with pytest.raises(ConnectFailed, match=r"^Handshake timed out\.$"):
        shake_hands(stream, new_protocol(), 0.05)
    assert 0.05 <= time.monotonic() - start < PATIENCE


def test_a_peer_that_says_a_little_again_and_again_is_not_waited_for_longer() -> None:
    stream, peer_stream = memory_stream_pair()
    is_over = threading.Event()

    def say_a_little() -> None:
        for byte in b"YOTON!" + 2000 * b"1":
            if is_over.wait(0.01):
                return
            peer_stream.write([bytes([byte])], [])

    peer = threading.Thread(target=say_a_little)
    peer.start()
    start = time.monotonic()
    try:
        with pytest.raises(ConnectFailed, match="timed out"):
            shake_hands(stream, new_protocol(), 0.1)
    finally:
        is_over.set()
        peer.join(PATIENCE)
    assert time.monotonic() - start < 2.0


def test_a_peer_that_reads_nothing_is_waited_for_until_the_timeout() -> None:
    stream, _ = memory_stream_pair(capacity=10)
    with pytest.raises(ConnectFailed, match="timed out"):
        shake_hands(stream, new_protocol(Role.CONNECTOR), 0.05)


def test_a_peer_that_is_refused_gets_its_answer() -> None:
    stream, peer_stream = memory_stream_pair()
    peer_stream.write([b"GET / HTTP/1.1\r\n\r\n"], [])
    with pytest.raises(ConnectFailed, match=r"^Handshake failed\.$") as raised:
        shake_hands(stream, new_protocol(), PATIENCE)
    assert "not a yoton" in str(raised.value.__cause__)
    assert read_some(peer_stream, PATIENCE) == b"ERROR: this is Yoton.\r\n"


def test_a_peer_that_hangs_up_fails_the_handshake() -> None:
    for hang_up_peer in (MemoryStream.shutdown_write, MemoryStream.close):
        stream, peer_stream = memory_stream_pair()
        hang_up_peer(peer_stream)
        with pytest.raises(ConnectFailed, match=r"^Handshake failed\.$"):
            shake_hands(stream, new_protocol(Role.CONNECTOR), PATIENCE)


def test_a_hello_that_never_ends_is_not_held() -> None:
    stream, peer_stream = memory_stream_pair()
    hello = b"".join(encode_package(Package(bytes(10**6), 1, 2, 2)))
    peer_stream.write([b"YOTON!2.+1\r\n", hello], [])
    with pytest.raises(ConnectFailed, match="Handshake failed") as raised:
        shake_hands(stream, new_protocol(), PATIENCE)
    assert "1000000 bytes" in str(raised.value.__cause__)


def test_hanging_up_reads_on_until_the_peer_has_hung_up_as_well() -> None:
    stream, peer_stream = memory_stream_pair()
    stream.write([b"answer"], [])
    peer_stream.write([b"more"], [])
    hanging_up = threading.Thread(target=hang_up, args=(stream, PATIENCE))
    hanging_up.start()
    assert read_some(peer_stream, PATIENCE) == b"answer"
    assert read_some(peer_stream, PATIENCE) == b""
    assert hanging_up.is_alive()
    peer_stream.close()
    hanging_up.join(PATIENCE)
    assert not hanging_up.is_alive()


def test_hanging_up_ends_at_its_timeout() -> None:
    stream, peer_stream = memory_stream_pair()
    start = time.monotonic()
    hang_up(stream, 0.05)
    assert 0.05 <= time.monotonic() - start < PATIENCE
    with pytest.raises(BrokenPipeError):
        peer_stream.write([b"more"], [])

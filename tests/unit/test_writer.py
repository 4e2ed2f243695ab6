from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import Interrupted, is_interrupted
from recorded import BEAT, CLOSE

from yoton.clock import Deadline
from yoton.connection import writer as writer_module
from yoton.connection.framing import FrameDecoder, encode_bundle, encode_package
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import contexts_gone_package, gap_package
from yoton.connection.streams import MAX_PIECES
from yoton.connection.writer import _BATCH_SIZE, Writer
from yoton.gaps import Loss
from yoton.package import EVERYONE, Bundle, Package
from yoton.queues import Overflow

NOW = Deadline(0.0)


class FakeStream:
    """Takes so many bytes per call as it is told, and keeps them."""

    def __init__(self, room: int = 2**40, at_a_time: int = 2**40) -> None:
        self.taken = bytearray()
        self.room = room
        self.at_a_time = at_a_time
        self.error: BaseException | None = None
        #: Called at the beginning of each write, once.
        self.on_write: Callable[[], object] | None = None
        self.calls = 0

    def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        assert 0 < len(pieces) <= MAX_PIECES
        self.calls += 1
        on_write, self.on_write = self.on_write, None
        if on_write is not None:
            on_write()
        if self.error is not None:
            raise self.error
        data = b"".join(pieces)[: min(self.room, self.at_a_time)]
        self.room -= len(data)
        self.taken += data
        counts.append(len(data))

    def packages(self) -> list[Package]:
        """Get what was taken; it must end with a whole frame."""
        decoder = FrameDecoder()
        packages = decoder.decode(bytes(self.taken))
        assert decoder.failure is None
        assert not decoder.is_inside_package
        return packages


class Line:
    """A writer with its outbox and a fake stream."""

    def __init__(self, room: int = 2**40, at_a_time: int = 2**40) -> None:
        self.stream = FakeStream(room, at_a_time)
        self.outbox = Outbox(10_000, Overflow.DROP_OLD)
        self.writer = Writer(self.stream, self.outbox, self.encode)  # type: ignore[arg-type]
        self.unreadable: set[int] = set()
        self.sent: list[Package] = []

    def encode(self, package: Package) -> Sequence[bytes]:
        if package.source_seq in self.unreadable:
            return ()
        return encode_bundle(package) if isinstance(package, Bundle) else encode_package(package)

    def send(self, *sizes: int) -> None:
        for size in sizes:
            self.sent.append(Package(bytes(size), 8, 9, len(self.sent) + 1))
            self.outbox.put(self.sent[-1])

    def send_bundle(self, *sizes: int) -> None:
        seq = sum(package.count for package in self.sent) + len(sizes)
        self.sent.append(Bundle(bytes(sum(sizes)), sizes, 8, 9, seq))
        self.outbox.put(self.sent[-1])


@pytest.fixture
def line() -> Line:
    return Line()


# Writing


def test_packages_are_written_whole_and_in_order(line: Line) -> None:
    line.send(1, 20_000, 300)
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent
    assert line.stream.calls == 1


def test_nothing_is_written_when_nothing_waits(line: Line) -> None:
    assert line.writer.write_pending()
    line.send(1)
    line.writer.write_pending()
    assert line.writer.write_pending()
    assert line.stream.calls == 1


@pytest.mark.parametrize("at_a_time", range(1, 200))
def test_a_stream_that_takes_a_few_bytes_at_a_time_gets_them_all(at_a_time: int) -> None:
    line = Line(at_a_time=at_a_time)
    line.send(3, 0, 60, 1)
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


def test_a_large_body_is_written_from_where_the_stream_stopped() -> None:
    line = Line(at_a_time=5000)
    line.send(20_000, 8192)
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


@given(
    st.lists(st.integers(min_value=0, max_value=10_000), max_size=10),
    st.lists(st.integers(min_value=0, max_value=9000), max_size=20),
)
def test_a_stream_that_is_full_again_and_again_gets_all_in_the_end(
    sizes: list[int], rooms: list[int]
) -> None:
    line = Line(room=0)
    line.send(*sizes)
    for room in rooms:
        line.stream.room = room
        is_written = line.writer.write_pending()
        assert is_written is not bool(line.writer._has_pending())
        assert is_written or line.stream.room == 0
    line.stream.room = 2**40
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


def test_a_full_stream_is_told_and_takes_the_rest_later() -> None:
    line = Line(room=60)
    line.send(100, 100)
    assert not line.writer.write_pending()
    assert not line.writer.write_pending()
    line.send(5)
    line.stream.room = 2**40
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


def test_what_comes_while_it_writes_is_written_as_well(line: Line) -> None:
    line.send(1)
    line.stream.on_write = lambda: line.send(2)
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


def test_a_burst_goes_out_in_few_calls(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_PIECES", 10)
    line.send(*95 * [1])
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent
    assert line.stream.calls == 10


def test_a_batch_is_bounded_by_bytes() -> None:
    """The limit of the outbox keeps counting what is left in it."""
    line = Line(room=0)
    size = 8000
    per_batch = math.ceil(_BATCH_SIZE / size)
    line.send(*2 * per_batch * [size])
    assert not line.writer.write_pending()
    assert line.outbox.count == per_batch
    line.stream.room = 2**40
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent
    # The first write found no room.
    assert line.stream.calls == 3


def test_a_package_larger_than_a_batch_goes_by_itself() -> None:
    line = Line(room=0)
    line.send(3 * _BATCH_SIZE, 1)
    assert not line.writer.write_pending()
    assert line.outbox.count == 1
    line.stream.room = 2**40
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


def test_more_pieces_than_one_call_may_have_are_parted(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_PIECES", 3)
    longest: list[int] = []
    write = line.stream.write
    line.stream.write = lambda pieces, counts: (  # type: ignore[method-assign]
        longest.append(len(pieces)),
        write(pieces, counts),
    )[1]
    line.send(*7 * [10_000])
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent
    assert max(longest) == 3


def test_packages_that_the_peer_cannot_read_are_left_out(line: Line) -> None:
    line.unreadable = {1, 3, 4}
    line.send(1, 2, 3, 4)
    assert line.writer.write_pending()
    assert line.stream.packages() == [line.sent[1]]
    line.unreadable.add(5)
    line.send(5)
    assert line.writer.write_pending()
    assert line.stream.calls == 1


def test_the_time_of_the_last_write_is_noted(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "monotonic", lambda: 123.0)
    line.writer.write_pending()
    assert line.writer.last_write != 123.0
    line.send(1)
    line.writer.write_pending()
    assert line.writer.last_write == 123.0


# Signals


def test_signals_go_behind_all_packages(line: Line) -> None:
    line.writer.add_signal(BEAT)
    line.writer.add_signal(CLOSE)
    line.send(1, 2)
    assert line.writer.write_pending()
    data = bytes(line.stream.taken)
    assert data.endswith(BEAT + CLOSE)
    assert line.stream.packages()[:-2] == line.sent


def test_notices_go_before_all_packages_in_their_order(line: Line) -> None:
    line.send(3)
    line.writer.add_notice(BEAT)
    line.writer.add_notice(lambda: CLOSE)
    assert line.writer.write_pending()
    assert line.stream.taken.startswith(BEAT + CLOSE)
    assert line.stream.packages()[2:] == line.sent


def test_a_notice_is_made_when_it_is_its_turn() -> None:
    line = Line(room=len(BEAT) - 1)
    words = [b"first"]
    line.writer.add_notice(BEAT)
    line.writer.add_notice(lambda: words[-1])
    assert not line.writer.write_pending()
    words.append(b"newest")
    line.stream.room = 1000
    assert line.writer.write_pending()
    assert bytes(line.stream.taken) == BEAT + b"newest"


def test_a_notice_that_ctrl_c_kept_from_being_made_is_made_again(line: Line) -> None:
    calls = []

    def make() -> bytes:
        calls.append(1)
        if len(calls) == 1:
            raise Interrupted
        return BEAT

    line.writer.add_notice(make)
    with pytest.raises(Interrupted):
        line.writer.write_pending()
    assert line.writer.write_pending()
    assert bytes(line.stream.taken) == BEAT


def test_a_signal_does_not_cut_a_package_in_two() -> None:
    line = Line(room=60)
    line.send(100)
    line.writer.write_pending()
    line.writer.add_signal(BEAT)
    line.stream.room = 2**40
    assert line.writer.write_pending()
    assert [len(package.data) for package in line.stream.packages()] == [100, 0]


# One writer


def test_who_comes_while_another_writes_leaves_it_to_that_one(line: Line) -> None:
    line.send(1)
    results: list[bool] = []

    def come_meanwhile() -> None:
        line.send(2)
        results.append(line.writer.write_pending())
        assert line.stream.taken == b""

    line.stream.on_write = come_meanwhile
    assert line.writer.write_pending()
    assert results == [True]
    assert line.stream.packages() == line.sent


# Errors


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), Interrupted()])
def test_an_error_of_the_stream_comes_through_and_ends_the_turn(error: BaseException) -> None:
    line = Line(room=60)
    line.send(100)
    line.writer.write_pending()
    line.stream.error = error
    with pytest.raises(type(error)):
        line.writer.write_pending()
    line.stream.error = None
    line.stream.room = 2**40
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


def test_an_error_in_encoding_loses_no_other_package(line: Line) -> None:
    line.send(1)
    line.sent[0].slot = 2**64
    with pytest.raises(struct.error):
        line.writer.write_pending()
    line.unreadable = {1}
    line.send(2)
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent[1:]


# Interrupts


@pytest.mark.parametrize("at_a_time", [1000, 100, 10])
def test_an_interrupt_at_any_moment_cuts_no_frame_and_loses_none(at_a_time: int) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        line = Line(at_a_time=at_a_time)
        line.send(1, 2, 9000 if at_a_time == 1000 else 90)
        line.writer.add_signal(BEAT)
        is_over = not is_interrupted(line.writer.write_pending, moment)
        assert not line.writer._turn.locked()
        assert not line.writer._lock._is_owned()  # type: ignore[attr-defined]
        line.send(4)
        line.writer.add_signal(CLOSE)
        assert line.writer.write_pending()
        packages = line.stream.packages()
        assert packages[-1] == Package(b"", 1, 0, 1)
        numbers = [package.source_seq for package in packages if package.data]
        # A frame may be repeated, which its receiver finds out by the numbers.
        news = [seq for place, seq in enumerate(numbers) if seq > max([0, *numbers[:place]])]
        assert news == [1, 2, 3, 4]
    assert moment > 50


def test_an_interrupt_in_the_stream_is_as_if_it_had_come_behind_it(line: Line) -> None:
    """What the stream took is noted before the exception."""
    write = line.stream.write

    def write_and_be_interrupted(pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        write(pieces, counts)
        line.stream.write = write  # type: ignore[method-assign]
        raise Interrupted

    line.stream.at_a_time = 70
    line.stream.write = write_and_be_interrupted  # type: ignore[method-assign]
    line.send(30, 30)
    with pytest.raises(Interrupted):
        line.writer.write_pending()
    assert line.writer.write_pending()
    assert line.stream.packages() == line.sent


# Waiting and the end


def test_waiting_tells_whether_all_is_written() -> None:
    line = Line(room=60)
    assert line.writer.wait_until_written(NOW)
    line.send(100)
    assert not line.writer.wait_until_written(NOW)
    line.writer.write_pending()
    assert not line.writer.wait_until_written(NOW)
    line.stream.room = 2**40
    line.writer.write_pending()
    assert line.writer.wait_until_written(Deadline(None))


def test_nobody_writes_after_the_end(line: Line) -> None:
    line.send(1, 2)
    assert line.writer.stop() == 2
    line.send(3)
    assert line.writer.write_pending()
    assert line.stream.calls == 0
    assert not line.writer.wait_until_written(Deadline(None))


def test_the_end_of_a_writer_that_has_written_all_leaves_nothing(line: Line) -> None:
    line.send(1)
    line.writer.write_pending()
    assert line.writer.stop() == 0
    assert line.writer.wait_until_written(Deadline(None))


@pytest.mark.parametrize("room", [0, 56, 57, 3 * 57 - 1])
def test_the_packages_that_are_left_are_counted_with_all_of_a_batch(room: int) -> None:
    line = Line(room=room)
    line.send(1, 1, 1)
    line.writer.write_pending()
    line.send(1)
    assert line.writer.stop() == 4


@pytest.mark.parametrize("room", [None, 0, 57, 100])
def test_the_messages_in_bundles_are_counted_at_the_end(room: int | None) -> None:
    """Nothing was written yet, or the stream took nothing, or a part of the batch."""
    line = Line(room=room or 0)
    line.send(1)
    line.send_bundle(1, 1, 1)
    if room is not None:
        line.writer.write_pending()
    line.send_bundle(1, 1)
    assert line.writer.stop() == 6


@pytest.mark.parametrize("room", [None, 0, 57 + 20])
def test_what_the_link_itself_tells_is_no_message_that_is_left(room: int | None) -> None:
    line = Line(room=room or 0)
    line.send(1)
    line.outbox.put(contexts_gone_package([1, 2]))
    if room is not None:
        line.writer.write_pending()
    line.outbox.put(contexts_gone_package([3]))
    line.send(1)
    assert line.writer.stop() == 2


def test_a_signal_that_is_left_is_no_package() -> None:
    line = Line(room=0)
    line.writer.add_signal(BEAT)
    assert not line.writer.write_pending()
    assert line.writer.stop() == 0
    line = Line(room=57 + 20)
    line.send(1)
    line.writer.add_signal(BEAT)
    assert not line.writer.write_pending()
    assert line.writer.stop() == 0


def test_what_was_dropped_is_told_before_a_goodbye_though_no_package_waits() -> None:
    line = Line()
    gap = gap_package([Loss(8, EVERYONE, 1)], (1, 1))
    outbox = Outbox(1, Overflow.DROP_NEW, make_gap=lambda losses: gap)
    writer = Writer(line.stream, outbox, encode_package)  # type: ignore[arg-type]
    kept, lost = Package(b"1", 8, 9, 1), Package(b"2", 8, 9, 2)
    assert outbox.put(kept)
    assert not outbox.put(lost)
    assert outbox.drop(kept, 1, are_newest=False)
    writer.add_signal(CLOSE)
    assert writer.write_pending()
    assert line.stream.packages() == [gap, *FrameDecoder().decode(CLOSE)]

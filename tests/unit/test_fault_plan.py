"""What becomes of bytes on a faulty line, by a clock that the tests move."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import is_interrupted

from yoton.connection.fault_plan import MAX_UNDER_WAY, FaultPlan, Faults
from yoton.connection.faults import faulty_stream_pair
from yoton.exceptions import ArgumentError

EVERYTHING = 2**40

harmless = st.builds(
    Faults,
    delay=st.floats(0.0, 2.0) | st.tuples(st.floats(0.0, 1.0), st.floats(1.0, 2.0)),
    bandwidth=st.floats(1.0, 1e6) | st.just(math.inf),
    max_piece=st.none() | st.integers(1, 50),
)
seeds = st.integers(0, 2**32)
#: What comes over the line: bytes, after so many seconds.
arrivals = st.lists(st.tuples(st.floats(0.0, 3.0), st.binary(min_size=1, max_size=200)))


class Line:
    """A plan, and what was read of it, with the times."""

    def __init__(self, faults: Faults, seed: int = 0) -> None:
        self.plan = FaultPlan(faults, seed)
        self.now = 1000.0
        self.read: list[tuple[float, bytes]] = []
        self.error: OSError | None = None

    @property
    def pieces(self) -> list[bytes]:
        return [data for _, data in self.read]

    @property
    def bytes(self) -> bytes:
        return b"".join(self.pieces)

    def arrive(self, *chunks: bytes) -> None:
        self.plan.arrived.extend(chunks)
        self.plan.schedule(self.now)

    def take(self, at_most: int = EVERYTHING) -> bytes | None:
        """Read what is there, None if nothing is."""
        chunks: list[bytes] = []
        self.plan.take(chunks, at_most, self.now)
        self.read += [(self.now, data) for data in chunks]
        assert len(chunks) <= 1
        return chunks[0] if chunks else None

    def run(self, until: float = math.inf, at_most: int = EVERYTHING) -> None:
        """Read what there is until then, whenever it is there; the clock goes on."""
        try:
            while (delay := self.plan.delay(self.now)) is not None and self.now + delay <= until:
                self.now += delay
                if self.take(at_most) == b"":
                    break
        except OSError as error:
            self.error = error
        if until < math.inf:
            self.now = until


def line_with(
    arrivals: Iterable[tuple[float, bytes]], faults: Faults, seed: int, at_most: int = EVERYTHING
) -> Line:
    """Make a line on which all that was going to happen has happened, up to its end."""
    line = Line(faults, seed)
    for delay, data in arrivals:
        line.run(until=line.now + delay, at_most=at_most)
        line.arrive(data)
    line.arrive(b"")
    line.run(at_most=at_most)
    return line


def at_once(data: bytes, size: int) -> list[tuple[float, bytes]]:
    """Get arrivals of pieces of a size, all at the same time."""
    return [(0.0, data[start : start + size]) for start in range(0, len(data), size)]


DATA = bytes(range(256))


# All arrives


def test_without_faults_bytes_are_there_at_once_as_they_came() -> None:
    line = Line(Faults())
    assert line.take() is None
    line.arrive(b"one", b"two")
    assert [line.take(), line.take(), line.take()] == [b"one", b"two", None]


@pytest.mark.parametrize("size", [len(DATA), 1])
@pytest.mark.parametrize("max_piece", [None, 1, 7, 1000])
def test_all_bytes_arrive_in_order(size: int, max_piece: int | None) -> None:
    faults = Faults(delay=(0.0, 1.0), bandwidth=1000.0, max_piece=max_piece)
    line = line_with(at_once(DATA, size), faults, seed=1)
    assert line.bytes == DATA
    assert line.pieces[-1] == b""
    assert line.error is None


@given(arrivals, harmless, seeds, st.integers(1, 100))
def test_without_cuts_and_damage_all_bytes_arrive_once_and_in_order(
    arrivals: Sequence[tuple[float, bytes]], faults: Faults, seed: int, at_most: int
) -> None:
    line = line_with(arrivals, faults, seed, at_most)
    assert line.bytes == b"".join(data for _, data in arrivals)
    assert all(line.pieces[:-1])
    assert line.pieces[-1] == b""


def test_what_is_too_much_for_one_read_is_left_for_the_next() -> None:
    line = Line(Faults())
    line.arrive(b"abcdef")
    assert [line.take(4), line.take(4), line.take(4)] == [b"abcd", b"ef", None]


def test_the_end_is_found_again_and_again() -> None:
    line = Line(Faults())
    line.arrive(b"last", b"")
    assert [line.take(), line.take(), line.take()] == [b"last", b"", b""]


def test_an_error_of_the_line_comes_behind_the_bytes_before_it() -> None:
    line = Line(Faults(delay=1.0))
    line.plan.arrived.append(b"last")
    error = ConnectionResetError(104, "reset by peer")
    line.plan.fail(error, line.now)
    assert not line.plan.has_room
    line.run()
    assert line.read == [(1001.0, b"last")]
    assert line.error is error


# Time


def test_bytes_are_under_way_for_the_delay() -> None:
    line = line_with([(0.0, b"one"), (0.5, b"two")], Faults(delay=2.0), seed=0)
    assert line.read == [(1002.0, b"one"), (1002.5, b"two"), (1002.5, b"")]


@given(st.lists(st.floats(0.0, 3.0), min_size=1), seeds)
def test_delays_are_within_their_range_but_for_who_must_not_overtake(
    pauses: list[float], seed: int
) -> None:
    line = line_with([(pause, b"x") for pause in pauses], Faults(delay=(1.0, 2.0)), seed)
    sent = itertools.accumulate(pauses, initial=1000.0)
    next(sent)
    for start, (time, _) in zip(sent, line.read, strict=False):
        assert 0.999 <= time - start <= 2.001


def test_the_plan_tells_how_long_it_takes_until_something_is_there() -> None:
    line = Line(Faults(delay=2.0))
    assert line.plan.delay(line.now) is None
    line.arrive(b"one")
    assert line.plan.delay(line.now) == 2.0
    assert line.plan.delay(line.now + 1.5) == 0.5
    assert line.plan.delay(line.now + 3.0) == 0.0


@given(arrivals, st.floats(1.0, 1e6), seeds)
def test_bytes_take_the_time_that_the_bandwidth_gives_them(
    arrivals: list[tuple[float, bytes]], bandwidth: float, seed: int
) -> None:
    line = line_with(arrivals, Faults(bandwidth=bandwidth), seed)
    count = 0
    for time, data in line.read:
        count += len(data)
        assert time - 1000.0 >= count / bandwidth - 1e-6
    all_came = 1000.0 + sum(pause for pause, _ in arrivals)
    assert line.now <= all_came + count / bandwidth + 1e-6


def test_with_little_bandwidth_bytes_come_little_by_little() -> None:
    line = line_with([(0.0, bytes(1000))], Faults(bandwidth=1000.0), seed=0)
    assert max(map(len, line.pieces)) == 10
    assert line.now == pytest.approx(1001.0)


def test_a_line_that_was_idle_has_not_saved_its_bandwidth() -> None:
    line = Line(Faults(bandwidth=10.0))
    line.now += 100.0
    line.arrive(bytes(10))
    line.run()
    assert line.now == pytest.approx(1101.0)


def test_the_line_holds_only_so_much() -> None:
    line = Line(Faults(delay=1.0))
    line.arrive(bytes(MAX_UNDER_WAY - 1))
    assert line.plan.has_room
    line.arrive(b"x")
    assert not line.plan.has_room
    line.now += 1.0
    line.take(1)
    assert line.plan.has_room


def test_nothing_is_wanted_behind_the_end() -> None:
    line = Line(Faults())
    line.arrive(b"")
    assert not line.plan.has_room


# Pieces


@pytest.mark.parametrize("max_piece", [1, 2, 30])
def test_pieces_are_as_small_as_they_may_be_and_no_larger(max_piece: int) -> None:
    line = line_with([(0.0, bytes(5000))], Faults(max_piece=max_piece), seed=3)
    assert set(map(len, line.pieces[:-1])) == set(range(1, max_piece + 1))


# Damage


@pytest.mark.parametrize("size", [len(DATA), 1])
def test_of_a_damaged_byte_one_bit_is_flipped(size: int) -> None:
    line = line_with(at_once(DATA, size), Faults(corrupt_probability=0.5), seed=0)
    differences = [before ^ after for before, after in zip(DATA, line.bytes, strict=True)]
    assert {d.bit_count() for d in differences} == {0, 1}
    assert set(differences) == {0} | {1 << bit for bit in range(8)}
    assert 90 < sum(map(bool, differences)) < 166


def test_with_certainty_every_byte_is_damaged() -> None:
    line = line_with([(0.0, DATA)], Faults(corrupt_probability=1.0), seed=0)
    assert all(before != after for before, after in zip(DATA, line.bytes, strict=True))


# Cuts


@pytest.mark.parametrize("size", [len(DATA), 10, 1])
@pytest.mark.parametrize("cut_after", [1, 10, 255, 256])
def test_a_cut_line_gives_what_came_through_and_an_error(size: int, cut_after: int) -> None:
    line = line_with(at_once(DATA, size), Faults(cut_after=cut_after, delay=1.0), seed=0)
    assert line.bytes == DATA[:cut_after]
    assert isinstance(line.error, ConnectionResetError)
    assert not line.plan.has_room
    for _ in range(2):
        with pytest.raises(ConnectionResetError, match="the line was cut"):
            line.take()


def test_a_line_that_ends_before_its_cut_ends_as_ever() -> None:
    line = line_with([(0.0, DATA)], Faults(cut_after=257), seed=0)
    assert line.bytes == DATA
    assert line.error is None


def test_where_the_line_is_cut_is_picked_from_a_range() -> None:
    faults = Faults(cut_after=(10, 13))
    sizes = {len(line_with([(0.0, DATA)], faults, seed).bytes) for seed in range(50)}
    assert sizes == {10, 11, 12, 13}


# The seed

faulty = st.builds(
    Faults,
    delay=st.just((0.0, 1.0)),
    max_piece=st.integers(1, 50),
    corrupt_probability=st.floats(0.0, 1.0),
    cut_after=st.none() | st.integers(1, 500),
)


@given(arrivals, faulty, seeds)
def test_the_same_seed_gives_the_same_faults(
    arrivals: list[tuple[float, bytes]], faults: Faults, seed: int
) -> None:
    first, second = (line_with(arrivals, faults, seed) for _ in range(2))
    assert first.read == second.read
    assert repr(first.error) == repr(second.error)


def test_another_seed_gives_other_faults() -> None:
    faults = Faults(delay=(0.0, 1.0), max_piece=9, corrupt_probability=0.5)
    lines = [line_with([(0.0, DATA)], faults, seed) for seed in range(2)]
    assert lines[0].bytes != lines[1].bytes
    assert [len(data) for data in lines[0].pieces] != [len(data) for data in lines[1].pieces]
    assert {time for time, _ in lines[0].read}.isdisjoint(time for time, _ in lines[1].read)


@given(st.binary(min_size=1, max_size=300), faulty, seeds, st.integers(1, 50))
def test_what_goes_wrong_does_not_hang_on_how_the_bytes_come(
    data: bytes, faults: Faults, seed: int, size: int
) -> None:
    whole = line_with([(0.0, data)], faults, seed)
    parted = line_with(at_once(data, size), faults, seed)
    assert parted.bytes == whole.bytes
    assert repr(parted.error) == repr(whole.error)
    assert _ends(whole.pieces) <= _ends(parted.pieces)


def _ends(pieces: Iterable[bytes]) -> set[int]:
    return set(itertools.accumulate(map(len, pieces)))


# Interrupts


def test_an_interrupt_loses_no_byte_and_doubles_none() -> None:
    for moment in itertools.count(1):
        line = Line(Faults(max_piece=5, delay=(0.0, 1.0), cut_after=12))
        line.arrive(b"abcdef")
        line.now += 2.0
        chunks: list[bytes] = []

        def go_on(line: Line = line, chunks: list[bytes] = chunks) -> None:
            line.plan.take(chunks, 2, line.now)
            line.plan.take(chunks, EVERYTHING, line.now)
            line.plan.schedule(line.now)

        line.plan.arrived += [b"ghi", b"jkl"]
        was_interrupted = is_interrupted(go_on, moment)
        line.arrive(b"more", b"")
        line.run()
        assert b"".join(chunks) + line.bytes == b"abcdefghijkl"
        assert line.plan.has_room is False
        assert line.plan._size == 0
        if not was_interrupted:
            break
    assert moment > 20


# Arguments


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"delay": -1}, "delay is"),
        ({"delay": math.inf}, "delay is"),
        ({"delay": math.nan}, "delay is"),
        ({"delay": "1"}, "delay is"),
        ({"delay": (2, 1)}, "delay is"),
        ({"delay": (1, "2")}, "delay is"),
        ({"delay": (1, 2, 3)}, "delay is"),
        ({"bandwidth": 0}, "bandwidth is"),
        ({"bandwidth": math.nan}, "bandwidth is"),
        ({"bandwidth": None}, "bandwidth is"),
        ({"max_piece": 0}, "max_piece is"),
        ({"max_piece": 1.5}, "max_piece is"),
        ({"corrupt_probability": -0.1}, "corrupt_probability is"),
        ({"corrupt_probability": 1.1}, "corrupt_probability is"),
        ({"corrupt_probability": "1"}, "corrupt_probability is"),
        ({"cut_after": 0}, "cut_after is"),
        ({"cut_after": 1.5}, "cut_after is"),
        ({"cut_after": (5, 4)}, "cut_after is"),
        ({"cut_after": (1, None)}, "cut_after is"),
    ],
)
def test_a_fault_that_cannot_be_had_is_an_error(arguments: dict[str, Any], text: str) -> None:
    (value,) = arguments.values()
    with pytest.raises(ArgumentError, match=text) as raised:
        Faults(**arguments)
    assert str(raised.value).endswith(f"not {value!r}")


def test_faults_are_compared_by_value_and_do_not_change() -> None:
    assert Faults(delay=1.0) == Faults(delay=1.0) != Faults()
    with pytest.raises(AttributeError):
        Faults().delay = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("faults", "seed", "text"),
    [
        (None, 0, "faults are a Faults, not None"),
        ({"delay": 1.0}, 0, "faults are a Faults"),
        (Faults(), None, "seed is an int, not None"),
        (Faults(), "a", "seed is an int, not 'a'"),
        (Faults(), 1.5, "seed is an int, not 1.5"),
    ],
)
def test_what_is_no_fault_or_no_seed_is_an_error(faults: Any, seed: Any, text: str) -> None:
    for use in (FaultPlan, faulty_stream_pair):
        with pytest.raises(ArgumentError, match=text):
            use(faults, seed)

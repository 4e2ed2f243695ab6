"""The reader, on a stream that says what comes, without threads."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import is_interrupted
from recorded import BEAT, CLOSE, LINE_OF_Y, plain_package

from yoton.clock import Deadline
from yoton.connection.protocol import (
    TRANSITIONS,
    ContextsGone,
    Event,
    Failed,
    Identity,
    Input,
    PackagesReceived,
    PeerClosed,
    Ping,
    Pong,
    Protocol,
    Role,
    State,
)
from yoton.connection.reader import GRACE_PERIOD, LEAD_TIME, Reader
from yoton.connection.spin import SPIN_TIME
from yoton.package import Package

OWN = Identity(1, 10)

#: More reads than any test needs: one that does not end fails.
MANY = 1_000_000


class Stream:
    """Gives one piece with each read; in the end nothing comes, or b"" again and again."""

    def __init__(self, pieces: Iterable[bytes | OSError]) -> None:
        self.coming = deque(pieces)
        self.waits: list[float] = []
        self.looks = 0
        self.reads = 0

    def wait_readable(self, timeout: float | None) -> bool:
        assert timeout == 0.0, "reading itself waits"
        self.looks += 1
        return bool(self.coming)

    def read(self, chunks: list[bytes], missing: int = 0, timeout: float = 0.0) -> None:
        self.reads += 1
        self.waits.append(timeout)
        assert self.reads < MANY, "reading ends"
        piece = self.coming[0] if self.coming else None
        if isinstance(piece, OSError):
            raise piece
        if piece is not None:
            chunks.append(piece)
        if piece:
            self.coming.popleft()


class Desk:
    """A reader, and all that it is connected to."""

    def __init__(self, *pieces: bytes | OSError) -> None:
        self.stream = Stream(pieces)
        self.protocol = Protocol(Role.CONNECTOR, OWN)
        self.protocol.receive_data(LINE_OF_Y)
        self.protocol.data_to_send()
        self.lock = threading.RLock()
        self.delivered: list[int] = []
        self.others: list[Event] = []
        self.calls_back = 0
        self.echoes: list[Ping | Pong] = []
        self.is_all_delivered = True
        self.on_delivery: Callable[[], object] = lambda: None
        self.reader = Reader(
            self.stream,  # type: ignore[arg-type]  # it has what a reader uses
            self.protocol,
            self.lock,
            self._deliver,
            self.echoes.append,
            self._call_back,
        )

    def _deliver(self, packages: Sequence[Package]) -> bool:
        self.delivered += [package.source_seq for package in packages]
        self.on_delivery()
        return self.is_all_delivered

    def _call_back(self) -> None:
        self.calls_back += 1

    def lead(self, count: int = MANY, timeout: float | None = None) -> None:
        """Lead until so many packages were delivered."""
        self.reader.lead(lambda: len(self.news()) >= count, Deadline(timeout))

    def news(self) -> list[int]:
        """Get the numbers that were delivered, without repetitions, as a router sees to."""
        news: list[int] = []
        for number in self.delivered:
            if not news or number > news[-1]:
                news.append(number)
        return news

    def go_on(self) -> None:
        """Do what the receive thread does, until nothing comes any more."""
        with self.reader.turn:
            while True:
                while (event := self.reader.next_event()) is not None:
                    if isinstance(event, PackagesReceived):
                        self._deliver(event.packages)
                    else:
                        self.others.append(event)
                    self.reader.handled()
                if not self.reader.read():
                    break
            assert self.reader.next_event() is None or self.reader.is_at_end

    def check_free(self) -> None:
        assert not self.reader.turn.locked()
        assert not self.lock._is_owned()  # type: ignore[attr-defined]
        assert not self.reader._has_leader


def package(number: int, data: bytes = b"data") -> bytes:
    return plain_package(data, number)


def packages(count: int) -> list[bytes]:
    return [package(number) for number in range(1, count + 1)]


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# Leading


def test_a_thread_leads_until_it_has_what_it_waits_for() -> None:
    desk = Desk(*packages(3))
    desk.lead(2)
    assert desk.delivered == [1, 2]
    assert len(desk.stream.coming) == 1
    assert desk.calls_back == 0
    desk.check_free()


def test_who_is_satisfied_already_reads_nothing() -> None:
    desk = Desk(*packages(1))
    desk.lead(0)
    assert desk.stream.waits == []
    assert desk.calls_back == 0


def test_what_came_in_one_read_is_left_once_the_thread_is_satisfied() -> None:
    desk = Desk(BEAT.join(packages(3)))
    desk.lead(1)
    assert desk.delivered[0] == 1
    desk.go_on()
    assert desk.news() == [1, 2, 3]


def test_a_thread_does_not_lead_while_another_one_reads() -> None:
    desk = Desk(*packages(1))
    with desk.reader.turn:
        desk.lead()
        assert desk.reader.turn.locked()
    assert desk.stream.waits == []
    assert desk.calls_back == 0


def test_a_thread_that_leads_is_left_alone_by_others() -> None:
    desk = Desk(*packages(2))
    stays: list[float] = []
    desk.on_delivery = lambda: stays.append(desk.reader.time_to_stay_back())
    desk.lead(2)
    assert stays == [GRACE_PERIOD] * 2


def test_a_thread_that_leads_makes_way_when_another_one_waits_as_well() -> None:
    desk = Desk(*packages(3))
    desk.on_delivery = desk.lead
    desk.lead()
    assert desk.delivered == [1]
    assert desk.calls_back == 1
    assert desk.reader.time_to_stay_back() == 0.0
    desk.check_free()


@pytest.mark.parametrize(
    ("timeout", "longest"), [(0.01, 0.01), (0.0, 0.0), (None, LEAD_TIME), (100.0, LEAD_TIME)]
)
def test_a_thread_leads_for_a_limited_time(timeout: float | None, longest: float) -> None:
    desk = Desk()
    desk.lead(timeout=timeout)
    (waited,) = desk.stream.waits
    assert waited is not None
    assert longest * 0.9 <= waited <= longest
    assert desk.calls_back == 1
    assert desk.reader.time_to_stay_back() == 0.0
    desk.check_free()


@pytest.mark.parametrize(
    ("may_spin", "timeout", "does_spin"),
    [(True, 0.01, True), (True, SPIN_TIME, False), (True, 0.0, False), (False, 0.01, False)],
)
def test_it_spins_before_it_sleeps_if_that_may_pay(
    may_spin: bool, timeout: float, does_spin: bool
) -> None:
    desk = Desk()
    desk.reader._may_spin = may_spin
    desk.lead(timeout=timeout)
    assert (desk.stream.looks > 0) is does_spin
    assert desk.stream.reads == 1


@pytest.mark.parametrize("timeout", [0.0, 0.01, None])
def test_what_comes_for_others_all_the_time_does_not_keep_a_thread(timeout: float | None) -> None:
    desk = Desk()
    numbers = itertools.count(1)

    def bring_more() -> None:
        desk.stream.coming.append(package(next(numbers)))

    desk.on_delivery = bring_more
    bring_more()
    desk.reader.lead(lambda: False, Deadline(timeout))
    assert desk.calls_back == 1
    assert (len(desk.delivered) == 1) == (timeout == 0.0)
    desk.check_free()


# What is left to the receive thread


def test_packages_that_have_to_be_acted_on_are_left() -> None:
    desk = Desk(*packages(2))
    desk.is_all_delivered = False
    desk.lead()
    assert desk.delivered == [1]
    assert desk.calls_back == 1
    assert desk.reader.time_to_stay_back() == 0.0
    desk.go_on()
    assert desk.delivered == [1, 1, 2]


@pytest.mark.parametrize(
    ("piece", "kind"),
    [(CLOSE, PeerClosed), (bytes(100), Failed), (b"", Failed)],
    ids=["goodbye", "failure", "end"],
)
def test_what_is_no_package_is_left(piece: bytes, kind: type[Event]) -> None:
    desk = Desk(package(1), piece)
    desk.lead()
    assert desk.delivered == [1]
    assert desk.calls_back == 1
    assert isinstance(desk.reader.next_event(), kind)
    # Also if somebody leads once more before the receive thread has come.
    desk.lead()
    assert desk.calls_back == 2
    assert isinstance(desk.reader.next_event(), kind)
    desk.check_free()


def test_pings_and_pongs_do_not_throw_a_leader_out() -> None:
    desk = Desk(package(2))
    desk.reader.put([PackagesReceived([Package(b"data", 8, 2, 1)]), Ping(5), Pong(6)])
    desk.lead(2)
    assert desk.delivered == [1, 2]
    assert desk.echoes == [Ping(5), Pong(6)]
    assert desk.others == []
    assert desk.calls_back == 0
    desk.check_free()


def test_contexts_that_are_gone_are_left() -> None:
    desk = Desk(package(2))
    gone = ContextsGone([7])
    desk.reader.put([PackagesReceived([Package(b"data", 8, 2, 1)]), gone])
    desk.lead()
    assert desk.delivered == [1]
    assert desk.reader.next_event() is gone
    assert desk.calls_back == 1
    desk.go_on()
    assert desk.delivered == [1, 2]


def test_a_broken_stream_is_left() -> None:
    desk = Desk(package(1), ConnectionResetError())
    desk.lead()
    assert desk.delivered == [1]
    assert desk.calls_back == 1
    desk.check_free()
    with pytest.raises(ConnectionResetError):
        desk.go_on()


def test_behind_the_end_of_the_stream_nobody_leads() -> None:
    desk = Desk(CLOSE, b"")
    desk.go_on()
    assert desk.reader.is_at_end
    reads = desk.stream.reads
    desk.lead(timeout=None)
    # The end can be read again and again: it must not keep a thread here.
    assert desk.stream.reads == reads
    assert desk.calls_back == 1
    desk.check_free()


# Staying back


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the clock; the test moves it by its only item."""
    now = [100.0]
    monkeypatch.setattr("yoton.connection.reader.monotonic", lambda: now[0])
    return now


def test_the_receive_thread_reads_if_nobody_else_does(clock: list[float]) -> None:
    assert Desk().reader.time_to_stay_back() == 0.0


def test_the_receive_thread_stays_back_a_little_while_after_one_has_led(
    clock: list[float],
) -> None:
    desk = Desk(*packages(1))
    desk.lead(1)
    assert desk.reader.time_to_stay_back() == pytest.approx(GRACE_PERIOD)
    clock[0] += GRACE_PERIOD / 4
    assert desk.reader.time_to_stay_back() == pytest.approx(GRACE_PERIOD * 3 / 4)
    clock[0] += GRACE_PERIOD
    assert desk.reader.time_to_stay_back() == 0.0


def test_the_receive_thread_lets_one_lead_that_waited_while_it_read(clock: list[float]) -> None:
    desk = Desk()
    with desk.reader.turn:
        desk.lead(1)
    assert desk.reader.time_to_stay_back() == 0.0
    desk.delivered.append(1)
    assert desk.reader.time_to_stay_back() == pytest.approx(GRACE_PERIOD)
    # Once: that thread need not come again.
    clock[0] += GRACE_PERIOD * 1.5
    assert desk.reader.time_to_stay_back() == 0.0


def test_the_receive_thread_comes_at_once_when_it_is_called(clock: list[float]) -> None:
    desk = Desk()
    desk.lead(timeout=0.0)
    assert desk.calls_back == 1
    assert desk.reader.time_to_stay_back() == 0.0
    desk.stream.coming += packages(1)
    # Until somebody leads again.
    desk.lead(1)
    assert desk.reader.time_to_stay_back() == pytest.approx(GRACE_PERIOD)


# Interrupts


@pytest.mark.parametrize("timeout", [0.0, 1.0], ids=["one read", "all reads"])
@pytest.mark.parametrize("size", [30, 100, 1000])
def test_an_interrupt_loses_no_package_and_leaves_the_turn_free(size: int, timeout: float) -> None:
    stream = b"".join(packages(4)) + CLOSE
    for moment in itertools.count(1):
        desk = Desk(*pieces_of(stream, size), b"")
        was_interrupted = is_interrupted(lambda desk=desk: desk.lead(timeout=timeout), moment)
        desk.check_free()
        desk.go_on()
        assert desk.news() == [1, 2, 3, 4]
        assert desk.others == [PeerClosed()]
        assert desk.reader.is_at_end
        if not was_interrupted:
            break
    assert moment > 20


@given(
    st.lists(st.integers(1, 300), min_size=2, max_size=10),
    st.lists(st.sampled_from([b"", b"short", bytes(300)]), max_size=6),
    st.integers(20, 200),
)
def test_interrupts_one_after_the_other_lose_nothing(
    moments: list[int], messages: list[bytes], size: int
) -> None:
    numbered = [(number, data) for number, data in enumerate(messages, start=1) if data]
    stream = b"".join(package(number, data) for number, data in numbered)
    desk = Desk(*pieces_of(stream + CLOSE, size), b"")
    for moment in moments:
        is_interrupted(lambda: desk.lead(timeout=1.0), moment)
        desk.check_free()
    desk.go_on()
    assert desk.news() == [number for number, _ in numbered]
    assert desk.others == [PeerClosed()]


def test_a_large_package_is_read_on_after_an_interrupt() -> None:
    data = bytes(200_000)
    stream = b"".join(package(number, data) for number in range(1, 5))
    for moment in itertools.count(1):
        desk = Desk(*pieces_of(stream, 90_000))
        was_interrupted = is_interrupted(lambda desk=desk: desk.lead(timeout=1.0), moment)
        desk.check_free()
        # The rest of the package at hand, not of one that was understood by halves.
        with desk.reader.turn:
            event = desk.reader.next_event()
            while isinstance(event, PackagesReceived):
                desk.delivered += [package.source_seq for package in event.packages]
                desk.reader.handled()
                event = desk.reader.next_event()
        desk.go_on()
        assert desk.news() == [1, 2, 3, 4]
        if not was_interrupted:
            break


def test_a_goodbye_after_an_interrupt_is_not_forgotten() -> None:
    for moment in itertools.count(1):
        desk = Desk(package(1) + CLOSE)
        was_interrupted = is_interrupted(lambda desk=desk: desk.lead(timeout=1.0), moment)
        # As the send thread does it.
        assert Input.CLOSE_SENT in TRANSITIONS[desk.protocol.state]
        desk.protocol.send_close()
        desk.go_on()
        assert desk.news() == [1]
        assert desk.others == [PeerClosed()]
        assert desk.protocol.state is State.CLOSED
        if not was_interrupted:
            break

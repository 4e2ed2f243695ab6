"""Two contexts joined over a line on which things go wrong, as users test their programs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support import PATIENCE, wait_until

import yoton
from yoton.connection import threaded
from yoton.connection.faults import Faults, FaultyStream, faulty_lines, faulty_stream_pair
from yoton.connection.memory import memory_stream_pair
from yoton.connection.streams import ByteStream
from yoton.testing import JoinedConnection, join_contexts

SEEDS = range(20)


class Calculator(yoton.RepChannel):
    def __init__(self, context: yoton.Context, slot: str) -> None:
        super().__init__(context, slot)
        self.is_busy = threading.Event()
        self.may_go_on = threading.Event()

    def add(self, a: int, b: int) -> int:
        return a + b

    def think(self) -> str:
        self.is_busy.set()
        self.may_go_on.wait(PATIENCE)
        return "42"


class Side:
    """A context with a channel of each kind, joined to another one."""

    def __init__(self) -> None:
        self.context = yoton.Context()
        self.pub = yoton.PubChannel(self.context, "news", yoton.OBJECT)
        self.sub = yoton.SubChannel(self.context, "news", yoton.OBJECT)
        self.state = yoton.StateChannel(self.context, "state", yoton.OBJECT)
        self.connection: JoinedConnection
        self.reasons: list[str] = []

    def news(self, count: int) -> list[object]:
        return [self.sub.recv(PATIENCE) for _ in range(count)]


class Sides:
    """Two sides; one of them calculates for the other."""

    def __init__(self, streams: tuple[ByteStream, ByteStream]) -> None:
        self.streams = streams
        self.both = self.first, self.second = Side(), Side()
        self.calculator = Calculator(self.first.context, "sums")
        self.calculator.set_mode("thread")
        self.request = yoton.ReqChannel(self.second.context, "sums")

    def join(self) -> None:
        contexts = self.first.context, self.second.context
        connections = join_contexts(*contexts, self.streams)
        for side, connection in zip(self.both, connections, strict=True):
            side.connection = connection

    def close(self) -> None:
        for side in self.both:
            side.context.close()
        self.calculator.close()


@pytest.fixture
def to_close() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def faulty_sides(to_close: ExitStack, faults: Faults, seed: int = 0) -> Sides:
    sides = Sides(faulty_stream_pair(faults, seed))
    to_close.callback(sides.close)
    return sides


def test_contexts_can_be_joined_without_sockets(to_close: ExitStack) -> None:
    sides = Sides(memory_stream_pair())
    to_close.callback(sides.close)
    sides.first.state.send("known before")
    sides.join()
    connections = [side.connection for side in sides.both]
    assert [connection.is_connected for connection in connections] == [True, True]
    assert connections[0].id2 == sides.second.context.id
    wait_until(lambda: sides.second.state.recv() == "known before")
    sides.second.context.close()
    wait_until(lambda: sides.first.context.connection_count == 0)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(max_piece=1),
        Faults(max_piece=100, delay=(0.0, 0.003)),
        Faults(bandwidth=500_000.0, delay=0.005),
    ],
    ids=str,
)
def test_messages_requests_and_states_arrive_however_slow_the_line_is(
    to_close: ExitStack, faults: Faults
) -> None:
    for seed in range(3):
        sides = faulty_sides(to_close, faults, seed)
        sides.join()
        calls = []
        for number in range(40):
            for side in sides.both:
                side.pub.send({"number": number, "data": bytes(number * 17 % 500)})
            sides.first.state.send(number)
            calls.append(sides.request.add(number, 1))
        for side in sides.both:
            assert [message["number"] for message in side.news(40)] == list(range(40))
        assert [call.result(PATIENCE) for call in calls] == list(range(1, 41))
        wait_until(lambda state=sides.second.state: state.recv() == 39)


def test_a_call_ends_when_the_line_is_cut(to_close: ExitStack) -> None:
    sides = faulty_sides(to_close, Faults())
    to_close.callback(sides.calculator.may_go_on.set)
    sides.join()
    call = sides.request.think()
    assert sides.calculator.is_busy.wait(PATIENCE)
    stream = sides.streams[0]
    assert isinstance(stream, FaultyStream)
    stream.cut()
    with pytest.raises(yoton.ConnectionClosed):
        call.result(PATIENCE)


def test_contexts_find_each_other_again_over_another_line(to_close: ExitStack) -> None:
    sides = faulty_sides(to_close, Faults(cut_after=(1000, 5000)))
    sides.join()
    for number in range(100):
        sides.first.pub.send(number)
        sides.second.pub.send(number)
    wait_until(lambda: not any(side.context.connection_count for side in sides.both))
    sides.streams = faulty_stream_pair(Faults(max_piece=10), seed=1)
    sides.join()
    sides.first.pub.send("again")
    # What was under way when the line was cut is lost, and nothing else changes places.
    came = list(iter(lambda: sides.second.sub.recv(PATIENCE), "again"))
    assert came == sorted(set(came))


@pytest.mark.parametrize("cut_after", [20, 150])
def test_a_line_that_is_cut_while_hands_are_shaken_joins_nobody(
    to_close: ExitStack, cut_after: int
) -> None:
    sides = faulty_sides(to_close, Faults(cut_after=cut_after))
    with pytest.raises(yoton.ConnectFailed, match="Could not join the contexts"):
        sides.join()
    wait_until(lambda: not any(side.context.connection_count for side in sides.both))


def test_damaged_bytes_end_no_thread(
    to_close: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The wire has no checksum: messages may come with other content, or on another slot."""
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.2)
    for seed in SEEDS:
        sides = faulty_sides(to_close, Faults(corrupt_probability=0.0005), seed)
        with contextlib.suppress(yoton.ConnectFailed):
            sides.join()
        for number in range(40):
            for side in sides.both:
                side.pub.send({"number": number, "data": bytes(300)})
                side.state.send(number)
            sides.request.add(number, 1)
    to_close.close()
    assert threaded.CANNOT_HANDLE not in caplog.text
    assert "could not be handled" not in caplog.text


def test_a_line_that_stalls_is_seen_as_lost_until_it_resumes(to_close: ExitStack) -> None:
    sides = faulty_sides(to_close, Faults())
    sides.join()
    connections = [side.connection for side in sides.both]
    streams = sides.streams
    assert {connection.liveness for connection in connections} == {yoton.Liveness.RUNNING}
    for stream in streams:
        assert isinstance(stream, FaultyStream)
        stream.stall()
    for connection in connections:
        wait_until(lambda c=connection: c.liveness is yoton.Liveness.LINE_LOST)
    for stream in streams:
        assert isinstance(stream, FaultyStream)
        stream.resume()
    for connection in connections:
        wait_until(lambda c=connection: c.liveness is yoton.Liveness.RUNNING)


# Lines to an address

ADDRESS = "memory://to be tested"
QUICKLY = yoton.ReconnectPolicy(first_delay=0.001, ceiling=0.01)


class Clients:
    """One context that listens, and one that connects again whenever its line is lost."""

    def __init__(self) -> None:
        self.server, self.client = yoton.Context(), yoton.Context()
        self.sub = yoton.SubChannel(self.server, "news")
        self.pub = yoton.PubChannel(self.client, "news")
        self.server.listen(ADDRESS)
        self.connection = self.client.connect(ADDRESS, PATIENCE, reconnect=QUICKLY)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@contextlib.contextmanager
def clients() -> Iterator[Clients]:
    made = Clients()
    try:
        yield made
    finally:
        made.close()


def test_who_reconnects_gets_another_faulty_line() -> None:
    with faulty_lines(ADDRESS, Faults(max_piece=20)) as lines, clients() as both:
        for number in range(5):
            lines.cut()
            both.pub.send(f"after {number} cuts")
            assert both.sub.recv(PATIENCE) == f"after {number} cuts"
        assert both.connection.stats()["reconnections"] >= 5
        assert all(isinstance(each, FaultyStream) for each in lines.streams)
        assert isinstance(both.connection._link._stream, FaultyStream)


def test_nobody_gets_a_line_while_they_are_down() -> None:
    with faulty_lines(ADDRESS, Faults()) as lines, clients() as both:
        lines.take_down()
        wait_until(lambda: both.connection.is_reconnecting)
        with pytest.raises(yoton.ConnectFailed):
            both.server.connect(ADDRESS, 0.0)
        both.pub.send("later")
        assert both.connection.is_reconnecting
        lines.bring_up()
        assert both.sub.recv(PATIENCE) == "later"


def test_lines_that_are_made_during_a_stall_stall_as_well() -> None:
    with faulty_lines(ADDRESS, Faults()) as lines, clients() as both:
        before = lines.streams
        lines.stall()
        assert all(each._is_stalled for each in before)
        lines.cut()
        wait_until(lambda: set(lines.streams) - set(before))
        both.pub.send("later")
        assert both.sub.recv(0.1) == ""
        lines.resume()
        assert both.sub.recv(PATIENCE) == "later"


def test_the_end_of_the_faults_ends_a_stall_and_leaves_the_lines() -> None:
    with contextlib.ExitStack() as stack:
        with faulty_lines(ADDRESS, Faults()) as lines:
            both = stack.enter_context(clients())
            lines.stall()
            both.pub.send("later")
        assert both.sub.recv(PATIENCE) == "later"
        assert both.connection.stats()["reconnections"] == 0
        # From now on they are as ever.
        both.connection._link.lose_line()
        both.pub.send("without faults")
        assert both.sub.recv(PATIENCE) == "without faults"
        assert not isinstance(both.connection._link._stream, FaultyStream)


def test_the_same_seed_does_the_same_to_the_same_lines() -> None:
    def cut_places(seed: int) -> list[int]:
        with faulty_lines(ADDRESS, Faults(cut_after=(1, 10**6)), seed) as lines:
            pairs = [lines._make() for _ in range(5)]
            return [end._plan._course._until_cut for pair in pairs for end in pair]

    assert cut_places(1) == cut_places(1)
    assert len({*cut_places(1), *cut_places(2)}) == 20


@pytest.mark.parametrize("address", ["localhost:0", "unix:///tmp/x", "memory://"])
def test_only_lines_in_this_process_can_be_faulty(address: str) -> None:
    with pytest.raises(ValueError, match=r"memory"), faulty_lines(address, Faults()):
        pass


def test_lines_are_made_faulty_by_one_at_a_time() -> None:
    for _ in range(2):
        with faulty_lines(ADDRESS, Faults()), pytest.raises(yoton.ArgumentError):
            faulty_lines(ADDRESS, Faults()).__enter__()

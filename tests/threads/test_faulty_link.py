"""Two links over a line on which things go wrong: what arrives, and that it always ends."""

from __future__ import annotations

import dataclasses
import errno
import random
import threading
import time

import pytest
from links import OTHER, OWN, End
from support import PATIENCE, wait_until

from yoton.connection import threaded
from yoton.connection.faults import Faults, faulty_stream_pair
from yoton.connection.protocol import Protocol, Role
from yoton.exceptions import ConnectFailed

SEEDS = range(20)

LINE_CUT = f"Socket error: [Errno {errno.ECONNRESET}] the line was cut"

#: Bytes that shaking hands takes in one direction, at most.
HANDSHAKE_SIZE = 300


class Pair:
    """Two ends over a faulty line, with links if they came to know each other."""

    def __init__(self, faults: Faults, seed: int, handshake_timeout: float = PATIENCE) -> None:
        self.seed = seed
        self.streams = faulty_stream_pair(faults, seed)
        self.own = End(self.streams[0], Protocol(Role.CONNECTOR, OWN), OWN)
        self.other = End(self.streams[1], Protocol(Role.BINDER, OTHER), OTHER)
        self.ends = (self.own, self.other)
        self._handshake_timeout = handshake_timeout
        #: The ends that have a link.
        self.linked: list[End] = []
        threads = [threading.Thread(target=self._link, args=(end,)) for end in self.ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _link(self, end: End) -> None:
        try:
            end.shake_hands(self._handshake_timeout)
        except ConnectFailed:
            threaded.hang_up(end.stream, 0.0)
            return
        end.link.start()
        self.linked.append(end)

    def close(self) -> None:
        """End the links that have not ended, and see that all did, once and for a reason."""
        for end in self.linked:
            end.link.close("enough")
        self.join()

    def join(self) -> None:
        for end in self.linked:
            end.join()
            assert end.owner.ended == end.owner.closing != [threaded.CANNOT_HANDLE]
            assert len(end.owner.ended) == 1


@pytest.fixture
def short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.2)


def messages(seed: int, count: int = 30, max_size: int = 1500) -> list[bytes]:
    """Get messages of sizes that occur, the same for the same seed."""
    sizes = random.Random(seed)
    return [sizes.randbytes(sizes.choice((1, 30, 300, max_size))) for _ in range(count)]


def received(end: End) -> list[bytes]:
    return [package.data for package in end.owner.packages]


# Late, in pieces, slow


@pytest.mark.parametrize(
    "faults",
    [
        Faults(max_piece=1),
        Faults(max_piece=60),
        Faults(delay=0.02),
        Faults(delay=(0.0, 0.003), max_piece=2000),
        Faults(bandwidth=200_000.0),
        Faults(bandwidth=500_000.0, delay=(0.0, 0.01), max_piece=300),
    ],
    ids=str,
)
def test_all_packages_arrive_in_order_and_the_goodbye_behind_them(faults: Faults) -> None:
    pairs = [Pair(faults, seed) for seed in range(3)]
    for pair in pairs:
        for message in messages(pair.seed):
            pair.own.send(message)
            pair.other.send(message[::-1])
    for pair in pairs:
        sent = messages(pair.seed)
        wait_until(lambda pair=pair, sent=sent: len(received(pair.own)) == len(sent))
        pair.own.link.close("enough")
        pair.join()
        assert received(pair.other) == sent
        assert received(pair.own) == [message[::-1] for message in sent]
        assert pair.own.owner.ended == ["enough"]
        assert pair.other.owner.ended == ["Closed from other end."]


def test_packages_that_are_larger_than_the_line_holds_arrive() -> None:
    pair = Pair(Faults(bandwidth=2e6, delay=0.005, max_piece=5000), seed=1)
    sent = [bytes([number]) * 200_000 for number in range(3)]
    pair.own.send(*sent)
    wait_until(lambda: len(received(pair.other)) == 3)
    assert received(pair.other) == sent
    pair.close()


def test_a_stalled_line_goes_on_as_if_nothing_had_been() -> None:
    pair = Pair(Faults(), seed=1)
    sent = messages(seed=1)
    for number, message in enumerate(sent):
        if number == 10:
            pair.streams[0].stall()
        pair.own.put(message)
        pair.own.link.kick()
        pair.other.send(message)
    time.sleep(0.05)
    assert len(received(pair.own)) <= 10
    pair.streams[0].resume()
    wait_until(lambda: received(pair.own) == received(pair.other) == sent)
    pair.close()


# Damaged


@pytest.mark.usefixtures("short_close")
def test_with_damaged_bytes_every_link_ends_for_a_reason() -> None:
    """The wire has no checksum: a package may come with other data, or as another one."""
    pairs = [Pair(Faults(corrupt_probability=0.0005), seed, 0.3) for seed in SEEDS]
    for pair in pairs:
        for message in messages(pair.seed):
            for end in pair.linked:
                end.put(message)
                end.link.kick()
    time.sleep(0.1)
    for pair in pairs:
        pair.close()
    ends = [end for pair in pairs for end in pair.linked]
    for end in ends:
        assert all(0 < len(package.data) <= 10**9 for package in end.owner.packages)
    reasons = {end.owner.ended[0] for end in ends}
    assert "Lost track of the stream." in reasons
    assert any(received(pair.other) not in ([], messages(pair.seed)) for pair in pairs)


def test_a_damaged_handshake_is_refused_or_harmless() -> None:
    pairs = [Pair(Faults(corrupt_probability=0.01), seed, 0.05) for seed in SEEDS]
    assert {len(pair.linked) for pair in pairs} >= {0, 2}
    for pair in pairs:
        for end in pair.linked:
            end.link.abort("enough")
        pair.join()


# Cut


@pytest.mark.parametrize("faults", [Faults(), Faults(max_piece=50, delay=(0.0, 0.002))], ids=str)
def test_a_line_that_is_cut_somewhere_ends_both_links(faults: Faults) -> None:
    cut = dataclasses.replace(faults, cut_after=(HANDSHAKE_SIZE, 10_000))
    pairs = [Pair(cut, seed) for seed in SEEDS]
    for pair in pairs:
        assert len(pair.linked) == 2
        for message in messages(pair.seed):
            for end in pair.ends:
                end.put(message)
                end.link.kick()
    for pair in pairs:
        pair.join()
        for end in pair.ends:
            came, sent = received(end), messages(pair.seed)
            assert came == sent[: len(came)]
            assert end.owner.ended[0] in (
                LINE_CUT,
                "Other end dropped the connection.",
            )


def test_a_line_that_is_cut_while_hands_are_shaken_is_no_connection() -> None:
    for seed in SEEDS:
        pair = Pair(Faults(cut_after=(1, 100)), seed)
        pair.join()
        assert len(pair.linked) < 2


@pytest.mark.parametrize("is_stalled", [False, True])
def test_a_line_that_is_cut_by_hand_ends_both_links(is_stalled: bool) -> None:
    pair = Pair(Faults(), seed=1)
    if is_stalled:
        pair.streams[0].stall()
    pair.streams[0].cut()
    pair.join()
    assert pair.own.owner.ended == [LINE_CUT]
    assert pair.other.owner.ended == ["Other end dropped the connection."]


@pytest.mark.usefixtures("short_close")
def test_a_link_over_a_stalled_line_is_closed_within_its_deadline() -> None:
    pair = Pair(Faults(), seed=1)
    pair.streams[0].stall()
    start = time.monotonic()
    pair.own.put(b"never leaves")
    pair.own.link.close("enough")
    pair.own.join()
    assert time.monotonic() - start < PATIENCE / 2
    pair.join()
    assert pair.own.owner.ended == ["enough"]
    assert pair.other.owner.ended == ["Other end dropped the connection."]

"""A publisher, a relay and subscribers, over lines that are cut at any moment: the books are right.

All is in memory, and each run is decided by its seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from support import PATIENCE, wait_until

import yoton
from yoton.connection import memory, transports
from yoton.connection.base import Connection
from yoton.connection.faults import Faults, FaultyStream
from yoton.connection.streams import ByteStream

SEEDS = range(12)
STEPS = 60
QUICKLY = yoton.ReconnectPolicy(first_delay=0.001, ceiling=0.01)

#: Lines that bring bytes late and in pieces, so that a cut strikes in the middle of packages.
FAULTS = Faults(max_piece=300, delay=(0.0, 0.002))

#: Bytes that sessions keep in the runs in which that is not enough.
LITTLE = 3000

_names = itertools.count()


class Lines:
    """Makes faulty lines to all who listen in this process, and cuts them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.cuts = 0
        self._closed: set[str] = set()
        self._streams: dict[str, list[FaultyStream]] = {}

    def connect(self, name: str) -> ByteStream:
        if name in self._closed:
            raise ConnectionRefusedError("no line today")
        stream = FaultyStream(memory.connect_memory(name), FAULTS, self._chance.randrange(2**32))
        self._streams.setdefault(name, []).append(stream)
        return stream

    def cut(self, name: str) -> None:
        """Cut all lines that lead there."""
        for stream in self._streams.pop(name, []):
            self.cuts += 1
            stream.cut()

    def close(self, name: str) -> None:
        """Cut them, and let nobody make another one."""
        self._closed.add(name)
        self.cut(name)

    def open(self, name: str) -> None:
        self._closed.discard(name)


class Delivery(NamedTuple):
    """What a subscriber should get, and has got."""

    sub: yoton.SubChannel
    first: int
    received: list[int]
    gaps: list[int]


class Network:
    """Publishers at both ends of a relay, and subscribers that come and go."""

    def __init__(self, seed: int, lines: Lines, kept_size: int | None) -> None:
        self.chance = random.Random(seed)
        self.lines = lines
        self._kept_size = kept_size
        self.stack = ExitStack()
        self.relay = self._context()
        self.name = f"relay {next(_names)}"
        self.relay.listen(f"memory://{self.name}", session_lifetime=PATIENCE)
        self.source = self._context()
        self._connect(self.source)
        self.pub = yoton.PubChannel(self.source, "news", yoton.OBJECT)
        self.sent = 0
        self.deliveries: list[Delivery] = []

    def _context(self) -> yoton.Context:
        return self.stack.enter_context(yoton.Context(queue_params=(10**6, "old")))

    def _connect(self, context: yoton.Context) -> Connection:
        self.lines.open(self.name)
        # A line may be cut while hands are shaken, and the first time has to succeed.
        connection = context.connect(f"memory://{self.name}", PATIENCE, reconnect=QUICKLY)
        wait_until(lambda: self._accepted(context) is not None)
        for end in (connection, self._accepted(context)):
            session = end and end._session
            if session and self._kept_size is not None:
                session._kept_size = self._kept_size
        return connection

    def _accepted(self, context: yoton.Context) -> Connection | None:
        found = (c for c in self.relay.connections_all if c.id2 == context.id)
        return next(found, None)

    # What may happen

    def send(self) -> None:
        for _ in range(self.chance.choice([1, 5, 40])):
            self.pub.send([self.sent, "x" * self.chance.randrange(300)])
            self.sent += 1

    def join(self) -> None:
        if len(self.deliveries) >= 4:
            return
        context = self._context()
        sub = yoton.SubChannel(context, "news", yoton.OBJECT)
        gaps: list[int] = []
        sub.gap.bind(lambda _, count: gaps.append(count))
        # Nothing is on its way while it joins, so that it is known what it should get.
        self.settle()
        self._connect(context)
        self.deliveries.append(Delivery(sub, self.sent, [], gaps))

    def leave(self) -> None:
        if len(self.deliveries) > 1:
            self.settle()
            self.deliveries.pop(self.chance.randrange(len(self.deliveries))).sub._context.close()

    def cut(self) -> None:
        self.lines.cut(self.name)

    def cut_for_long(self) -> None:
        self.lines.close(self.name)

    def let_come_back(self) -> None:
        self.lines.open(self.name)

    # What has to hold

    def settle(self) -> None:
        """Let all come that is to come, and do the books."""
        self.let_come_back()
        for delivery in self.deliveries:
            wait_until(lambda d=delivery: self._is_complete(d), self._tell(delivery))

    def _is_complete(self, delivery: Delivery) -> bool:
        yoton.process_events()
        delivery.received.extend(number for number, _ in delivery.sub.recv_all())
        self._check(delivery)
        return delivery.first + len(delivery.received) + sum(delivery.gaps) == self.sent

    def _check(self, delivery: Delivery) -> None:
        assert delivery.received == sorted(set(delivery.received)), "in order, none twice"
        assert all(delivery.first <= number < self.sent for number in delivery.received)
        assert len(delivery.received) + sum(delivery.gaps) <= self.sent - delivery.first

    def _tell(self, delivery: Delivery) -> str:
        return f"{self.sent} sent, {delivery.first} before, gaps {delivery.gaps}"


@pytest.fixture
def to_close() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    made = Lines(random.Random(1))
    monkeypatch.setattr(transports, "connect_memory", made.connect)
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kept_size", [None, LITTLE], ids=["all is kept", "little is kept"])
def test_the_books_are_right_whatever_happens(
    to_close: ExitStack, lines: Lines, seed: int, kept_size: int | None
) -> None:
    network = Network(seed, lines, kept_size)
    to_close.enter_context(network.stack)
    network.join()
    rules = [network.send] * 6 + [network.cut] * 4
    rules += [network.cut_for_long, network.let_come_back, network.join, network.leave]
    for _ in range(STEPS):
        network.chance.choice(rules)()
    network.settle()
    if kept_size is None:
        assert not any(delivery.gaps for delivery in network.deliveries)
    assert lines.cuts > 3

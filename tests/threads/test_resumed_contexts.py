"""Publishers, a relay and subscribers, over lines that are cut at any moment: the books are right.

All is in memory. What happens in which order is searched by hypothesis; how the threads take turns
is another matter each time, so a failure need not come again.
"""

from __future__ import annotations

import functools
import itertools
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import PATIENCE, wait_until

import yoton
from yoton.connection.base import Connection
from yoton.connection.faults import Faults, faulty_lines

#: Of each kind. What cannot be repeated exactly is not made smaller either.
SEARCH = settings(
    max_examples=25,
    stateful_step_count=50,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)
QUICKLY = yoton.ReconnectPolicy(first_delay=0.001, ceiling=0.01)

#: Lines that bring bytes late and in pieces, so that a cut strikes in the middle of packages.
FAULTS = Faults(max_piece=300, delay=(0.0, 0.002))

#: Messages that go into one package at most, so that a session has many of them.
BUNDLED = 8

#: Bytes that sessions keep in the runs in which that is not enough.
LITTLE = 3000

_names = itertools.count()


class Publisher:
    """Numbers what it sends."""

    def __init__(self, context: yoton.Context) -> None:
        self.context = context
        self._pub = yoton.PubChannel(context, "news", yoton.OBJECT)
        self.sent = 0

    def send(self, count: int, size: int) -> None:
        for _ in range(count):
            self._pub.send([self.context.id, self.sent, "x" * size])
            self.sent += 1
            if self.sent % BUNDLED == 0:
                self.context.flush_burst()


class Subscriber:
    """Keeps its books: by publisher, what was sent before it came and what it has got."""

    def __init__(self, context: yoton.Context, publishers: list[Publisher]) -> None:
        self.context = context
        self._sub = yoton.SubChannel(context, "news", yoton.OBJECT)
        self._publishers = publishers
        self._sent_before = {each.context.id: each.sent for each in publishers}
        self.received: dict[int, list[int]] = {}
        self.gaps: list[int] = []
        self._sub.gap.bind(lambda _, count: self.gaps.append(count))

    @property
    def missing(self) -> int:
        """Messages that it has not got and was not told of; looks what has come."""
        for source_id, number, _ in self._sub.recv_all():
            self.received.setdefault(source_id, []).append(number)
        return sum(map(self._missing_of, self._publishers)) - sum(self.gaps)

    def _missing_of(self, publisher: Publisher) -> int:
        numbers = self.received.get(publisher.context.id, [])
        first = self._sent_before.get(publisher.context.id, 0)
        assert numbers == sorted(set(numbers)), "in order, none twice"
        assert all(first <= number < publisher.sent for number in numbers)
        return publisher.sent - first - len(numbers)


class Kept(NamedTuple):
    """Where sessions keep little, so that there are gaps.

    A relay passes a gap on once, and a line that is cut then takes that news along. So there are
    subscribers behind the relay only where all comes to it.
    """

    by_publishers: bool
    by_relay: bool


class Network(RuleBasedStateMachine):
    """Publishers at both ends of a relay, and subscribers that come and go."""

    def __init__(self, cuts: list[int], kept: Kept) -> None:
        super().__init__()
        # How many ends of lines were cut, each time.
        self._cuts = cuts
        self._kept = kept
        self._stack = ExitStack()
        self._are_books_right = True

    @initialize(seed=st.integers(0, 2**32))
    def make(self, seed: int) -> None:
        self._address = f"memory://relay {next(_names)}"
        self._lines = self._stack.enter_context(faulty_lines(self._address, FAULTS, seed))
        self._relay = self._context()
        self._relay.listen(self._address, session_lifetime=PATIENCE)
        # All that ever were, and those that live.
        self._publishers: list[Publisher] = []
        self._sources: list[Publisher] = []
        self._subscribers: list[Subscriber] = []
        if self._kept.by_publishers:
            self._subscribers.append(Subscriber(self._relay, self._publishers))
        else:
            self._add_publisher(self._relay)
            self.join()
        self.join_as_publisher()

    def _add_publisher(self, context: yoton.Context) -> None:
        publisher = Publisher(context)
        self._publishers.append(publisher)
        self._sources.append(publisher)

    def _context(self) -> yoton.Context:
        return self._stack.enter_context(yoton.Context(queue_params=(10**6, "old")))

    def _connect(self, context: yoton.Context) -> None:
        self.let_come_back()
        # A line may be cut while hands are shaken, and the first time has to succeed.
        connection = context.connect(self._address, PATIENCE, reconnect=QUICKLY)
        wait_until(lambda: self._accepted(context) is not None)
        self._keep_little(connection, self._kept.by_publishers)
        self._keep_little(self._accepted(context), self._kept.by_relay)

    def _accepted(self, context: yoton.Context) -> Connection | None:
        found = (c for c in self._relay.connections_all if c.id2 == context.id)
        return next(found, None)

    def _keep_little(self, connection: Connection | None, is_little: bool) -> None:
        assert connection is not None
        assert connection._session is not None
        if is_little:
            connection._session._kept_size = LITTLE

    # What may happen

    @rule(
        index=st.integers(0, 5),
        count=st.sampled_from([1, 5, 40, 150]),
        size=st.integers(0, 300),
        is_cut=st.booleans(),
    )
    def send(self, index: int, count: int, size: int, is_cut: bool) -> None:
        self._sources[index % len(self._sources)].send(count, size)
        if is_cut:
            self.cut()

    @rule()
    def cut(self) -> None:
        self._cuts.append(len(self._lines.streams))
        self._lines.cut()

    @rule()
    def cut_for_long(self) -> None:
        self._cuts.append(len(self._lines.streams))
        self._lines.take_down()

    @rule()
    def let_come_back(self) -> None:
        self._lines.bring_up()

    @precondition(lambda self: len(self._subscribers) < 4 and not self._kept.by_publishers)
    @rule()
    def join(self) -> None:
        """A subscriber comes, while nothing is on its way, so that it is known what it gets."""
        self._settle()
        subscriber = Subscriber(self._context(), self._publishers)
        self._connect(subscriber.context)
        self._subscribers.append(subscriber)

    @precondition(lambda self: len(self._subscribers) > 1)
    @rule(index=st.integers(0, 5))
    def leave(self, index: int) -> None:
        self._settle()
        self._subscribers.pop(index % len(self._subscribers)).context.close()

    @precondition(lambda self: len(self._sources) < 3)
    @rule()
    def join_as_publisher(self) -> None:
        context = self._context()
        self._connect(context)
        self._add_publisher(context)

    @precondition(lambda self: len(self._sources) > 2)
    @rule()
    def leave_as_publisher(self) -> None:
        """Not while it has no line: what waits would be dropped."""
        self._settle()
        self._sources.pop().context.close()

    # What has to hold

    def _settle(self) -> None:
        """Let all come that is to come, and do the books."""
        self._are_books_right = False
        self.let_come_back()
        for subscriber in self._subscribers:
            wait_until(lambda each=subscriber: self._is_complete(each), "all comes or is a gap")
        self._are_books_right = True

    def _is_complete(self, subscriber: Subscriber) -> bool:
        yoton.process_events()
        missing = subscriber.missing
        assert missing >= 0, "nothing came that counted as lost"
        if self._kept == Kept(False, False):
            assert not subscriber.gaps
        return missing == 0

    def teardown(self) -> None:
        with self._stack:
            if hasattr(self, "_subscribers") and self._are_books_right:
                self._settle()


@pytest.mark.parametrize(
    "kept",
    [Kept(False, False), Kept(True, False), Kept(False, True)],
    ids=["all is kept", "publishers keep little", "the relay keeps little"],
)
def test_the_books_are_right_whatever_happens(kept: Kept) -> None:
    cuts: list[int] = []
    run_state_machine_as_test(functools.partial(Network, cuts, kept), settings=SEARCH)
    assert sum(cuts) > 50

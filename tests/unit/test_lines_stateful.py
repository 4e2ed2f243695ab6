"""Processes that come and go, over lines that are cut, damaged and found again, in any order.

No thread, no socket, no clock: see `threadless`. What is sent arrives once and in the order of
each source, or is counted: as a gap or as dropped.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from threadless import Leaf, LineEnd, World

from yoton.connection import session as session_module
from yoton.connection.session import DEFAULT_KEPT_SIZE

#: More than one test ever sends.
NO_LIMIT = 10**6

#: Bytes: more than ever wait.
PLENTY = 10**6

MAX_LEAVES = 3

#: So that most of a run is spent with lines that are lost and found.
MAX_ENDINGS = 2


def has_lines(machine: Network) -> bool:
    return bool(machine.world.ends)


def has_leaves(machine: Network) -> bool:
    return bool(machine.world.leaves)


#: Which of several there are; the rest of the division by their number counts.
which = st.integers(0, 5)


class Network(RuleBasedStateMachine):
    """A hub and up to three others; all send to all."""

    @initialize(
        kept_size=st.sampled_from([1, 1000, 5000, DEFAULT_KEPT_SIZE]),
        limit=st.sampled_from([5, 50, NO_LIMIT, NO_LIMIT]),
        leaves=st.integers(1, 2),
    )
    def make(self, kept_size: int, limit: int, leaves: int) -> None:
        self.world = World(kept_size, limit)
        self.endings = 0
        for _ in range(leaves):
            self.world.join()
        self.world.exchange()

    def end(self, index: int) -> LineEnd:
        ends = self.world.ends
        return ends[index % len(ends)]

    def leaf(self, index: int) -> Leaf:
        return self.world.leaves[index % len(self.world.leaves)]

    # What processes do

    @rule(
        index=which,
        sizes=st.lists(st.integers(1, 500), min_size=1, max_size=20),
        is_bundle=st.booleans(),
        room=st.sampled_from([0, 300, PLENTY]),
    )
    def send(self, index: int, sizes: list[int], is_bundle: bool, room: int) -> None:
        processes = self.world.processes
        sender = processes[index % len(processes)]
        sender.send(sizes, is_bundle)
        for connection in sender.connections:
            connection.flush(room)

    @precondition(has_lines)
    @rule(index=which)
    def carry(self, index: int) -> None:
        """All that waits at one end is written, and arrives."""
        end = self.end(index)
        end.flush(PLENTY)
        end.other.deliver()

    @precondition(has_lines)
    @rule(index=which, room=st.integers(0, 2000) | st.just(PLENTY))
    def flush(self, index: int, room: int) -> None:
        self.end(index).flush(room)

    @precondition(has_lines)
    @rule(index=which)
    def interrupt(self, index: int) -> None:
        connection = self.end(index).connection
        if connection is not None:
            connection.is_interrupted = True

    @precondition(lambda self: len(self.world.leaves) < MAX_LEAVES)
    @rule()
    def join(self) -> None:
        self.world.join()

    @precondition(lambda self: any(not leaf.has_line for leaf in self.world.leaves))
    @rule(are_shaken=st.booleans())
    def dial(self, are_shaken: bool) -> None:
        """All who have no line get one, and shake hands now or later."""
        for leaf in self.world.leaves:
            if not leaf.has_line:
                leaf.dial(self.world.hub)
        if are_shaken:
            self.world.shake_hands()

    @precondition(lambda self: self.endings < MAX_ENDINGS)
    @rule(index=which, how=st.sampled_from(["close", "close at the hub", "kill", "kill the hub"]))
    def end_something(self, index: int, how: str) -> None:
        self.endings += 1
        if how == "kill the hub":
            self.world.kill_hub()
        elif how == "close at the hub":
            connections = self.world.hub.connections
            if connections:
                connections[index % len(connections)].begin_close()
        elif self.world.leaves:
            leaf = self.leaf(index)
            if how == "close":
                leaf.close()
            else:
                self.world.kill(leaf)

    # What becomes of the bytes

    @precondition(has_lines)
    @rule(index=which, size=st.none() | st.integers(1, 8) | st.integers(1, 400))
    def deliver(self, index: int, size: int | None) -> None:
        self.end(index).deliver(size)

    @precondition(has_lines)
    @rule(index=which, size=st.integers(1, 400))
    def deliver_byte_by_byte(self, index: int, size: int) -> None:
        end = self.end(index)
        for _ in range(size):
            end.deliver(1)

    @precondition(has_lines)
    @rule(
        index=which,
        kept=st.tuples(st.integers(0, 400), st.integers(0, 400)),
        noticed=st.tuples(st.booleans(), st.booleans()),
    )
    def cut(self, index: int, kept: tuple[int, int], noticed: tuple[bool, bool]) -> None:
        """Of what is under way to each end a part arrives, now or later."""
        end = self.end(index)
        for side, size in zip((end, end.other), kept, strict=True):
            side.cut(size)
        for side, is_noticed in zip((end, end.other), noticed, strict=True):
            if is_noticed:
                side.deliver()

    @precondition(has_lines)
    @rule(index=which, package=st.integers(0, 10), offset=st.integers(0, 4))
    def damage(self, index: int, package: int, offset: int) -> None:
        end = self.end(index)
        end.other.flush(PLENTY)
        end.damage(package, offset)

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def exchange(self) -> None:
        self.world.exchange()

    # What has to hold

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        """Everybody gets a line, and all arrives."""
        if hasattr(self, "world"):
            self.world.heal()
            self.world.check_settled()


# Only if it fails: hypothesis takes up to five minutes to make a run short.
@pytest.mark.timeout(360)
def test_whatever_happens_each_message_comes_once_and_in_order_or_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that this limit is reached as well.
    monkeypatch.setattr(session_module, "ACKNOWLEDGED_COUNT", 8)
    run_state_machine_as_test(
        Network, settings=settings(max_examples=600, stateful_step_count=60, deadline=None)
    )

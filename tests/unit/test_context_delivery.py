"""How a context delivers what came, also when Ctrl-C comes in between; without connections."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import is_interrupted

from yoton.channels import SubChannel
from yoton.clock import Deadline
from yoton.context import Context
from yoton.gaps import Gap, Loss
from yoton.message_types import BINARY
from yoton.package import EVERYONE, SLOT_CONTEXT, Bundle, Package, slot_number
from yoton.traffic import Books, Flow

PEER_ID = 7

#: More than the moments of any delivery of this file.
MOMENTS = 400


class Connection:
    """Takes the place of a connection from which packages come, or to which they go."""

    is_congested = False
    peer = None

    def __init__(self) -> None:
        self.packages: list[Package] = []
        self.kicks = 0

    def enqueue(self, package: Package) -> None:
        self.packages.append(package)

    def kick(self) -> None:
        self.kicks += 1


class Recorder:
    """A receiver that has to act on whatever comes."""

    def __init__(self, context: Context, slot: str, *, has_to_act: bool = True) -> None:
        self.messages: list[tuple[bytes, int]] = []
        self.acted = 0
        self.news = 0
        self._has_to_act = has_to_act
        self._out, self.slot = context.register(
            self, f"{slot}.out", f"{slot}.in", Books(Flow(), Flow(), dict)
        )

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        self.messages.extend(zip(package.messages(), numbers, strict=False))
        return self._has_to_act

    def packages_delivered(self) -> None:
        self.acted += 1

    def connection_made(self) -> None:
        self.news += 1

    def contexts_gone(self, ids: set[int]) -> None: ...

    def close_within(self, deadline: Deadline) -> None: ...

    def abandon(self) -> None: ...


class Node:
    """A context with a channel that need not act, a receiver that has to, and a connection."""

    def __init__(self) -> None:
        self.context = Context()
        self.sub = SubChannel(self.context, "x", BINARY)
        self.sub_slot = slot_number(self.sub.slot_incoming)
        self.recorder = Recorder(self.context, "y")
        self.connection = Connection()

    def packages(self) -> Sequence[Package]:
        """Get six messages for the channel and two for the receiver, in packages."""
        return [
            Package(b"a", self.sub_slot, PEER_ID, 1),
            Package(b"b", self.recorder.slot, PEER_ID, 2),
            Bundle(b"cde", [1, 1, 1], self.sub_slot, PEER_ID, 5),
            Package(b"f", self.sub_slot, PEER_ID, 6),
            Package(b"g", self.recorder.slot, PEER_ID, 7),
            Package(b"h", self.sub_slot, PEER_ID, 8),
        ]

    def deliver(self, packages: Sequence[Package] | None = None) -> None:
        packages = self.packages() if packages is None else packages
        self.context.arrivals.deliver(packages, self.connection)  # type: ignore[arg-type]

    def act(self) -> None:
        self.context.arrivals.act(self.connection)  # type: ignore[arg-type]

    @property
    def is_locked(self) -> bool:
        return bool(self.context._lock._is_owned())  # type: ignore[attr-defined]

    def check_delivered(self) -> None:
        """Check that each message is there once, in order, and that those have to act who do."""
        at_channel, at_recorder = list(self.sub._inbox._items), self.recorder.messages
        assert [message for message, _ in at_channel] == [b"a", b"c", b"d", b"e", b"f", b"h"]
        assert [message for message, _ in at_recorder] == [b"b", b"g"]
        in_order = sorted(at_channel + at_recorder, key=lambda pair: pair[1])
        assert [message for message, _ in in_order] == [bytes([c]) for c in b"abcdefgh"]
        assert len({number for _, number in in_order}) == 8
        assert in_order[-1][1] < self.context.next_recv_number()
        assert self.recorder in self.context.arrivals._acting


@pytest.fixture
def node() -> Node:
    return Node()


# Delivering and acting


def test_messages_are_delivered_once_and_numbered_in_their_order(node: Node) -> None:
    node.deliver()
    node.check_delivered()
    assert list(node.context.arrivals._acting) == [node.recorder]


def test_what_has_come_before_is_not_delivered_again(node: Node) -> None:
    node.deliver()
    node.deliver()
    node.check_delivered()


def test_of_a_bundle_only_what_is_news_is_delivered(node: Node) -> None:
    node.deliver([Package(b"b", node.recorder.slot, PEER_ID, 2)])
    node.deliver([Bundle(b"abc", [1, 1, 1], node.recorder.slot, PEER_ID, 3)])
    assert [message for message, _ in node.recorder.messages] == [b"b", b"c"]


def test_each_receiver_acts_once_on_all_that_came(node: Node) -> None:
    node.deliver()
    assert node.recorder.acted == 0
    node.act()
    assert node.recorder.acted == 1
    node.act()
    assert node.recorder.acted == 1


def test_an_error_while_acting_keeps_no_other_receiver_from_it(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    other = Recorder(node.context, "z")
    node.recorder.packages_delivered = fail  # type: ignore[method-assign]
    node.deliver()
    node.deliver([Package(b"i", other.slot, PEER_ID, 9)])
    node.act()
    assert other.acted == 1
    assert "failed to act on what it received" in caplog.text


def test_packages_between_contexts_wait_for_the_thread_that_acts(node: Node) -> None:
    node.deliver([Package(b"NEW_CONNECTION", SLOT_CONTEXT, PEER_ID, 1)])
    assert node.recorder.news == 0
    node.act()
    assert node.recorder.news == 1


def test_a_package_between_contexts_that_is_lost_may_have_told_of_one_that_came(node: Node) -> None:
    for losses, news in (
        ([Loss(SLOT_CONTEXT, EVERYONE, 1), Loss(SLOT_CONTEXT, PEER_ID, 1)], 1),
        ([Loss(0, EVERYONE, 1)], 2),
        ([Loss(node.sub_slot, EVERYONE, 1)], 2),
    ):
        node.context.gap_found(Gap((PEER_ID, 3), losses), node.connection)  # type: ignore[arg-type]
        assert node.recorder.news == news


def test_a_channel_that_cannot_tell_its_state_does_not_end_the_thread(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("too large")

    other = Recorder(node.context, "z")
    monkeypatch.setattr(node.recorder, "connection_made", fail)
    node.deliver([Package(b"NEW_CONNECTION", SLOT_CONTEXT, PEER_ID, 1)])
    node.act()
    assert other.news == 1
    assert "failed to tell its state" in caplog.text


def test_a_context_of_which_nothing_came_before_is_noted_by_the_thread_that_acts(
    node: Node,
) -> None:
    first, second = (Package(b"a", node.sub_slot, PEER_ID, number) for number in (1, 2))
    assert not node.context.arrivals.deliver_leading([first], node.connection)  # type: ignore[arg-type]
    node.act()
    assert node.context.announcing._missing.keys() == {PEER_ID}
    assert node.context.arrivals.deliver_leading([second], node.connection)  # type: ignore[arg-type]


def test_what_is_for_nobody_here_is_left_out(node: Node) -> None:
    node.deliver([Package(b"a", 12345, PEER_ID, 1)])
    assert not node.context.arrivals._acting
    assert node.context.arrivals._delivery is None


def test_what_comes_is_forwarded_by_the_other_connections(node: Node) -> None:
    other = Connection()
    node.context.neighbours.connections = (node.connection, other)  # type: ignore[arg-type]
    node.deliver()
    assert [package.source_seq for package in other.packages] == [1, 2, 5, 6, 7, 8]
    assert node.connection.packages == []
    assert other.kicks == 0
    node.act()
    assert other.kicks == 1
    node.context.neighbours.connections = ()


# Ctrl-C


def test_a_delivery_that_was_interrupted_can_be_repeated() -> None:
    for moment in itertools.count(1):
        node = Node()
        was_interrupted = is_interrupted(node.deliver, moment)
        assert not node.is_locked
        node.deliver()
        node.check_delivered()
        if not was_interrupted:
            break
    assert 50 < moment < MOMENTS


@given(st.lists(st.integers(1, MOMENTS), max_size=6))
def test_a_delivery_may_be_interrupted_again_and_again(moments: list[int]) -> None:
    node = Node()
    for moment in moments:
        is_interrupted(node.deliver, moment)
        assert not node.is_locked
    node.deliver()
    node.check_delivered()


def test_finishing_an_interrupted_delivery_may_be_interrupted_as_well() -> None:
    """It is at the beginning of the next one, so few moments of the second call matter."""
    one_message = [Package(b"a", slot_number("y.in"), PEER_ID, 1)]

    def check(first: int, second: int) -> bool:
        node = Node()
        deliver: Callable[[], object] = lambda: node.deliver(one_message)  # noqa: E731
        was_interrupted = is_interrupted(deliver, first)
        is_interrupted(deliver, second)
        assert not node.is_locked
        deliver()
        assert [message for message, _ in node.recorder.messages] == [b"a"]
        assert node.recorder in node.context.arrivals._acting
        return was_interrupted

    for first in itertools.count(1):
        results = [check(first, second) for second in range(1, 12)]
        if not all(results):
            break
    assert first > 10


def test_who_selects_a_channel_does_not_disturb_an_interrupted_delivery() -> None:
    for moment in itertools.count(1):
        node = Node()
        was_interrupted = is_interrupted(node.deliver, moment)
        limit = node.context.next_recv_number()
        delivered = [*node.sub._inbox._items, *node.recorder.messages]
        assert all(number < limit for _, number in delivered)
        node.deliver()
        node.check_delivered()
        later = [*node.sub._inbox._items, *node.recorder.messages]
        assert all(pair[1] >= limit for pair in later if pair not in delivered)
        if not was_interrupted:
            break


def test_what_came_before_an_interrupt_is_acted_on_after_it() -> None:
    for moment in itertools.count(1):
        node = Node()
        was_interrupted = is_interrupted(node.deliver, moment)
        # By the receive thread, before it repeats the delivery and after it.
        node.act()
        node.deliver()
        node.act()
        assert node.recorder.acted in (1, 2)
        assert [message for message, _ in node.recorder.messages] == [b"b", b"g"]
        assert not node.context.arrivals._acting
        if not was_interrupted:
            break


def test_a_delivery_to_a_full_inbox_can_be_repeated() -> None:
    for moment in itertools.count(1):
        node = Node()
        node.sub._inbox._limit = 3
        was_interrupted = is_interrupted(node.deliver, moment)
        node.deliver()
        left = list(node.sub._inbox._items)
        assert [message for message, _ in left[-3:]] == [b"e", b"f", b"h"]
        # One that was not dropped in time stays until more comes.
        assert len(left) <= (4 if was_interrupted else 3)
        if not was_interrupted:
            assert node.sub.dropped == 3
            assert node.sub in node.context.arrivals._acting
            break

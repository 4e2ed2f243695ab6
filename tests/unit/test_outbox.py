from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from interrupts import call_with, is_interrupted

from yoton.clock import Deadline
from yoton.connection.outbox import CONGESTION_COUNT, CONGESTION_SIZE, Outbox
from yoton.package import Bundle, Package
from yoton.queues import Overflow

NOW = Deadline(0.0)


def single(seq: int, size: int = 1) -> Package:
    return Package(bytes([seq % 256]) * size, 8, 9, seq)


def bundle(first_seq: int, sizes: Sequence[int]) -> Package:
    """Make a bundle like the single packages from first_seq on; of one message, that one."""
    packages = [single(first_seq + index, size) for index, size in enumerate(sizes)]
    if len(packages) == 1:
        return packages[0]
    data = b"".join(package.data for package in packages)
    return Bundle(data, sizes, 8, 9, packages[-1].source_seq)


def messages_of(packages: Sequence[Package]) -> list[Package]:
    return [message for package in packages for message in package.packages()]


def numbers(packages: Sequence[Package]) -> list[int]:
    return [message.source_seq for message in messages_of(packages)]


def make_outbox(limit: int = 10, overflow: Overflow = Overflow.DROP_OLD) -> Outbox:
    return Outbox(limit, overflow)


def take_some(outbox: Outbox, max_count: float, max_size: float) -> list[Package]:
    target: deque[Package] = deque()
    outbox.move(target, max_count, max_size)
    return list(target)


class OutboxMachine(RuleBasedStateMachine):
    """An outbox against a list of single messages, in one thread."""

    @initialize(limit=st.integers(min_value=1, max_value=9), overflow=st.sampled_from(Overflow))
    def make(self, limit: int, overflow: Overflow) -> None:
        self.limit = limit
        self.overflow = overflow
        self.outbox = make_outbox(limit, overflow)
        self.expected: list[Package] = []
        self.dropped = 0
        self.seq = 0
        self.is_closed = False

    @rule(sizes=st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=12))
    def put(self, sizes: list[int]) -> None:
        package = bundle(self.seq + 1, sizes)
        self.seq += len(sizes)
        room = 0 if self.is_closed else self.limit - len(self.expected)
        surplus = max(0, len(sizes) - room)
        assert self.outbox.put(package) is (surplus == 0)
        self.dropped += surplus
        if not self.is_closed:
            together = [*self.expected, *package.packages()]
            is_old = self.overflow is Overflow.DROP_OLD
            self.expected = together[-self.limit :] if is_old else together[: self.limit]

    @rule(
        there=st.integers(min_value=0, max_value=3),
        max_count=st.integers(min_value=0, max_value=6),
        max_size=st.integers(min_value=0, max_value=40),
    )
    def move(self, there: int, max_count: int, max_size: int) -> None:
        before = [Package(b"", 8, 1, 1)] * there
        target = deque(before)
        self.outbox.move(target, max_count, max_size)
        assert list(target)[:there] == before
        moved = list(target)[there:]
        is_enough = len(target) >= max_count or sum(len(p.data) for p in moved) >= max_size
        assert is_enough or not self.outbox.packages
        assert not moved or len(target) <= max_count
        assert sum(len(package.data) for package in moved[:-1]) < max(1, max_size)
        self.expect_taken(moved)

    @rule()
    def take_all(self) -> None:
        self.expect_taken(self.outbox.take_all())
        assert not self.outbox.packages

    def expect_taken(self, packages: Sequence[Package]) -> None:
        taken = messages_of(packages)
        assert taken == self.expected[: len(taken)]
        del self.expected[: len(taken)]

    @rule()
    def close(self) -> None:
        assume(len(self.expected) > 1)
        self.outbox.close()
        self.is_closed = True

    @invariant()
    def it_counts_what_it_holds(self) -> None:
        assert (self.outbox.count, bool(self.outbox.packages)) == (
            len(self.expected),
            bool(self.expected),
        )
        assert self.outbox._size == sum(len(message.data) for message in self.expected)
        assert self.outbox.dropped == self.dropped


TestOutbox = OutboxMachine.TestCase


# The limit


def test_a_full_outbox_drops_the_oldest_messages_also_those_in_bundles() -> None:
    outbox = make_outbox(4, Overflow.DROP_OLD)
    assert outbox.put(bundle(1, [2, 2, 2]))
    assert not outbox.put(bundle(4, [3, 3]))
    kept = outbox.take_all()
    assert kept == [bundle(2, [2, 2]), bundle(4, [3, 3])]
    assert outbox.dropped == 1


def test_a_full_outbox_drops_the_new_messages_and_keeps_what_fits_of_a_bundle() -> None:
    outbox = make_outbox(4, Overflow.DROP_NEW)
    assert outbox.put(bundle(1, [2, 2, 2]))
    assert not outbox.put(bundle(4, [3, 3]))
    assert not outbox.put(single(6))
    assert messages_of(outbox.take_all()) == messages_of([bundle(1, [2, 2, 2]), single(4, 3)])
    assert outbox.dropped == 2


@pytest.mark.parametrize(
    ("overflow", "kept"), [(Overflow.DROP_OLD, [3, 4, 5]), (Overflow.DROP_NEW, [1, 2, 3])]
)
def test_a_bundle_larger_than_the_limit_is_cut(overflow: Overflow, kept: list[int]) -> None:
    outbox = make_outbox(3, overflow)
    assert not outbox.put(bundle(1, [1, 1, 1, 1, 1]))
    assert numbers(outbox.take_all()) == kept
    assert outbox.dropped == 2


def test_a_closed_outbox_takes_nothing_and_still_gives_what_it_holds() -> None:
    outbox = make_outbox()
    outbox.put(single(1))
    outbox.close()
    assert not outbox.put(bundle(2, [1, 1]))
    assert outbox.dropped == 2
    assert outbox.take_all() == [single(1)]
    assert outbox.take_all() == []


# Taking


def test_packages_are_moved_until_they_make_a_write() -> None:
    outbox = make_outbox(100)
    for seq in range(1, 11):
        outbox.put(single(seq, 10))
    assert numbers(take_some(outbox, 3, math.inf)) == [1, 2, 3]
    assert numbers(take_some(outbox, math.inf, 20)) == [4, 5]
    assert numbers(take_some(outbox, math.inf, 21)) == [6, 7, 8]
    assert numbers(outbox.take_all()) == [9, 10]


def test_what_the_target_has_already_counts_as_packages_but_not_as_bytes() -> None:
    outbox = make_outbox()
    outbox.put(single(2, 10))
    outbox.put(single(3, 10))
    target = deque([single(1, 1000)])
    outbox.move(target, 2, 100)
    assert numbers(list(target)) == [1, 2]


def test_one_package_is_moved_however_large_it_is() -> None:
    outbox = make_outbox()
    outbox.put(single(1, 10_000))
    assert numbers(take_some(outbox, 1, 1)) == [1]


# Congestion


def test_it_is_congested_by_the_number_of_messages() -> None:
    outbox = make_outbox(1000)
    outbox.put(bundle(1, [1] * (CONGESTION_COUNT - 1)))
    assert not outbox.is_congested
    assert outbox.wait_for_room(NOW)
    outbox.put(single(CONGESTION_COUNT))
    assert outbox.is_congested
    assert not outbox.wait_for_room(NOW)
    take_some(outbox, 1, math.inf)
    assert not outbox.is_congested


def test_it_is_congested_by_the_number_of_bytes() -> None:
    outbox = make_outbox()
    outbox.put(single(1, CONGESTION_SIZE - 1))
    assert not outbox.is_congested
    outbox.put(single(2, 1))
    assert outbox.is_congested
    assert not outbox.wait_for_room(NOW)
    take_some(outbox, 1, math.inf)
    assert not outbox.is_congested


def test_nobody_waits_for_room_in_a_closed_outbox() -> None:
    outbox = make_outbox(1000)
    outbox.put(bundle(1, [1] * CONGESTION_COUNT))
    outbox.close()
    assert outbox.is_congested
    assert outbox.wait_for_room(Deadline(None))


# Interrupts and finalizers

Use = Callable[[Outbox, "deque[Package]"], object]

#: All that can be done with an outbox of 4 messages that has 3; what it gives goes to target.
uses = pytest.mark.parametrize(
    "use",
    [
        lambda outbox, target: outbox.put(single(4)),
        lambda outbox, target: outbox.put(bundle(4, [1, 1])),
        lambda outbox, target: outbox.put(bundle(4, [1, 1, 1, 1, 1, 1])),
        lambda outbox, target: outbox.move(target, 2, 100),
        lambda outbox, target: target.extend(outbox.take_all()),
        lambda outbox, target: outbox.wait_for_room(NOW),
        lambda outbox, target: outbox.close(),
    ],
    ids=["put", "put-some", "put-many", "move", "take_all", "wait_for_room", "close"],
)
overflows = pytest.mark.parametrize("overflow", Overflow)

LIMIT = 4


def nearly_full_outbox(overflow: Overflow) -> Outbox:
    outbox = make_outbox(LIMIT, overflow)
    assert outbox.put(single(1))
    assert outbox.put(bundle(2, [1, 1]))
    return outbox


def assert_usable(outbox: Outbox) -> None:
    assert not outbox._lock._is_owned()  # type: ignore[attr-defined]
    assert outbox._count == sum(package.count for package in outbox.packages)
    assert outbox._size == sum(len(package.data) for package in outbox.packages)
    if outbox._is_closed:
        return
    for seq in range(100, 100 + LIMIT + 1):
        outbox.put(single(seq))
    assert outbox.count == LIMIT
    left = numbers(outbox.take_all())
    assert left == sorted(set(left))
    assert outbox.put(single(200))
    assert outbox.take_all() == [single(200)]


@uses
@overflows
def test_an_interrupt_at_any_moment_leaves_an_outbox_usable(use: Use, overflow: Overflow) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox = nearly_full_outbox(overflow)
        is_over = not is_interrupted(lambda outbox=outbox: use(outbox, deque()), moment)
        assert_usable(outbox)
    assert moment > 1


@pytest.mark.parametrize("max_size", [1, 100])
def test_moving_loses_nothing_when_interrupted(max_size: int) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox, target = nearly_full_outbox(Overflow.DROP_OLD), deque[Package]()
        is_over = not is_interrupted(lambda o=outbox, t=target: o.move(t, 2, max_size), moment)
        moved, left = list(target), outbox.take_all()
        # One package may be in both places.
        assert numbers([*moved, *left]) == [1, 2, 3] or numbers([*moved[:-1], *left]) == [1, 2, 3]
    assert moment > 1


@uses
@overflows
def test_a_finalizer_may_put_something_at_any_moment(use: Use, overflow: Overflow) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox, target = nearly_full_outbox(overflow), deque[Package]()
        accepted: list[bool] = []
        is_over = not call_with(
            lambda outbox=outbox, target=target: use(outbox, target),
            lambda outbox=outbox, accepted=accepted: accepted.append(outbox.put(single(99))),
            moment,
        )
        assert outbox.count <= LIMIT
        if accepted == [True] and overflow is Overflow.DROP_NEW:
            assert 99 in numbers([*target, *outbox.packages])
        assert_usable(outbox)
    assert moment > 1


@uses
@overflows
def test_a_finalizer_may_write_what_there_is_at_any_moment(use: Use, overflow: Overflow) -> None:
    """What a finalizer sends is written by it, with all before it."""
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox, target = nearly_full_outbox(overflow), deque[Package]()
        written: list[Package] = []
        is_over = not call_with(
            lambda outbox=outbox, target=target: use(outbox, target),
            lambda outbox=outbox, written=written: written.extend(outbox.take_all()),
            moment,
        )
        assert outbox.count <= LIMIT
        seen = numbers([*written, *target, *outbox.packages])
        assert len(set(seen)) + outbox.dropped >= len({1, 2, 3, *seen})
        assert_usable(outbox)
    assert moment > 1


def test_what_overflows_wakes_those_that_wait_for_room() -> None:
    """A large package may have made room by being dropped."""
    outbox = make_outbox(1)
    outbox.put(single(1, CONGESTION_SIZE))
    waiting = threading.Lock()
    waiting.acquire()
    outbox._changed.parked.append(waiting)
    outbox.put(single(2))
    assert not outbox.is_congested
    assert not waiting.locked()

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from interrupts import call_with, is_interrupted

from yoton.burst import MAX_COUNT
from yoton.burst import MAX_SIZE as MAX_BURST_SIZE
from yoton.channels.outgoing import OutgoingMark
from yoton.clock import Deadline
from yoton.connection.outbox import (
    CONGESTION_COUNT,
    CONGESTION_SIZE,
    MAX_NEWS,
    MAX_WORD_SIZE,
    MAX_WORDS,
    Outbox,
)
from yoton.connection.protocol import contexts_gone_package, gap_package
from yoton.gaps import GapPackage, Loss
from yoton.marks import checked_mark
from yoton.package import EVERYONE, SLOT_CONTEXT, SLOT_LINK, VERSIONS_END, Bundle, Package
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


@pytest.mark.parametrize(
    ("overflow", "kept"), [(Overflow.DROP_OLD, [3, 4]), (Overflow.DROP_NEW, [1, 2])]
)
def test_an_outbox_is_bounded_in_bytes_but_for_a_single_package(
    overflow: Overflow, kept: list[int]
) -> None:
    outbox = Outbox(100, overflow, 10)
    assert [outbox.put(single(seq, 5)) for seq in (1, 2, 3, 4)] == [True, True, False, False]
    assert numbers(outbox.take_all()) == kept
    assert outbox.put(bundle(5, [50, 50]))
    assert not outbox.put(single(7))
    assert numbers(outbox.take_all()) == ([7] if overflow is Overflow.DROP_OLD else [5, 6])
    assert outbox.dropped == (4 if overflow is Overflow.DROP_OLD else 3)
    assert outbox.put(single(8))
    assert outbox.stats()["peak_bytes"] == 100


def test_what_is_large_is_dropped_in_whole_packages_and_the_newest_one_stays() -> None:
    outbox = Outbox(100, Overflow.DROP_OLD, 10)
    outbox.put(bundle(1, [3, 3, 3]))
    assert not outbox.put(bundle(4, [3, 3, 3, 3]))
    assert numbers(outbox.take_all()) == [4, 5, 6, 7]
    assert (outbox.count, outbox.size, outbox.dropped) == (0, 0, 3)


# What waits of one channel


def test_what_waits_from_somewhere_can_be_dropped() -> None:
    outbox = make_outbox()
    mine, other = bundle(1, [1, 2, 3]), Package(b"x", 12, 9, 4)
    for package in (mine, other):
        outbox.put(package)
    assert outbox.waiting(8, 9) == [mine]
    assert outbox.waiting(8, 10) == []
    assert outbox.drop(mine, 1, are_newest=True)
    assert not outbox.drop(mine, 1, are_newest=True)
    (left,) = outbox.waiting(8, 9)
    assert outbox.drop(left, 1, are_newest=False)
    assert numbers(list(outbox.packages)) == [2, 4]
    assert outbox.drop(other, 1, are_newest=False)
    assert (outbox.count, outbox.size, outbox.dropped, outbox.taken) == (1, 2, 3, 3)


def make_mark(policy: str, messages: int = 3, size: int = 100) -> OutgoingMark:
    return OutgoingMark(checked_mark(messages, size, policy, None, 1), 8, 9)


@given(
    counts=st.lists(st.integers(1, 4), max_size=5),
    messages=st.integers(1, 6),
    size=st.integers(1, 60),
    policy=st.sampled_from(["drop_old", "drop_new", "latest"]),
)
def test_an_outbox_is_trimmed_to_the_mark(
    counts: list[int], messages: int, size: int, policy: str
) -> None:
    outbox = make_outbox(1000)
    expected: list[Package] = []
    for count in counts:
        sizes = [1 + (len(expected) + i) * 7 % 10 for i in range(count)]
        package = bundle(len(expected) + 1, sizes)
        outbox.put(package)
        outbox.put(Package(b"of another channel", 12, 9, 99))
        expected += package.packages()

    def is_over() -> bool:
        total = sum(len(package.data) for package in expected)
        return len(expected) > messages or (total > size and len(expected) > 1)

    dropped = len(expected)
    if policy == "latest" and is_over():
        expected = expected[-1:]
    while is_over():
        expected.pop(-1 if policy == "drop_new" else 0)
    dropped -= len(expected)
    assert make_mark(policy, messages, size).trim(outbox) == dropped
    assert outbox.dropped == outbox.departures.at_mark == dropped
    assert messages_of(outbox.waiting(8, 9)) == expected
    assert outbox.count == len(expected) + len(counts)


def test_there_is_room_up_to_the_mark() -> None:
    outbox, mark = make_outbox(), make_mark("block", 3, 10)
    assert mark.has_room(outbox, 1000)
    outbox.put(single(1, 6))
    assert mark.has_room(outbox, 4)
    assert not mark.has_room(outbox, 5)
    outbox.put(bundle(2, [1, 1]))
    assert not mark.has_room(outbox, 1)


def test_a_mark_is_far_when_a_whole_burst_more_is_below_it() -> None:
    messages, size = 2 * MAX_COUNT, 7 * MAX_BURST_SIZE
    outbox = make_outbox(messages)
    assert make_mark("latest", messages, size + 10).is_far([outbox, outbox], 10)
    assert not make_mark("latest", messages, size + 10).is_far([outbox], 11)
    assert not make_mark("latest", MAX_COUNT, 2 * size).is_far([outbox], 1)
    outbox.put(single(1, 10))
    assert not make_mark("latest", messages, size + 10).is_far([make_outbox(), outbox], 1)
    outbox.put(bundle(2, [1] * MAX_COUNT))
    assert not make_mark("latest", messages, 2 * size).is_far([outbox], 1)


def news(number: int) -> Package:
    return Package(b"gone", SLOT_LINK, number, 3)


@pytest.mark.parametrize("overflow", Overflow)
def test_news_of_the_link_are_not_dropped_for_messages(overflow: Overflow) -> None:
    outbox = make_outbox(4, overflow)
    outbox.put(single(1))
    outbox.put(news(1))
    for seq in range(2, 20):
        outbox.put(single(seq))
    assert outbox.put(news(2)) is (overflow is Overflow.DROP_NEW)
    assert outbox.put(news(3)) is (overflow is Overflow.DROP_NEW)
    packages = outbox.take_all()
    assert sorted(p.source_id for p in packages if p.slot == SLOT_LINK) == [1, 2, 3]
    kept = [p.source_seq for p in packages if p.slot != SLOT_LINK]
    assert kept == ([19] if overflow is Overflow.DROP_OLD else [1, 2, 3])
    assert outbox.count == 0
    assert outbox.dropped == 19 - len(kept)


def test_what_contexts_tell_each_other_finds_room_as_well() -> None:
    outbox = make_outbox(2, Overflow.DROP_NEW)
    for seq in range(1, 5):
        outbox.put(single(seq))
    assert outbox.put(Package(b"NEW_CONNECTION", SLOT_CONTEXT, 1, 5))
    assert [p.source_seq for p in outbox.take_all()] == [1, 2, 5]
    assert outbox.dropped == 2


@pytest.mark.parametrize(
    "package",
    [
        Bundle(b"ab", [1, 1], SLOT_CONTEXT, 1, 3),
        Package(bytes(MAX_WORD_SIZE + 1), SLOT_CONTEXT, 1, 3),
    ],
    ids=["bundle", "large"],
)
def test_what_is_no_word_of_a_context_finds_no_room(package: Package) -> None:
    outbox = make_outbox(1, Overflow.DROP_NEW)
    outbox.put(single(1))
    assert not outbox.put(package)
    assert outbox.dropped == package.count
    assert len(outbox.take_all()) == 1
    assert outbox.count == 0


def test_words_of_contexts_leave_room_for_news_of_the_link() -> None:
    outbox = make_outbox(4, Overflow.DROP_NEW)
    for seq in range(1, 2 * MAX_NEWS):
        outbox.put(Package(b"NEW_CONNECTION", SLOT_CONTEXT, 1, seq))
    assert outbox.count == 4 + MAX_WORDS
    assert outbox.put(news(1))


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("is_first", [False, True])
def test_beside_news_of_the_link_a_single_package_may_be_larger(
    overflow: Overflow, is_first: bool
) -> None:
    outbox = Outbox(10, overflow, max_size=100)
    packages = [single(1, size=200), news(1)]
    for package in packages if is_first else reversed(packages):
        assert outbox.put(package) or is_first
    assert outbox.dropped == 0
    assert outbox.count == 2


@pytest.mark.parametrize("overflow", Overflow)
def test_news_of_the_link_take_a_bounded_amount_of_memory(overflow: Overflow) -> None:
    outbox = make_outbox(4, overflow)
    for number in range(3 * MAX_NEWS):
        outbox.put(news(number))
    assert 4 <= outbox.count <= 4 + MAX_NEWS
    assert outbox.count + outbox.dropped == 3 * MAX_NEWS


# The peer is told what was dropped


def new_gap(losses: Iterable[Loss]) -> Package:
    return gap_package(losses, (1, 1))


def telling_outbox(limit: int = 2, overflow: Overflow = Overflow.DROP_OLD) -> Outbox:
    return Outbox(limit, overflow, make_gap=new_gap)


def losses_of(package: Package) -> list[Loss]:
    assert isinstance(package, GapPackage)
    return sorted(package.losses, key=lambda loss: (loss.slot, loss.dest_id))


@pytest.mark.parametrize(
    ("overflow", "kept"), [(Overflow.DROP_OLD, [4, 5]), (Overflow.DROP_NEW, [1, 2])]
)
def test_what_was_dropped_is_told_once_before_what_waits(
    overflow: Overflow, kept: list[int]
) -> None:
    outbox = telling_outbox(overflow=overflow)
    outbox.put(single(1))
    for package in (bundle(2, [1, 1]), single(4), single(5)):
        outbox.put(package)
    gap, *rest = outbox.take_all()
    assert losses_of(gap) == [Loss(8, EVERYONE, 3)]
    assert numbers(rest) == kept
    assert outbox.departures.sent.messages == 3
    outbox.put(single(6))
    assert numbers(outbox.take_all()) == [6]


def test_slots_and_destinations_are_told_apart() -> None:
    outbox = telling_outbox(1)
    for package in (Package(b"x", 9, 9, 1, 17), Package(b"x", 9, 9, 2), single(3), single(4)):
        outbox.put(package)
    assert losses_of(outbox.take_all()[0]) == [
        Loss(8, EVERYONE, 1),
        Loss(9, EVERYONE, 1),
        Loss(9, 17, 1),
    ]


def test_what_was_lost_elsewhere_is_told_though_its_package_is_dropped() -> None:
    outbox = telling_outbox(1)
    for messages in range(1, MAX_NEWS + 3):
        outbox.put(new_gap([Loss(8, EVERYONE, messages)]))
    packages = outbox.take_all()
    told = [loss.messages for package in packages for loss in losses_of(package)]
    assert sum(told) == sum(range(1, MAX_NEWS + 3))
    assert outbox.dropped == 0, "it is told all the same"


def test_what_tells_of_losses_is_no_message_that_is_lost_when_nothing_is_sent_any_more() -> None:
    outbox = telling_outbox(2)
    for seq in range(1, 6):
        outbox.put(single(seq))
    assert outbox.discard_all() == 2
    assert outbox.departures.queue_full == 3
    assert outbox.departures.closed == 2
    assert outbox.departures.sent.messages == 0
    outbox.close()
    outbox.put(new_gap([Loss(8, EVERYONE, 1)]))
    assert outbox.departures.closed == 2


def test_other_news_of_the_link_that_are_dropped_are_no_loss_of_messages() -> None:
    outbox = telling_outbox(1)
    for number in range(MAX_NEWS + 3):
        outbox.put(Package(b"x", SLOT_LINK, number, 9))
    assert not any(isinstance(package, GapPackage) for package in outbox.take_all())


@pytest.mark.parametrize("overflow", Overflow)
def test_what_was_dropped_is_told_whenever_an_interrupt_comes(overflow: Overflow) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox, target = telling_outbox(2, overflow), deque[Package]()
        for seq in range(1, 5):
            outbox.put(single(seq))
        is_over = not is_interrupted(lambda o=outbox, t=target: o.move(t, 10, 10), moment)
        outbox.move(target, 10, 10)
        gaps = [package for package in target if isinstance(package, GapPackage)]
        assert losses_of(gaps[0]) == [Loss(8, EVERYONE, 2)]
        # It may be there twice; then it is the same one, as its number tells.
        assert all(gap is gaps[0] for gap in gaps)
    assert moment > 1


# States


def state(version: int, slot: int = 8, size: int = 1) -> Package:
    return Package(b"s" * size, slot, 9, version, dest_seq=version)


def message(seq: int, size: int = 1) -> Package:
    return Package(b"m" * size, 10, 9, seq)


def states(*versions: int) -> Package:
    return Bundle(b"s" * len(versions), [1] * len(versions), 8, 9, versions[-1], 0, versions)


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("last", [state(5), states(5), states(3, 4, 5)])
def test_of_states_for_which_there_is_no_room_the_newest_stays(
    overflow: Overflow, last: Package
) -> None:
    outbox = make_outbox(4, overflow)
    other = state(1, slot=12)
    for package in (other, states(1, 2), message(90)):
        assert outbox.put(package)
    assert outbox.put(last)
    assert numbers(outbox.take_all()) == [1, 90, 5]
    assert outbox.count == outbox.size == 0
    assert outbox.dropped == outbox.departures.superseded == 1 + last.count


def test_a_state_finds_room_beyond_the_limit() -> None:
    outbox = Outbox(2, Overflow.DROP_NEW, 10)
    for package in (message(1, 5), message(2, 5), state(3, size=50)):
        assert outbox.put(package)
    assert not outbox.put(state(1, slot=12))
    assert outbox.put(state(4, size=60))
    assert numbers(outbox.take_all()) == [1, 2, 4]
    assert (outbox.departures.superseded, outbox.departures.queue_full) == (1, 1)


def test_states_take_a_bounded_amount_of_memory() -> None:
    outbox = make_outbox(4, Overflow.DROP_NEW)
    for slot in range(8, 2 * MAX_NEWS):
        outbox.put(state(1, slot))
    assert outbox.count == 4 + MAX_NEWS


@pytest.mark.parametrize("version", [0, VERSIONS_END])
def test_what_has_no_version_is_no_state(version: int) -> None:
    outbox = make_outbox(1, Overflow.DROP_NEW)
    assert outbox.put(state(version))
    assert not outbox.put(states(version, version))
    assert not outbox.put(Package(b"request", 8, 9, 1, dest_id=7, dest_seq=1))
    assert outbox.departures.superseded == 0


def test_states_that_wait_can_be_superseded() -> None:
    outbox = make_outbox()
    for package in (state(1), state(1, slot=12), states(2, 3), message(90)):
        outbox.put(package)
    outbox.supersede(8, 10)
    assert outbox.count == 5
    outbox.supersede(12, 9)
    outbox.supersede(8, 9)
    assert numbers(outbox.take_all()) == [1, 3, 90]
    assert outbox.departures.superseded == 2


def test_a_closed_outbox_takes_nothing_and_still_gives_what_it_holds() -> None:
    outbox = make_outbox()
    outbox.put(single(1))
    outbox.close()
    assert not outbox.put(bundle(2, [1, 1]))
    assert outbox.dropped == 2
    assert outbox.take_all() == [single(1)]
    assert outbox.take_all() == []


def test_what_a_closed_outbox_does_not_tell_is_not_missed() -> None:
    outbox = make_outbox()
    assert not outbox.is_closed
    outbox.close()
    assert outbox.is_closed
    assert outbox.put(contexts_gone_package([1, 2]))
    assert outbox.dropped == 0
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

#: All that can be done with an outbox of 4 messages that has 3 small ones; what it gives goes to
#: target.
uses = pytest.mark.parametrize(
    "use",
    [
        lambda outbox, target: outbox.put(single(4)),
        lambda outbox, target: outbox.put(bundle(4, [1, 1])),
        lambda outbox, target: outbox.put(bundle(4, [1, 1, 1, 1, 1, 1])),
        lambda outbox, target: outbox.put(single(4, MAX_SIZE - 2)),
        lambda outbox, target: outbox.move(target, 2, 100),
        lambda outbox, target: target.extend(outbox.take_all()),
        lambda outbox, target: outbox.wait_for_room(NOW),
        lambda outbox, target: outbox.close(),
        lambda outbox, target: outbox.drop(outbox.packages[-1], 1, are_newest=True),
        lambda outbox, target: make_mark("latest", 1).trim(outbox),
        lambda outbox, target: make_mark("drop_new", 1).trim(outbox),
        lambda outbox, target: outbox.wait_until(lambda: False, NOW),
        lambda outbox, target: outbox.wake(),
    ],
    ids=[
        *("put", "put-some", "put-many", "put-large", "move", "take_all", "wait_for_room"),
        *("close", "drop", "trim-old", "trim-new", "wait_until", "wake"),
    ],
)
overflows = pytest.mark.parametrize("overflow", Overflow)

LIMIT = 4
MAX_SIZE = 20


def nearly_full_outbox(overflow: Overflow) -> Outbox:
    outbox = Outbox(LIMIT, overflow, MAX_SIZE)
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
    assert outbox.count == LIMIT or outbox.size == MAX_SIZE
    assert outbox.size <= MAX_SIZE
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


@overflows
def test_an_interrupt_at_any_moment_leaves_the_newest_state(overflow: Overflow) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox = Outbox(2, overflow, MAX_SIZE)
        outbox.put(state(1))
        outbox.put(message(90))
        is_over = not is_interrupted(lambda outbox=outbox: outbox.put(states(2, 3)), moment)
        if not is_over:
            # As who numbers or delivers packages does.
            outbox.put(states(2, 3))
        assert outbox._count == sum(package.count for package in outbox.packages)
        assert outbox._size == sum(len(package.data) for package in outbox.packages)
        assert numbers(outbox.take_all())[-1] == 3
    assert moment > 10


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
    other_channel = Package(b"x", 12, 9, 99)
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        outbox, target = nearly_full_outbox(overflow), deque[Package]()
        accepted: list[bool] = []
        is_over = not call_with(
            lambda outbox=outbox, target=target: use(outbox, target),
            lambda outbox=outbox, accepted=accepted: accepted.append(outbox.put(other_channel)),
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

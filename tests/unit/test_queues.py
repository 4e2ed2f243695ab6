from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from interrupts import call_with, is_interrupted

from yoton.clock import Deadline
from yoton.queues import BoundedQueue, Overflow

NOW = Deadline(0.0)


def make_queue(limit: int = 10, overflow: Overflow = Overflow.DROP_OLD) -> BoundedQueue[int]:
    return BoundedQueue(limit, overflow)


def filled_queue(*items: int) -> BoundedQueue[int]:
    queue = make_queue()
    for item in items:
        assert queue.put(item)
    return queue


class QueueMachine(RuleBasedStateMachine):
    """A queue against a list, in one thread."""

    @initialize(limit=st.integers(min_value=1, max_value=4), overflow=st.sampled_from(Overflow))
    def make(self, limit: int, overflow: Overflow) -> None:
        self.limit = limit
        self.overflow = overflow
        self.queue = make_queue(limit, overflow)
        self.expected: list[int] = []
        self.dropped = 0
        self.is_closed = False

    @rule(item=st.integers())
    def put(self, item: int) -> None:
        self.expect_put(self.queue.put(item), [item])

    @rule(items=st.lists(st.integers(), max_size=8), as_iterator=st.booleans())
    def put_all(self, items: list[int], as_iterator: bool) -> None:
        self.expect_put(self.queue.put_all(iter(items) if as_iterator else items), items)

    def expect_put(self, is_accepted: bool, items: list[int]) -> None:
        room = 0 if self.is_closed else self.limit - len(self.expected)
        surplus = max(0, len(items) - room)
        assert is_accepted is (surplus == 0)
        self.dropped += surplus
        if self.is_closed:
            return
        together = [*self.expected, *items]
        is_old = self.overflow is Overflow.DROP_OLD
        self.expected = together[-self.limit :] if is_old else together[: self.limit]

    @rule()
    def get(self) -> None:
        if self.expected or self.is_closed:
            # What is there, or the end, is not waited for.
            deadline = Deadline(None)
        else:
            deadline = NOW
        assert self.queue.get(deadline) == (self.expected.pop(0) if self.expected else None)

    @rule()
    def take_all(self) -> None:
        assert self.queue.take_all() == self.expected
        self.expected = []

    @rule(limit=st.integers())
    def take_if(self, limit: int) -> None:
        matches = bool(self.expected) and self.expected[0] < limit
        assert self.queue.take_if(lambda item: item < limit) == (
            self.expected.pop(0) if matches else None
        )

    @rule()
    def take(self) -> None:
        assert self.queue.take() == (self.expected.pop(0) if self.expected else None)

    @rule()
    def close(self) -> None:
        self.queue.close()
        self.is_closed = True

    @invariant()
    def it_holds_what_it_should(self) -> None:
        first = self.expected[0] if self.expected else None
        assert (len(self.queue), self.queue.peek()) == (len(self.expected), first)
        assert self.queue.dropped == self.dropped
        assert self.queue.is_closed is self.is_closed


TestQueue = QueueMachine.TestCase


def test_a_full_queue_drops_the_oldest_item() -> None:
    queue = make_queue(2, Overflow.DROP_OLD)
    assert [queue.put(item) for item in (1, 2, 3)] == [True, True, False]
    assert queue.take_all() == [2, 3]
    assert queue.dropped == 1


def test_a_full_queue_drops_the_new_item() -> None:
    queue = make_queue(2, Overflow.DROP_NEW)
    assert [queue.put(item) for item in (1, 2, 3)] == [True, True, False]
    assert queue.take_all() == [1, 2]
    assert queue.dropped == 1


def test_a_closed_queue_takes_nothing_and_still_gives_what_it_holds() -> None:
    queue = filled_queue(1)
    queue.close()
    assert not queue.put(2)
    assert queue.dropped == 1
    assert queue.get(Deadline(None)) == 1
    assert queue.get(Deadline(None)) is None


def test_the_ways_to_overflow_have_the_names_of_the_queue_parameters() -> None:
    assert Overflow("old") is Overflow.DROP_OLD
    assert Overflow("new") is Overflow.DROP_NEW


def test_an_error_in_a_predicate_takes_nothing_and_leaves_the_queue_free() -> None:
    queue = filled_queue(1)
    with pytest.raises(ZeroDivisionError):
        queue.take_if(lambda item: item / 0 > 0)
    assert queue.take_all() == [1]


#: All that can be done with a queue; what it gives goes to target.
uses = pytest.mark.parametrize(
    "use",
    [
        lambda queue, target: queue.put(3),
        lambda queue, target: queue.put_all([3, 4, 5]),
        lambda queue, target: target.append(queue.take()),
        lambda queue, target: target.append(queue.get(NOW)),
        lambda queue, target: target.extend(queue.take_all()),
        lambda queue, target: target.append(queue.take_if(lambda item: True)),
        lambda queue, target: queue.peek(),
        lambda queue, target: queue.close(),
    ],
    ids=["put", "put_all", "take", "get", "take_all", "take_if", "peek", "close"],
)

Use = Callable[[BoundedQueue[int], list[int]], object]


def is_held(queue: BoundedQueue[int]) -> bool:
    return bool(queue._lock._is_owned())  # type: ignore[attr-defined]


@uses
def test_an_interrupt_at_any_moment_leaves_the_queue_usable(use: Use) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue = filled_queue(1, 2)
        is_over = not is_interrupted(lambda queue=queue: use(queue, []), moment)
        assert not is_held(queue)
        assert queue.put(4) is not queue.is_closed
        assert queue.is_closed or queue.take_all()[-1] == 4
    assert moment > 1


@uses
def test_what_a_finalizer_puts_at_any_moment_is_not_lost_and_wakes(use: Use) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue, target = filled_queue(1, 2), list[int]()
        waiting = threading.Lock()
        waiting.acquire()
        queue._changed.parked.append(waiting)
        accepted: list[bool] = []
        is_over = not call_with(
            lambda queue=queue, target=target: use(queue, target),
            lambda queue=queue, accepted=accepted: accepted.append(queue.put(99)),
            moment,
        )
        assert not is_held(queue)
        if accepted == [True]:
            assert 99 in [*target, *queue.take_all()]
            assert not waiting.locked()
    assert moment > 1


def test_items_put_together_are_all_in_or_none_when_interrupted() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue = filled_queue(1)
        is_over = not is_interrupted(lambda queue=queue: queue.put_all([2, 3, 4]), moment)
        assert queue.take_all() in ([1], [1, 2, 3, 4])
    assert moment > 1


@pytest.mark.parametrize("overflow", Overflow)
def test_a_queue_that_was_interrupted_while_full_keeps_its_limit(overflow: Overflow) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue = make_queue(3, overflow)
        queue.put_all([1, 2])
        is_over = not is_interrupted(lambda queue=queue: queue.put_all([3, 4, 5]), moment)
        queue.put(6)
        queue.put(7)
        kept = queue.take_all()
        assert len(kept) == 3
        assert kept == sorted(kept)
        assert kept[-2:] == [6, 7] if overflow is Overflow.DROP_OLD else kept[:2] == [1, 2]
    assert moment > 1


@uses
@pytest.mark.parametrize("overflow", Overflow)
def test_all_is_accounted_for_when_others_take_at_any_moment(use: Use, overflow: Overflow) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue, target, others = make_queue(3, overflow), list[int | None](), list[int]()
        queue.put_all([1, 2])
        before = len(queue)
        is_over = not call_with(
            lambda queue=queue, target=target: use(queue, target),
            lambda queue=queue, others=others: others.extend(queue.take_all()),
            moment,
        )
        taken = [item for item in target if item is not None] + others
        put = len(taken) + len(queue) + queue.dropped
        assert put - before in (0, 1, 3)  # what the use itself has put
        assert len({*taken, *queue.take_all()}) == put - queue.dropped
    assert moment > 1

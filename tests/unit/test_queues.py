from __future__ import annotations

import math
import threading
from collections.abc import Callable
from operator import itemgetter

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


class Item:
    """A number that is no other object, as what is put into queues that count sizes."""

    def __init__(self, number: int) -> None:
        self.number = number


def weight(item: Item) -> int:
    """Get the size of an item, for queues that count it."""
    return abs(item.number) % 7


items = st.integers().map(Item)


class QueueMachine(RuleBasedStateMachine):
    """A queue against a list, in one thread."""

    @initialize(
        limit=st.integers(min_value=1, max_value=4),
        overflow=st.sampled_from(Overflow),
        max_size=st.integers(min_value=1, max_value=20) | st.just(math.inf),
        keeps_latest=st.booleans(),
    )
    def make(self, limit: int, overflow: Overflow, max_size: float, keeps_latest: bool) -> None:
        self.queue = BoundedQueue(limit, overflow, max_size, weight)
        self.expected: list[Item] = []
        self.dropped = 0
        self.is_closed = False
        self.set_bounds(limit, overflow, max_size, keeps_latest)

    @rule(
        limit=st.integers(min_value=1, max_value=4),
        overflow=st.sampled_from(Overflow),
        max_size=st.integers(min_value=1, max_value=20),
        keeps_latest=st.booleans(),
    )
    def set_bounds(
        self, limit: int, overflow: Overflow, max_size: float, keeps_latest: bool
    ) -> None:
        keeps_latest = keeps_latest and overflow is Overflow.DROP_OLD
        self.limit, self.max_size = limit, max_size
        self.overflow, self.keeps_latest = overflow, keeps_latest
        self.queue.set_bounds(limit, overflow, max_size, keeps_latest=keeps_latest)
        # New items are dropped, but not those that are there by now.
        self.spared = self.expected.copy() if overflow is Overflow.DROP_NEW else []

    @rule(item=items)
    def put(self, item: Item) -> None:
        self.expect_put(self.queue.put(item), [item])

    @rule(items=st.lists(items, max_size=8), as_iterator=st.booleans())
    def put_all(self, items: list[Item], as_iterator: bool) -> None:
        size = sum(map(weight, items))
        self.expect_put(self.queue.put_all(iter(items) if as_iterator else items, size), items)

    def expect_put(self, is_accepted: bool, items: list[Item]) -> None:
        before = self.dropped
        if self.is_closed:
            self.dropped += len(items)
        else:
            self.expected += items
            self.drop_surplus()
        assert is_accepted is (self.dropped == before)

    def drop_surplus(self) -> None:
        left = 1 if self.keeps_latest and self.is_over() else self.limit
        while self.is_over() or len(self.expected) > left:
            if self.expected[-1] in self.spared:
                break
            self.expected.pop(0 if self.overflow is Overflow.DROP_OLD else -1)
            self.dropped += 1

    def is_over(self) -> bool:
        count = len(self.expected)
        return count > self.limit or (count > 1 and self.size() > self.max_size)

    def size(self) -> int:
        return sum(map(weight, self.expected))

    @rule(size=st.integers(min_value=0, max_value=20))
    def size_is_over(self, size: int) -> None:
        assert self.queue.size_is_over(size) is (self.size() > size)

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
        matches = bool(self.expected) and self.expected[0].number < limit
        assert self.queue.take_if(lambda item: item.number < limit) is (
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


def test_a_queue_is_bounded_in_size_but_for_a_single_item() -> None:
    queue = BoundedQueue[str](100, Overflow.DROP_OLD, 6, len)
    assert [queue.put(item) for item in ("abc", "def", "g")] == [True, True, False]
    assert queue.take_all() == ["def", "g"]
    assert queue.put("larger than all")
    assert not queue.put("x")
    assert queue.take_all() == ["x"]
    assert queue.dropped == 2


def test_what_was_taken_leaves_room() -> None:
    queue = BoundedQueue[str](100, Overflow.DROP_NEW, 6, len)
    for number in range(10, 20):
        first, second = f"a{number}", f"b{number}"
        assert queue.put(first)
        assert queue.put(second)
        assert (queue.take(), queue.take()) == (first, second)
    assert queue.dropped == 0
    assert not queue.size_is_over(0)


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("is_asked", [False, True])
def test_a_queue_with_many_items_is_weighed_now_and_then_only(
    overflow: Overflow, is_asked: bool
) -> None:
    limit, weighed, taken = 8000, 0, 0

    def size_of(item: tuple[str, int]) -> int:
        nonlocal weighed
        weighed += 1
        return 1

    queue = BoundedQueue[tuple[str, int]](10**9, overflow, limit, size_of, itemgetter(1))
    queue.put_all([("x", number) for number in range(limit)], limit)
    for number in range(limit, 2 * limit):
        taken += queue.take() is not None
        # Each one is weighed when it comes.
        queue.put(("x", number))
        if is_asked:
            queue.size_is_over(limit - 1)
        assert limit * 7 // 8 - 1 <= len(queue) <= limit
    assert taken + len(queue) + queue.dropped == 2 * limit
    assert weighed < 12 * limit


def test_what_is_large_and_was_taken_leaves_room_among_many_items() -> None:
    queue = BoundedQueue[tuple[str, int]](
        10**9, Overflow.DROP_NEW, 3000, lambda item: len(item[0]), itemgetter(1)
    )
    items = [("x" * 1000, 0), *(("x", number) for number in range(1, 2001))]
    assert queue.put_all(items, 3000)
    assert not queue.put(("x", 2001))
    queue.take()
    assert queue.put(("x" * 1000, 2002))
    assert queue.dropped == 1
    queue.take_all()
    assert not queue.size_is_over(0)


def test_a_queue_that_keeps_the_latest_drops_all_others() -> None:
    queue = make_queue(3)
    queue.set_bounds(3, Overflow.DROP_OLD, keeps_latest=True)
    assert queue.put_all([1, 2, 3])
    assert not queue.put(4)
    assert (queue.take_all(), queue.dropped) == ([4], 3)


def test_bounds_that_drop_new_items_spare_those_that_were_there_before() -> None:
    queue = filled_queue(*range(5))
    queue.set_bounds(2, Overflow.DROP_NEW)
    assert not queue.put(5)
    assert not queue.put_all([6, 7])
    assert [queue.take() for _ in range(4)] == [0, 1, 2, 3]
    assert queue.put(8)
    assert not queue.put(9)
    assert (queue.take_all(), queue.dropped) == ([4, 8], 4)


def test_bounds_in_size_that_drop_new_items_spare_those_that_were_there_before() -> None:
    queue = BoundedQueue[str](100, Overflow.DROP_OLD, 100, len)
    queue.put_all(["abc", "def", "ghi"], 9)
    queue.set_bounds(100, Overflow.DROP_NEW, 4)
    assert not queue.put("j")
    assert (queue.take(), queue.take()) == ("abc", "def")
    assert queue.put("k")
    assert not queue.put("l")
    assert (queue.take_all(), queue.dropped) == (["ghi", "k"], 2)


def test_bounds_that_drop_new_items_hold_after_an_interrupt() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue = filled_queue(1, 2, 3)
        queue.set_bounds(2, Overflow.DROP_NEW)
        is_over = not is_interrupted(lambda queue=queue: queue.put_all([4, 5]), moment)
        queue.put(6)
        assert queue.take_all() == [1, 2, 3]
    assert moment > 1


def test_what_is_dropped_at_a_mark_is_counted_by_itself() -> None:
    queue = make_queue(1)
    queue.put_all([1, 2])
    assert (queue.dropped, queue.dropped_at_mark) == (1, 0)
    queue.set_bounds(1, Overflow.DROP_NEW, is_mark=True)
    queue.put_all([3, 4])
    queue.close()
    queue.put(5)
    assert (queue.dropped, queue.dropped_at_mark, queue.dropped_closed) == (4, 2, 1)


def test_the_peak_is_right_when_the_bounds_become_smaller_and_larger() -> None:
    queue = make_queue(10)
    queue.put_all(range(8))
    queue.set_bounds(3, Overflow.DROP_OLD)
    queue.put(8)
    assert (queue.take_all(), queue.peak) == ([6, 7, 8], 8)
    queue.set_bounds(20, Overflow.DROP_OLD)
    queue.put_all(range(12))
    assert queue.peak == 12


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


def heavy_queue() -> BoundedQueue[str]:
    queue = BoundedQueue[str](100, Overflow.DROP_OLD, 6, len)
    assert queue.put_all(["abc", "de"], 5)
    assert queue.take() == "abc"
    assert queue.put("fghi")
    return queue


def test_an_interrupt_at_any_moment_leaves_the_size_bounded() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue = heavy_queue()
        is_over = not is_interrupted(lambda queue=queue: queue.put_all(["j", "kl"], 3), moment)
        assert not is_held(queue)
        assert queue._size_bound >= sum(map(len, queue._items))
        queue.put("m")
        assert not queue.size_is_over(6)
    assert moment > 10


def test_what_a_finalizer_puts_or_takes_at_any_moment_leaves_the_size_bounded() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue, taken = heavy_queue(), list[str]()
        is_over = not call_with(
            lambda queue=queue: queue.put_all(["j", "kl"], 3),
            lambda queue=queue, taken=taken: (taken.append(queue.take()), queue.put("nop")),
            moment,
        )
        assert queue._size_bound >= sum(map(len, queue._items))
        assert not queue.size_is_over(6)
        put = 5 if is_over else 6
        assert put == 1 + len([item for item in taken if item]) + len(queue) + queue.dropped
    assert moment > 10


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

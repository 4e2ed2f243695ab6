from __future__ import annotations

import threading
from collections import deque
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
        fits = len(self.expected) < self.limit and not self.is_closed
        assert self.queue.put(item) is fits
        self.dropped += not fits
        if self.is_closed or (not fits and self.overflow is Overflow.DROP_NEW):
            return
        self.expected = [*self.expected, item][-self.limit :]

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
    def move_all(self) -> None:
        target = deque([-1])
        self.queue.move_all(target)
        assert list(target) == [-1, *self.expected]
        self.expected = []

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
        for level in range(self.limit + 1):
            is_below = len(self.expected) < level or self.is_closed
            assert self.queue.wait_below(level, NOW) is is_below


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
        lambda queue, target: target.append(queue.get(NOW)),
        lambda queue, target: target.extend(queue.take_all()),
        lambda queue, target: target.append(queue.take_if(lambda item: True)),
        lambda queue, target: queue.move_all(target),
        lambda queue, target: queue.peek(),
        lambda queue, target: queue.wait_below(1, NOW),
        lambda queue, target: queue.close(),
    ],
    ids=["put", "get", "take_all", "take_if", "move_all", "peek", "wait_below", "close"],
)

Use = Callable[[BoundedQueue[int], "deque[int]"], object]


def is_held(queue: BoundedQueue[int]) -> bool:
    return bool(queue._lock._is_owned())  # type: ignore[attr-defined]


@uses
def test_an_interrupt_at_any_moment_leaves_the_queue_usable(use: Use) -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue = filled_queue(1, 2)
        is_over = not is_interrupted(lambda queue=queue: use(queue, deque()), moment)
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
        queue, target = filled_queue(1, 2), deque[int]()
        waiting = threading.Lock()
        waiting.acquire()
        queue._changed._parked.append(waiting)
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


def test_moving_loses_nothing_when_interrupted() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        queue, target = filled_queue(1, 2, 3), deque[int]()
        is_over = not is_interrupted(lambda q=queue, t=target: q.move_all(t), moment)
        moved, left = list(target), queue.take_all()
        assert [*moved, *left] == [1, 2, 3] or [*moved[:-1], *left] == [1, 2, 3]
    assert moment > 1

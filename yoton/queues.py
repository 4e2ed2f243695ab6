"""A bounded queue that can be closed, says what happens when it is full, and counts."""

from __future__ import annotations

import contextlib
import enum
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from yoton.clock import Deadline
from yoton.waiting import WaitPoint

T = TypeVar("T")


#: What a queue with many items holds is weighed anew when such a part of them, or of their size,
#: has been taken, as that takes as long as there are many.
WEIGHED_PART = 8

#: With no more items than these it is weighed whenever one was taken: that takes some 50 us.
WEIGHED_ANEW = 512


class Overflow(enum.Enum):
    """What a full queue does with one item more."""

    DROP_OLD = "old"
    DROP_NEW = "new"


def _weightless(item: object) -> int:
    return 0


class BoundedQueue(Generic[T]):
    """First in, first out, between any number of threads.

    Taking an item needs no lock, as it is one call into C. So whoever holds the lock may find
    that an item is gone that was there a step before. For the same reason nobody notes the size
    of what is taken: the queue knows an upper bound of its size, and weighs what it holds when
    that is too much. For that, no object may be in it twice. If the items have numbers, one with
    many items is not weighed each time: of what was taken, up to an eighth counts still then.

    Parameters
    ----------
    limit : int
        Number of items that it holds at most.
    overflow : Overflow
        Which item is dropped when one comes while it is full.
    max_size : float
        Size of the items that it holds at most. A single one may be larger.
    size_of : callable
        Tells the size of an item.
    number_of : callable, optional
        Tells the number of an item, which is larger than those of the items before.

    Attributes
    ----------
    has_items : callable
        Tells how many items it holds.
    dropped : int
        How many items were dropped so far, because the queue was full or closed.
    dropped_closed : int
        How many of them, because it was closed.
    dropped_at_mark : int
        How many of them, because so much was in it as a high-water mark says.
    peak : int
        The most items that it has held at a time.
    """

    def __init__(
        self,
        limit: int,
        overflow: Overflow,
        max_size: float = math.inf,
        size_of: Callable[[T], int] = _weightless,
        number_of: Callable[[T], int] | None = None,
    ) -> None:
        # Guards what comes in, the bounds, the counter and the flag.
        self._lock = threading.RLock()
        self._items: deque[T] = deque()
        self._size_of = size_of
        self._number_of = number_of
        # The size of what it holds, or more.
        self._size_bound = 0
        # Whether that is just being made smaller; and the oldest item as it was when the bound was
        # exact: it is as long as that is there.
        self._is_settling = False
        self._oldest: T | None = None
        # The newest one that was there when the bounds were set, if that was more than they allow.
        self._spared: T | None = None
        # The number of the item before which there was a part then that is worth another look.
        self._landmark: float = -math.inf
        self.peak = 0
        self.set_bounds(limit, overflow, max_size)
        # A method of the deque itself, as it is called twice for each message.
        self.has_items: Callable[[], int] = self._items.__len__
        self._closed = False
        self._changed = WaitPoint(self._lock)
        self.dropped = 0
        self.dropped_closed = 0
        self.dropped_at_mark = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more items."""
        return self._closed

    def set_bounds(
        self,
        limit: float,
        overflow: Overflow,
        max_size: float = math.inf,
        *,
        keeps_latest: bool = False,
        is_mark: bool = False,
    ) -> None:
        """Have other bounds from now on; what it holds is not dropped before something comes.

        Nor then if new items are to be dropped: what is too much becomes less by being taken.

        Parameters
        ----------
        limit, overflow, max_size
            As of the queue.
        keeps_latest : bool
            When it has to drop something, keep the newest item alone. For old ones to be dropped.
        is_mark : bool
            Whether they are a high-water mark, at which what is dropped is counted by itself.
        """
        with self._lock:
            newest = self._newest()
            # No call in between: what a finalizer puts comes before all of them, or after.
            self._spared = newest
            self._limit = limit
            self._overflow = overflow
            self._max_size = max_size
            self._keeps_latest = keeps_latest
            self._is_mark = is_mark
            # With more items than these, it holds too many or the most that it ever did.
            self._ordinary_count = min(self.peak, limit)
            if not self._is_over():
                # Whatever comes is dropped before they are. Not kept alive any longer.
                self._spared = None

    def size_is_over(self, size: float) -> bool:
        """Tell whether what it holds has more than that size; takes as long as there is much."""
        if self._size_bound <= size:
            return False
        with self._lock:
            if not self._is_settling:
                self._is_settling = True
                try:
                    self._weigh()
                finally:
                    self._is_settling = False
            return self._size_bound > size

    def put(self, item: T) -> bool:
        """Append an item; never blocks.

        Returns
        -------
        bool
            True if nothing was dropped for it, neither the item nor an older one.
        """
        return self.put_all((item,), self._size_of(item))

    def put_all(self, items: Iterable[T], size: int = 0) -> bool:
        """Append several items in one step; True if nothing was dropped for them.

        Parameters
        ----------
        items : iterable
            What to append.
        size : int
            The size of all of them, as `size_of` tells it.
        """
        with self._lock:
            before = self.dropped
            if self._changed.parked:
                self._changed.wake_all()
            if self._closed:
                count = sum(1 for _ in items)
                self.dropped += count
                self.dropped_closed += count
            else:
                # First: an interrupt in between makes the bound too large, never too small.
                self._size_bound += size
                self._items.extend(items)
                if len(self._items) > self._ordinary_count or self._size_bound > self._max_size:
                    self._grow()
            return self.dropped == before

    def _grow(self) -> None:
        self._drop_surplus()
        self.peak = max(self.peak, len(self._items))
        self._ordinary_count = min(self.peak, self._limit)

    def _drop_surplus(self) -> None:
        # What a finalizer puts meanwhile is looked at here, as only one may settle the bound.
        if self._is_settling:
            return
        self._is_settling = True
        try:
            if self._size_bound > self._max_size:
                self._weigh()
            if self._keeps_latest and self._is_over():
                self._drop_while(lambda: len(self._items) > 1)
            self._drop_while(self._is_over)
        finally:
            self._is_settling = False

    def _is_over(self) -> bool:
        count = len(self._items)
        return count > self._limit or (self._size_bound > self._max_size and count > 1)

    def _drop_while(self, is_too_much: Callable[[], bool]) -> None:
        drop = self._items.popleft if self._overflow is Overflow.DROP_OLD else self._items.pop
        # What came since the bounds that drop just that.
        spared = self._spared if self._overflow is Overflow.DROP_NEW else None
        while is_too_much() and (spared is None or self._newest() is not spared):
            try:
                next_oldest = self._items[1] if len(self._items) > 1 else None
                dropped = drop()
            except IndexError:
                continue  # somebody took it
            self.dropped += 1
            self.dropped_at_mark += self._is_mark
            size = self._size_of(dropped)
            # Nothing comes in between: no interrupt, no finalizer that puts something.
            self._size_bound -= size
            if dropped is self._oldest:
                # If somebody takes one meanwhile, it is not the one that is found there.
                self._oldest = next_oldest

    def _newest(self) -> T | None:
        with contextlib.suppress(IndexError):
            return self._items[-1]
        return None

    def _weigh(self) -> None:
        oldest = self.peek()
        if oldest is not None and self._is_nearly_exact(oldest):
            return
        items, bound = self._items.copy(), self._size_bound
        sizes = list(map(self._size_of, items))
        # What a finalizer has put meanwhile is in the bound, and stays in it.
        self._size_bound += sum(sizes) - bound
        self._oldest = items[0] if items else None
        self._landmark = self._next_landmark(items, sizes)

    def _is_nearly_exact(self, oldest: T) -> bool:
        """Tell whether nothing, or not much, was taken since it was weighed."""
        if oldest is self._oldest or self._number_of is None:
            return oldest is self._oldest
        return self._number_of(oldest) < self._landmark

    def _next_landmark(self, items: deque[T], sizes: Sequence[int]) -> float:
        if self._number_of is None or len(items) <= WEIGHED_ANEW:
            return -math.inf
        light = sum(sizes) / WEIGHED_PART
        before = itertools.accumulate(sizes[: len(sizes) // WEIGHED_PART])
        place = 1 + sum(1 for _ in itertools.takewhile(lambda size: size < light, before))
        return self._number_of(items[place])

    def take(self) -> T | None:
        """Take the oldest item; None if there is none."""
        try:
            return self._items.popleft() if self._items else None
        except IndexError:
            return None

    def get(self, deadline: Deadline) -> T | None:
        """Take the oldest item, waiting for one until the deadline.

        Returns
        -------
        item or None
            None when none came in time, or none is left and the queue is closed.
        """
        taken: list[T] = []

        def take() -> bool:
            with contextlib.suppress(IndexError):
                taken.append(self._items.popleft())
            return bool(taken) or self._closed

        self._changed.wait_for(take, deadline)
        return taken[0] if taken else None

    def take_all(self) -> list[T]:
        """Take all items."""
        taken: list[T] = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._items.popleft())
        return taken

    def take_if(self, predicate: Callable[[T], bool]) -> T | None:
        """Take the oldest item if predicate(item) is true; None if not, or if there is none.

        If another thread takes that very item in between, the next one is taken.
        """
        first = self.peek()
        if first is None or not predicate(first):
            return None
        return self.take()

    def peek(self) -> T | None:
        """Get the oldest item without taking it, None if there is none."""
        with contextlib.suppress(IndexError):
            return self._items[0]
        return None

    def close(self) -> None:
        """Take no more items and wake all that wait; what it holds can still be taken."""
        with self._lock:
            self._changed.wake_all()
            self._closed = True

    def abandon(self) -> None:
        """Be empty and closed in a forked child, whatever other threads were doing at the fork.

        Who waits for an item goes on without one.
        """
        self._items.clear()
        self._size_bound = 0
        self._oldest = self._spared = None
        self._is_settling = False
        self._closed = True
        self._changed.abandon()

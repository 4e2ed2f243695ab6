"""A bounded queue that can be closed, says what happens when it is full, and counts."""

from __future__ import annotations

import contextlib
import enum
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from yoton.clock import Deadline
from yoton.waiting import WaitPoint

T = TypeVar("T")


class Overflow(enum.Enum):
    """What a full queue does with one item more."""

    DROP_OLD = "old"
    DROP_NEW = "new"


class BoundedQueue(Generic[T]):
    """First in, first out, between any number of threads.

    Taking an item needs no lock, as it is one call into C. So whoever holds the lock may find
    that an item is gone that was there a step before.

    Parameters
    ----------
    limit : int
        Number of items that it holds at most.
    overflow : Overflow
        Which item is dropped when one comes while it is full.

    Attributes
    ----------
    has_items : callable
        Tells how many items it holds.
    dropped : int
        How many items were dropped so far, because the queue was full or closed.
    dropped_closed : int
        How many of them, because it was closed.
    peak : int
        The most items that it has held at a time.
    """

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self._limit = limit
        self._overflow = overflow
        # Guards what comes in, the counter and the flag.
        self._lock = threading.RLock()
        self._items: deque[T] = deque()
        # A method of the deque itself, as it is called twice for each message.
        self.has_items: Callable[[], int] = self._items.__len__
        self._closed = False
        self._changed = WaitPoint(self._lock)
        self.dropped = 0
        self.dropped_closed = 0
        self.peak = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more items."""
        return self._closed

    def put(self, item: T) -> bool:
        """Append an item; never blocks.

        Returns
        -------
        bool
            True if nothing was dropped for it, neither the item nor an older one.
        """
        return self.put_all((item,))

    def put_all(self, items: Iterable[T]) -> bool:
        """Append several items in one step; True if nothing was dropped for them."""
        with self._lock:
            before = self.dropped
            if self._changed.parked:
                self._changed.wake_all()
            if self._closed:
                count = sum(1 for _ in items)
                self.dropped += count
                self.dropped_closed += count
            else:
                self._items.extend(items)
                # The peak is never above the limit.
                if len(self._items) > self.peak:
                    self._grow()
            return self.dropped == before

    def _grow(self) -> None:
        self._drop_surplus()
        self.peak = max(self.peak, len(self._items))

    def _drop_surplus(self) -> None:
        drop = self._items.popleft if self._overflow is Overflow.DROP_OLD else self._items.pop
        while len(self._items) > self._limit:
            with contextlib.suppress(IndexError):
                drop()
                self.dropped += 1

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

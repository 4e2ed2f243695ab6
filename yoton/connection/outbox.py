"""What a connection has to send: a queue that is bounded in messages and tells of congestion."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable

from yoton.clock import Deadline
from yoton.gaps import GapPackage, Loss, Losses
from yoton.package import SLOT_CONTEXT, SLOT_LINK, Package
from yoton.queues import Overflow
from yoton.traffic import Departures
from yoton.waiting import WaitPoint

#: Messages from which on a sender waits for room, as the peer does not keep up. About what
#: makes one write to a socket; more would only take memory and delay what holds senders back.
CONGESTION_COUNT = 64

#: Packages of the link itself that are not dropped for others, nor for want of room: they tell
#: what is lost and who is gone, and who waits for an answer from there would wait for ever. As many
#: states find room beyond the limit: whoever misses one would have a stale one for ever.
MAX_NEWS = 2**10

#: So many find room that say that a context has come, of whom others renew their states: fewer, as
#: they come from peers, who may send more than there are contexts.
MAX_WORDS = 2**8

#: Bytes of such a package, several times those of what contexts say.
MAX_WORD_SIZE = 64

#: Bytes from which on it waits: enough to keep a fast line busy while the sender wakes up.
CONGESTION_SIZE = 2**21


class Outbox:
    """Packages on their way from any number of threads to the one that writes.

    Parameters
    ----------
    limit : int
        Number of messages that it holds at most.
    overflow : Overflow
        Which are dropped when one comes while it is full.
    max_size : float
        Bytes that it holds at most. A single package may have more.
    departures : Departures, optional
        Where to count on, if it follows another outbox.
    make_gap : callable, optional
        Makes the package that tells the peer what was dropped as there was no room for it. It
        leaves before all that waits. Default: the peer is not told.

    Attributes
    ----------
    packages : deque of Package
        What it holds, for others to look whether there is anything.
    departures : Departures
        Counts of what has left it.
    taken : int
        How many messages were in it and are no longer.
    """

    __slots__ = (
        "_changed",
        "_count",
        "_gap",
        "_is_closed",
        "_limit",
        "_lock",
        "_losses",
        "_make_gap",
        "_max_size",
        "_overflow",
        "_size",
        "departures",
        "packages",
        "taken",
    )

    def __init__(
        self,
        limit: int,
        overflow: Overflow,
        max_size: float = math.inf,
        departures: Departures | None = None,
        make_gap: Callable[[Iterable[Loss]], Package] | None = None,
    ) -> None:
        self._limit = limit
        self._overflow = overflow
        self._max_size = max_size
        self._make_gap = make_gap
        # Guards all that follows.
        self._lock = threading.RLock()
        self.packages: deque[Package] = deque()
        # Messages and bytes in it.
        self._count = 0
        self._size = 0
        self._is_closed = False
        self._changed = WaitPoint(self._lock)
        # What the peer has to be told of, if there is something, and the package that does so.
        self._losses: Losses | None = None
        self._gap: Package | None = None
        self.departures = departures or Departures()
        self.taken = 0

    @property
    def count(self) -> int:
        """The number of messages in it."""
        return self._count

    @property
    def size(self) -> int:
        """The number of bytes in it."""
        return self._size

    @property
    def dropped(self) -> int:
        """The number of messages that were dropped, for whatever reason."""
        return self.departures.dropped

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing any more."""
        return self._is_closed

    @property
    def is_congested(self) -> bool:
        """Whether so much waits to be sent that senders should wait as well."""
        return self._count >= CONGESTION_COUNT or self._size >= CONGESTION_SIZE

    def put(self, package: Package) -> bool:
        """Append a package; never blocks.

        Returns
        -------
        bool
            True if nothing was dropped for it, neither its messages nor older ones. A state that
            a newer one follows is not missed.
        """
        count, size = package.count, package.size
        with self._lock:
            if self._is_closed:
                return self.departures.refuse(package) == 0
            # The peak is never above the limit. Up to the call of append nothing comes in
            # between: no interrupt, no finalizer.
            if (
                self._count + count > self.departures.peak_messages
                or self._size + size > self._max_size
            ):
                return self._put_much(package)
            self._count += count
            self._size += size
            self.packages.append(package)
            return True

    def _put_much(self, package: Package) -> bool:
        """Append a package that there may be no room for, or with which more waits than ever."""
        count, size = package.count, package.size
        # From here up to the call of append, or of what takes its place, nothing comes in
        # between: no interrupt, no finalizer.
        has_room = self._count + count <= self._limit and (
            self._size + size <= self._max_size or self._holds_only_news_beside(package)
        )
        if not has_room:
            if package.is_state and self._supersede_for(package):
                return self.put(package.without_first(package.count - 1))
            if self._overflow is Overflow.DROP_NEW:
                return self._put_what_fits(package)
        # What is dropped at once has not waited.
        peak = self._limit if self._count + count > self._limit else self._count + count
        self._count += count
        self._size += size
        self.packages.append(package)
        self.departures.peak_messages = max(self.departures.peak_messages, peak)
        if not has_room:
            # With what goes now, before the one that it goes for.
            before = self._size - size
            self.departures.peak_bytes = max(self.departures.peak_bytes, before)
            self._drop_oldest()
        return has_room

    def _put_what_fits(self, package: Package) -> bool:
        is_kept = package.slot == SLOT_LINK or (package.is_state and self._size <= self._max_size)
        room = MAX_NEWS
        if _is_word_of_context(package):
            is_kept, room = True, MAX_WORDS
        if is_kept and self._count < self._limit + room:
            self._count += 1
            self._size += package.size
            self.packages.append(package)
            return True
        if package.count > 1 and self._count < self._limit:
            for single in package.packages():
                self.put(single)
        else:
            self._note_dropped(package, package.count)
        return False

    def _drop_oldest(self) -> None:
        self._changed.wake_all()
        news_count = 0
        while self._count > self._limit or self._size > self._max_size:
            if not self.packages:  # a finalizer that ran between two rounds may have taken all
                return
            oldest = self.packages[0]
            if oldest.slot == SLOT_LINK and news_count < MAX_NEWS:
                # Later than what came after it, but it is told.
                self.packages.rotate(-1)
                news_count += 1
                continue
            if self._count <= self._limit and self._holds_only_news_beside(oldest):
                return  # what is alone may be larger
            surplus = max(self._count - self._limit, 0)
            if self._size > self._max_size or surplus > oldest.count:
                surplus = oldest.count
            rest = oldest.without_first(surplus) if surplus < oldest.count else None
            size = oldest.size - (0 if rest is None else rest.size)
            if self._take_out(oldest, rest, surplus, size):
                self._note_dropped(oldest, surplus)

    def _note_dropped(self, package: Package, count: int) -> None:
        if isinstance(package, GapPackage):
            lost = package.losses
        else:
            self.departures.queue_full += count
            if package.slot == SLOT_LINK:
                return
            lost = [Loss(package.slot, package.dest_id, count)]
        if self._make_gap is not None:
            losses = Losses() if self._losses is None else self._losses
            for loss in lost:
                losses.add(loss)
            self._losses = losses

    def _holds_only_news_beside(self, package: Package) -> bool:
        others = self.packages.copy()
        return all(other is package or other.slot == SLOT_LINK for other in others)

    def _take_out(self, oldest: Package, rest: Package | None, count: int, size: int) -> bool:
        """Put what is left in the place of the oldest package; False if a finalizer just took that.

        Count and size are what is taken out, in messages and in bytes.
        """
        # There is one call, the last: nothing comes in between.
        if not self.packages or self.packages[0] is not oldest:
            return False
        # First, so that who reads the count before this never misses some.
        self.taken += count
        self._count -= count
        self._size -= size
        if rest is None:
            self.packages.popleft()
        else:
            self.packages[0] = rest
        return True

    def move(self, target: deque[Package], max_count: float, max_size: float) -> None:
        """Move the oldest packages to the end of target, as many as make one write.

        An interrupt (Ctrl-C) at the wrong moment leaves one of them in both places, but none in
        neither.

        Parameters
        ----------
        target : deque of Package
            Where to put them.
        max_count : float
            The number of packages that target should have at most.
        max_size : float
            Bytes of data from which on no more are moved.
        """
        size = 0
        departures = self.departures
        sent = departures.sent
        with self._lock:
            if self._changed.parked:
                self._changed.wake_all()
            # Since it was taken from last, it has grown, or something was dropped.
            if self._size > departures.peak_bytes:
                departures.peak_bytes = self._size
            if self._losses is not None or self._gap is not None:
                self._move_gap(target)
            # One by one, for the sake of interrupts, and of finalizers that put something.
            while True:
                if size >= max_size or len(target) >= max_count:
                    return
                # Looked at and taken up without a call in between.
                if not self.packages:
                    return
                oldest = self.packages[0]
                count, data_size = oldest.count, oldest.size
                size += data_size
                target.append(oldest)
                self._take_out(oldest, None, count, data_size)
                sent.packages += 1
                sent.messages += count
                sent.bytes += data_size

    def _move_gap(self, target: deque[Package]) -> None:
        """Tell what was dropped; the lock is held. An interrupt may have it told twice."""
        losses = self._losses
        if losses is not None and self._gap is None and self._make_gap is not None:
            gap = self._make_gap(losses)
            # No call in between, so no interrupt either.
            self._losses, self._gap = None, gap
        if self._gap is not None:
            target.append(self._gap)
            self.departures.sent.add_all((self._gap,))
            self._gap = None

    def discard_all(self) -> int:
        """Drop all packages, as they will not be sent; returns how many messages that are."""
        return self.departures.discard(self.take_all())

    def stats(self) -> dict[str, int]:
        """Get what waits, and the most that did, as plain data."""
        with self._lock:
            return {
                "messages": self._count,
                "bytes": self._size,
                "peak_messages": self.departures.peak_messages,
                "peak_bytes": max(self.departures.peak_bytes, self._size),
            }

    def take_all(self) -> list[Package]:
        """Take all packages."""
        taken: deque[Package] = deque()
        self.move(taken, math.inf, math.inf)
        return list(taken)

    def move_all_to(self, other: Outbox) -> None:
        """Have another outbox of the same connection send what this one holds."""
        for package in self.take_all():
            self.departures.sent.take_back(package)
            other.put(package)

    def waiting(self, slot: int, source_id: int) -> list[Package]:
        """Get what it holds of a channel, the oldest first; takes as long as it holds much."""
        with self._lock:
            return [
                package
                for package in self.packages.copy()
                if package.slot == slot and package.source_id == source_id
            ]

    def supersede(self, slot: int, source_id: int) -> None:
        """Drop what it holds of a channel for states, but for the newest one."""
        waiting = self.waiting(slot, source_id)
        self._drop_superseded(waiting[:-1])
        for newest in waiting[-1:]:
            if newest.count > 1:
                self.drop(newest, newest.count - 1, are_newest=False, are_superseded=True)

    def _supersede_for(self, package: Package) -> bool:
        """Drop all states before the last one of a package; False if there are none."""
        older, surplus = self.waiting(package.slot, package.source_id), package.count - 1
        self._drop_superseded(older)
        self.departures.superseded += surplus
        return bool(older or surplus)

    def _drop_superseded(self, packages: Iterable[Package]) -> None:
        for package in packages:
            self.drop(package, package.count, are_newest=False, are_superseded=True)

    def drop(
        self, package: Package, count: int, *, are_newest: bool, are_superseded: bool = False
    ) -> bool:
        """Drop messages of a package, all or those at one end; False if it has just left.

        They are counted as dropped at a mark, or as superseded.
        """
        rest: Package | None = None
        if count < package.count:
            rest = package.without_last(count) if are_newest else package.without_first(count)
        size = package.size - (0 if rest is None else rest.size)
        with self._lock:
            self._changed.wake_all()
            place = self._place_of(package)
            # From here on there is no call: nothing comes in between.
            try:
                if self.packages[place] is not package:
                    return False
            except IndexError:
                return False
            self.taken += count
            if are_superseded:
                self.departures.superseded += count
            else:
                self.departures.at_mark += count
            self._count -= count
            self._size -= size
            if rest is None:
                del self.packages[place]
            else:
                self.packages[place] = rest
            return True

    def _place_of(self, package: Package) -> int:
        """Get where a package is; the lock is held. If it is not there, any place will do."""
        for place, other in enumerate(self.packages.copy()):
            if other is package:
                return place
        return 0

    def wait_until(self, predicate: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until predicate() is true of what it holds, or it is closed."""
        return self._changed.wait_for(lambda: self._is_closed or predicate(), deadline)

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._lock:
            self._changed.wake_all()

    def wait_for_room(self, deadline: Deadline) -> bool:
        """Wait until it is not congested, or closed; False at the deadline."""
        return self._changed.wait_for(lambda: not self.is_congested or self._is_closed, deadline)

    def close(self) -> None:
        """Take no more packages and wake all that wait; what it holds can still be moved."""
        with self._lock:
            self._changed.wake_all()
            self._is_closed = True


def _is_word_of_context(package: Package) -> bool:
    is_single = package.slot == SLOT_CONTEXT and package.count == 1
    return is_single and package.size <= MAX_WORD_SIZE

"""How much of a channel may wait in an outbox, and what is dropped there beyond that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yoton.burst import LOOK_INTERVAL, MAX_COUNT, MAX_SIZE
from yoton.connection.outbox import Outbox
from yoton.marks import HighWaterMark, Policy
from yoton.package import Package

#: Messages that a burst brings to the outboxes at most.
_BURST_COUNT = MAX_COUNT + LOOK_INTERVAL

#: ... and bytes: of n messages the last one has no more than an nth of the size at which they
#: leave, and 1 + 1/2 + 1/3 ... is below 7 for as many as that.
_BURST_SIZE = 7 * MAX_SIZE


class OutgoingMark:
    """A high-water mark for what one channel has in each outbox.

    Parameters
    ----------
    mark : HighWaterMark
        How much, and what happens there.
    slot : int
        Number of the slot of the channel.
    source_id : int
        Id of its context.

    Attributes
    ----------
    policy : Policy
        What happens at the mark.
    timeout : float or None
        Seconds for which a message waits, None without limit.
    drops : bool
        Whether messages are dropped from the outboxes.
    """

    def __init__(self, mark: HighWaterMark, slot: int, source_id: int) -> None:
        self._mark = mark
        self._slot = slot
        self._source_id = source_id
        self.policy = mark.policy
        self.timeout = mark.timeout
        self.drops = mark.policy not in (Policy.BLOCK, Policy.ERROR)

    def is_far(self, outboxes: Iterable[Outbox], size: int) -> bool:
        """Tell whether there is room for a message of that size wherever a burst may take it.

        Then it may be held back, and nobody has to look at what becomes of it.
        """
        room = self._mark.messages - _BURST_COUNT
        light = self._mark.size - _BURST_SIZE - size
        return all(outbox.count < room and outbox.size <= light for outbox in outboxes)

    def has_room(self, outbox: Outbox, size: int) -> bool:
        """Tell whether one more message of that size may wait there."""
        count, total = _amount(self._waiting(outbox))
        return not self._is_over(count + 1, total + size, self._mark.messages)

    def trim(self, outbox: Outbox) -> int:
        """Drop what is too much; get the number of messages."""
        waiting = self._waiting(outbox)
        count, size = _amount(waiting)
        limit = self._mark.messages
        if self.policy is Policy.LATEST and self._is_over(count, size, limit):
            limit = 1
        are_newest = self.policy is Policy.DROP_NEW
        dropped = 0
        for package in reversed(waiting) if are_newest else waiting:
            messages = package.messages()
            sizes = self._surplus(
                reversed(messages) if are_newest else messages, count, size, limit
            )
            if not sizes:
                break
            if outbox.drop(package, len(sizes), are_newest=are_newest):
                dropped += len(sizes)
            count -= len(sizes)
            size -= sum(sizes)
        return dropped

    def _waiting(self, outbox: Outbox) -> Sequence[Package]:
        return outbox.waiting(self._slot, self._source_id) if outbox.packages else ()

    def _surplus(
        self, messages: Iterable[bytes], count: int, size: int, limit: int
    ) -> Sequence[int]:
        """Get the sizes of the first of these messages, as many as are too much."""
        sizes: list[int] = []
        for message in messages:
            if not self._is_over(count, size, limit):
                break
            sizes.append(len(message))
            count -= 1
            size -= len(message)
        return sizes

    def _is_over(self, count: int, size: int, limit: int) -> bool:
        return count > limit or (size > self._mark.size and count > 1)


def _amount(packages: Sequence[Package]) -> tuple[int, int]:
    """Count the messages in packages, and their bytes."""
    count = sum(package.count for package in packages)
    return count, sum(package.size for package in packages)

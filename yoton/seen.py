"""Which numbers have come from each source: the highest one, and those below it that have not.

Numbers grow along every path, but two paths may be of different length, or one may stand still
for a while. Then what comes by the longer one may not have come before, although its number is
below the highest.
"""

from __future__ import annotations

from collections import OrderedDict

#: Sources that are remembered. A network has dozens of contexts; the limit keeps a peer that
#: invents source ids from taking memory (about 200 bytes each).
MAX_SOURCES = 65536

#: Sources up to which their order does not matter, and is not kept: that would take twice the
#: memory.
MANY_SOURCES = 1024

#: Ranges of numbers that are known to be missing, for each source. A path that stood still makes
#: one. What nobody wants, and is not sent therefore, makes many; then the lowest are forgotten, and
#: count as if they had come.
MAX_HOLES = 64


class SeenNumbers:
    """Remembers numbers. Not thread-safe.

    Attributes
    ----------
    highest : dict
        The highest number that has come from each source.
    """

    def __init__(self) -> None:
        # With many of them an OrderedDict: those that were silent longest first.
        self.highest: dict[int, int] = {}
        # First and last number of each range that has not come, in their order.
        self._holes: dict[int, list[tuple[int, int]]] = {}

    def is_missing(self, source_id: int, number: int) -> bool:
        """Tell whether a number has not come that is not above the highest one."""
        holes = self._holes.get(source_id)
        return holes is not None and any(first <= number <= last for first, last in holes)

    def unseen(self, source_id: int, first: int, last: int) -> list[tuple[int, int]]:
        """Get those ranges out of a range of numbers that have not come, in their order."""
        ranges = [
            (max(first, begin), min(last, end))
            for begin, end in self._holes.get(source_id, ())
            if begin <= last and end >= first
        ]
        begin = max(first, self.highest.get(source_id, 0) + 1)
        if begin <= last:
            ranges.append((begin, last))
        return ranges

    def note(self, source_id: int, first: int, last: int) -> int | None:
        """Note that a range of numbers has come. It does no harm to repeat that.

        Returns
        -------
        int or None
            The source that is forgotten for it, as there are too many.
        """
        numbers = self.highest
        highest = numbers.get(source_id, 0)
        if first != highest + 1:
            if first > highest:
                self._miss(source_id, (highest + 1, first - 1))
            else:
                self._fill(source_id, first, last)
                if last <= highest:
                    return None
        # Only now: who is interrupted before this does it all again.
        numbers[source_id] = last
        return self._forget_one(source_id) if len(numbers) > MANY_SOURCES else None

    def _forget_one(self, latest: int) -> int | None:
        """Keep the order of many sources, and forget one if there are too many."""
        numbers = self.highest
        if not isinstance(numbers, OrderedDict):
            numbers = self.highest = OrderedDict(numbers)
        numbers.move_to_end(latest)
        if len(numbers) <= MAX_SOURCES:
            return None
        forgotten, _ = numbers.popitem(last=False)
        self._holes.pop(forgotten, None)
        return forgotten

    def _miss(self, source_id: int, hole: tuple[int, int]) -> None:
        holes = self._holes.setdefault(source_id, [])
        if not holes or holes[-1] != hole:
            holes.append(hole)
            del holes[:-MAX_HOLES]

    def _fill(self, source_id: int, first: int, last: int) -> None:
        holes = self._holes.get(source_id)
        if holes is None:
            return
        left = []
        for begin, end in holes:
            if begin < first:
                left.append((begin, min(end, first - 1)))
            if end > last:
                left.append((max(begin, last + 1), end))
        self._holes[source_id] = left

"""Where a package goes: the decisions of a node, without its locks and lines.

Source numbers grow along every path, so a package whose number is not above the highest one
seen from its source has come before, by another path, and is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from yoton.package import EVERYONE, Package
from yoton.record import Record

#: Sources that are remembered. A network has dozens of contexts; the limit keeps a peer that
#: invents source ids from taking memory (about 200 bytes each).
MAX_SOURCES = 65536


class Verdict(Record):
    """What to do with a package that arrived."""

    __slots__ = ("deliver", "forward")

    def __init__(self, deliver: bool, forward: bool) -> None:
        self.deliver = deliver
        self.forward = forward


DROP = Verdict(deliver=False, forward=False)
DELIVER = Verdict(deliver=True, forward=False)
FORWARD = Verdict(deliver=False, forward=True)
DELIVER_AND_FORWARD = Verdict(deliver=True, forward=True)


class Router:
    """Decides what happens to arriving packages and knows who is behind which line.

    Not thread-safe: the node calls it with its routing lock held.

    Parameters
    ----------
    own_id : int
        The id of this context.

    Attributes
    ----------
    has_ring : bool
        Whether something has come by two lines, and neither is closed.
    """

    def __init__(self, own_id: int) -> None:
        self._own_id = own_id
        self._highest_seq: OrderedDict[int, int] = OrderedDict()
        self._lines: dict[int, set[Hashable]] = {}
        self.has_ring = False

    def decide(self, package: Package) -> Verdict:
        """Say whether a package is for this node, for others, for both or for nobody.

        Nothing changes by asking; `remember` has to follow.
        """
        source_id = package.source_id
        if source_id == self._own_id:
            return DROP
        if package.source_seq <= self._highest_seq.get(source_id, 0):
            return DROP
        if package.dest_id == EVERYONE:
            return DELIVER_AND_FORWARD
        if package.dest_id == self._own_id:
            return DELIVER
        return FORWARD

    def without_known(self, package: Package) -> Package:
        """Get a bundle without those of its messages that have come before.

        They may have come by another path, on which they were bundled in another way. One with
        no news at all is left as it is.
        """
        known = self._highest_seq.get(package.source_id, 0)
        first_seq = package.source_seq - package.count + 1
        if first_seq <= known < package.source_seq:
            return package.without_first(known - first_seq + 1)
        return package

    def remember(self, package: Package, line: Hashable) -> None:
        """Note that a package has come, by a line. It does no harm to repeat that."""
        source_id = package.source_id
        if source_id == self._own_id:
            return
        highest = self._highest_seq.get(source_id)
        if package.source_seq > (highest or 0):
            self._highest_seq[source_id] = package.source_seq
            self._highest_seq.move_to_end(source_id)
            if highest is None and len(self._highest_seq) > MAX_SOURCES:
                oldest, _ = self._highest_seq.popitem(last=False)
                self._lines.pop(oldest, None)
        elif highest is None:
            return
        lines = self._lines.get(source_id)
        if lines is None:
            self._lines[source_id] = {line}
        elif line not in lines:
            lines.add(line)
            self.has_ring = True

    def line_opened(self, peer_id: int, line: Hashable) -> None:
        """Note that a context is at the other end of a new line."""
        lines = self._lines.setdefault(peer_id, set())
        lines.add(line)
        self.has_ring = self.has_ring or len(lines) > 1

    def line_closed(self, line: Hashable) -> set[int]:
        """Forget a line.

        Returns
        -------
        set of int
            Ids of the contexts that no other line leads to: they are out of reach now.
        """
        gone = set()
        for source_id, lines in list(self._lines.items()):
            lines.discard(line)
            if not lines:
                del self._lines[source_id]
                gone.add(source_id)
        self._look_for_ring()
        return gone

    def lines_to(self, source_id: int) -> set[Hashable]:
        """Get the lines by which something from a context has come."""
        return set(self._lines.get(source_id, ()))

    def forget(self, source_id: int) -> None:
        """Note that a context can be reached over none of its lines any more."""
        self._lines.pop(source_id, None)
        self._look_for_ring()

    def _look_for_ring(self) -> None:
        self.has_ring = any(len(lines) > 1 for lines in self._lines.values())

    def source_gone(self, source_id: int, line: Hashable) -> bool:
        """Note that a context can no longer be reached over a line.

        Returns
        -------
        bool
            True if no other line leads to it.
        """
        lines = self._lines.get(source_id)
        if lines is None:
            return False
        lines.discard(line)
        if lines:
            return False
        del self._lines[source_id]
        return True

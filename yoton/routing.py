"""Where a package goes: the decisions of a node, without its locks and lines.

A package whose number has come before, by another path, is dropped. One that comes late, when
another path has brought what was sent after it, is passed on, as others may not be so far. Here it
would be out of order, so it is not delivered but counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from yoton.package import EVERYONE, Package
from yoton.record import Record
from yoton.seen import SeenNumbers
from yoton.sharing import shared_id


class Verdict(Record):
    """What to do with a package that arrived.

    Parameters
    ----------
    deliver : bool
        Whether it is for this context.
    forward : bool
        Whether it is for others.
    is_late : bool
        Whether something has come before that was sent after it.
    """

    __slots__ = ("deliver", "forward", "is_late")

    def __init__(self, deliver: bool, forward: bool, is_late: bool = False) -> None:
        self.deliver = deliver
        self.forward = forward
        self.is_late = is_late


DROP = Verdict(deliver=False, forward=False)
DELIVER = Verdict(deliver=True, forward=False)
FORWARD = Verdict(deliver=False, forward=True)
DELIVER_AND_FORWARD = Verdict(deliver=True, forward=True)
LATE = Verdict(deliver=True, forward=False, is_late=True)
LATE_FOR_OTHERS = Verdict(deliver=False, forward=True, is_late=True)
LATE_FOR_ALL = Verdict(deliver=True, forward=True, is_late=True)


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
    newcomers : set of int
        Contexts of which something came to which no line led before; for who takes them out.
    """

    def __init__(self, own_id: int) -> None:
        self._own_id = own_id
        self._seen = SeenNumbers()
        # The lines by which something of a source came. Those that come by one only share a set,
        # which takes more than all the rest.
        self._lines: dict[int, frozenset[Hashable]] = {}
        self._lone: dict[Hashable, frozenset[Hashable]] = {}
        self.has_ring = False
        self.newcomers: set[int] = set()

    def decide(self, package: Package) -> Verdict:
        """Say whether a package is for this node, for others, for both or for nobody.

        Nothing changes by asking; `remember` has to follow.
        """
        source_id, seq = package.source_id, package.source_seq
        if source_id == self._own_id:
            return DROP
        if seq > self._seen.highest.get(source_id, 0):
            if package.dest_id == EVERYONE:
                return DELIVER_AND_FORWARD
            return DELIVER if package.dest_id == self._own_id else FORWARD
        if not self._seen.is_missing(source_id, seq):
            return DROP
        if package.dest_id == EVERYONE:
            return LATE_FOR_ALL
        return LATE if package.dest_id == self._own_id else LATE_FOR_OTHERS

    def parts(self, bundle: Package) -> Sequence[Package]:
        """Part a bundle into those of its messages that have not come before.

        They may have come by another path, on which they were bundled in another way. Each part
        is late as a whole, or not at all. A bundle with no news is left as it is.
        """
        last = bundle.source_seq
        first = last - bundle.count + 1
        ranges = self._seen.unseen(bundle.source_id, first, last)
        if not ranges or ranges == [(first, last)]:
            return (bundle,)
        return [
            bundle.without_last(last - end).without_first(begin - first) for begin, end in ranges
        ]

    def remember(self, package: Package, line: Hashable) -> None:
        """Note that a package has come, by a line. It does no harm to repeat that."""
        source_id, seq = package.source_id, package.source_seq
        if source_id == self._own_id or seq < 1:
            return
        lines = self._lines.get(source_id)
        if lines is None:
            source_id = shared_id(source_id)
        forgotten = self._seen.note(source_id, seq - package.count + 1, seq)
        if forgotten is not None:
            self._lines.pop(forgotten, None)
        if lines is None:
            # First, as who is interrupted in between does it all again.
            self.newcomers.add(source_id)
            self._lines[source_id] = self._with(line)
        elif line not in lines:
            self._lines[source_id] = self._with(line, lines)
            self.has_ring = True

    def line_opened(self, peer_id: int, line: Hashable) -> None:
        """Note that a context is at the other end of a new line."""
        lines = self._lines[peer_id] = self._with(line, self.lines_to(peer_id))
        self.has_ring = self.has_ring or len(lines) > 1

    def line_closed(self, line: Hashable) -> set[int]:
        """Forget a line.

        Returns
        -------
        set of int
            Ids of the contexts that no other line leads to: they are out of reach now.
        """
        gone = {source_id for source_id in list(self._lines) if self.source_gone(source_id, line)}
        self._lone.pop(line, None)
        self._look_for_ring()
        return gone

    def lines_to(self, source_id: int) -> frozenset[Hashable]:
        """Get the lines by which something from a context has come."""
        return self._lines.get(source_id, frozenset())

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
        if lines is None or line not in lines:
            return False
        if len(lines) > 1:
            self._lines[source_id] = lines - {line}
            return False
        del self._lines[source_id]
        return True

    def _with(
        self, line: Hashable, others: frozenset[Hashable] = frozenset()
    ) -> frozenset[Hashable]:
        lone = self._lone.setdefault(line, frozenset((line,)))
        return lone | others if others else lone

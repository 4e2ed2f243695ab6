"""Where a package goes: the decisions of a node, without its locks and lines.

Source numbers grow along every path, so a package whose number is not above the highest one
seen from its source has come before, by another path, and is dropped.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Hashable

from yoton.package import EVERYONE, Package

#: Sources that are remembered. A network has dozens of contexts; the limit keeps a peer that
#: invents source ids from taking memory (about 200 bytes each).
MAX_SOURCES = 65536


class Verdict(enum.Flag):
    """What to do with a package that arrived."""

    DROP = 0
    DELIVER = enum.auto()
    FORWARD = enum.auto()


class Router:
    """Decides what happens to arriving packages and knows who is behind which line.

    Not thread-safe: the node calls it with its routing lock held.

    Parameters
    ----------
    own_id : int
        The id of this context.
    """

    def __init__(self, own_id: int) -> None:
        self._own_id = own_id
        self._highest_seq: OrderedDict[int, int] = OrderedDict()
        self._lines: dict[int, set[Hashable]] = {}

    def decide(self, package: Package, line: Hashable) -> Verdict:
        """Say whether a package is for this node, for others, for both or for nobody.

        Parameters
        ----------
        package : Package
            What arrived.
        line : hashable
            The connection it arrived by.
        """
        source_id = package.source_id
        if source_id == self._own_id:
            return Verdict.DROP
        is_news = package.source_seq > self._highest_seq.get(source_id, 0)
        if is_news:
            self._remember(source_id, package.source_seq)
        if source_id in self._highest_seq:
            self._lines.setdefault(source_id, set()).add(line)
        if not is_news:
            return Verdict.DROP
        if package.dest_id == EVERYONE:
            return Verdict.DELIVER | Verdict.FORWARD
        if package.dest_id == self._own_id:
            return Verdict.DELIVER
        return Verdict.FORWARD

    def _remember(self, source_id: int, source_seq: int) -> None:
        self._highest_seq[source_id] = source_seq
        self._highest_seq.move_to_end(source_id)
        if len(self._highest_seq) > MAX_SOURCES:
            oldest, _ = self._highest_seq.popitem(last=False)
            self._lines.pop(oldest, None)

    def line_opened(self, peer_id: int, line: Hashable) -> None:
        """Note that a context is at the other end of a new line."""
        self._lines.setdefault(peer_id, set()).add(line)

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
        return gone

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

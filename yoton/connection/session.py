"""What goes over one connection, whatever happens to the lines that it has one after the other.

A sender keeps what it has written until the peer says that it has it. When a line is lost, each
end tells the other on the next one which package it got last. What was written behind that is
written again, in the same order; what the peer has had all the same, its router drops by the
number. So everything arrives once and in order, as long as the sender has kept enough. Where it
has not, it knows what is missing, and tells that.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from yoton.gaps import Gap, GapPackage, Loss, Losses
from yoton.package import BEGINNING, SLOT_LINK, Package, Place
from yoton.record import Record

#: Bytes of packages that a sender keeps, unless it says otherwise: more than the buffers of two
#: ends of TCP hold (some 6 MiB on Linux), so that nothing on its way is beyond that.
DEFAULT_KEPT_SIZE = 2**24

#: Bytes that a package counts besides its data: a burst of tiny ones takes memory as well.
_PACKAGE_OVERHEAD = 256

#: Losses that are remembered, each with the place of its package, should that be missing.
MAX_REMEMBERED = 2**17

#: Packages of the link itself that are kept in any case: they tell which contexts are gone, and
#: who waits for an answer of one of those would wait for ever.
MAX_NEWS = 2**10

#: Packages and bytes after which the sender is told that they have come.
ACKNOWLEDGED_COUNT = 64
ACKNOWLEDGED_SIZE = 2**18


class _Kept(Record):
    __slots__ = ("begin", "end", "package")

    def __init__(self, package: Package, begin: int, end: int) -> None:
        self.package = package
        #: Bytes of all before it, and with it.
        self.begin = begin
        self.end = end


class _Remembered(Record):
    __slots__ = ("loss", "place")

    def __init__(self, place: Place, loss: Loss) -> None:
        self.place = place
        self.loss = loss


class Session:
    """What one end of a connection has sent and got, over all its lines.

    Parameters
    ----------
    token : str, optional
        Its name, by which the other end knows it. Default: make a new one, which nobody guesses.
    kept_size : int
        Bytes of packages to keep until the peer has them.

    Attributes
    ----------
    is_behind : bool
        Whether the line that was lost had not taken all of them.
    """

    def __init__(self, token: str = "", kept_size: int = DEFAULT_KEPT_SIZE) -> None:
        self.token = token or os.urandom(16).hex()
        self.is_behind = False
        self._kept_size = kept_size
        # Guards all that follows.
        self._lock = threading.RLock()
        self._kept: deque[_Kept] = deque()
        # Those that were kept before, and had to go before the peer said that it has them.
        self._remembered: deque[_Remembered] = deque()
        # The messages of those that were remembered before.
        self._forgotten = Losses()
        # What the link itself has to tell, and had to go as well.
        self._news: deque[Package] = deque(maxlen=MAX_NEWS)
        self._received = BEGINNING
        self._unacknowledged_count = 0
        self._unacknowledged_size = 0
        self._resent = 0

    @property
    def received(self) -> Place:
        """The package that came last."""
        return self._received

    @property
    def kept_count(self) -> int:
        """The number of packages of which the peer has not said that it has them."""
        return len(self._kept)

    @property
    def unconfirmed(self) -> int:
        """The number of messages of which the peer has not said that it has them."""
        with self._lock:
            kept = sum(each.package.count for each in self._kept)
            return kept + self._gap().messages

    @property
    def is_confirmed(self) -> bool:
        """Whether the peer has said that it has all messages, and what tells of others."""
        with self._lock:
            return not self._remembered and all(
                kept.package.slot == SLOT_LINK and not isinstance(kept.package, GapPackage)
                for kept in self._kept
            )

    @property
    def resent(self) -> int:
        """The number of messages that were written again, all together."""
        return self._resent

    # Sending

    def keep(self, package: Package) -> None:
        """Keep a package that is about to be written.

        To do so twice in a row, as Ctrl-C came in between, does no harm.
        """
        with self._lock:
            if self._kept and self._kept[-1].package is package:
                # Else one of them might have to go, and would be missed though the other comes.
                return
            begin = self._kept[-1].end if self._kept else 0
            end = begin + package.size + _PACKAGE_OVERHEAD
            self._kept.append(_Kept(package, begin, end))
            while True:
                first = self._kept[0]
                if len(self._kept) == 1 or end - first.begin <= self._kept_size:
                    return
                self._remember(first.package)
                self._kept.popleft()

    def acknowledged(self, place: Place) -> None:
        """Take note that the peer has got a package, and so all before it."""
        with self._lock:
            count = _count_through(place, (_place(kept.package) for kept in self._kept))
            if count:
                self._remembered.clear()
                self._news.clear()
                for _ in range(count):
                    self._kept.popleft()
            else:
                count = _count_through(place, (each.place for each in self._remembered))
                for _ in range(count):
                    self._remembered.popleft()
            if count:
                self._forgotten.clear()

    def resume(self, received: Place) -> tuple[list[Package], Gap]:
        """Go on over a new line to the same peer.

        Parameters
        ----------
        received : tuple of int
            The package that the peer got last.

        Returns
        -------
        list of Package
            What to write first; they will be kept again when they are written.
        Gap
            What is missing before them. It will be told again, until the peer says that it has
            got that, or something behind it.
        """
        with self._lock:
            self.acknowledged(received)
            packages = [*self._news, *(kept.package for kept in self._kept)]
            self._resent += sum(package.count for package in packages)
            self._kept.clear()
            self._news.clear()
            return packages, self._gap()

    def repeat(self) -> tuple[list[Package], Gap]:
        """Go on with the same context, which has forgotten the session, see `resume`.

        It may have got some of the packages, and drops those.
        """
        self._received = BEGINNING
        return self.resume(BEGINNING)

    def restart(self) -> Gap:
        """Go on with another peer, which got nothing of what was written.

        Returns
        -------
        Gap
            What the peer before may not have got.
        """
        with self._lock:
            for kept in self._kept:
                self._remember(kept.package)
            self._kept.clear()
            self._news.clear()
            self._received = BEGINNING
            return self._gap()

    def _gap(self) -> Gap:
        place = self._remembered[-1].place if self._remembered else BEGINNING
        losses = Losses(self._forgotten)
        for each in self._remembered:
            losses.add(each.loss)
        return Gap(place, list(losses))

    def _remember(self, package: Package) -> None:
        if isinstance(package, GapPackage):
            losses = package.losses
        elif package.slot == SLOT_LINK:
            self._news.append(package)
            return
        else:
            losses = [Loss(package.slot, package.dest_id, package.count)]
        place = _place(package)
        if self._remembered and self._remembered[-1].place == place:
            return  # it was kept twice
        for loss in losses:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._forgotten.add(self._remembered.popleft().loss)
            self._remembered.append(_Remembered(place, loss))

    # Receiving

    def note_gap(self, gap: Gap) -> bool:
        """Take note of what will not come: all up to there has come, or is known to be missing.

        Returns False if it is what came last: Ctrl-C may have the sender write it twice.
        """
        if gap.place == BEGINNING:
            return True
        is_news = gap.place != self._received
        self._received = gap.place
        return is_news

    def note_received(self, packages: Sequence[Package]) -> bool:
        """Take note of packages that came; tells whether the peer should hear of that at once."""
        self._received = _place(packages[-1])
        self._unacknowledged_count += len(packages)
        self._unacknowledged_size += sum(package.size for package in packages)
        return (
            self._unacknowledged_count >= ACKNOWLEDGED_COUNT
            or self._unacknowledged_size >= ACKNOWLEDGED_SIZE
        )

    def take_unacknowledged(self) -> bool:
        """Tell whether the peer has not heard of something that came; it is about to now."""
        has_some = self._unacknowledged_count > 0
        self._unacknowledged_count = self._unacknowledged_size = 0
        return has_some


def _place(package: Package) -> Place:
    return package.source_id, package.source_seq


def _count_through(place: Place, places: Iterable[Place]) -> int:
    """Count the places up to a certain one, which may stand there several times in a row."""
    count = 0
    for number, each in enumerate(places, 1):
        if each == place:
            count = number
        elif count:
            break
    return count

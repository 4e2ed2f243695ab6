"""Counts of what passes a place: plain numbers, cheap enough to be kept always.

Nothing here is locked. Each counter is written by one thread at a time, whichever holds the lock
or the turn that the place has anyway; everybody may read. Ctrl-C between a step and its count, or
a step that is done once more after it, makes a count wrong by that one package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from yoton.package import SLOT_LINK, Package
from yoton.record import Record


class Flow:
    """Messages that went one way.

    Who has to count quickly does it by itself, as a call would take longer than the counting.
    """

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0

    def stats(self) -> dict[str, int]:
        """Get the counts as plain data."""
        return {"messages": self.messages, "bytes": self.bytes}


class PackageFlow(Flow):
    """Packages that went one way, and the messages in them."""

    __slots__ = ("packages",)

    def __init__(self) -> None:
        super().__init__()
        self.packages = 0

    def add_all(self, packages: Iterable[Package]) -> None:
        """Count several packages."""
        for package in packages:
            self.packages += 1
            self.messages += package.count
            self.bytes += package.size

    def take_back(self, package: Package) -> None:
        """Count a package no more, as it has not gone after all."""
        self.packages -= 1
        self.messages -= package.count
        self.bytes -= package.size

    def stats(self) -> dict[str, int]:
        """Get the counts as plain data."""
        return {"packages": self.packages, **super().stats()}


class Books(Record):
    """The counts of a channel, for the context, which keeps them.

    Parameters
    ----------
    sent, came : Flow
        What it sent and what came for it. Written with the routing lock held.
    stats : callable
        Gets all that is to be told of the channel as plain data.
    """

    __slots__ = ("came", "sent", "stats")

    def __init__(self, sent: Flow, came: Flow, stats: Callable[[], dict[str, Any]]) -> None:
        self.sent = sent
        self.came = came
        self.stats = stats


class Departures:
    """What has left a queue of packages, and how.

    Written with the lock of the queue held, but for what is taken back: that is done by the
    one whose turn it is to write.

    Attributes
    ----------
    sent : PackageFlow
        What was taken to be sent.
    queue_full : int
        Messages that were dropped because the queue was full.
    at_mark : int
        Messages that were dropped at the high-water mark of the channel that had sent them.
    superseded : int
        States that were not sent, as a newer one of the same channel was.
    closed : int
        Messages that came when nothing was sent any more, or were left when it ended.
    peak_messages, peak_bytes : int
        The most that has waited at a time.
    """

    __slots__ = (
        "at_mark",
        "closed",
        "peak_bytes",
        "peak_messages",
        "queue_full",
        "sent",
        "superseded",
    )

    def __init__(self) -> None:
        self.sent = PackageFlow()
        self.queue_full = 0
        self.at_mark = 0
        self.superseded = 0
        self.closed = 0
        self.peak_messages = 0
        self.peak_bytes = 0

    @property
    def dropped(self) -> int:
        """The number of messages that were dropped."""
        return self.queue_full + self.at_mark + self.superseded + self.closed

    def discard(self, packages: Iterable[Package]) -> int:
        """Note that packages that were taken will not be sent; returns their messages."""
        messages = 0
        for package in packages:
            self.sent.take_back(package)
            messages += self.refuse(package)
        return messages

    def refuse(self, package: Package) -> int:
        """Note that a package will not be sent; returns its messages.

        Those of the link itself are none: they tell the other end what it finds out as well, who
        is gone, or of messages that were counted.
        """
        if package.slot == SLOT_LINK:
            return 0
        self.closed += package.count
        return package.count


def add_up(stats: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add plain data of one form up, number by number."""
    total: dict[str, Any] = {}
    for each in stats:
        for key, value in each.items():
            if isinstance(value, Mapping):
                total[key] = add_up((total.get(key, {}), value))
            else:
                total[key] = total.get(key, 0) + value
    return total

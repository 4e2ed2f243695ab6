"""What goes over one connection, in numbers, whatever happens to its lines."""

from __future__ import annotations

from typing import Any

from yoton.package import Package
from yoton.traffic import Departures, PackageFlow


class RoundTrip:
    """Measures how long a peer takes to answer; times in seconds of one clock.

    The thread that sends asks, and whoever reads hears the answer. A question that was not
    answered before the next one counts no more.
    """

    __slots__ = ("_asked", "_measured_at", "_number", "latest", "smallest")

    def __init__(self) -> None:
        self._number = 0
        # The last question and when it was asked, until it is answered.
        self._asked: tuple[int, float] | None = None
        self._measured_at = 0.0
        self.smallest: float | None = None
        self.latest: float | None = None

    def ask(self, now: float) -> int:
        """Begin to measure, and get the number to ask with."""
        self._number += 1
        self._asked = self._number, now
        return self._number

    def answered(self, number: int, now: float) -> None:
        """Take note of an answer; what does not fit is ignored."""
        asked = self._asked
        if asked is None or asked[0] != number:
            return
        self._asked = None
        self._measured_at = now
        self.latest = now - asked[1]
        self.smallest = self.latest if self.smallest is None else min(self.smallest, self.latest)

    def stats(self, now: float) -> dict[str, float] | None:
        """Get it as plain data; None if nothing was measured yet."""
        if self.smallest is None or self.latest is None:
            return None
        return {
            "smallest": self.smallest,
            "latest": self.latest,
            "age": max(0.0, now - self._measured_at),
        }


class Traffic:
    """The counts of one connection, over all the lines that it has.

    Attributes
    ----------
    came : PackageFlow
        What came. Written by whoever has the turn to read.
    departures : Departures
        What left.
    too_large, not_encodable : int
        Messages that this peer could not have read. Written by whoever has the turn to write.
    gaps : int
        Messages that the peer says will not come. Written by the receive thread.
    unconfirmed : int
        Messages that were written, and of which the peer has not said that it has them, in
        sessions that came to their end without a goodbye.
    resent_before : int
        Messages that were written again in sessions that are over. As the next, written by the
        thread that has lost a line or found one.
    reconnections : int
        How often there was another line.
    round_trip : RoundTrip
        How long the peer takes to answer.
    """

    __slots__ = (
        "came",
        "departures",
        "gaps",
        "not_encodable",
        "reconnections",
        "resent_before",
        "round_trip",
        "too_large",
        "unconfirmed",
    )

    def __init__(self) -> None:
        self.came = PackageFlow()
        self.departures = Departures()
        self.too_large = 0
        self.not_encodable = 0
        self.gaps = 0
        self.unconfirmed = 0
        self.resent_before = 0
        self.reconnections = 0
        self.round_trip = RoundTrip()

    def refuse_large(self, package: Package) -> None:
        """Note that a package that was taken is too large for the peer."""
        self.departures.sent.take_back(package)
        self.too_large += package.count

    def refuse_unreadable(self, package: Package) -> None:
        """Note that a package that was taken cannot be encoded for the peer."""
        self.departures.sent.take_back(package)
        self.not_encodable += package.count

    def totals(self, resent: int) -> dict[str, Any]:
        """Get what can be added up with that of other connections, as plain data.

        Parameters
        ----------
        resent : int
            Messages that were written again in the present session.
        """
        departures = self.departures
        return {
            "in": self.came.stats(),
            "out": departures.sent.stats(),
            "dropped": {
                "queue_full": departures.queue_full,
                "high_water_mark": departures.at_mark,
                "superseded": departures.superseded,
                "closed": departures.closed,
                "too_large": self.too_large,
                "not_encodable": self.not_encodable,
            },
            "unconfirmed": self.unconfirmed,
            "resent": self.resent_before + resent,
            "gaps": self.gaps,
            "reconnections": self.reconnections,
        }

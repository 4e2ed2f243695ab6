"""Books of what goes over a connection and what becomes of it, message by message."""

from __future__ import annotations

from collections import Counter

from yoton.connection.outbox import Outbox
from yoton.package import Package


class Way:
    """The books of one direction of a connection; messages are counted by their source.

    Parameters
    ----------
    outbox : Outbox
        That of the sender.
    begun_at : Counter
        The number of the last message that is not among those that are to go this way.

    Attributes
    ----------
    given, came : Counter
        Messages that were to go, also those lost before they came here, and those that have come.
    missing : Counter
        Messages of which the receiver was told that they were lost.
    lost_before : int
        How many messages were lost before they came here.
    is_finished : bool
        Whether the receiver has heard the goodbye.
    """

    def __init__(self, outbox: Outbox, begun_at: Counter[int]) -> None:
        self.outbox = outbox
        self._dropped_before = outbox.dropped
        self._begun_at = begun_at
        self._skipped: Counter[int] = Counter()
        self._highest = Counter(begun_at)
        self.given: Counter[int] = Counter()
        self.came: Counter[int] = Counter()
        self.missing: Counter[int] = Counter()
        self.gone_told: list[int] = []
        self.gone_heard: set[int] = set()
        self.lost_before = 0
        self.is_finished = False

    @property
    def dropped(self) -> int:
        """Messages for which there was no room at the sender."""
        return self.outbox.dropped - self._dropped_before

    def note_came(self, package: Package) -> None:
        """Count the messages that have not come before."""
        for single in package.packages():
            if single.source_seq > self._highest[single.source_id]:
                self.came[single.source_id] += 1
                self._highest[single.source_id] = single.source_seq

    @property
    def position(self) -> Counter[int]:
        """The number of messages of each source of which the receiver knows what became."""
        return self._begun_at + self.came + self.missing

    def skip(self, source: int, seq: int) -> None:
        """Expect nothing of a source up to a number: it was lost with a process before."""
        passed_on = self._begun_at + self._skipped + self.given
        self._skipped[source] += max(0, seq - passed_on[source])

    def check(self, dropped_anywhere: int) -> None:
        """What is left out was told before; nothing is counted twice."""
        left_out = 0
        for source in self.came:
            distance = self._highest[source] - self._begun_at[source] - self._skipped[source]
            left_out += max(0, distance - self.came[source] - self.missing[source])
        if dropped_anywhere:
            # What tells of losses goes behind others where these would be dropped.
            dropped_anywhere += self.lost_before
        assert left_out <= dropped_anywhere, "no loss without a count"
        assert all(count >= 0 for count in self._open().values()), "no more than was sent"

    def check_finished(self) -> None:
        """When all has arrived that will: each message has come, or is counted, once."""
        assert self.dropped == sum(self._open().values())
        assert self.gone_heard.issuperset(self.gone_told)

    def _open(self) -> dict[int, int]:
        return {
            source: self.given[source] - self.came[source] - self.missing[source]
            for source in self.given | self.came | self.missing
        }

"""A scheduler whose time the test moves: no thread, no waiting."""

from __future__ import annotations

from yoton.events.scheduler import Scheduler


class ManualScheduler(Scheduler):
    """Makes its calls in advance(), in the thread of the test."""

    def __init__(self) -> None:
        self.time = 100.0
        super().__init__(clock=lambda: self.time)

    def _start_thread(self, call: object) -> None:
        pass

    def advance(self, seconds: float) -> None:
        """Let time pass, and make the calls that come due, each at its time."""
        end = self.time + seconds
        while (due := self._agenda.next_due()) is not None and due <= end:
            self.time = max(self.time, due)
            self.make_due_calls()
        self.time = end

    def make_due_calls(self) -> None:
        """Make all calls that are due, as a thread that comes late does."""
        while (func := self._agenda.take_due(self.time)) is not None:
            func()

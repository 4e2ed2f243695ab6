"""A condition for futures whose lock an interrupt (Ctrl-C) cannot leave held."""

from __future__ import annotations

from _thread import RLock

from yoton.waiting import WaitPoint


class FutureCondition(RLock):  # type: ignore[misc]  # it may be derived from, typeshed is wrong
    """Takes the place of the `threading.Condition` in a `concurrent.futures.Future`.

    Entering and leaving a `threading.Condition` is Python code. An interrupt in it can leave
    the lock held; then the thread that brings the result waits for ever, and with it all that
    it has to do besides. The lock that this is one of is entered in a single step.

    Attributes
    ----------
    changed : WaitPoint
        Where to wait for a notification.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed = WaitPoint(self)

    def notify_all(self) -> None:
        """Let all that wait look again; the lock is held."""
        if self.changed.parked:
            self.changed.wake_all()

    def wait(self, timeout: float) -> bool:
        """Get False, for not notified in time: who has to wait does so at `changed`, before."""
        return False

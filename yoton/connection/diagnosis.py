"""Looking after a peer that is silent, until it is heard again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from yoton.clock import monotonic
from yoton.connection.liveness import Liveness
from yoton.events.scheduler import ScheduledCall, scheduler

#: Seconds between two looks: a silence can turn from one kind into another.
LOOK_INTERVAL = 0.25


class Diagnosis:
    """Knows how a peer is, and tells when that changes.

    Parameters
    ----------
    look : callable
        Gets the seconds for which the peer has been silent, and says how it is. Called by the
        thread of the scheduler, again and again.
    tell : callable
        Gets how it is when that has changed.
    """

    def __init__(
        self, look: Callable[[float], Liveness], tell: Callable[[Liveness], object]
    ) -> None:
        self._look = look
        self._tell = tell
        # Guards what follows.
        self._lock = threading.RLock()
        self._liveness = Liveness.NOT_CONNECTED
        self._call: ScheduledCall | None = None

    @property
    def liveness(self) -> Liveness:
        """How the peer is."""
        return self._liveness

    def begin(self, silent_for: float) -> None:
        """Look from now on, as the peer has been silent for so many seconds."""
        self._stop_looking()
        self._look_at(monotonic() - silent_for, scheduler.now())

    def end(self, liveness: Liveness) -> None:
        """Look no more, as this is how the peer is."""
        self._stop_looking()
        self._note(liveness)

    def _stop_looking(self) -> None:
        with self._lock:
            call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look_at(self, since: float, due: float) -> None:
        calls: list[ScheduledCall] = []

        def look() -> None:
            liveness = self._look(monotonic() - since)
            with self._lock:
                is_current = self._call is calls[0]
            if is_current:
                self._note(liveness)
                self._look_at(since, due + LOOK_INTERVAL)

        with self._lock:
            try:
                calls.append(scheduler.call_at(due, look))
            except RuntimeError:  # an interpreter that is ending allows no thread
                return
            self._call = calls[0]

    def _note(self, liveness: Liveness) -> None:
        with self._lock:
            has_changed, self._liveness = self._liveness is not liveness, liveness
        if has_changed:
            self._tell(liveness)

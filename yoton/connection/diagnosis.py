"""Looking after a peer that is silent, until it is heard again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from yoton.clock import monotonic
from yoton.connection.heartbeat import LOOK_INTERVAL, Silence
from yoton.connection.liveness import Liveness
from yoton.events.repeating import RepeatedCall


class Diagnosis:
    """Knows how a peer is, and tells when that changes.

    Parameters
    ----------
    look : callable
        Gets the seconds for which the peer has been silent, and says how it is. Called by the
        thread of the scheduler, again and again.
    tell : callable
        Gets how it is when that has changed.
    consider : callable
        Gets the seconds for which it has certainly been silent, after each look by which it still
        is, to give it up if that is too long.
    """

    __slots__ = ("_consider", "_liveness", "_lock", "_look", "_looking", "_tell")

    def __init__(
        self,
        look: Callable[[float], Liveness],
        tell: Callable[[Liveness], object],
        consider: Callable[[float], object],
    ) -> None:
        self._look = look
        self._tell = tell
        self._consider = consider
        # Guards what follows.
        self._lock = threading.RLock()
        self._liveness = Liveness.NOT_CONNECTED
        self._looking: RepeatedCall | None = None

    @property
    def liveness(self) -> Liveness:
        """How the peer is."""
        return self._liveness

    def begin(self, silent_for: float) -> None:
        """Look from now on, as the peer has been silent for so many seconds."""
        silence = Silence(silent_for)

        def look() -> float | None:
            silence.look(monotonic())
            liveness = self._look(silence.seconds)
            with self._lock:
                is_current = self._looking is looking
            if not is_current:
                return None
            self._note(liveness)
            if silence.is_certain:
                self._consider(silence.seconds)
            return LOOK_INTERVAL

        looking = RepeatedCall(look)
        self._look_with(looking)
        with contextlib.suppress(RuntimeError):  # an interpreter that is ending allows no thread
            looking.start()

    def end(self, liveness: Liveness) -> None:
        """Look no more, as this is how the peer is."""
        self._look_with(None)
        self._note(liveness)

    def _look_with(self, looking: RepeatedCall | None) -> None:
        with self._lock:
            before, self._looking = self._looking, looking
        if before is not None:
            before.stop()

    def _note(self, liveness: Liveness) -> None:
        with self._lock:
            has_changed, self._liveness = self._liveness is not liveness, liveness
        if has_changed:
            self._tell(liveness)

"""A signal that is emitted once for all that happens before the event loop comes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from yoton.events import Event, Signal, app


class CoalescedSignal:
    """Emits a signal in the event loop, once for any number of calls before that.

    Parameters
    ----------
    emit : callable
        Called in the thread of the event loop; has to emit the signal.

    Attributes
    ----------
    signal : Signal
        For the handlers.
    """

    def __init__(self, emit: Callable[[], None]) -> None:
        self.signal = Signal()
        self._emit = emit
        # Guards the flag that an emission is in the event queue.
        self._lock = threading.RLock()
        self._is_announced = False

    def announce(self) -> None:
        """Have the signal emitted, if somebody may want to know; never blocks."""
        if not self.signal.has_handlers:
            return
        with self._lock:
            is_first, self._is_announced = not self._is_announced, True
        # An event that finds no place in the queue must not keep the later ones from it.
        if is_first and not app.post(Event(self._emit_announced)):
            self._is_announced = False

    def _emit_announced(self) -> None:
        self._is_announced = False
        self._emit()

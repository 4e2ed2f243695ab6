"""A signal that is emitted once for all that happens before the event loop comes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from yoton.events import Event, Signal, app


class CoalescedSignal(Signal):
    """A signal that can be announced: then the event loop emits it, once for all calls before.

    Parameters
    ----------
    emit : callable
        Called in the thread of the event loop; has to emit the signal.
    """

    def __init__(self, emit: Callable[[], None]) -> None:
        super().__init__()
        self._emit_announced = emit
        # Guards the flag that an emission is in the event queue.
        self._announcement_lock = threading.RLock()
        self._is_announced = False

    def announce(self) -> None:
        """Have the signal emitted, if somebody may want to know; never blocks."""
        if not self.has_handlers:
            return
        with self._announcement_lock:
            is_first, self._is_announced = not self._is_announced, True
        # An event that finds no place in the queue must not keep the later ones from it.
        if is_first and not app.post(Event(self._handle_announcement)):
            self._is_announced = False

    def _handle_announcement(self) -> None:
        self._is_announced = False
        self._emit_announced()

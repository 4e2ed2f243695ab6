"""A signal that is emitted once for all that happens before the event loop comes to it."""

from __future__ import annotations

from collections.abc import Callable

from yoton.events import Event, Signal, app
from yoton.events.callbacks import Callback
from yoton.events.scheduler import scheduler

#: Seconds after which an emission that found no place in the event queue is tried again. Who has
#: let ten thousand events wait does not mind, and looking more often would take time.
RETRY_INTERVAL = 0.5


class CoalescedSignal(Signal):
    """A signal that can be announced: then the event loop emits it, once for all calls before.

    Parameters
    ----------
    emit : callable
        Called in the thread of the event loop; has to emit the signal.
    """

    __slots__ = ("_emit_announced", "_is_announced", "_is_retrying")

    def __init__(self, emit: Callable[[], None]) -> None:
        super().__init__()
        self._emit_announced = emit
        # An emission is in the event queue, or is to be tried again; guarded by the lock.
        self._is_announced = False
        self._is_retrying = False

    def announce(self) -> None:
        """Have the signal emitted, if somebody may want to know; never blocks."""
        if not self.has_handlers:
            return
        with self._lock:
            is_first, self._is_announced = not self._is_announced, True
        if is_first and not app.post(Event(self._handle_announcement)):
            # It must not keep the later ones from the queue, nor be lost if none follows.
            self._is_announced = False
            self._retry_later()

    def _handle_announcement(self) -> None:
        self._is_announced = False
        self._emit_announced()

    def _retry_later(self) -> None:
        with self._lock:
            is_first, self._is_retrying = not self._is_retrying, True
        if not is_first:
            return
        try:
            # Not to keep a channel that nobody has any more.
            scheduler.call_after(RETRY_INTERVAL, Callback(self._retry))
        except RuntimeError:  # an interpreter that ends allows no thread
            self._is_retrying = False

    def _retry(self) -> None:
        self._is_retrying = False
        self.announce()

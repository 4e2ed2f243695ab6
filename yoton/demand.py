"""What is wanted and what is not: told to the peers, heard from them, and waited for.

The decisions are those of an `Interest`. Whoever wants again what was declined has it asked for by
the thread of the scheduler, as no Ctrl-C strikes there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from yoton.clock import Deadline
from yoton.connection.base import Connection
from yoton.connection.busy import is_busy
from yoton.events.scheduler import scheduler
from yoton.interest import Interest, Notice, Tell
from yoton.neighbours import kick_all
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Seconds to wait until all who send confirm that they send what was declined before.
CONFIRM_TIMEOUT = 1.0


class Demand:
    """Ties an interest to a context.

    Parameters
    ----------
    lock : threading.RLock
        The routing lock of the context. It guards the interest.
    interest : Interest
        Knows what is declined by whom.
    seal : callable
        Called with a connection behind what it was told, see `Announcing.seal`.
    lead : callable
        Reads in the thread that calls it while that waits for something, see `Reader.lead`.
    """

    def __init__(
        self,
        lock: threading.RLock,
        interest: Interest,
        seal: Callable[[Connection], object],
        lead: Callable[[Callable[[], object], Deadline], object],
    ) -> None:
        self._lock = lock
        self._interest = interest
        self._seal = seal
        self._lead = lead
        self._confirmed = WaitPoint(lock)

    def heard(self, notice: Notice, connection: Connection) -> None:
        """Take note of what is wanted behind a connection, or not."""
        with self._lock:
            self._confirmed.wake_all()
            told = self._tell(self._interest.heard(connection, notice))
        kick_all(told)

    def line_lost(self, connection: Connection) -> None:
        """Have everything that is sent from now on wait for another line."""
        with self._lock:
            self._interest.line_lost(connection)

    def line_resumed(self, connection: Connection) -> None:
        """Ask once more for what was wanted of a line that is back."""
        with self._lock:
            told = self._tell(self._interest.line_resumed(connection))
        kick_all(told)

    def forget(self, connection: Connection) -> None:
        """Forget what was said by a connection that ends."""
        with self._lock:
            self._confirmed.wake_all()
            told = self._tell(self._interest.line_closed(connection))
        kick_all(told)

    def came_in_vain(self, slot: int, count: int, connection: Connection) -> bool:
        """Note that so many messages came for nobody here, and decline the slot if it is time to.

        The routing lock is held. Returns whether the connection has to be kicked.
        """
        return bool(self._tell(self._interest.came_in_vain(slot, connection, count)))

    def ask_for_all(self) -> None:
        """Have all sent again that was declined, as there is a new line that may want it."""
        with self._lock:
            is_declining = self._interest.is_declining
        if is_declining:
            self._ask_for(self._interest.want_all)

    def await_all(self, connection: Connection) -> None:
        """Wait until all who send, also behind a new connection, send to this context."""
        self._await_confirmation(self._ask_for(self._interest.want_all, connection))

    def await_senders(self, slot: int) -> None:
        """Wait until all who send on a slot send to this context, if it had declined the slot."""
        with self._lock:
            is_declined = self._interest.has_declined(slot)
        if is_declined:
            self._await_confirmation(self._ask_for(self._interest.want, (slot,)))

    def _tell(self, tells: Sequence[Tell]) -> list[Connection]:
        """Tell peers what is wanted, before all that waits for them; the routing lock is held.

        Returns the connections that have to be kicked.
        """
        for each in tells:
            each.line.tell(each.notice)
            self._seal(each.line)
        return [each.line for each in tells]

    def _ask_for(self, want: Callable[..., tuple[int, list[Tell]]], *args: Any) -> list[int]:
        """Have what was declined sent again; the list gets the token of that when it is done."""
        tokens: list[int] = []

        def ask() -> None:
            with self._lock:
                self._confirmed.wake_all()
                token, tells = want(*args)
                told = self._tell(tells)
                tokens.append(token)
            kick_all(told)

        try:
            scheduler.call_at(scheduler.now(), ask)
        except RuntimeError:
            ask()  # an interpreter that is ending allows no thread
        return tokens

    def _await_confirmation(self, tokens: list[int]) -> None:
        def is_confirmed() -> bool:
            return bool(tokens) and self._interest.is_confirmed(tokens[0])

        # A finalizer or a signal handler in the middle of reading would wait for just that.
        if is_busy():
            return
        deadline = Deadline(CONFIRM_TIMEOUT)
        self._lead(is_confirmed, deadline)
        if not self._confirmed.wait_for(is_confirmed, deadline):
            logger.warning("not all peers have confirmed that they send what is wanted")
            with self._lock:
                self._interest.give_up(tokens)

"""Bursts: messages that follow each other quickly leave together.

A message that comes after a pause leaves at once: its sender writes it. When several have
followed each other quickly, a burst begins: what is sent is held back, until there is enough
for one write, or somebody is about to wait for an answer, or a millisecond has passed. When
less comes than that, the burst is over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from yoton.clock import monotonic
from yoton.events.scheduler import scheduler

#: Seconds from a flush to the next message that make them follow each other quickly: more than
#: making a message takes, less than a peer takes to answer.
QUICK_INTERVAL = 100e-6

#: Flushes that have to follow each other quickly before a burst begins. Fewer are not worth
#: the effort.
QUICK_COUNT = 8

#: Seconds that a message may be held back, about.
MAX_DELAY = 1e-3

#: Seconds that a flush may take, with hundreds of peers: a burst does not end meanwhile.
MAX_FLUSH_TIME = 0.1

#: Seconds that messages are held back by who goes on sending: the peer is to have something to do
#: meanwhile, where each message takes its time.
MAX_AGE = 200e-6

#: Messages between two looks at their age, which takes time as well.
LOOK_INTERVAL = 8

#: Messages and bytes that make one write: more would only be late.
MAX_COUNT = 256
MAX_SIZE = 2**17


class Burst:
    """Knows whether there is a burst, and ends it.

    Parameters
    ----------
    flush : callable
        Sends what is held back. Called by the thread of the scheduler.

    Attributes
    ----------
    is_on : bool
        Whether messages are held back. The thread of the scheduler, which looks after what was
        held back, ends it: a message that is added before looking at this is never left behind.
    """

    def __init__(self, flush: Callable[[], object]) -> None:
        self._flush = flush
        self.is_on = False
        # The beginning and the end of a flush.
        self._last_begin = 0.0
        self._last_flush = 0.0
        self._quick_count = 0
        self._last_look = 0.0

    def sending(self) -> None:
        """Take note that a message is about to leave, or several together."""
        self._last_begin = monotonic()
        is_quick = self._last_begin - self._last_flush < QUICK_INTERVAL
        self._quick_count = self._quick_count + 1 if is_quick else 0
        if self._quick_count >= QUICK_COUNT and not self.is_on:
            self._quick_count = 0
            # An interpreter that is ending allows no thread: then there is no burst.
            with contextlib.suppress(RuntimeError):
                scheduler.call_at(scheduler.now(), self.begin)

    def flushed(self) -> None:
        """Take note that they have left, which takes the longer the more peers there are."""
        self._last_flush = monotonic()

    def is_late(self) -> bool:
        """Tell whether messages may have been held back for long enough."""
        return monotonic() - self._last_flush > MAX_AGE

    def answer_is_awaited(self) -> None:
        """Take note that messages do not follow each other as quickly as they could."""
        self._quick_count = 0

    def begin(self) -> None:
        """Begin a burst, as several messages will follow.

        Only in a thread that no Ctrl-C strikes: nobody would look after the burst.
        """
        if not self.is_on:
            self._look_later()
            self.is_on = True

    def _look_later(self) -> None:
        self._last_look = scheduler.now()
        scheduler.call_at(self._last_look + MAX_DELAY, self._look)

    def _look(self) -> None:
        if self._last_flush > self._last_look:
            self._look_later()
            return
        is_flushing = self._last_begin > self._last_flush
        if is_flushing and scheduler.now() - self._last_begin < MAX_FLUSH_TIME:
            self._look_later()
            self._flush()
            return
        self.is_on = False
        self._quick_count = 0
        self._flush()

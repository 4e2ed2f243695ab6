"""Sync mode: how a receiver that cannot keep up holds the senders back.

The receiver says "full" when many messages wait, and "ok" when few do. A sender waits before
each message while some receiver's last word was "full". The time is an argument everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

FULL = b"full"
OK = b"ok"

#: More waiting messages than this are too many.
FULL_ABOVE = 32
#: Fewer than this are few again; well below, so that the word does not change at each message.
OK_BELOW = 16

#: Seconds after which a receiver repeats its word, for senders that came meanwhile.
REPEAT_INTERVAL = 4.0

#: Seconds after which a sender forgets a "full" that was not repeated: the receiver is gone or
#: has stopped receiving.
FULL_LIFETIME = 10.0

#: Receivers that are remembered as full; more than any network has.
_MAX_FULL_RECEIVERS = 4096


class ReceiverWord:
    """Decides what a receiver has to say."""

    def __init__(self) -> None:
        self._is_full = False
        self._said_at: float | None = None

    def look(self, pending: int, now: float) -> bytes | None:
        """Get what to tell the senders, None for nothing, when pending messages wait."""
        if self._is_full:
            is_full = pending >= OK_BELOW
        else:
            is_full = pending > FULL_ABOVE
        is_due = self._said_at is None or now >= self._said_at + REPEAT_INTERVAL
        if is_full is self._is_full and not is_due:
            return None
        self._is_full = is_full
        self._said_at = now
        return FULL if is_full else OK

    @property
    def is_full(self) -> bool:
        """Whether its last word was "full"."""
        return self._is_full


class SenderHold:
    """Knows whether some receiver wants the sender to wait.

    Attributes
    ----------
    full_receivers : set of int
        Ids of the contexts whose last word was "full".
    """

    def __init__(self) -> None:
        self.full_receivers: set[int] = set()
        self._last_full = 0.0

    def hear(self, receiver_id: int, word: bytes, now: float) -> None:
        """Note what a receiver said; anything but "full" means that it has room."""
        if word != FULL:
            self.full_receivers.discard(receiver_id)
        elif len(self.full_receivers) < _MAX_FULL_RECEIVERS:
            self.full_receivers.add(receiver_id)
            self._last_full = now

    def forget(self, receiver_ids: Iterable[int]) -> None:
        """Note that receivers are gone."""
        self.full_receivers.difference_update(receiver_ids)

    def is_on(self, now: float) -> bool:
        """Tell whether to wait."""
        if self.full_receivers and now >= self._last_full + FULL_LIFETIME:
            self.full_receivers.clear()
        return bool(self.full_receivers)

"""How a receiver that cannot keep up holds the senders back: sync mode, and the policy "block".

The receiver says "full" when many messages wait, and "ok" when few do. A sender waits before
each message while some receiver's last word was "full". With the policy "block" it says "wait"
before "full", to those who know that: they wait longer than a second, and do not forget it. The
time is an argument everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

FULL = b"full"
OK = b"ok"
#: Followed by a blank and a number of seconds if a sender should wait no longer for a message.
WAIT = b"wait"

#: More waiting messages than this are too many.
FULL_ABOVE = 32
#: Fewer than this are few again; well below, so that the word does not change at each message.
OK_BELOW = 16

#: Seconds that a send waits at most while a receiver in sync mode is full; then it sends all the
#: same, so that one that hangs cannot stop the sender.
HOLD_TIMEOUT = 1.0

#: Seconds after which a receiver repeats its word, for senders that came meanwhile.
REPEAT_INTERVAL = 4.0

#: Seconds after which a sender forgets a "full" that was not repeated: the receiver is gone or
#: has stopped receiving.
FULL_LIFETIME = 10.0

#: Receivers that are remembered as full; more than any network has.
_MAX_FULL_RECEIVERS = 4096


#: While it is full, what waits at a receiver is weighed each time that such a part of it has gone:
#: it takes as long as there is much.
_WEIGHED_PART = 8


def wait_word(timeout: float | None) -> bytes:
    """Get the word that has senders wait for so many seconds; None: without limit."""
    return WAIT if timeout is None else b"%s %r" % (WAIT, timeout)


def _nothing_is_over(size: float) -> bool:
    return False


class ReceiverWord:
    """Decides what a receiver has to say.

    Parameters
    ----------
    full_above, ok_below : int
        More waiting messages than this are too many, and fewer than that are few again.
    max_size : float
        More bytes than this are too many, and half of them are few again.
    """

    def __init__(
        self,
        full_above: int = FULL_ABOVE,
        ok_below: int = OK_BELOW,
        max_size: float = math.inf,
    ) -> None:
        self._full_above = full_above
        self._ok_below = ok_below
        self._max_size = max_size
        self._is_full = False
        self._said: bytes | None = None
        self._said_at = -math.inf
        # With more messages than these their size is still too much.
        self._light_below = math.inf

    def look(
        self,
        pending: int,
        now: float,
        size_is_over: Callable[[float], bool] = _nothing_is_over,
    ) -> bytes | None:
        """Get what has to be said to the senders, None for nothing, when pending messages wait.

        Parameters
        ----------
        pending : int
            The number of messages.
        now : float
            The time in seconds.
        size_is_over : callable
            Tells whether they have more than so many bytes.
        """
        if self._is_full:
            self._is_full = pending >= self._ok_below or self._is_heavy(pending, size_is_over)
        else:
            self._is_full = pending > self._full_above or size_is_over(self._max_size)
            self._light_below = math.inf
        word = FULL if self._is_full else OK
        is_due = now >= self._said_at + REPEAT_INTERVAL
        return word if is_due or word != self._said else None

    def _is_heavy(self, pending: int, size_is_over: Callable[[float], bool]) -> bool:
        if pending > self._light_below:
            return True
        self._light_below = pending - pending // _WEIGHED_PART
        return size_is_over(self._max_size / 2)

    def said(self, word: bytes, now: float) -> None:
        """Note that a word has been said."""
        self._said = word
        self._said_at = now

    def forget(self) -> None:
        """Have the word said once more, as somebody came who has not heard it."""
        self._said_at = -math.inf

    @property
    def is_full(self) -> bool:
        """Whether it has to be "full"."""
        return self._is_full


class SenderHold:
    """Knows whether some receiver wants the sender to wait.

    Attributes
    ----------
    full_receivers : dict of int
        Ids of the contexts whose last word was "full" or "wait", and the seconds for which a
        message waits for each of them at most.
    """

    def __init__(self) -> None:
        self.full_receivers: dict[int, float] = {}
        # Those who said "wait": they are not forgotten, however long they say nothing.
        self._lasting: set[int] = set()
        self._last_full = 0.0

    def hear(self, receiver_id: int, word: bytes, now: float) -> None:
        """Note what a receiver said; what means neither means that it has room."""
        if word == FULL:
            # Behind a "wait" it is for those who do not know that.
            if receiver_id not in self._lasting:
                self._note(receiver_id, HOLD_TIMEOUT)
                self._last_full = now
        elif (patience := _patience(word)) is not None:
            self._note(receiver_id, patience)
            if receiver_id in self.full_receivers:
                self._lasting.add(receiver_id)
        else:
            self.forget((receiver_id,))

    def _note(self, receiver_id: int, patience: float) -> None:
        if len(self.full_receivers) < _MAX_FULL_RECEIVERS:
            self.full_receivers[receiver_id] = patience

    def forget(self, receiver_ids: Iterable[int]) -> None:
        """Note that receivers are gone."""
        for receiver_id in receiver_ids:
            self.full_receivers.pop(receiver_id, None)
            self._lasting.discard(receiver_id)

    def is_on(self, now: float, waited: float = 0.0) -> bool:
        """Tell whether to wait with a message that has waited for so many seconds."""
        if now >= self._last_full + FULL_LIFETIME:
            self.forget([i for i in self.full_receivers if i not in self._lasting])
        return any(patience > waited for patience in self.full_receivers.values())

    @property
    def patience(self) -> float:
        """The seconds after which a message no longer waits; infinite if there is no limit."""
        return max(self.full_receivers.values(), default=0.0)

    @property
    def is_lasting(self) -> bool:
        """Whether somebody said "wait", who is not just in sync mode."""
        return bool(self._lasting)

    def is_lasting_for(self, waited: float) -> bool:
        """Tell whether one of them wants a message to wait on that has waited so many seconds."""
        return any(self.full_receivers[i] > waited for i in self._lasting)


def _patience(word: bytes) -> float | None:
    """Get how long to wait for who said that; None if it is no "wait"."""
    name, _, seconds = word.partition(b" ")
    if name != WAIT:
        return None
    try:
        patience = float(seconds or b"inf")
    except ValueError:
        return HOLD_TIMEOUT
    return patience if patience >= 0 else HOLD_TIMEOUT

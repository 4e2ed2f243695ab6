"""Two deadlines of a link: when to send a beat, and when the peer counts as silent.

The time is an argument everywhere, so nothing here needs a clock or a thread.
"""

from __future__ import annotations

#: Seconds without anything sent after which a beat is sent.
BEAT_INTERVAL = 0.25

#: The same while the peer does not want to notice: just so that a line that is dead, or that a
#: router between the two has forgotten, is found out some time.
UNWATCHED_BEAT_INTERVAL = 10.0

#: Seconds without anything received after which the peer counts as silent: the default and
#: the least, two beats, below which every second beat that is a little late would be told.
MIN_SILENCE_TIMEOUT = 0.5

#: Seconds between two looks at a peer that is silent: it can turn from one kind of silence into
#: another.
LOOK_INTERVAL = 0.25

#: Seconds from one look to the next that count at most. If it takes longer, this end did not run:
#: it was stopped, or code in C held its interpreter. That is no silence of the peer.
MAX_STEP = 2 * LOOK_INTERVAL


def beat_delay(last_sent: float, now: float, is_watched: bool) -> float:
    """Get the seconds until a beat is due, 0.0 if it is; times in seconds of one clock."""
    interval = BEAT_INTERVAL if is_watched else UNWATCHED_BEAT_INTERVAL
    return max(0.0, last_sent + interval - now)


class SilenceWatch:
    """Notices that a peer fell silent and that it is heard again.

    Parameters
    ----------
    now : float
        The present time in seconds, as for all methods.
    """

    __slots__ = ("_is_silent", "_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._is_silent = False

    def restart(self, now: float) -> None:
        """Count from now on, because bytes came or nobody listened until now."""
        self._since = now

    def heard(self) -> bool:
        """Note that bytes came; True if the peer counted as silent until now."""
        was_silent, self._is_silent = self._is_silent, False
        return was_silent

    def fell_silent(self) -> None:
        """Note that somebody else has found the peer to be silent."""
        self._is_silent = True

    def delay(self, now: float, timeout: float) -> float | None:
        """Get the seconds until the peer counts as silent; None if it does already."""
        if self._is_silent:
            return None
        return max(0.0, self._since + timeout - now)

    def look(self, now: float, timeout: float) -> bool:
        """Decide whether the peer has just fallen silent; True once in each silence."""
        if self._is_silent or now < self._since + timeout:
            return False
        self._is_silent = True
        return True


class Silence:
    """How long a peer has been silent, while this end ran.

    Parameters
    ----------
    seconds : float
        So long, before the first look.

    Attributes
    ----------
    seconds : float
        So long, at the last look.
    is_certain : bool
        Whether this end ran before that look. Else what came meanwhile may not have been read yet.
    """

    __slots__ = ("_looked_at", "is_certain", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_certain = False
        self._looked_at: float | None = None

    def look(self, now: float) -> None:
        """Note that it lasts."""
        if self._looked_at is not None:
            step = now - self._looked_at
            self.seconds += min(step, MAX_STEP)
            self.is_certain = step <= MAX_STEP
        self._looked_at = now

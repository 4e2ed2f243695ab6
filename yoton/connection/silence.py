"""Who notices that a peer is silent.

The receive thread does, as it knows best that nothing comes. But while nobody watches it sleeps
without a deadline, and only bytes wake it. So when somebody begins to watch, the send thread looks
in its place until it has woken once: a peer that is silent by then is noticed as well.
"""

from __future__ import annotations

import math
import threading
from typing import Protocol

from yoton.clock import monotonic
from yoton.connection.heartbeat import LOOK_INTERVAL, Silence, SilenceWatch
from yoton.connection.streams import ByteStream


class Observer(Protocol):
    """Whom a detector tells."""

    @property
    def silent_after(self) -> float:
        """Seconds without bytes after which the peer counts as silent."""

    def silence_changed(self, is_silent: bool) -> None:
        """The peer fell silent, or is heard again."""


class SilenceDetector:
    """Tells when a peer falls silent, once somebody watches, and when it is heard again.

    Parameters
    ----------
    stream : ByteStream
        Over which the peer is heard.
    observer : Observer
        Whom to tell.
    is_watching : bool
        Whether somebody watches from the beginning.

    Attributes
    ----------
    is_watching : bool
        Whether somebody watches; set once.
    """

    __slots__ = ("_is_asleep", "_observer", "_stand_in", "_stream", "_watch", "is_watching")

    def __init__(self, stream: ByteStream, observer: Observer, is_watching: bool) -> None:
        self._stream = stream
        self._observer = observer
        self.is_watching = is_watching
        self._watch = SilenceWatch(monotonic())
        # Whether the receive thread sleeps without a deadline, and what the send thread looks
        # with meanwhile. Who watches sets the second before `is_watching`, and the receive thread
        # the first before it looks at that.
        self._is_asleep = False
        self._stand_in: _StandIn | None = None

    def begin(self) -> None:
        """Watch from now on. One thread at a time; the send thread has to `look` soon."""
        if not self.is_watching:
            self._stand_in = _StandIn()
            self.is_watching = True

    # What the receive thread calls

    def wait_for_bytes(self) -> None:
        """Wait until bytes come, or the end, and tell of silence meanwhile."""
        if not self.is_watching and self._sleep():
            return
        # This end may have been busy with what came before; that is no silence of the peer.
        self._watch.restart(monotonic())
        while not self._stream.wait_readable(self._time_to_silence()):
            if self._watch.look(monotonic(), self._observer.silent_after):
                self._observer.silence_changed(True)

    def heard(self) -> None:
        """Note that bytes came."""
        if self._watch.heard():
            self._observer.silence_changed(False)

    def _time_to_silence(self) -> float | None:
        return self._watch.delay(monotonic(), self._observer.silent_after)

    def _sleep(self) -> bool:
        """Wait without a deadline; False if somebody has just begun to watch."""
        self._is_asleep = True
        has_slept = not self.is_watching and self._stream.wait_readable(None)
        self._is_asleep = False
        stand_in = self._stand_in
        if stand_in is not None:
            with stand_in.turn:
                self._stand_in = None
        return has_slept

    # What the send thread calls

    def look(self) -> float:
        """Look in place of the receive thread; returns the seconds until that is due again."""
        stand_in = self._stand_in
        if stand_in is None or not self.is_watching:
            return math.inf
        with stand_in.turn:
            is_needed = self._stand_in is not None and self._is_asleep
            if is_needed and not stand_in.finds_silence(self._observer.silent_after):
                return LOOK_INTERVAL
            if is_needed:
                self._watch.fell_silent()
                self._observer.silence_changed(True)
            self._stand_in = None
        return math.inf


class _StandIn:
    """How the send thread looks.

    Attributes
    ----------
    turn : threading.Lock
        Held while it looks and tells what it finds. So the receive thread, which takes it when it
        has woken, tells of the end of a silence behind its beginning.
    """

    __slots__ = ("_silence", "turn")

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._silence = Silence(0.0)

    def finds_silence(self, timeout: float) -> bool:
        """Look whether the peer has been silent for so many seconds."""
        self._silence.look(monotonic())
        return self._silence.is_certain and self._silence.seconds >= timeout

"""One reader at a time: bytes become packages, whichever thread reads them.

As a rule that is the receive thread of the link. But a thread that waits for a message may read
itself, so that nobody has to be woken for it: that takes longer than all the rest. It *leads*
then, and the receive thread stays back until nobody has done so for a while.

Ctrl-C may end a thread that leads at any moment. Bytes that were read are kept, and whoever
reads next goes on from there: each step changes something in one assignment at its end, or may
be repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from yoton.clock import Deadline, monotonic
from yoton.connection.busy import keeps_busy
from yoton.connection.protocol import Bookmark, Event, PackagesReceived, Ping, Pong, Protocol
from yoton.connection.spin import SPIN_TIME, Spin, processor_count
from yoton.connection.streams import ByteStream
from yoton.package import Package

#: Seconds that a thread leads at most while nothing comes for it. Then it is woken by the
#: receive thread, which costs little compared to what it has waited.
LEAD_TIME = 0.05

#: Seconds that the receive thread stays back after a thread has led: many times what a program
#: takes from one message to waiting for the next.
GRACE_PERIOD = 0.005


class Reader:
    """Reads from a stream.

    Parameters
    ----------
    stream : ByteStream
        What to read from.
    protocol : Protocol
        What understands it; past its handshake.
    protocol_lock : threading.RLock
        Guards the protocol.
    deliver : callable
        Hands packages on for a thread that leads. Returns False if the receive thread has to
        act on them. It may be called once more with the same packages.
    echo : callable
        Answers a ping or takes a pong. It may be called once more with the same one.
    call_back : callable
        Has the receive thread look whether it is needed.

    Attributes
    ----------
    turn : threading.Lock
        Held by the one that reads, with all methods but `lead`.
    last_read : float
        When something came last, on the monotonic clock.
    """

    def __init__(
        self,
        stream: ByteStream,
        protocol: Protocol,
        protocol_lock: threading.RLock,
        deliver: Callable[[Sequence[Package]], bool],
        echo: Callable[[Ping | Pong], object],
        call_back: Callable[[], object],
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._protocol_lock = protocol_lock
        self._deliver = deliver
        self._echo = echo
        self._call_back = call_back
        self.turn = threading.Lock()
        # What was read, how far the protocol had come before, and what it makes of it.
        self._chunks: list[bytes] = []
        self._before: Bookmark | None = None
        # A list: it is made for each message alone, which takes longer with a deque.
        self._events: list[Event] = []
        self._is_at_end = False
        self.last_read = monotonic()
        self._spin = Spin()
        # With a single processor the other end cannot run meanwhile.
        self._may_spin = processor_count() > 1
        # Whether a thread leads, when one did last, whether it left something to the receive
        # thread, and what one waits for that does not read itself. Set by any thread.
        self._has_leader = False
        self._led_at = 0.0
        self._is_called_back = False
        self._awaited: Callable[[], object] | None = None

    def put(self, events: Iterable[Event]) -> None:
        """Add events from the handshake."""
        self._events.extend(events)

    def next_event(self) -> Event | None:
        """Get the event to handle next, None if there is none; `handled` has to follow."""
        if self._chunks:
            self._understand()
        return self._events[0] if self._events else None

    def handled(self) -> None:
        """Go on to the next event."""
        self._events.pop(0)

    def read(self) -> bool:
        """Read what has come; False if that is nothing, or the end.

        Raises
        ------
        OSError
            The stream is broken.
        """
        self._stream.read(self._chunks, self._protocol.missing_size)
        is_heard = bool(self._chunks and self._chunks[-1])
        if is_heard:
            self.last_read = monotonic()
        return is_heard

    @property
    def is_at_end(self) -> bool:
        """Whether nothing follows what was understood so far."""
        return self._is_at_end

    def _understand(self) -> None:
        with self._protocol_lock:
            if len(self._chunks) == 1 and not self._events:
                package = self._protocol.lone_package(self._chunks[0])
                if package is not None:
                    self._events, self._chunks = [PackagesReceived((package,))], []
                    return
            if self._before is not None:
                self._protocol.bookmark = self._before
            self._before = self._protocol.bookmark
            events = list(self._events)
            for chunk in self._chunks:
                events.extend(
                    self._protocol.receive_data(chunk) if chunk else self._protocol.receive_eof()
                )
            self._is_at_end = b"" in self._chunks
            # No call from here on, so no interrupt either.
            self._events, self._chunks, self._before = events, [], None

    # Leading

    @property
    def has_leader(self) -> bool:
        """Whether a thread leads just now."""
        return self._has_leader

    @keeps_busy
    def lead(self, is_satisfied: Callable[[], object], deadline: Deadline) -> None:
        """Read until is_satisfied() is true, something else has to be done, or time is over.

        Returns at once if another thread reads. Called by threads that wait for a message; they
        have to wait as usual after this.
        """
        turn: list[bool] = []
        try:
            # One call into C takes the turn and notes it, so no interrupt parts the two.
            turn.extend(map(self.turn.acquire, (False,)))
            if False in turn:
                self._note_waiter(is_satisfied)
                return
            self._has_leader = True
            self._is_called_back = False
            self._awaited = None
            if not self._lead_until(is_satisfied, deadline):
                self._awaited = is_satisfied
                self._is_called_back = True
            self._led_at = monotonic()
        finally:
            # No call before the one that frees the turn, so no interrupt either.
            if True in turn:
                self._has_leader = False
                self.turn.release()
        if self._is_called_back:
            self._call_back()

    def _note_waiter(self, is_satisfied: Callable[[], object]) -> None:
        if self._has_leader:
            # The receive thread serves both better than each of the two the other.
            self._is_called_back = True
        else:
            self._awaited = is_satisfied

    def _lead_until(self, is_satisfied: Callable[[], object], deadline: Deadline) -> bool:
        """Read; False if the receive thread has to go on."""
        remaining = deadline.remaining()
        timeout = LEAD_TIME if remaining is None else min(LEAD_TIME, remaining)
        end = monotonic() + timeout
        is_over = False
        while not self._is_called_back:
            # Before there is more: what comes in bundles is not to fill a queue at once.
            if is_satisfied():
                return True
            if not (self._chunks or self._events):
                if is_over or not self._read_within(timeout):
                    return False
                # What comes for others, again and again, is not to keep this thread here.
                self.last_read = monotonic()
                timeout = end - self.last_read
                is_over = timeout <= 0.0
            if self._chunks:
                self._understand()
            if self._events:
                event = self._events[0]
                if isinstance(event, PackagesReceived):
                    if not self._deliver(event.packages):
                        return False
                elif isinstance(event, (Ping, Pong)):
                    self._echo(event)
                else:
                    return False
                self._events.pop(0)
        return bool(is_satisfied())

    def _read_within(self, timeout: float) -> bool:
        """Wait for bytes and read them; False if none come in time, or none at all any more."""
        if self._is_at_end:
            return False
        if timeout > SPIN_TIME and self._may_spin:
            self._spin.wait(self._is_readable)
        try:
            self._stream.read(self._chunks, self._protocol.missing_size, timeout)
        except OSError:
            return False  # the receive thread will find it too
        return bool(self._chunks)

    def _is_readable(self) -> bool:
        return self._stream.wait_readable(0.0)

    def time_to_stay_back(self) -> float:
        """Get the seconds for which the receive thread should leave the reading to others.

        Called by the receive thread alone.
        """
        if self._has_leader:
            return GRACE_PERIOD
        now = monotonic()
        awaited = self._awaited
        if awaited is not None and awaited():
            # Who waited for that will soon want to read itself.
            self._awaited = None
            self._is_called_back = False
            self._led_at = now
        if self._is_called_back:
            return 0.0
        return max(0.0, self._led_at + GRACE_PERIOD - now)

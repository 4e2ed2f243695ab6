"""One writer at a time: packages leave whole and in order, whichever threads write them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from yoton.clock import NOW, Deadline, monotonic
from yoton.connection.busy import is_in_the_middle_of, keeps_busy
from yoton.connection.outbox import Outbox
from yoton.connection.streams import MAX_PIECES, ByteStream
from yoton.package import SLOT_LINK, Package
from yoton.waiting import WaitPoint

Piece = bytes | memoryview

#: A frame of the link itself, or what makes it when it is its turn to be written.
Notice = bytes | Callable[[], bytes]

#: Bytes of data from which on no more packages are taken for one write: what a socket's buffer
#: holds. What is taken, the limits of the outbox no longer count.
_BATCH_SIZE = 2**18


class Writer:
    """Writes the packages of an outbox to a stream.

    Any thread may call `write_pending`. One of them is the writer, as long as there is
    something to write and the stream takes it; the others leave it to that one. It never waits
    for the stream. Ctrl-C at any moment leaves no frame cut off, and loses none.

    Parameters
    ----------
    stream : ByteStream
        Where to write.
    outbox : Outbox
        What to write.
    encode : callable
        Gives the pieces of a package as this peer reads it; none if it cannot.
    packages : sequence of Package
        What to write before that.
    """

    def __init__(
        self,
        stream: ByteStream,
        outbox: Outbox,
        encode: Callable[[Package], Sequence[bytes]],
        packages: Sequence[Package] = (),
    ) -> None:
        self._stream = stream
        self._outbox = outbox
        self._encode = encode
        # Held by the one that writes. Guards the stream's writing side and what is on its way:
        # packages, then pieces of a batch of them, then the counts of what the stream took.
        self._turn = threading.Lock()
        self._packages: deque[Package] = deque(packages)
        self._pieces: list[Piece] = []
        # The messages of the batch, and how many of them are of the link itself.
        self._batch_size = self._batch_news = 0
        self._counts: list[int] = []
        # Frames of the link itself, those that go before all packages that wait and those that
        # go when none waits; appended to by the link. Lists, as there are few at a time, and a
        # deque takes 600 bytes.
        self._notices: list[Notice] = []
        self._signals: list[bytes] = []
        # Guards the flag and the count, of messages that have left the outbox and are written.
        self._lock = threading.RLock()
        self._is_stopped = False
        self._written_count = 0
        self._written = WaitPoint(self._lock)
        #: When something was last written, on the monotonic clock, and the bytes of all that was.
        self.last_write = monotonic()
        self.written_size = 0

    def add_signal(self, frame: bytes) -> None:
        """Have a frame of the link itself written, behind all packages that wait."""
        self._signals.append(frame)

    @property
    def notice_count(self) -> int:
        """The number of frames that wait to go before all packages."""
        return len(self._notices)

    def add_notice(self, notice: Notice) -> None:
        """Have a frame of the link itself written, before all packages that wait.

        What makes it may be called more than once, by any thread that writes.
        """
        self._notices.append(notice)

    @keeps_busy
    def write_pending(self, wait_for_turn: bool = False) -> bool:
        """Write what waits.

        Parameters
        ----------
        wait_for_turn : bool
            If another thread is at it: wait until that one has written it or has found the
            stream full. Otherwise leave it to that one and return.

        Returns
        -------
        bool
            False if the stream is full: somebody has to call again when it is writable.

        Raises
        ------
        OSError
            The stream is broken.
        """
        while True:
            turn: list[bool] = []
            try:
                # One call into C takes the turn and notes it, so no interrupt parts the two.
                turn.extend(map(self._turn.acquire, (wait_for_turn,)))
                if False in turn:
                    return True  # a thread that has written looks again
                if not self._write_until_full():
                    return False
            finally:
                # No call before the one that frees the turn, so no interrupt either.
                if True in turn:
                    self._turn.release()
            if not self._has_pending():
                break
        if self._written.parked:
            with self._lock:
                self._written.wake_all()
        return True

    def wait_until_written(self, deadline: Deadline) -> bool:
        """Wait until the stream has taken all that waits; False at the deadline or the end.

        What comes into the outbox meanwhile is not waited for: it may never be empty. It does not
        wait in a thread that `is_interrupted`.
        """
        # In this order: what is taken in between is counted twice, not missed.
        count = self._outbox.count + self._outbox.taken

        def is_written() -> bool:
            return self._written_count >= count or not self._has_pending()

        was_written = False

        def look() -> bool:
            # What it found then counts: right after that, another thread may put more.
            nonlocal was_written
            was_written = is_written()
            return was_written or self._is_stopped

        self._written.wait_for(look, NOW if self.is_interrupted else deadline)
        return was_written

    def stop(self) -> int:
        """Let no thread touch the stream any more; called once, or else `leave`.

        Returns
        -------
        int
            How many messages were not written. If the stream took a part of a batch, all of
            that batch count. What the link itself had to tell is none.
        """
        self.leave()
        self._drop_written()
        self._packages.extend(self._outbox.take_all())
        unwritten = self._outbox.departures.discard(self._packages)
        return unwritten + (self._batch_size - self._batch_news if self._pieces else 0)

    def leave(self) -> Sequence[Package]:
        """Let no thread touch the stream any more, and leave the outbox to another writer.

        Returns
        -------
        sequence of Package
            What was taken from the outbox and not encoded.
        """
        self._turn.acquire()  # for good
        with self._lock:
            self._written.wake_all()
            self._is_stopped = True
        return self._packages

    @property
    def is_behind(self) -> bool:
        """Whether the stream has not taken all that has left the outbox; after `leave`."""
        self._drop_written()
        return bool(self._packages) or bool(self._pieces and self._batch_size)

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread is a signal handler or a finalizer in the middle of writing here."""
        return is_in_the_middle_of(Writer.write_pending, self)

    @property
    def is_stopped(self) -> bool:
        """Whether no thread touches the stream any more."""
        return self._is_stopped

    def _has_pending(self) -> bool:
        return bool(
            self._pieces
            or self._packages
            or self._outbox.packages
            or self._notices
            or self._signals
        )

    def _write_until_full(self) -> bool:
        # Also what others put meanwhile: they would write it in smaller parts.
        while True:
            if self._counts:
                self._drop_written()
            while not self._pieces:
                if not self._refill():
                    return True
            self._stream.write(self._pieces[:MAX_PIECES], self._counts)
            self.last_write = monotonic()
            if self._counts[-1] == 0:
                return False

    def _drop_written(self) -> None:
        pieces, count = self._pieces, sum(self._counts)
        rest = [] if len(pieces) == 1 and count == len(pieces[0]) else _without(pieces, count)
        size = self.written_size + count
        # All at once: an interrupt in between would have the same bytes dropped twice.
        self._pieces, self._counts, self.written_size = rest, [], size

    def _refill(self) -> bool:
        """Turn packages into pieces, or a signal if there are none; False if nothing waits.

        Interrupted between two of its steps it repeats a frame, and a receiver drops packages
        that it has had.
        """
        self._batch_size = self._batch_news = 0
        if self._notices:
            notice = self._notices[0]
            self._pieces.append(notice if isinstance(notice, bytes) else notice())
            self._notices.pop(0)
            return True
        if not self._packages:
            if self._written.parked:
                self._note_written(self._outbox.taken)
            # Before a goodbye there may be a gap to tell, and no package.
            if self._outbox.packages or self._signals:
                self._outbox.move(self._packages, MAX_PIECES, _BATCH_SIZE)
            if not self._packages:
                return self._refill_with_signal()
        while self._packages and len(self._pieces) < MAX_PIECES:
            package = self._packages[0]
            self._pieces.extend(self._encode(package))
            self._packages.popleft()
            self._batch_size += package.count
            if package.slot == SLOT_LINK:
                self._batch_news += 1
        return True

    def _note_written(self, count: int) -> None:
        with self._lock:
            self._written.wake_all()
            self._written_count = count

    def _refill_with_signal(self) -> bool:
        if not self._signals:
            return False
        self._pieces.append(self._signals[0])
        self._signals.pop(0)
        return True


def _without(pieces: list[Piece], count: int) -> list[Piece]:
    """Get what is left of pieces when the first count bytes are gone."""
    for index, piece in enumerate(pieces):
        if count < len(piece):
            rest = pieces[index:]
            if count:
                rest[0] = memoryview(piece)[count:]
            return rest
        count -= len(piece)
    return []

"""Lines on which things go wrong: for tests of what a program does then.

A `FaultyStream` stands before another stream. What comes over that is late, in pieces, damaged or
cut off, as its `Faults` and a seed say (see `yoton.connection.fault_plan`), and a test can cut the
line or have it stall. What it gets from the other stream it holds until that is due, so it needs
no thread.
"""

from __future__ import annotations

import contextlib
import errno
import math
import threading
import weakref
from collections.abc import Iterator, Sequence

from yoton.address import parse_address
from yoton.clock import Deadline, monotonic
from yoton.connection.fault_plan import FaultPlan, Faults, check_faults, line_cut
from yoton.connection.liveness import LOST_LINE_RETRANSMISSIONS
from yoton.connection.memory import DEFAULT_CAPACITY, line_makers, memory_stream_pair
from yoton.connection.streams import READ_SIZE, ByteStream
from yoton.exceptions import ArgumentError
from yoton.waiting import WaitPoint

__all__ = ["Faults", "FaultyLines", "FaultyStream", "faulty_lines", "faulty_stream_pair"]

#: Lines of one seed, to each of which the faults come in another way.
_LINES_OF_A_SEED = 2**32


def faulty_stream_pair(
    faults: Faults, seed: int = 0, capacity: int = DEFAULT_CAPACITY
) -> tuple[FaultyStream, FaultyStream]:
    """Make two streams inside this process; what is written to one is read from the other.

    Parameters
    ----------
    faults : Faults
        What goes wrong, in each direction.
    seed : int
        Decides where the faults leave a choice, for each direction in another way.
    capacity : int
        Bytes that each direction takes at most before they are under way; at least
        `yoton.connection.memory.MIN_CAPACITY`.

    Raises
    ------
    ArgumentError
        An argument is less, or of another kind. A ValueError.
    """
    check_faults(faults, seed)
    first, second = memory_stream_pair(capacity)
    return FaultyStream(first, faults, 2 * seed), FaultyStream(second, faults, 2 * seed + 1)


@contextlib.contextmanager
def faulty_lines(address: str, faults: Faults, seed: int = 0) -> Iterator[FaultyLines]:
    """Have all lines that are made to an address in this process be faulty, in a ``with``.

    Also those that are made because one was lost, and lead to who connects with ``reconnect``.
    After the ``with``, lines that are there stay, and none stalls.

    Parameters
    ----------
    address : str
        ``memory://name``; somebody listens there, or will do.
    faults : Faults
        What goes wrong, in each direction.
    seed : int
        Decides where the faults leave a choice, for each line in another way.

    Yields
    ------
    FaultyLines
        To cut them, have them stall, and the like.

    Raises
    ------
    AddressError
        The address has another form. A ValueError.
    ArgumentError
        It is none in this process, or has faulty lines already; or faults or seed are of another
        kind. A ValueError.
    """
    where = parse_address(address)
    if where.transport != "memory":
        raise ArgumentError(f"lines are made faulty at memory://name, not at {address!r}")
    lines = FaultyLines(where.host, faults, seed)
    if line_makers.setdefault(where.host, lines._make) != lines._make:
        raise ArgumentError(f"the lines to {address!r} are faulty already")
    try:
        yield lines
    finally:
        del line_makers[where.host]
        lines.resume()


class FaultyLines:
    """The lines to an address in this process; see `faulty_lines`. From any thread.

    Attributes
    ----------
    faults : Faults
        What goes wrong on the lines that are made from now on. May be assigned to.
    """

    def __init__(self, name: str, faults: Faults, seed: int) -> None:
        check_faults(faults, seed)
        self.faults = faults
        self._name = name
        self._next_seed = seed * _LINES_OF_A_SEED
        # Guards what follows, and the seed.
        self._lock = threading.RLock()
        self._streams: weakref.WeakSet[FaultyStream] = weakref.WeakSet()
        self._is_stalled = False
        self._is_down = False

    @property
    def streams(self) -> list[FaultyStream]:
        """Both ends of each line that somebody has, in any order."""
        with self._lock:
            return list(self._streams)

    def cut(self) -> None:
        """Cut the lines that are there; who reconnects gets others."""
        for stream in self.streams:
            stream.cut()

    def take_down(self) -> None:
        """Cut the lines that are there, and let nobody make others until `bring_up`."""
        with self._lock:
            self._is_down = True
        self.cut()

    def bring_up(self) -> None:
        """End a `take_down`."""
        with self._lock:
            self._is_down = False

    def stall(self) -> None:
        """Let nothing through until `resume`, also on lines that are made meanwhile."""
        with self._lock:
            self._is_stalled = True
        for stream in self.streams:
            stream.stall()

    def resume(self) -> None:
        """End a `stall`; what is due by now comes at once."""
        with self._lock:
            self._is_stalled = False
        for stream in self.streams:
            stream.resume()

    def _make(self) -> tuple[ByteStream, ByteStream]:
        pair = memory_stream_pair(name=self._name)
        with self._lock:
            if self._is_down:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "the line was taken down")
            first, second = (
                FaultyStream(stream, self.faults, 2 * self._next_seed + index)
                for index, stream in enumerate(pair)
            )
            self._next_seed += 1
            for stream in (first, second):
                self._streams.add(stream)
                if self._is_stalled:
                    stream.stall()
        return first, second


class FaultyStream:
    """A `ByteStream` with faults.

    They befall what is read from it. For both directions, make one of the stream at each end.

    Parameters
    ----------
    stream : ByteStream
        What carries the bytes. Nobody else uses it from now on.
    faults : Faults
        What goes wrong.
    seed : int
        Decides where the faults leave a choice.

    Raises
    ------
    ArgumentError
        faults or seed are of another kind. A ValueError.
    """

    def __init__(self, stream: ByteStream, faults: Faults, seed: int = 0) -> None:
        self._stream = stream
        # Touched by the one that reads.
        self._plan = FaultPlan(faults, seed)
        # Guards the three flags as far as somebody waits for them.
        self._lock = threading.RLock()
        self._is_cut = False
        self._is_aborted = False
        self._is_stalled = False
        self._changed = WaitPoint(self._lock)

    # What a test does to it; from any thread

    def cut(self) -> None:
        """Cut the line: from now on reads and writes raise ConnectionResetError at this end.

        What was under way to this end is lost. The other end gets what has left for it, and then
        finds the end of the stream.
        """
        with self._lock:
            self._changed.wake_all()
            self._is_cut = True
        self._stream.abort()

    def stall(self) -> None:
        """Let nothing through in either direction until `resume`, as if a cable were out.

        What this end has written already goes on. Nobody is told of it: writes find the stream
        full, and what comes waits. Who looks at `Connection.liveness` at this end sees that the
        line is lost; have the other end stall as well for that to be seen there.
        """
        self._is_stalled = True  # which nobody waits for

    def resume(self) -> None:
        """End a `stall`; what is due by now comes at once."""
        with self._lock:
            self._changed.wake_all()
            self._is_stalled = False

    # What a stream does

    def wait_readable(self, timeout: float | None) -> bool:
        """See `ByteStream.wait_readable`."""
        deadline = Deadline(timeout)
        while not self._is_over:
            if not self._wait_while_stalled(deadline):
                return False
            self._pull()
            delay, remaining = self._plan.delay(monotonic()), deadline.remaining()
            if delay == 0.0:
                break
            if remaining == 0.0:
                return False
            self._wait_for_more(_sooner(delay, remaining))
        return True

    def read(self, chunks: list[bytes], missing: int = 0, timeout: float = 0.0) -> None:
        """See `ByteStream.read`."""
        if timeout > 0.0:
            self.wait_readable(timeout)
        if self._is_cut:
            raise line_cut()
        if self._is_blocked:
            return
        self._pull()
        # Nothing is under way any more for who has ended it, so nothing is waited for.
        now = math.inf if self._is_aborted else monotonic()
        try:
            self._plan.take(chunks, missing or READ_SIZE, now)
        except OSError:
            self.cut()
            raise

    def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        """See `ByteStream.write`."""
        if self._is_cut:
            raise line_cut()
        if self._is_blocked:
            counts.append(0)
        else:
            self._stream.write(pieces, counts)

    def wait_writable(self, timeout: float | None) -> bool:
        """See `ByteStream.wait_writable`."""
        deadline = Deadline(timeout)
        if not self._wait_while_stalled(deadline):
            return False
        return self._stream.wait_writable(deadline.remaining())

    def acknowledge_at_once(self) -> None:
        """See `ByteStream.acknowledge_at_once`."""
        self._stream.acknowledge_at_once()

    def retransmissions(self) -> int | None:
        """See `ByteStream.retransmissions`; while it stalls, as many as a lost line has."""
        return LOST_LINE_RETRANSMISSIONS if self._is_blocked else self._stream.retransmissions()

    def unsent(self) -> int:
        """See `ByteStream.unsent`; the faults befall what has been sent."""
        return self._stream.unsent()

    def shutdown_write(self) -> None:
        """See `ByteStream.shutdown_write`; a stall does not hold it up."""
        self._stream.shutdown_write()

    def abort(self) -> None:
        """See `ByteStream.abort`.

        What was under way to this end can be read, without delay, before the end.
        """
        with self._lock:
            self._changed.wake_all()
            self._is_aborted = True
        self._stream.abort()

    def close(self) -> None:
        """See `ByteStream.close`."""
        self._stream.close()

    def abandon(self) -> None:
        """See `ByteStream.abandon`."""
        self._stream.abandon()

    @property
    def local_address(self) -> tuple[str, int]:
        """Host and port of this end."""
        return self._stream.local_address

    @property
    def peer_address(self) -> tuple[str, int]:
        """Host and port of the other end."""
        return self._stream.peer_address

    # Inside

    @property
    def _is_over(self) -> bool:
        return self._is_cut or self._is_aborted

    @property
    def _is_blocked(self) -> bool:
        return self._is_stalled and not self._is_over

    def _wait_while_stalled(self, deadline: Deadline) -> bool:
        return not self._is_blocked or self._changed.wait_for(
            lambda: not self._is_blocked, deadline
        )

    def _pull(self) -> None:
        """Get what has come over the stream, and send it on its way here."""
        while self._plan.has_room:
            try:
                self._stream.read(self._plan.arrived)
            except OSError as error:
                self._plan.fail(error, monotonic())
                break
            if not self._plan.arrived:
                break
            self._plan.schedule(monotonic())

    def _wait_for_more(self, timeout: float | None) -> None:
        if self._plan.has_room:
            self._stream.wait_readable(timeout)
        else:
            # What the stream has must wait, so that would not wait.
            self._changed.wait_for(lambda: self._is_over, Deadline(timeout))


def _sooner(first: float | None, second: float | None) -> float | None:
    return min((time for time in (first, second) if time is not None), default=None)

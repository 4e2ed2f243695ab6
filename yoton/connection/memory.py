"""Streams inside one process: connections without sockets, for tests, plugins and threads."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence

from yoton.clock import FOREVER, Deadline
from yoton.connection.streams import READ_SIZE, ByteStream
from yoton.exceptions import ArgumentError, ConnectionClosed
from yoton.waiting import WaitPoint

#: Bytes that one direction holds before a write has to wait: as in a small socket buffer.
DEFAULT_CAPACITY = 65536

#: The least: a stream that takes nothing brings nothing either.
MIN_CAPACITY = 1


def memory_stream_pair(
    capacity: int = DEFAULT_CAPACITY, name: str = "memory"
) -> tuple[MemoryStream, MemoryStream]:
    """Make two streams; what is written to one is read from the other.

    Parameters
    ----------
    capacity : int
        Bytes that each direction holds at most; at least `MIN_CAPACITY`.
    name : str
        What the streams have as host in their addresses.

    Raises
    ------
    ArgumentError
        capacity is less, or no int. A ValueError.
    """
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < MIN_CAPACITY:
        raise ArgumentError(
            f"the capacity of a stream is an int, at least {MIN_CAPACITY}, not {capacity!r}"
        )
    there, back = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(back, there, name), MemoryStream(there, back, name)


class MemoryListener:
    """Where peers in the same process come in, see `yoton.connection.transports.StreamListener`.

    Parameters
    ----------
    name : str
        What they connect to.

    Raises
    ------
    OSError
        Somebody listens there already.
    """

    def __init__(self, name: str) -> None:
        self.address = (name, 0)
        # Guards the streams of those who wait to be accepted, and the flag.
        self._lock = threading.RLock()
        self._waiting: deque[ByteStream] = deque()
        self._is_woken = False
        self._changed = WaitPoint(self._lock)
        if _listeners.setdefault(name, self) is not self:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def accept(self) -> ByteStream:
        """See `StreamListener.accept`."""
        self._changed.wait_for(lambda: self._is_woken or bool(self._waiting), FOREVER)
        if self._is_woken:
            raise ConnectionClosed("The listener is closed.")
        return self._waiting.popleft()

    def knock(self, stream: ByteStream) -> bool:
        """Have a stream accepted; False if nobody will."""
        with self._lock:
            if self._is_woken:
                return False
            self._changed.wake_all()
            self._waiting.append(stream)
            return True

    def wake(self) -> None:
        """See `StreamListener.wake`."""
        with self._lock:
            self._changed.wake_all()
            self._is_woken = True

    def close(self) -> None:
        """See `StreamListener.close`."""
        _listeners.pop(self.address[0], None)
        for stream in self._waiting:
            stream.abort()

    def abandon(self) -> None:
        """See `StreamListener.abandon`."""
        _listeners.pop(self.address[0], None)


# Who listens in this process, by name. Each change is one step, so it needs no lock.
_listeners: dict[str, MemoryListener] = {}

#: How to make the two ends of a line to a name where it is not `memory_stream_pair`, see
#: `yoton.connection.faults.faulty_lines`. That of the one that connects is the first.
line_makers: dict[str, Callable[[], tuple[ByteStream, ByteStream]]] = {}


def connect_memory(name: str) -> ByteStream:
    """Get a stream to who listens under a name in this process.

    Raises
    ------
    OSError
        Nobody does.
    """
    listener = _listeners.get(name)
    if listener is not None:
        make_line = line_makers.get(name)
        own, other = make_line() if make_line else memory_stream_pair(name=name)
        if listener.knock(other):
            return own
    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


class _Pipe:
    """One direction."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Guards the buffer and the flags.
        self._lock = threading.RLock()
        self._buffer = bytearray()
        self._is_ended = False
        self._is_broken = False
        self._changed = WaitPoint(self._lock)

    def wait_readable(self, deadline: Deadline) -> bool:
        return self._changed.wait_for(lambda: bool(self._buffer) or self._is_ended, deadline)

    def read(self, chunks: list[bytes], at_most: int) -> None:
        with self._lock:
            if not self._buffer and not self._is_ended:
                return
            self._changed.wake_all()
            data, rest = bytes(self._buffer[:at_most]), self._buffer[at_most:]
            # In this order: an interrupt may come behind the call, and would have the same bytes
            # read twice.
            self._buffer = rest
            chunks.append(data)

    def write(self, data: bytes, counts: list[int]) -> None:
        with self._lock:
            if self._is_ended or self._is_broken:
                raise BrokenPipeError("the other end of the stream is closed")
            self._changed.wake_all()
            taken = data[: self._capacity - len(self._buffer)]
            count = len(taken)
            # No call between these two, as interrupts come in calls.
            self._buffer += taken
            counts.append(count)

    def wait_writable(self, deadline: Deadline) -> bool:
        def is_writable() -> bool:
            return len(self._buffer) < self._capacity or self._is_ended or self._is_broken

        return self._changed.wait_for(is_writable, deadline)

    def end(self) -> None:
        """Let the reader find the end of the stream behind what is written."""
        with self._lock:
            self._changed.wake_all()
            self._is_ended = True

    def break_off(self) -> None:
        """Take no more from the writer."""
        with self._lock:
            self._changed.wake_all()
            self._is_broken = True


_port_numbers = itertools.count(1)


class MemoryStream:
    """One end of a pair, a `yoton.connection.streams.ByteStream`; see `memory_stream_pair`."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, name: str = "memory") -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._local_address = (name, next(_port_numbers))

    def wait_readable(self, timeout: float | None) -> bool:
        """See `ByteStream.wait_readable`."""
        return self._incoming.wait_readable(Deadline(timeout))

    def read(self, chunks: list[bytes], missing: int = 0, timeout: float = 0.0) -> None:
        """See `ByteStream.read`."""
        if timeout > 0.0:
            self.wait_readable(timeout)
        self._incoming.read(chunks, missing or READ_SIZE)

    def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        """See `ByteStream.write`."""
        self._outgoing.write(b"".join(pieces), counts)

    def wait_writable(self, timeout: float | None) -> bool:
        """See `ByteStream.wait_writable`."""
        return self._outgoing.wait_writable(Deadline(timeout))

    def acknowledge_at_once(self) -> None:
        """See `ByteStream.acknowledge_at_once`; nothing waits for it here."""

    def retransmissions(self) -> int | None:
        """See `ByteStream.retransmissions`."""
        return 0

    def unsent(self) -> int:
        """See `ByteStream.unsent`; what is written can be read."""
        return 0

    def shutdown_write(self) -> None:
        """See `ByteStream.shutdown_write`."""
        self._outgoing.end()

    def abort(self) -> None:
        """See `ByteStream.abort`."""
        self._outgoing.end()
        self._incoming.end()
        self._incoming.break_off()

    def close(self) -> None:
        """See `ByteStream.close`."""
        self.abort()

    def abandon(self) -> None:
        """See `ByteStream.abandon`; the lock may be held by a thread that the child lacks."""

    @property
    def local_address(self) -> tuple[str, int]:
        """A name for this end."""
        return self._local_address

    @property
    def peer_address(self) -> tuple[str, int]:
        """A name for the other end."""
        return (self._local_address[0], 0)

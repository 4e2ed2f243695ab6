"""Bytes that go both ways: the seam between the link and what carries it.

A link needs little of a socket, and only this little stands in `ByteStream`. The streams of
this file are sockets, of TCP and in the file system; `yoton.connection.memory` has others.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

from yoton.clock import LONGEST_WAIT, Deadline
from yoton.waiting import wait_time

if sys.platform == "linux":
    import fcntl

    # How to ask for what the peer's system has not acknowledged, and for what was not yet sent at
    # all; see linux/sockios.h.
    _SIOCOUTQ = 0x5411
    _SIOCOUTQNSD = 0x894B
    _INT = struct.Struct("@i")

#: Bytes that one read takes at most. From 128 KiB on, also together with what was left over, the
#: C library takes memory from the system for each read, and gives it back after that.
READ_SIZE = 3 * 2**15

#: Bytes that one read takes while little comes. Room for more would be taken from the system,
#: and be given back, at each read.
_SMALL_READ_SIZE = 2**14

#: Bytes of the send buffer within one machine. What is on its way stays in the cache of the
#: processor then, and large messages travel at twice the speed. Over longer ways the system
#: knows better.
_LOCAL_BUFFER_SIZE = 2**18

#: Pieces that one call may write (IOV_MAX is 1024 on Linux and macOS).
MAX_PIECES = 1024


class ByteStream(Protocol):
    """A connected, ordered, reliable stream of bytes.

    One thread may read while another one writes. `abort` may be called from any thread, and
    makes the calls that are waiting return.
    """

    def wait_readable(self, timeout: float | None) -> bool:
        """Wait until bytes can be read, or the end, or an error; False when the time is over.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait, `LONGEST_WAIT` at most; None: without limit.
        """

    def read(self, chunks: list[bytes], missing: int = 0, timeout: float = 0.0) -> None:
        """Read what has come, or comes in time.

        Parameters
        ----------
        chunks : list of bytes
            Gets what has come appended: b"" at the end of the stream, nothing if nothing has
            come. A result could get lost between this call and its caller when Ctrl-C comes in
            between.
        missing : int
            If not 0: read so many bytes at most, and wait for them for a moment, as they are
            known to come. In one piece they need not be joined.
        timeout : float
            Seconds to wait for bytes, at most; it may be over after 50 ms already.

        Raises
        ------
        OSError
            The stream is broken.
        """

    def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        """Write as much as fits without waiting.

        Parameters
        ----------
        pieces : sequence of bytes or memoryview
            What to write, at most `MAX_PIECES`.
        counts : list of int
            Gets one number appended: the bytes that were taken, 0 if none fitted. A result
            could get lost between this call and its caller when Ctrl-C comes in between.

        Raises
        ------
        OSError
            The stream is broken.
        """

    def wait_writable(self, timeout: float | None) -> bool:
        """Wait until something can be written, or fails to be; False when the time is over."""

    def acknowledge_at_once(self) -> None:
        """Tell the peer of each read without delay, from now on.

        For a peer that writes a message in several small pieces, or has a small send buffer:
        it waits for that.
        """

    def retransmissions(self) -> int | None:
        """Get how often the same bytes were sent again without an answer of the peer's system.

        0 if there can be no such thing; None if nobody can tell.
        """

    def unsent(self) -> int:
        """Get how many of the bytes that were written have not got to the peer's system.

        If this process ends, they may never arrive. 0 if there can be no such thing, or nobody
        can tell.
        """

    def shutdown_write(self) -> None:
        """Tell the peer that no more bytes come; what was written still arrives."""

    def abort(self) -> None:
        """End both directions at once; waiting and later reads get the end of the stream."""

    def close(self) -> None:
        """Free what the stream holds. No other call may be under way or follow."""

    def abandon(self) -> None:
        """Free this process's copy of it; for use in a forked child."""

    @property
    def local_address(self) -> tuple[str, int]:
        """Host and port of this end."""

    @property
    def peer_address(self) -> tuple[str, int]:
        """Host and port of the other end."""


class SocketStream:
    """A connected socket as a `ByteStream`: one of TCP, or one in the file system."""

    def __init__(self, connected: socket.socket) -> None:
        if _DO_NOT_WAIT:
            connected.setblocking(True)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(_MAX_WAIT))
        else:
            connected.setblocking(False)
        self._socket = connected
        self._wait_readable = _waiter(connected, _READABLE)
        self._wait_writable = _waiter(connected, _WRITABLE)
        self._acknowledges_at_once = False
        self._read_size = _SMALL_READ_SIZE
        self._is_tcp = connected.family in _TCP_FAMILIES
        # Whether the system was told of the end, which it counts as a byte.
        self._is_write_side_shut = False
        own, peer = connected.getsockname(), connected.getpeername()
        # Of sockets in the file system, the end that connects has no name of its own.
        self._local_address = host_and_port(own or peer)
        self._peer_address = host_and_port(peer or own)
        if self._is_tcp:
            self._tune_tcp()
        _socket_streams.add(self)

    @property
    def _is_local(self) -> bool:
        """Whether the peer is on the same machine."""
        return self._peer_address[0] == self._local_address[0]

    def _tune_tcp(self) -> None:
        # A message that fits a segment leaves at once. Without it, two writes in a row wait
        # for the peer's delayed acknowledgement, 40 ms on Linux.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._is_local:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_BUFFER_SIZE)

    def wait_readable(self, timeout: float | None) -> bool:
        """See `ByteStream.wait_readable`."""
        return self._wait_readable(timeout)

    def read(self, chunks: list[bytes], missing: int = 0, timeout: float = 0.0) -> None:
        """See `ByteStream.read`."""
        does_wait = timeout >= _MAX_WAIT and _DO_NOT_WAIT
        if timeout > 0.0 and not does_wait and not self._wait_readable(timeout):
            return
        # A peer that waits for acknowledgements in between gets them with each call.
        if missing > 0 and not self._acknowledges_at_once:
            size, flags = missing, _WAIT_FOR_ALL
        else:
            size, flags = self._read_size, 0 if does_wait else _DO_NOT_WAIT
        try:
            # One call into C reads the bytes and keeps them, so no interrupt parts the two.
            chunks.extend(map(self._socket.recv, (size,), (flags,)))
        except BlockingIOError:
            return
        is_much = len(chunks[-1]) >= _SMALL_READ_SIZE
        self._read_size = READ_SIZE if is_much else _SMALL_READ_SIZE
        if self._acknowledges_at_once:
            # The system forgets the option with each read.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def write(self, pieces: Sequence[bytes | memoryview], counts: list[int]) -> None:
        """See `ByteStream.write`."""
        # One call into C takes the bytes and notes their number, so no interrupt parts the two.
        try:
            if len(pieces) == 1:
                counts.extend(map(self._socket.send, pieces, (_DO_NOT_WAIT,)))
            elif _HAS_SENDMSG:
                counts.extend(map(self._socket.sendmsg, (pieces,), ((),), (_DO_NOT_WAIT,)))
            else:
                counts.extend(map(self._socket.send, (b"".join(pieces),)))
        except BlockingIOError:
            counts.append(0)

    def wait_writable(self, timeout: float | None) -> bool:
        """See `ByteStream.wait_writable`."""
        return self._wait_writable(timeout)

    def acknowledge_at_once(self) -> None:
        """See `ByteStream.acknowledge_at_once`; does nothing where the system cannot."""
        self._acknowledges_at_once = self._is_tcp and hasattr(socket, "TCP_QUICKACK")

    def retransmissions(self) -> int | None:
        """See `ByteStream.retransmissions`."""
        if not self._is_tcp:
            return 0
        if sys.platform != "linux":
            return None
        try:
            # The third byte of struct tcp_info, see linux/tcp.h.
            return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 3)[2]
        except OSError:  # closed meanwhile
            return None

    def unsent(self) -> int:
        """See `ByteStream.unsent`; only Linux tells it."""
        if sys.platform != "linux" or not self._is_tcp:
            return 0
        # Within one machine what has left is there, and the acknowledgement may take 40 ms.
        request = _SIOCOUTQNSD if self._is_local else _SIOCOUTQ
        try:
            answer = fcntl.ioctl(self._socket, request, bytes(_INT.size))
        except (OSError, ValueError):  # closed meanwhile
            return 0
        size: int = _INT.unpack(answer)[0]
        return max(0, size - self._is_write_side_shut)

    def shutdown_write(self) -> None:
        """See `ByteStream.shutdown_write`."""
        self._is_write_side_shut = True
        with contextlib.suppress(OSError):  # the peer was faster
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """See `ByteStream.abort`."""
        self._is_write_side_shut = True
        with contextlib.suppress(OSError):  # not connected any more
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `ByteStream.close`."""
        self._socket.close()

    def abandon(self) -> None:
        """See `ByteStream.abandon`."""
        self._socket.close()

    @property
    def local_address(self) -> tuple[str, int]:
        """Host and port of this end."""
        return self._local_address

    @property
    def peer_address(self) -> tuple[str, int]:
        """Host and port of the other end."""
        return self._peer_address


# All of this process, for a fork: also those of which only a thread knows that is just connecting.
_socket_streams: weakref.WeakSet[SocketStream] = weakref.WeakSet()


def abandon_sockets() -> None:
    """Free this process's copies of all socket streams; for use in a forked child."""
    for stream in list(_socket_streams):
        stream.abandon()


_TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)

_HAS_SENDMSG = hasattr(socket.socket, "sendmsg")

# Where single calls can be told not to wait, the others may: those for the rest of a large
# package, and those of who has nothing else to do. Elsewhere (Windows) none does.
_DO_NOT_WAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
_WAIT_FOR_ALL = int(socket.MSG_WAITALL) if _DO_NOT_WAIT else 0

#: Seconds that a call that reads waits, before looking for other things to do.
_MAX_WAIT = 0.05


def host_and_port(address: tuple[str, int] | str) -> tuple[str, int]:
    """Get host and port of an address of a socket; of one in the file system, its path and 0."""
    if isinstance(address, str):
        return address, 0
    # IPv6 addresses have two fields more.
    return address[0], address[1]


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), round(seconds % 1 * 1e6))


def _waiter(connected: socket.socket, event: int) -> Callable[[float | None], bool]:
    """Make the function that waits for an event of a socket, so many seconds or for ever."""
    if _HAS_POLL:
        poll = select.poll()
        poll.register(connected, event)
        return lambda timeout: bool(
            poll.poll(None if timeout is None else min(timeout, LONGEST_WAIT) * 1000)
        )
    return lambda timeout: _select(connected, event, timeout)


def _select(connected: socket.socket, event: int, timeout: float | None) -> bool:
    readable = [connected] if event == _READABLE else []
    writable = [connected] if event == _WRITABLE else []
    at_most = None if timeout is None else min(timeout, LONGEST_WAIT)
    return any(select.select(readable, writable, [], at_most))


# select() cannot watch descriptors from 1024 on, so it serves only where there is nothing else.
_HAS_POLL = hasattr(select, "poll")
_READABLE = select.POLLIN if _HAS_POLL else 1
_WRITABLE = select.POLLOUT if _HAS_POLL else 4


def read_some(stream: ByteStream, timeout: float | None) -> bytes | None:
    """Wait for bytes and get them: b"" at the end of the stream, None when none came in time."""
    chunks: list[bytes] = []
    deadline = Deadline(timeout)
    while not stream.wait_readable(wait_time(deadline)):
        if deadline.passed():
            return None
    stream.read(chunks)
    return chunks[0] if chunks else None

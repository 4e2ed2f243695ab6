"""Where streams come from: listening and connecting, by the transport of an address."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import socket
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

from yoton.address import Address, for_resolver
from yoton.clock import Deadline
from yoton.connection.memory import MemoryListener, connect_memory
from yoton.connection.streams import ByteStream, SocketStream, host_and_port
from yoton.exceptions import ConnectionClosed

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

#: Peers that may knock at the same time before the system refuses further ones.
_BACKLOG = 128

#: Waits for several sockets. With `poll`, where there is one, it needs no descriptor of its own.
_Selector = getattr(selectors, "PollSelector", selectors.DefaultSelector)


#: Seconds to wait for another program that begins to listen in the same folder, which takes less
#: than a millisecond. Who can read the folder can hold its lock for ever, so not for ever.
_LOCK_TIMEOUT = 2.0

#: Seconds between two tries to get it; the system cannot wait for it with a limit.
_LOCK_INTERVAL = 0.005


class StreamListener(Protocol):
    """Where peers come in."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as a `ByteStream` gives them."""

    def accept(self) -> ByteStream:
        """Wait for a peer and get the stream to it.

        Raises
        ------
        ConnectionClosed
            `wake` was called, before or while waiting.
        OSError
            The system cannot take one more peer now.
        """

    def wake(self) -> None:
        """Make the `accept` that waits, and those that follow, raise ConnectionClosed."""

    def close(self) -> None:
        """Let the address go. No `accept` may be under way or follow."""

    def abandon(self) -> None:
        """Close this process's copy; for use in a forked child."""


def listen(address: Address) -> StreamListener:
    """Begin to listen.

    Raises
    ------
    OSError
        The address is taken, or is not there.
    """
    if address.transport == "memory":
        return MemoryListener(address.host)
    if address.transport == "unix":
        return _FileListener(address.host)
    return _SocketListener(_listening_tcp_socket(address.host, address.port))


def connect(address: Address, timeout: float) -> ByteStream:
    """Get a stream to who listens.

    Raises
    ------
    OSError
        Nobody listens there, or did not answer within timeout seconds.
    """
    if address.transport == "memory":
        return connect_memory(address.host)
    if address.transport == "unix":
        return _connect_file(address.host, timeout)
    return _connect_tcp(address.host, address.port, timeout)


class _SocketListener:
    """A listening socket, see `StreamListener`."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self.address = host_and_port(listening.getsockname())
        self._bell, self._bell_rope = socket.socketpair()
        # For all its life: there may be no descriptor left when a peer comes.
        self._selector = _Selector()
        for each in (listening, self._bell):
            self._selector.register(each, selectors.EVENT_READ)

    def accept(self) -> ByteStream:
        """See `StreamListener`."""
        while True:
            if self._bell in {key.fileobj for key, _ in self._selector.select()}:
                raise ConnectionClosed("The listener is closed.")
            # Else the peer went away while it waited.
            with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                connected, _ = self._socket.accept()
                stream = _stream_over(connected)
                if stream is not None:
                    return stream

    def wake(self) -> None:
        """See `StreamListener`."""
        with contextlib.suppress(OSError):  # it was closed meanwhile
            self._bell_rope.send(b"!")

    def close(self) -> None:
        """See `StreamListener`."""
        self.abandon()

    def abandon(self) -> None:
        """See `StreamListener`."""
        self._selector.close()
        self._socket.close()
        self._bell.close()
        self._bell_rope.close()


class _FileListener(_SocketListener):
    """A listening socket in the file system, whose file goes when it is closed."""

    def __init__(self, path: str) -> None:
        super().__init__(_listening_file_socket(path))
        self._path = path
        self._inode = os.stat(path).st_ino

    def close(self) -> None:
        """See `StreamListener`."""
        # Somebody else may have put another file there meanwhile.
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        super().close()


def _stream_over(connected: socket.socket) -> SocketStream | None:
    """Make a stream of a socket that was accepted; None if the peer has gone away already."""
    try:
        return SocketStream(connected)
    except OSError:
        connected.close()
        return None


def _listening_tcp_socket(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        for_resolver(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        # On Windows the option would let two sockets have the same port.
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        _begin_to_listen(listening)
    except BaseException:
        listening.close()
        raise
    return listening


def _listening_file_socket(path: str) -> socket.socket:
    listening = _file_socket()
    try:
        # Or another program that finds the same file left over would take away ours.
        with _folder_locked(os.path.dirname(path) or "."):
            try:
                listening.bind(path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _is_left_over(path):
                    raise
                os.unlink(path)
                listening.bind(path)
            _begin_to_listen(listening)
    except BaseException:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def _folder_locked(folder: str) -> Iterator[None]:
    """Let no other program of this package begin to listen in a folder meanwhile.

    Where the system, or that file system, has no such locks, or the folder cannot be read, it
    goes on without.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY) if fcntl else None
    except PermissionError:
        descriptor = None
    if descriptor is None:
        yield
        return
    try:
        _lock(descriptor)
        yield
    finally:
        with contextlib.suppress(OSError):
            # A child that was forked meanwhile has the descriptor, and would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    deadline = Deadline(_LOCK_TIMEOUT)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if deadline.passed():
                raise
        except OSError as error:
            logger.debug("There are no locks here: %s", error)
            return
        time.sleep(_LOCK_INTERVAL)


def _begin_to_listen(listening: socket.socket) -> None:
    listening.listen(_BACKLOG)
    listening.setblocking(False)


def _is_left_over(path: str) -> bool:
    """Tell whether a socket's file belongs to a program that was killed."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with _file_socket() as probing:
        # Who listens may be slow to accept, and the folder is locked meanwhile.
        probing.setblocking(False)
        try:
            probing.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            return False
    return False


def _connect_tcp(host: str, port: int, timeout: float) -> ByteStream:
    # The type stubs know of no bytes here, which getaddrinfo takes.
    address: Any = (for_resolver(host), port)
    stream = SocketStream(socket.create_connection(address, timeout))
    if stream.local_address == stream.peer_address:
        # TCP connects a socket to itself when the system picks the very port that is sought
        # and where nobody listens.
        stream.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return stream


def _connect_file(path: str, timeout: float) -> ByteStream:
    connecting = _file_socket()
    try:
        connecting.settimeout(timeout)
        connecting.connect(path)
        return SocketStream(connecting)
    except BaseException:
        connecting.close()
        raise


def _file_socket() -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "there are no sockets in the file system here")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

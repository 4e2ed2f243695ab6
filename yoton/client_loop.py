"""The clients of a request server: one thread waits for all of them at once."""

from __future__ import annotations

import contextlib
import enum
import functools
import logging
import os
import selectors
import socket
import struct
import threading
import weakref
from collections import deque
from collections.abc import Iterator

from yoton.address import format_host_port
from yoton.clock import Deadline
from yoton.exceptions import ArgumentError, RemoteProtocolError
from yoton.record import Record
from yoton.request_line import RequestLine
from yoton.waiting import Mailbox

logger = logging.getLogger(__name__)

#: Seconds that stop() leaves to the requests in hand: a Ctrl-C shall end a program within about
#: a second.
DRAIN_TIMEOUT = 1.0
#: Seconds without accepting after it failed, for instance for want of descriptors. The listening
#: socket stays readable then, so that trying again at once would turn the loop into a spin.
_ACCEPT_RETRY_DELAY = 0.5
#: Bytes taken from a socket at once: larger ones make each call map and unmap memory.
READ_SIZE = 65536
#: Seconds that a system call can wait for: it counts milliseconds in 31 bits.
LONGEST_WAIT = 2_000_000.0

#: struct linger {on, 0 seconds}: closing resets the connection.
_LINGER_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Limits(Record):
    """What a client may take: seconds, bytes, and places; see `yoton.RequestServer`."""

    __slots__ = ("max_clients", "max_request_size", "reply_timeout", "request_timeout")

    def __init__(
        self, request_timeout: float, reply_timeout: float, max_request_size: int, max_clients: int
    ) -> None:
        self.request_timeout = request_timeout
        self.reply_timeout = reply_timeout
        self.max_request_size = max_request_size
        self.max_clients = max_clients

    def check(self) -> None:
        """Raise an ArgumentError if one of them is not larger than 0."""
        for name in self.__slots__:
            value = getattr(self, name)
            if not value > 0:
                raise ArgumentError(f"{name} is {value!r}, expected more than 0")


class _Phase(enum.Enum):
    READING = "sending its request"
    HANDLING = "waiting for its reply"
    SENDING = "taking its reply"
    # Closing while bytes of the client are unread, or still to come, would reset the connection
    # and destroy what it has not read yet of the reply.
    LINGERING = "closing"
    GONE = "gone"


#: What a client's socket is watched for. What comes after the request is read and ignored.
_EVENTS = {
    _Phase.READING: selectors.EVENT_READ,
    _Phase.HANDLING: 0,
    _Phase.SENDING: selectors.EVENT_READ | selectors.EVENT_WRITE,
    _Phase.LINGERING: selectors.EVENT_READ,
    _Phase.GONE: 0,
}


class _Client:
    """One client, from its connection to its end. Only the I/O thread uses what is in it."""

    def __init__(self, connection: socket.socket, peer: str, limits: Limits) -> None:
        self.socket = connection
        self.peer = peer
        self.phase = _Phase.READING
        self.deadline = Deadline(limits.request_timeout)
        self.line = RequestLine(limits.max_request_size)
        self.has_ended = False  # its side of the stream
        self.unsent = memoryview(b"")

    def __str__(self) -> str:
        return self.peer


class Request(Record):
    """What a client asks, with its CR LF."""

    __slots__ = ("client", "text")

    def __init__(self, text: str, client: _Client) -> None:
        self.text = text
        self.client = client


class ClientLoop:
    """Waits for many clients at once: reads their requests, sends the replies, keeps deadlines.

    Parameters
    ----------
    name : str
        Of the server, for the log.
    listener : socket.socket
        Where clients come from. The loop closes it.
    requests : Mailbox
        Gets each request, and None at the end.
    limits : Limits
        Of time and size.
    verbose : bool
        Whether to log each accepted connection.

    Notes
    -----
    reply() and stop() may be called from any thread. All else runs in the thread that calls run().
    """

    def __init__(
        self,
        name: str,
        listener: socket.socket,
        requests: Mailbox[Request | None],
        limits: Limits,
        verbose: bool,
    ) -> None:
        self.is_stopping = False
        self.port_is_free = _Latch()
        self._name = name
        self._listener = listener
        self._requests = requests
        self._limits = limits
        self._verbose = verbose
        self._clients: set[_Client] = set()
        self._replies: deque[tuple[_Client, bytes | None]] = deque()
        self._is_accepting = False
        self._accept_again: Deadline | None = None
        self._drain: Deadline | None = None
        self._selector = selectors.DefaultSelector()
        self._waker = _Waker()
        self._selector.register(self._waker, selectors.EVENT_READ, self._waker.on_event)
        listener.setblocking(False)
        _loops.add(self)

    def reply(self, client: _Client, reply: bytes | None) -> None:
        """Send a client its reply; None disconnects it, because its request was not handled."""
        self._replies.append((client, reply))
        self._waker.wake()

    def stop(self) -> None:
        """Make run() free the port at once, and return when all replies are out or are late."""
        self.is_stopping = True
        self._waker.wake()

    def run(self) -> None:
        """Serve clients until stop() is called."""
        try:
            self._serve()
        finally:
            self._close()

    def _serve(self) -> None:
        while not self._is_over():
            self._accept_if_there_is_room()
            for key, events in self._selector.select(self._wait_time()):
                key.data(events)
            self._start_replies()
            self._check_deadlines()
            if self.is_stopping and self._drain is None:
                self._start_draining()

    def abandon(self) -> None:
        """In a process that was forked off: close its copies, the clients are the parent's.

        The selector may be the parent's too, so it is closed, but nothing is taken out of it.
        """
        for client in self._clients:
            client.socket.close()
        self._clients.clear()
        self.is_stopping = True
        self._drain = Deadline(0)
        self._waker.abandon()
        self._close()

    # The course of the loop

    def _is_over(self) -> bool:
        return self._drain is not None and (not self._clients or self._drain.passed())

    def _wait_time(self) -> float:
        deadlines = [client.deadline for client in self._clients]
        deadlines += filter(None, (self._accept_again, self._drain))
        remaining = [deadline.remaining() for deadline in deadlines]
        return min([LONGEST_WAIT, *(time for time in remaining if time is not None)])

    def _accept_if_there_is_room(self) -> None:
        if self._accept_again is not None and self._accept_again.passed():
            self._accept_again = None
        has_room = len(self._clients) < self._limits.max_clients
        self._watch_listener(has_room and self._accept_again is None and self._drain is None)

    def _watch_listener(self, wanted: bool) -> None:
        if wanted and not self._is_accepting:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif self._is_accepting and not wanted:
            self._selector.unregister(self._listener)
        self._is_accepting = wanted

    def _accept(self, events: int) -> None:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it came and went
            return
        except OSError as error:
            logger.warning("%s: cannot accept a client for a while: %s", self._name, error)
            self._accept_again = Deadline(_ACCEPT_RETRY_DELAY)
            return
        connection.setblocking(False)
        client = _Client(connection, format_host_port(*address[:2]), self._limits)
        self._clients.add(client)
        if self._verbose:
            logger.info("%s: accepted a connection from %s", self._name, client)
        with self._errors_end(client):
            self._enter(client, _Phase.READING)

    def _start_replies(self) -> None:
        while self._replies:
            client, reply = self._replies.popleft()
            if reply is None:
                self._reset(client)
            else:
                self._start_sending(client, reply)

    def _check_deadlines(self) -> None:
        for client in [client for client in self._clients if client.deadline.passed()]:
            with self._errors_end(client):
                self._on_deadline(client)

    def _start_draining(self) -> None:
        self._drain = Deadline(DRAIN_TIMEOUT)
        self._watch_listener(False)
        self._free_port()
        for client in [client for client in self._clients if client.phase is _Phase.READING]:
            self._reset(client)

    def _free_port(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.close()
            self.port_is_free.open()

    def _close(self) -> None:
        for client in list(self._clients):
            if client.phase is _Phase.LINGERING:
                self._end(client)
            else:
                self._log(logging.WARNING, client, "the server stopped")
                self._reset(client)
        self._selector.close()
        self._free_port()
        self._waker.close()
        self._requests.put(None)
        _loops.discard(self)

    # The course of one client

    def _enter(self, client: _Client, phase: _Phase) -> None:
        client.phase = phase
        self._watch(client)

    def _watch(self, client: _Client) -> None:
        """Have the selector tell what the client's phase waits for."""
        if client.socket in self._selector.get_map():
            self._selector.unregister(client.socket)
        events = _EVENTS[client.phase]
        if client.has_ended:
            events &= ~selectors.EVENT_READ
        if events:
            on_event = functools.partial(self._on_event, client)
            self._selector.register(client.socket, events, on_event)

    @contextlib.contextmanager
    def _errors_end(self, client: _Client) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:  # it was not ready after all
            return
        except OSError as error:
            self._log(logging.DEBUG, client, error)
            self._end(client)
        except RemoteProtocolError as error:
            self._log(logging.WARNING, client, error)
            self._reset(client)

    def _on_event(self, client: _Client, events: int) -> None:
        with self._errors_end(client):
            if events & selectors.EVENT_READ:
                self._read(client)
            if events & selectors.EVENT_WRITE:
                self._write(client)

    def _read(self, client: _Client) -> None:
        data = client.socket.recv(READ_SIZE)
        client.has_ended = not data
        if client.phase is _Phase.READING:
            self._add_to_request(client, data)
        elif client.has_ended and client.phase is _Phase.LINGERING:
            self._end(client)
        elif client.has_ended:
            self._watch(client)

    def _add_to_request(self, client: _Client, data: bytes) -> None:
        request = client.line.feed(data) if data else client.line.end_of_stream()
        if request is not None:
            self._hand_over(client, request)
        elif client.has_ended:
            self._end(client)

    def _hand_over(self, client: _Client, request: bytes) -> None:
        client.deadline = Deadline(None)
        self._enter(client, _Phase.HANDLING)
        self._requests.put(Request(request.decode("utf-8", "replace"), client))

    def _start_sending(self, client: _Client, reply: bytes) -> None:
        client.unsent = memoryview(reply)
        client.deadline = Deadline(self._limits.reply_timeout)
        with self._errors_end(client):
            self._enter(client, _Phase.SENDING)

    def _write(self, client: _Client) -> None:
        sent = client.socket.send(client.unsent)
        client.unsent = client.unsent[sent:]
        if client.unsent:
            return
        client.socket.shutdown(socket.SHUT_WR)
        if client.has_ended:
            self._end(client)
        else:
            self._enter(client, _Phase.LINGERING)

    def _on_deadline(self, client: _Client) -> None:
        if client.phase is _Phase.SENDING:
            raise RemoteProtocolError("the time for that was up")
        request = client.line.out_of_time() if client.phase is _Phase.READING else None
        if request is None:
            self._end(client)
        else:
            self._hand_over(client, request)

    def _end(self, client: _Client) -> None:
        self._enter(client, _Phase.GONE)
        client.socket.close()
        self._clients.discard(client)

    def _log(self, level: int, client: _Client, cause: object) -> None:
        doing = client.phase.value
        logger.log(
            level, "%s: lost client %s while it was %s: %s", self._name, client, doing, cause
        )

    def _reset(self, client: _Client) -> None:
        """Disconnect with an error at the other end: an end of stream would look like a reply."""
        with contextlib.suppress(OSError):  # it went away already
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._end(client)


class _Waker:
    """Ends the wait of a selector, from any thread."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        # Keeps the sender open while it is written. Reentrant because a signal handler that
        # calls stop() may interrupt a wake() in the same thread.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        return self._receiver.fileno()

    def wake(self) -> None:
        with self._lock:
            if self._sender.fileno() >= 0:
                with contextlib.suppress(BlockingIOError):  # full, so the selector wakes anyway
                    self._sender.send(b"\0")

    def on_event(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):  # it was not ready after all
            self._receiver.recv(READ_SIZE)

    def close(self) -> None:
        with self._lock:
            self._sender.close()
        self._receiver.close()

    def abandon(self) -> None:
        """In a process that was forked off: forget a lock that a thread of the parent held."""
        self._lock = threading.RLock()


class _Latch:
    """Closed until open() is called, once. A signal handler may wait where a thread waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        self._lock.release()

    def wait(self, timeout: float) -> None:
        """Wait until it is open, or the time (in seconds) has passed."""
        if self._lock.acquire(timeout=timeout):
            self._lock.release()


_loops: weakref.WeakSet[ClientLoop] = weakref.WeakSet()


def _abandon_loops() -> None:
    for loop in list(_loops):
        loop.abandon()


if hasattr(os, "register_at_fork"):
    # Else a child would keep the port taken, and clients waiting, after its parent's end.
    os.register_at_fork(after_in_child=_abandon_loops)

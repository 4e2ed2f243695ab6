"""Ask another process for a small piece of text: `RequestServer` and `do_request`.

Each request has a TCP connection of its own, in the manner of telnet: a line of UTF-8 goes one
way, the reply comes the other way and lasts until the end of the stream.

In a server one thread, the I/O thread, owns all sockets and waits for all clients at once, so
that none of them can hold up another. Requests go from it to the thread that is in run() (or to
one thread each), replies come back::

                          queue of requests
    I/O thread          ---------------------->    thread in run()
    sockets, deadlines                             handle_request()
                        <----------------------
                        queue of replies, waker
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from typing import Any, TypeVar

from yoton.address import Address, format_host_port, parse_address
from yoton.client_loop import DRAIN_TIMEOUT, LONGEST_WAIT, READ_SIZE, ClientLoop, Limits, Request
from yoton.clock import Deadline
from yoton.exceptions import (
    BindFailed,
    ConnectionClosed,
    LocalUsageError,
    RemoteProtocolError,
    ServerUnavailable,
)
from yoton.request_line import encode_line
from yoton.waiting import Mailbox, wait_time

logger = logging.getLogger(__name__)

#: Seconds for a client to send its request: the time that the yoton inside Pyzo gives.
REQUEST_TIMEOUT = 1.0
#: Seconds for a client to take its reply. A large one over a slow line takes some; a client that
#: does not read keeps the reply in memory for as long.
REPLY_TIMEOUT = 10.0
#: Bytes of a request. It is one line of text, and each client may make the server hold this much.
MAX_REQUEST_SIZE = 2**20
#: Bytes of a reply that do_request takes: far above any page of text, far below the memory of
#: the machines that run it.
MAX_REPLY_SIZE = 64 * 2**20
#: Clients that a server has in hand at once, each with a descriptor, of which a process often
#: has no more than 256. In a server with async_val it bounds the threads as well.
MAX_CLIENTS = 100

#: Clients that the system keeps waiting for a place; it may lower this.
_BACKLOG = 128


def do_request(
    address: str,
    request: str,
    timeout: float | None = -1,
    *,
    max_reply_size: int = MAX_REPLY_SIZE,
) -> str | None:
    """Do a request at a server and get its reply.

    The server can be a `RequestServer`, or another one that takes text and closes the connection
    after its reply, such as a web server:
    ``html = do_request("www.python.org:80", "GET / HTTP/1.0\\r\\n\\r\\n")``.

    Parameters
    ----------
    address : str
        Where the server listens, as ``host:port``; see `yoton.address.parse_address`.
    request : str
        What to ask. It is sent as UTF-8, with CR LF appended unless it ends so.
    timeout : float or None
        If larger than 0: seconds after which to give up, counted from the call. Otherwise
        (-1, None): wait without limit.
    max_reply_size : int
        Bytes that the reply may have.

    Returns
    -------
    str or None
        All that the server sent until it closed the connection; bytes that are no UTF-8 come as
        U+FFFD. "" if it closed without a reply, as a `RequestServer` does when handle_request()
        failed. None if the end of the reply did not come in time: a part of it is no reply.

    Raises
    ------
    ServerUnavailable
        Nobody listens there, or could not be reached in time. It is a RuntimeError.
    ConnectionClosed
        The connection broke before the end of the reply, or the server refused the request. It
        is an OSError.
    RemoteProtocolError
        The reply is larger than max_reply_size.
    EncodeError
        The request is no str, or has no UTF-8 form. It is a ValueError.
    AddressError
        The address is none. It is a ValueError.

    Notes
    -----
    Blocks the calling thread. The time for looking up a host name is up to the system's resolver.
    """
    line = encode_line(request, "request")
    server = parse_address(address)
    has_limit = timeout is not None and 0 < timeout < LONGEST_WAIT
    deadline = Deadline(timeout if has_limit else None)
    with _connect(server, deadline) as connection:
        try:
            reply = _exchange(connection, line, deadline, max_reply_size)
        except OSError as error:
            raise ConnectionClosed(
                f"the connection to {server} ended before the end of the reply: {error}"
            ) from error
    if reply is None:
        return None
    if len(reply) > max_reply_size:
        raise RemoteProtocolError(f"the reply of {server} is larger than {max_reply_size} bytes")
    return reply.decode("utf-8", "replace")


def _connect(server: Address, deadline: Deadline) -> socket.socket:
    cause: Exception | None = None
    try:
        for family, kind, protocol, _, target in socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM
        ):
            try:
                return _connect_to(target, socket.socket(family, kind, protocol), deadline)
            except OSError as error:
                cause = error
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that no name can be
        cause = error
    raise ServerUnavailable(f"no server can be reached at {server}: {cause}") from cause


def _connect_to(
    target: tuple[Any, ...], connection: socket.socket, deadline: Deadline
) -> socket.socket:
    try:
        remaining = deadline.remaining()
        if remaining == 0.0:  # which settimeout() would take for not to wait at all
            raise TimeoutError("timed out")
        connection.settimeout(remaining)
        connection.connect(target)
        _refuse_itself(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_itself(connection: socket.socket) -> None:
    """Raise an OSError if it is connected to itself.

    Where nobody listens, the system may pick the very port that is called for the calling end,
    and then TCP joins the two.
    """
    if connection.getsockname() == connection.getpeername():
        raise ConnectionRefusedError("there is only this end")


def _exchange(
    connection: socket.socket, line: bytes, deadline: Deadline, max_size: int
) -> bytearray | None:
    """Send a request and receive the reply at the same time; None if time is up.

    A server may reply before it has read all, and stop reading: to wait for it to take the whole
    request first could be to wait for ever. Stops receiving when there is more than max_size.
    """
    unsent = memoryview(line)
    reply = bytearray()
    connection.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while True:
            if deadline.passed():
                return None
            for _, events in selector.select(wait_time(deadline)):
                if events & selectors.EVENT_READ:
                    is_whole = _receive_some(connection, reply)
                    if is_whole or len(reply) > max_size:
                        return reply
                if events & selectors.EVENT_WRITE:
                    unsent = _send_some(connection, unsent)
                    if not unsent:
                        selector.modify(connection, selectors.EVENT_READ)


def _receive_some(connection: socket.socket, reply: bytearray) -> bool:
    """Append what is there to a reply; tell whether it has come to its end."""
    try:
        data = connection.recv(READ_SIZE)
    except BlockingIOError:  # it was not ready after all
        return False
    reply += data
    return not data


def _send_some(connection: socket.socket, unsent: memoryview) -> memoryview:
    """Send what fits; get what has to follow. The sending side is shut down after the last."""
    try:
        unsent = unsent[connection.send(unsent) :]
        if not unsent:
            connection.shutdown(socket.SHUT_WR)
    except BlockingIOError:  # it was not ready after all
        return unsent
    except OSError as error:  # nobody reads it; what comes, a reply or an error, tells more
        logger.debug("the server stopped reading the request: %s", error)
        return unsent[:0]
    return unsent


class RequestServer(threading.Thread):
    """A server that replies to requests of one line of text, each over a connection of its own.

    Subclass it and implement `handle_request`. ``start()`` runs it in a thread of its own,
    ``run()`` in the calling one; ``with MyServer(address) as server:`` starts and stops it. It
    listens as soon as it is made: a client that comes before it runs is served when it does.

    A request is UTF-8 text up to the first CR LF, or up to where the client ends its side of the
    connection; bytes that are no UTF-8 come as U+FFFD, and what follows the CR LF is ignored. When
    the time is up and the text ends with a lone LF, as netcat sends it, that ends the request too.
    A client whose request is too long, or is cut off when the time is up, is disconnected with a
    reset, so that do_request() there raises ConnectionClosed. The same happens to one that does
    not take its reply in time.

    Parameters
    ----------
    address : str
        Where to listen, as ``host:port``; see `yoton.address.parse_address`. With port 0 the
        system chooses a free one, see `port`. ``localhost`` can be reached from this computer
        only, ``publichost`` from other ones as well.
    async_val : bool
        If True, handle each request in a thread of its own. If False, handle one after another
        in the server's thread. Clients are read and written independently of this.
    verbose : bool
        If True, log a message (level INFO) each time a connection is accepted.
    request_timeout : float
        Seconds, from the connection on, for a client to send its request.
    reply_timeout : float
        Seconds for a client to take the reply and to close.
    max_request_size : int
        Bytes that a request may have, with its CR LF.
    max_clients : int
        Clients in hand at once, from the connection to the end of the reply; others wait for a
        place. With async_val it is also the largest number of handling threads.

    Raises
    ------
    BindFailed
        The address cannot be bound. It is an OSError.
    AddressError
        The address is none. It is a ValueError.
    ArgumentError
        A timeout or a limit is not larger than 0. It is a ValueError.

    Notes
    -----
    All threads are daemons; what is in hand when the interpreter exits is cut off. Call stop()
    first, or leave the ``with``.
    """

    def __init__(
        self,
        address: str,
        async_val: bool = False,
        verbose: int = 0,
        *,
        request_timeout: float = REQUEST_TIMEOUT,
        reply_timeout: float = REPLY_TIMEOUT,
        max_request_size: int = MAX_REQUEST_SIZE,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        limits = Limits(request_timeout, reply_timeout, max_request_size, max_clients)
        limits.check()
        listener = _listen(parse_address(address))
        host, port = listener.getsockname()[:2]
        self._port: int = port
        self._where = format_host_port(host, port)
        super().__init__(name=f"yoton-request-server {self._where}", daemon=True)
        self._async_val = bool(async_val)
        # Not longer than max_clients: each entry has a client that waits for the reply.
        self._requests: Mailbox[Request | None] = Mailbox()
        self._client_loop = ClientLoop(self.name, listener, self._requests, limits, bool(verbose))
        # Held, for good, by whoever runs the client loop: run(), or stop() if it came before.
        self._loop_owner = threading.Lock()
        self._this_thread = _ThisThread()

    @property
    def port(self) -> int:
        """The number of the port that it listens at."""
        return self._port

    def handle_request(self, request: str) -> str:
        """Reply to a request; implement this in a subclass. The default repeats the request.

        Parameters
        ----------
        request : str
            What the client sent, with its CR LF.

        Returns
        -------
        str
            The reply. CR LF is appended unless it ends so.

        Notes
        -----
        Runs in the server's thread, or with async_val in a thread of its own. An Exception, or a
        reply that is no str, is logged with its traceback, and the client gets an empty reply:
        what went wrong in here is not the client's business. KeyboardInterrupt and SystemExit end
        the thread they are raised in.
        """
        return f"Requested: {request}"

    def run(self) -> None:
        """Serve clients until stop() is called, in the calling thread.

        A KeyboardInterrupt, also one in handle_request(), gets through and leaves the port free.
        Returns at once if stop() was called before.

        Raises
        ------
        LocalUsageError
            The server is running already.
        """
        if not self._loop_owner.acquire(blocking=False):
            if self._client_loop.is_stopping:
                return
            raise LocalUsageError(f"the request server at {self._where} is running already")
        io_thread = threading.Thread(
            target=self._client_loop.run, name=f"yoton-request-io {self._where}", daemon=True
        )
        try:
            io_thread.start()
            self._answer_all()
        finally:
            self._client_loop.stop()
            if io_thread.is_alive():
                io_thread.join()

    def _answer_all(self) -> None:
        while (request := self._requests.get()) is not None:
            if self._async_val:
                self._answer_in_thread(request)
            else:
                self._answer(request)

    def stop(self) -> None:
        """Stop serving: the port is free when this returns.

        The requests being handled may finish, and their replies go out, within one second; other
        clients are disconnected. May be called from any thread, also from handle_request(), more
        than once, and before start(). A server that was stopped cannot be started again.

        Notes
        -----
        Waits for the server's thread to end, at most some two seconds (a handle_request() cannot
        be interrupted). From within handle_request() it waits for the port only.
        """
        self._client_loop.stop()
        if self._loop_owner.acquire(blocking=False):
            self._client_loop.run()  # never ran: this closes the sockets
        self._client_loop.port_is_free.wait(DRAIN_TIMEOUT)
        if self.is_alive() and not self._is_inside():
            self.join(2 * DRAIN_TIMEOUT)
            if self.is_alive():
                logger.warning("%s: handle_request() has not returned yet", self.name)

    def __enter__(self: _Server) -> _Server:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _is_inside(self) -> bool:
        """Tell whether the calling thread is one that stop() would wait for in vain."""
        return self._this_thread.is_handling or threading.current_thread() is self

    def _answer_in_thread(self, request: Request) -> None:
        thread = threading.Thread(
            target=self._answer,
            args=(request,),
            name=f"yoton-request-handler {self._where}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads for this process
            logger.exception("%s: no thread for the request of %s", self.name, request.client)
            self._client_loop.reply(request.client, None)

    def _answer(self, request: Request) -> None:
        reply = None
        self._this_thread.is_handling = True
        try:
            if not self._client_loop.is_stopping:
                reply = self._make_reply(request)
        finally:
            self._this_thread.is_handling = False
            self._client_loop.reply(request.client, reply)

    def _make_reply(self, request: Request) -> bytes:
        try:
            return encode_line(self.handle_request(request.text), "what handle_request() returned")
        except Exception:
            logger.exception(
                "%s: error handling the request %.100r of %s",
                self.name,
                request.text,
                request.client,
            )
            return b""


_Server = TypeVar("_Server", bound=RequestServer)


class _ThisThread(threading.local):
    """What differs between the threads that use a server."""

    is_handling = False


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        # It sets SO_REUSEADDR, but on Windows, where that lets two servers share a port.
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that no name can be
        raise BindFailed(f"no request server can listen at {address}: {error}") from error

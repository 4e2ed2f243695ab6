"""RequestServer and do_request over real sockets, with each other and with others."""

from __future__ import annotations

import contextlib
import functools
import gc
import http.server
import logging
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import PATIENCE, wait_until

from yoton.clientserver import RequestServer, do_request
from yoton.exceptions import (
    AddressError,
    ArgumentError,
    BindFailed,
    ConnectionClosed,
    EncodeError,
    LocalUsageError,
    RemoteProtocolError,
    ServerUnavailable,
)
from yoton.waiting import SIGNAL_INTERVAL

LOOPBACK = "127.0.0.1"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# What a served client may take while others hang; far below the deadlines those are given.
SOON = 5.0
LONG = 1000.0


class Shouter(RequestServer):
    """Replies with the request in capitals, and remembers it."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__("localhost:0", *args, **options)  # type: ignore[arg-type]
        self.seen: list[str] = []

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def handle_request(self, request: str) -> str:
        self.seen.append(request)
        return request.upper()


class Blocker(Shouter):
    """Handles the request 'block' until it is released."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.release = threading.Event()

    def handle_request(self, request: str) -> str:
        self.seen.append(request)
        if request.startswith("block"):
            assert self.release.wait(PATIENCE)
        return request.upper()


@pytest.fixture
def shouter() -> Iterator[Shouter]:
    with Shouter(request_timeout=LONG) as server:
        yield server


def connect(server: RequestServer) -> socket.socket:
    return socket.create_connection((LOOPBACK, server.port), timeout=PATIENCE)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def is_reset(connection: socket.socket) -> bool:
    try:
        read_all(connection)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def wait_until_server_has_read(server: RequestServer) -> None:
    """Wait until it has taken what other clients sent before: it takes what comes in turn."""
    with connect(server) as raw:
        raw.shutdown(socket.SHUT_WR)
        assert read_all(raw) == b""


def ask_in_thread(server: Shouter, request: str) -> list[object]:
    """Do a request in a thread; its reply, or its error, appears in the list."""
    outcome: list[object] = []

    def ask() -> None:
        try:
            outcome.append(do_request(server.address, request, PATIENCE))
        except Exception as error:
            outcome.append(error)

    threading.Thread(target=ask, daemon=True).start()
    return outcome


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("yoton-req")]


@contextlib.contextmanager
def foreign_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one client by hand; gives the address. The connection is kept to the end."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connections.append(connection)
            behave(connection)

        connections: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"
        thread.join(PATIENCE)
        assert not thread.is_alive()
        for connection in connections:
            connection.close()


# With each other


def test_the_reply_to_a_request_comes_back(shouter: Shouter) -> None:
    assert do_request(shouter.address, "hello", PATIENCE) == "HELLO\r\n"


def test_the_default_handler_repeats_the_request() -> None:
    with RequestServer("localhost:0") as server:
        assert do_request(f"localhost:{server.port}", "hello") == "Requested: hello\r\n"


def test_the_main_thread_looks_for_signals_while_it_waits_for_a_reply(
    shouter: Shouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    selector = selectors.DefaultSelector
    timeouts, select = [], selector.select

    def note(self: selectors.BaseSelector, timeout: float | None = None) -> object:
        if threading.current_thread() is threading.main_thread():
            timeouts.append(timeout)
        return select(self, timeout)  # type: ignore[arg-type]

    monkeypatch.setattr(selector, "select", note)
    assert do_request(shouter.address, "hello", None) == "HELLO\r\n"
    assert set(timeouts) == {SIGNAL_INTERVAL}


@pytest.mark.parametrize("timeout", [PATIENCE, 0, -1, None, float("inf"), 1e300])
def test_every_kind_of_timeout_is_accepted(shouter: Shouter, timeout: float | None) -> None:
    assert do_request(shouter.address, "hello", timeout) == "HELLO\r\n"
    assert do_request(shouter.address, "hello") == "HELLO\r\n"


@pytest.mark.parametrize(
    ("request_", "seen"),
    [
        ("hello\r\n", "hello\r\n"),
        ("", "\r\n"),
        ("h\u00e9llo \U0001f40d", "h\u00e9llo \U0001f40d\r\n"),
        ("one\ntwo", "one\ntwo\r\n"),
        ("hello\n", "hello\n\r\n"),
        ("first\r\nsecond\r\n", "first\r\n"),
    ],
)
def test_the_handler_gets_the_first_line_with_its_cr_lf(
    shouter: Shouter, request_: str, seen: str
) -> None:
    assert do_request(shouter.address, request_, PATIENCE) == seen.upper()
    assert shouter.seen == [seen]


@pytest.mark.parametrize("lines", ["one\r\ntwo\r\n\r\nfour\r\n", "one\ntwo\r\n", "\r\n"])
def test_a_reply_of_many_lines_comes_back_whole(lines: str) -> None:
    class Poet(Shouter):
        def handle_request(self, request: str) -> str:
            return lines

    with Poet() as server:
        assert do_request(server.address, "recite", PATIENCE) == lines


def test_a_reply_of_20_megabytes_comes_back_whole() -> None:
    class Talker(Shouter):
        def handle_request(self, request: str) -> str:
            return "0123456789" * 2_000_000

    with Talker() as server:
        assert do_request(server.address, "talk", PATIENCE) == "0123456789" * 2_000_000 + "\r\n"


def test_a_large_request_and_a_large_reply_cross_without_a_deadlock() -> None:
    class Talker(Shouter):
        def handle_request(self, request: str) -> str:
            return "x" * 10_000_000

    with Talker() as server:
        reply = do_request(server.address, "talk\r\n" + "y" * 20_000_000, PATIENCE)
        assert reply is not None
        assert len(reply) == 10_000_002


def test_a_client_that_comes_before_the_server_runs_is_served_when_it_does() -> None:
    server = Shouter()
    outcome = ask_in_thread(server, "early")
    raw = connect(server)
    raw.sendall(b"raw\r\n")
    assert not server.is_alive()
    with server, raw:
        assert read_all(raw) == b"RAW\r\n"
        wait_until(lambda: outcome == ["EARLY\r\n"])


# Addresses


def test_port_0_gives_a_free_port_that_the_thread_is_named_after() -> None:
    with Shouter() as server:
        assert server.port > 0
        assert server.name == f"yoton-request-server 127.0.0.1:{server.port}"
        assert server.daemon


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python was built without IPv6")
def test_an_ipv6_address_in_brackets_works() -> None:
    with RequestServer("[::1]:0") as server:
        assert server.name == f"yoton-request-server [::1]:{server.port}"
        assert do_request(f"tcp://[::1]:{server.port}", "hello") == "Requested: hello\r\n"


def test_a_text_that_is_no_address_is_an_address_error() -> None:
    with pytest.raises(AddressError):
        RequestServer("localhost")
    with pytest.raises(AddressError):
        do_request("localhost", "hello")


def test_a_port_that_is_taken_is_bind_failed_with_its_cause(shouter: Shouter) -> None:
    with pytest.raises(BindFailed, match=f"127.0.0.1:{shouter.port}") as caught:
        RequestServer(shouter.address)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70])
def test_a_host_that_does_not_exist_is_named_in_the_error(host: str) -> None:
    with pytest.raises(BindFailed, match=host) as bind_failed:
        RequestServer(f"{host}:0")
    assert bind_failed.value.__cause__ is not None
    with pytest.raises(ServerUnavailable, match=host) as unavailable:
        do_request(f"{host}:1", "hello")
    assert unavailable.value.__cause__ is not None


def test_nobody_listening_is_server_unavailable_with_its_cause() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}") as caught:
        do_request(f"localhost:{port}", "hello")
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_server_that_is_not_found_in_time_is_unavailable(
    shouter: Shouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up_slowly(*args: object, **options: object) -> object:
        time.sleep(0.05)
        return look_up(*args, **options)  # type: ignore[arg-type]

    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    with pytest.raises(ServerUnavailable, match="timed out"):
        do_request(shouter.address, "hello", 0.01)


def test_a_connection_to_itself_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class CallsFromTheCalledPort(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            self.bind(address)
            super().connect(address)

    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr(socket, "socket", CallsFromTheCalledPort)
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}"):
        do_request(f"localhost:{port}", "hello", PATIENCE)


# What do_request makes of other servers


def test_a_server_that_does_not_reply_in_time_gives_none() -> None:
    with foreign_server(lambda connection: None) as address:
        start = time.monotonic()
        assert do_request(address, "hello", 0.2) is None
        assert 0.2 <= time.monotonic() - start < SOON


def test_a_part_of_a_reply_in_time_gives_none() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"only a part\r\n")

    with foreign_server(behave) as address:
        assert do_request(address, "hello", 0.2) is None


def test_a_server_that_trickles_does_not_stretch_the_timeout() -> None:
    def behave(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b".")
                time.sleep(0.05)

    with foreign_server(behave) as address:
        start = time.monotonic()
        assert do_request(address, "hello", 0.3) is None
        assert time.monotonic() - start < SOON


def test_a_server_that_does_not_read_gives_none_in_time() -> None:
    with foreign_server(lambda connection: None) as address:
        assert do_request(address, "x" * 50_000_000, 0.2) is None


def test_the_sending_side_is_shut_down_after_the_request() -> None:
    received: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        received.append(read_all(connection))
        connection.sendall(b"got it")
        connection.shutdown(socket.SHUT_WR)

    with foreign_server(behave) as address:
        assert do_request(address, "hello", PATIENCE) == "got it"
    assert received == [b"hello\r\n"]


def test_a_server_that_closes_without_a_reply_gives_an_empty_text() -> None:
    def behave(connection: socket.socket) -> None:
        read_all(connection)
        connection.close()

    with foreign_server(behave) as address:
        assert do_request(address, "hello", PATIENCE) == ""


def test_a_broken_connection_is_connection_closed_with_its_cause() -> None:
    def behave(connection: socket.socket) -> None:
        read_all(connection)
        connection.sendall(b"a part")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()

    with foreign_server(behave) as address:
        with pytest.raises(ConnectionClosed, match=re.escape(address)) as caught:
            do_request(address, "hello", PATIENCE)
        assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_a_reply_that_comes_before_the_request_is_read_is_returned() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"too much for me\r\n")
        connection.shutdown(socket.SHUT_WR)

    with foreign_server(behave) as address:
        assert do_request(address, "x" * 20_000_000, PATIENCE) == "too much for me\r\n"


def test_a_server_that_replies_and_leaves_without_reading_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"go away\r\n")
        connection.shutdown(socket.SHUT_WR)
        connection.close()
        has_left.set()

    class WaitsUntilItHasLeft(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            assert has_left.wait(PATIENCE)
            return super().select(timeout)

    has_left = threading.Event()
    monkeypatch.setattr(selectors, "DefaultSelector", WaitsUntilItHasLeft)
    with foreign_server(behave) as address:
        assert do_request(address, "hello", PATIENCE) == "go away\r\n"


def test_a_reply_that_comes_while_the_request_is_read_is_returned() -> None:
    def behave(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    request = "0123456789" * 2_000_000 + "\r\n"
    with foreign_server(behave) as address:
        assert do_request(address, request, PATIENCE) == request


def test_a_reply_over_the_limit_is_a_protocol_error() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"12345678")
        connection.shutdown(socket.SHUT_WR)

    with foreign_server(behave) as address:
        assert do_request(address, "hello", PATIENCE, max_reply_size=8) == "12345678"
    with (
        foreign_server(behave) as address,
        pytest.raises(RemoteProtocolError, match=f"{re.escape(address)} is larger than 7 bytes"),
    ):
        do_request(address, "hello", PATIENCE, max_reply_size=7)


def test_an_endless_reply_ends_at_the_limit() -> None:
    def behave(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 100_000)

    with foreign_server(behave) as address, pytest.raises(RemoteProtocolError):
        do_request(address, "hello", max_reply_size=1_000_000)


def test_bytes_of_a_reply_that_are_no_utf8_are_replaced() -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"caf\xe9 or caf\xc3\xa9")
        connection.shutdown(socket.SHUT_WR)

    with foreign_server(behave) as address:
        assert do_request(address, "hello", PATIENCE) == "caf\ufffd or caf\u00e9"


@pytest.mark.parametrize("request_", [b"hello", None, "\ud800"])
def test_a_request_that_cannot_be_sent_is_an_encode_error(request_: str) -> None:
    with pytest.raises(EncodeError, match="request") as caught:
        do_request("localhost:1", request_)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("request_", ["GET http/1.1\r\n", "GET /page.html HTTP/1.0\r\n\r\n"])
def test_a_web_server_gives_its_whole_page(tmp_path: Path, request_: str) -> None:
    page = "".join(f"<p>line {i}</p>\r\n" for i in range(10_000))
    (tmp_path / "page.html").write_bytes(page.encode())
    (tmp_path / "http").mkdir()
    (tmp_path / "http" / "1.1").write_bytes(page.encode())

    class QuietHandler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(QuietHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), handler) as web_server:
        thread = threading.Thread(target=web_server.serve_forever, args=(0.01,))
        thread.start()
        try:
            reply = do_request(f"localhost:{web_server.server_port}", request_, PATIENCE)
        finally:
            web_server.shutdown()
            thread.join(PATIENCE)
    assert reply is not None
    assert reply.endswith(page)


# What a server makes of clients by hand


@pytest.mark.parametrize(
    "pieces",
    [
        [b"hello\r\n"],
        [b"h", b"e", b"l", b"l", b"o", b"\r", b"\n"],
        [b"hello\r", b"\n"],
        [b"hello", b"\r\n"],
        [b"hello\r\nmore\r\n"],
    ],
)
def test_a_line_in_pieces_is_one_request(shouter: Shouter, pieces: list[bytes]) -> None:
    with connect(shouter) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            raw.sendall(piece)
            time.sleep(0.01)  # so that it travels in a segment of its own
        assert read_all(raw) == b"HELLO\r\n"
    assert shouter.seen == ["hello\r\n"]


@pytest.mark.parametrize("sent", [b"hello", b"hello\r", b"hello\n"])
def test_a_client_that_ends_its_side_ends_its_request(shouter: Shouter, sent: bytes) -> None:
    with connect(shouter) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        assert read_all(raw) == sent.upper() + b"\r\n"
    assert shouter.seen == [sent.decode()]


def test_a_client_that_ends_its_side_after_a_line_gets_the_reply(shouter: Shouter) -> None:
    with connect(shouter) as raw:
        raw.sendall(b"hello\r\n")
        raw.shutdown(socket.SHUT_WR)
        assert read_all(raw) == b"HELLO\r\n"


def test_a_client_that_sends_more_lines_does_not_lose_the_reply(shouter: Shouter) -> None:
    with connect(shouter) as raw:
        raw.sendall(b"hello\r\n" + b"more\r\n" * 100_000)
        assert read_all(raw) == b"HELLO\r\n"
    assert shouter.seen == ["hello\r\n"]


def test_bytes_of_a_request_that_are_no_utf8_are_replaced(shouter: Shouter) -> None:
    with connect(shouter) as raw:
        raw.sendall(b"caf\xe9\r\n")
        assert read_all(raw) == "CAF\ufffd\r\n".encode()


def test_a_line_of_netcat_is_a_request_when_its_time_is_up() -> None:
    with Shouter(request_timeout=0.2) as server, connect(server) as raw:
        raw.sendall(b"hello\n")
        assert read_all(raw) == b"HELLO\n\r\n"


def test_a_request_cut_off_when_its_time_is_up_is_not_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Shouter(request_timeout=0.2) as server, connect(server) as raw:
        raw.sendall(b"remove /home")
        assert is_reset(raw)
        peer = "{}:{}".format(*raw.getsockname())
        assert server.seen == []
        assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"
    assert f"lost client {peer} while it was sending its request: " in caplog.text


def test_bytes_that_trickle_do_not_stretch_the_time_of_a_request() -> None:
    with Shouter(request_timeout=0.3) as server, connect(server) as raw:
        start = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while time.monotonic() - start < PATIENCE:
                raw.sendall(b".")
                time.sleep(0.02)
        assert time.monotonic() - start < SOON


def test_a_client_without_a_word_is_no_request() -> None:
    with Shouter(request_timeout=0.2) as server:
        with connect(server) as silent:
            assert read_all(silent) == b""
        with connect(server) as ended:
            ended.shutdown(socket.SHUT_WR)
            assert read_all(ended) == b""
        assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"
        assert server.seen == ["hello\r\n"]


# Clients that could harm others


def test_fifty_silent_clients_do_not_hold_up_a_real_one(shouter: Shouter) -> None:
    with contextlib.ExitStack() as stack:
        for i in range(50):
            raw = stack.enter_context(connect(shouter))
            if i % 2:
                raw.sendall(b"half a li")
        assert do_request(shouter.address, "hello", SOON) == "HELLO\r\n"


def test_a_client_over_the_limit_waits_until_a_place_is_free() -> None:
    with Shouter(request_timeout=0.3, max_clients=2) as server, contextlib.ExitStack() as stack:
        start = time.monotonic()
        for _ in range(2):
            stack.enter_context(connect(server))
        assert do_request(server.address, "hello", SOON) == "HELLO\r\n"
        assert time.monotonic() - start >= 0.3


def test_an_endless_request_is_cut_off_at_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    block = b"x" * 1_000_000
    with Shouter(request_timeout=LONG, max_request_size=5_000_000) as server:
        with connect(server) as raw, pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(100):
                raw.sendall(block)
            read_all(raw)
        assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"
        assert server.seen == ["hello\r\n"]
    assert "the request is larger than 5000000 bytes" in caplog.text


def test_a_request_over_the_limit_is_an_error_at_its_client() -> None:
    with Shouter(max_request_size=1000) as server:
        assert do_request(server.address, "x" * 998, PATIENCE) == "X" * 998 + "\r\n"
        with pytest.raises(ConnectionClosed):
            do_request(server.address, "x" * 999, PATIENCE)


class TwentyMegabytes(Shouter):
    def handle_request(self, request: str) -> str:
        return "x" * 20_000_000 if request == "much\r\n" else request


def test_a_client_that_does_not_read_its_reply_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with TwentyMegabytes(reply_timeout=0.5) as server, connect(server) as raw:
        raw.sendall(b"much\r\n")
        assert do_request(server.address, "hello", SOON) == "hello\r\n"
        wait_until(lambda: "while it was taking its reply: the time for that was up" in caplog.text)
        assert is_reset(raw), "a cut reply looked like a whole one"


def test_a_client_that_ends_its_side_and_does_not_read_does_not_make_the_server_spin() -> None:
    with TwentyMegabytes() as server, connect(server) as raw:
        raw.sendall(b"much\r\n")
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1) == b"x"
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.15
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def test_a_client_that_stays_after_its_reply_is_let_go_in_time() -> None:
    with Shouter(reply_timeout=0.2, max_clients=1) as server, connect(server) as raw:
        raw.sendall(b"hello\r\n")
        assert read_all(raw) == b"HELLO\r\n"
        assert do_request(server.address, "next", SOON) == "NEXT\r\n"


def test_a_client_that_goes_away_harms_nobody(shouter: Shouter) -> None:
    for sent in (b"", b"half", b"hello\r\n"):
        with connect(shouter) as raw:
            raw.sendall(sent)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert do_request(shouter.address, "hello", PATIENCE) == "HELLO\r\n"


# Handlers


@pytest.mark.parametrize("async_val", [False, True])
def test_an_error_in_the_handler_is_logged_and_the_client_gets_an_empty_reply(
    async_val: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Divider(Shouter):
        def handle_request(self, request: str) -> str:
            return str(1 / int(request))

    with Divider(async_val) as server:
        assert do_request(server.address, "0", PATIENCE) == ""
        assert do_request(server.address, "2", PATIENCE) == "0.5\r\n"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert server.name in record.getMessage()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"bytes", "what handle_request() returned is of type bytes, expected str"),
        (None, "what handle_request() returned is of type NoneType, expected str"),
        ("\ud800", "what handle_request() returned has no UTF-8 form"),
    ],
)
def test_a_reply_that_is_no_text_is_logged(
    reply: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Shouter):
        def handle_request(self, request: str) -> str:
            return reply

    with Odd() as server:
        assert do_request(server.address, "hello", PATIENCE) == ""
    assert complaint in caplog.text


def test_requests_are_handled_one_at_a_time_in_the_servers_thread() -> None:
    class Counter(Shouter):
        busy = 0

        def handle_request(self, request: str) -> str:
            self.busy += 1
            time.sleep(0.01)
            seen, self.busy = self.busy, 0
            return f"{seen} {threading.current_thread().name}"

    with Counter() as server:
        outcomes = [ask_in_thread(server, "hello") for _ in range(10)]
        wait_until(lambda: all(outcomes))
        assert outcomes == [[f"1 {server.name}\r\n"]] * 10


def test_a_slow_handler_does_not_hold_up_the_reading_of_other_clients() -> None:
    with Blocker(request_timeout=0.3) as server:
        first = ask_in_thread(server, "block")
        wait_until(lambda: server.seen)
        with connect(server) as cut, connect(server) as whole:
            whole.sendall(b"whole\r\n")
            cut.sendall(b"cut")
            assert is_reset(cut)
            server.release.set()
            assert read_all(whole) == b"WHOLE\r\n"
        wait_until(lambda: first == ["BLOCK\r\n"])


def test_with_async_val_requests_are_handled_at_the_same_time() -> None:
    class Meeting(Shouter):
        barrier = threading.Barrier(5)

        def handle_request(self, request: str) -> str:
            self.barrier.wait(PATIENCE)
            return threading.current_thread().name

    with Meeting(True) as server:
        outcomes = [ask_in_thread(server, "hello") for _ in range(5)]
        wait_until(lambda: all(outcomes))
        name = f"yoton-request-handler 127.0.0.1:{server.port}\r\n"
        assert outcomes == [[name]] * 5


def test_with_async_val_the_number_of_threads_is_bounded() -> None:
    with Blocker(True, max_clients=3) as server:
        outcomes = [ask_in_thread(server, "block") for _ in range(10)]
        wait_until(lambda: len(server.seen) == 3)
        assert sum("handler" in name for name in our_threads()) == 3
        server.release.set()
        wait_until(lambda: all(outcomes))
        assert outcomes == [["BLOCK\r\n"]] * 10


def test_a_want_of_threads_refuses_a_request_but_not_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Shouter(True) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ConnectionClosed):
                do_request(server.address, "hello", PATIENCE)
        assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"
    assert "can't start new thread" in caplog.text


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_logs_each_accepted_connection(
    verbose: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yoton")
    with Shouter(False, verbose) as server, connect(server) as raw:
        raw.sendall(b"hello\r\n")
        read_all(raw)
        peer = "{}:{}".format(*raw.getsockname())
    expected = [f"{server.name}: accepted a connection from {peer}"] if verbose else []
    assert [record.getMessage() for record in caplog.records] == expected


# Starting and stopping


def assert_stopped(server: Shouter) -> None:
    assert not server.is_alive()
    with pytest.raises(ServerUnavailable):
        do_request(server.address, "hello", PATIENCE)
    RequestServer(server.address).stop()


def test_stop_frees_the_port_and_joins_without_delay() -> None:
    server = Shouter()
    server.start()
    assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"
    start = time.monotonic()
    server.stop()
    assert time.monotonic() - start < 0.9, "stop() waited out a deadline"
    assert_stopped(server)
    assert server.name not in our_threads()


def test_stop_may_be_called_again() -> None:
    with Shouter() as server:
        server.stop()
        server.stop()
    assert_stopped(server)


def test_stop_before_start_frees_the_port_and_run_returns_at_once() -> None:
    server = Shouter()
    server.stop()
    assert_stopped(server)
    server.run()
    server.start()
    server.join(PATIENCE)
    assert_stopped(server)


def test_stop_while_clients_hang_lets_them_go(caplog: pytest.LogCaptureFixture) -> None:
    server = TwentyMegabytes(request_timeout=LONG, reply_timeout=LONG)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(4)]
        silent, half, unread, replied = clients
        stack.enter_context(server)
        half.sendall(b"half a li")
        unread.sendall(b"much\r\n")
        assert unread.recv(1) == b"x"
        replied.sendall(b"hello\r\n")
        assert replied.recv(1) == b"h"
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < SOON
        assert_stopped(server)
        assert is_reset(silent)
        assert is_reset(half)
        assert is_reset(unread), "a cut reply looked like a whole one"
        assert read_all(replied) == b"ello\r\n"
    lost = [record.getMessage() for record in caplog.records]
    assert len(lost) == 1, "only a client that misses a part of its reply is lost"
    assert "while it was taking its reply: the server stopped" in lost[0]


def test_stop_lets_the_request_in_hand_finish_and_refuses_the_waiting_ones() -> None:
    with Blocker() as server:
        in_hand = ask_in_thread(server, "block")
        wait_until(lambda: server.seen)
        with connect(server) as waiting:
            waiting.sendall(b"waiting\r\n")
            wait_until_server_has_read(server)
            threading.Timer(0.1, server.release.set).start()
            server.stop()
            wait_until(lambda: in_hand == ["BLOCK\r\n"])
            assert is_reset(waiting)
        assert server.seen == ["block\r\n"]
        assert_stopped(server)


def test_stop_does_not_wait_for_a_stuck_handler_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Blocker() as server:
        stuck = ask_in_thread(server, "block")
        wait_until(lambda: server.seen)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < SOON
        assert "handle_request() has not returned yet" in caplog.text
        RequestServer(server.address).stop()
        wait_until(lambda: stuck)
        assert isinstance(stuck[0], ConnectionClosed)
        server.release.set()
        server.join(PATIENCE)
        assert_stopped(server)


@pytest.mark.parametrize("async_val", [False, True])
def test_a_handler_may_stop_its_server_and_still_reply(async_val: bool) -> None:
    class Quitter(Shouter):
        stopped_in = 0.0

        def handle_request(self, request: str) -> str:
            start = time.monotonic()
            self.stop()
            self.stopped_in = time.monotonic() - start
            RequestServer(self.address).stop()  # the port is free
            return "bye"

    with Quitter(async_val) as server:
        assert do_request(server.address, "quit", PATIENCE) == "bye\r\n"
        assert server.stopped_in < 0.9, "stop() waited for its own thread"
        wait_until(lambda: not server.is_alive())
        assert_stopped(server)


def test_run_serves_in_the_calling_thread_until_stopped() -> None:
    server = Shouter()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert_stopped(server)


def test_a_running_server_cannot_be_run_again(shouter: Shouter) -> None:
    assert do_request(shouter.address, "hello", PATIENCE) == "HELLO\r\n"
    with pytest.raises(LocalUsageError, match="running already"):
        shouter.run()
    assert do_request(shouter.address, "hello", PATIENCE) == "HELLO\r\n"


@pytest.mark.parametrize(
    "option", ["request_timeout", "reply_timeout", "max_request_size", "max_clients"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_must_be_larger_than_0(option: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=option):
        Shouter(**{option: value})


def test_fifty_servers_leave_no_thread_and_no_descriptor_behind() -> None:
    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/dev/fd"))

    def serve_once() -> None:
        with Shouter() as server:
            assert do_request(server.address, "hello", PATIENCE) == "HELLO\r\n"

    serve_once()
    before = descriptors()
    for _ in range(50):
        serve_once()
    assert our_threads() == []
    assert descriptors() <= before


# In a process of their own


@contextlib.contextmanager
def python(code: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a new Python; it is ended at the end."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupt(process: subprocess.Popen[str]) -> str:
    """Send it a Ctrl-C that has to end it; returns what it wrote on stderr."""
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - start < SOON
    return errors


def test_ctrl_c_ends_a_do_request_that_waits() -> None:
    code = """if True:
        import sys
        from yoton.clientserver import do_request
        do_request(sys.argv[1], "hello")
    """
    with Blocker() as server:
        server_address = server.address
        with python(code.replace("hello", "block"), server_address) as process:
            wait_until(lambda: server.seen)
            assert "KeyboardInterrupt" in interrupt(process)
        server.release.set()


RUN = """if True:
    import sys, threading
    from yoton.clientserver import RequestServer

    class Server(RequestServer):
        def handle_request(self, request):
            if request == "block\\r\\n":
                print("handling")
                threading.Event().wait()
            return request

    server = Server("localhost:0")
    print(server.port)
    try:
        server.run()
    finally:
        RequestServer(f"localhost:{server.port}").stop()
        print("port is free,", threading.active_count(), "thread")
"""


@pytest.mark.parametrize("is_handling", [False, True])
def test_ctrl_c_ends_run_and_leaves_the_port_free(is_handling: bool) -> None:
    with python(RUN) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert do_request(f"localhost:{port}", "it runs", PATIENCE) == "it runs\r\n"
        with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as raw:
            if is_handling:
                raw.sendall(b"block\r\n")
                assert process.stdout.readline() == "handling\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "port is free, 1 thread\n"
            assert is_reset(raw)
        _, errors = process.communicate(timeout=PATIENCE)
        assert "KeyboardInterrupt" in errors


def test_a_signal_handler_may_stop_the_server_that_it_interrupts() -> None:
    code = """if True:
        import signal
        from yoton.clientserver import RequestServer
        server = RequestServer("localhost:0")
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        print(server.port)
        server.run()
        RequestServer(f"localhost:{server.port}").stop()
        print("port is free")
    """
    with python(code) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert do_request(f"localhost:{port}", "it runs", PATIENCE)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
        assert (output, errors) == ("port is free\n", "")


def test_a_want_of_descriptors_passes_without_harm_and_without_spinning() -> None:
    code = """if True:
        import os, resource, socket, time
        from yoton.clientserver import RequestServer
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
        with RequestServer("localhost:0", request_timeout=1000) as server:
            client = socket.socket()
            taken = []
            try:
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"hello\\r\\n")
            before = time.process_time()
            time.sleep(0.3)
            assert time.process_time() - before < 0.15, "it spins"
            for descriptor in taken:
                os.close(descriptor)
            print(client.recv(100))
            client.close()
    """
    with python(code) as process:
        output, errors = process.communicate(timeout=PATIENCE)
        assert output == "b'Requested: hello\\r\\n'\n"
        assert errors.count("cannot accept") >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_keeps_neither_the_port_nor_a_client() -> None:
    code = """if True:
        import os, socket, sys, warnings
        from yoton.clientserver import RequestServer, do_request
        warnings.simplefilter("ignore", DeprecationWarning)
        reader, writer = os.pipe()
        with RequestServer("localhost:0", request_timeout=1000) as server:
            address = f"localhost:{server.port}"
            client = socket.create_connection(("127.0.0.1", server.port))
            assert do_request(address, "one") == "Requested: one\\r\\n"
            child = os.fork()
            if child == 0:
                client.close()
                server.stop()
                os.write(writer, b"stopped")
                os.read(0, 1)
                os._exit(0)
            assert os.read(reader, 100) == b"stopped"
            assert do_request(address, "two") == "Requested: two\\r\\n"
            client.sendall(b"three\\r\\n")
            assert client.recv(100) == b"Requested: three\\r\\n"
            client.close()
        print(server.port)
        sys.stdin.read(1)
        os._exit(0)
    """
    # The parent is gone while the child, which waits for stdin, still lives.
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with pytest.raises(ServerUnavailable):
            do_request(f"localhost:{port}", "hello", PATIENCE)
        RequestServer(f"localhost:{port}").stop()


def test_the_example_runs_and_ends_by_itself() -> None:
    example = Path(__file__).parents[2] / "examples" / "request_server.py"
    output = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    assert output.splitlines() == [
        "0: 0 C is 32 F",
        "37.5: 37.5 C is 99.5 F",
        "-40: -40 C is -40 F",
        "warm: 'warm' is no temperature",
    ]

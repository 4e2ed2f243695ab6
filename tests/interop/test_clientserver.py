"""RequestServer and do_request with those of the yoton inside Pyzo, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support import PATIENCE, wait_until

from yoton.clientserver import RequestServer, do_request
from yoton.exceptions import ServerUnavailable

# What both servers have to make of the same requests. The reply "rows" has several lines.
REQUESTS = ["hello", "hello\r\n", "", "h\u00e9llo \U0001f40d", "one\ntwo", "rows", "x" * 100_000]
ROWS = "one\ntwo\nthree"

SERVER = f"""if True:
    import socket, sys
    import yoton

    class Server(yoton.RequestServer):
        def handle_request(self, request):
            if request == "error\\r\\n":
                raise ValueError("as asked for")
            return {ROWS!r} if request == "rows\\r\\n" else request.upper()

    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    server = Server("localhost:%d" % port, sys.argv[1] == "True")
    server.start()
    print(port)
    sys.stdin.read()
"""

CLIENT = """if True:
    import json, sys
    import yoton

    for line in sys.stdin:
        print(json.dumps(yoton.do_request(sys.argv[1], json.loads(line), 10.0)))
"""


class Shouter(RequestServer):
    def handle_request(self, request: str) -> str:
        if request == "error\r\n":
            raise ValueError("as asked for")
        return ROWS if request == "rows\r\n" else request.upper()


def expected_reply(request: str) -> str:
    return (ROWS if request == "rows" else request.upper().removesuffix("\r\n")) + "\r\n"


@contextlib.contextmanager
def pyzo_yoton(code: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a new Python in which ``import yoton`` gives the one inside Pyzo."""
    pyzo = importlib.util.find_spec("pyzo")
    assert pyzo is not None
    assert pyzo.submodule_search_locations is not None
    path = next(iter(pyzo.submodule_search_locations))
    with subprocess.Popen(
        [sys.executable, "-u", "-c", f"import sys; sys.path.insert(0, {path!r})\n{code}", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextlib.contextmanager
def pyzo_server(async_val: bool) -> Iterator[str]:
    """Run a server of Pyzo's yoton; gives its address once it listens."""
    with pyzo_yoton(SERVER, str(async_val)) as process:
        address = f"localhost:{int(read_line(process))}"
        wait_until(lambda: listens(address))
        yield address


def listens(address: str) -> bool:
    try:
        return do_request(address, "there?", PATIENCE) == "THERE?\r\n"
    except ServerUnavailable:
        return False


@pytest.mark.parametrize("async_val", [False, True])
def test_our_request_at_their_server(async_val: bool) -> None:
    with pyzo_server(async_val) as address:
        for request in REQUESTS:
            assert do_request(address, request, PATIENCE) == expected_reply(request)


def test_an_error_in_their_handler_is_no_reply_in_time_here() -> None:
    with pyzo_server(False) as address:
        # It keeps the connection until it accepts the next one.
        assert do_request(address, "error", 0.3) is None
        assert do_request(address, "next", PATIENCE) == "NEXT\r\n"


def ask(process: subprocess.Popen[str], request: str) -> object:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return json.loads(read_line(process))


@pytest.mark.parametrize("async_val", [False, True])
def test_their_request_at_our_server(async_val: bool) -> None:
    with (
        Shouter("localhost:0", async_val) as server,
        pyzo_yoton(CLIENT, f"localhost:{server.port}") as process,
    ):
        for request in REQUESTS:
            assert ask(process, request) == expected_reply(request)


def test_an_error_in_our_handler_is_an_empty_reply_there() -> None:
    with (
        Shouter("localhost:0") as server,
        pyzo_yoton(CLIENT, f"localhost:{server.port}") as process,
    ):
        assert ask(process, "error") == ""
        assert ask(process, "next") == "NEXT\r\n"


def test_their_client_that_takes_the_first_line_only_does_not_harm_our_server() -> None:
    class Poet(RequestServer):
        def handle_request(self, request: str) -> str:
            return "first\r\n" + "more\r\n" * 1_000_000

    with (
        Poet("localhost:0") as server,
        pyzo_yoton(CLIENT, f"localhost:{server.port}") as process,
    ):
        assert ask(process, "recite") == "first\r\n"
        assert ask(process, "recite") == "first\r\n"

"""Another process with a yoton: the one inside Pyzo, or ours.

Pyzo's is used as a black box: a child process (`peer_process`) runs the Python that a test
gives it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support import PATIENCE, wait_until

from yoton import Connection, Context, process_events
from yoton.clock import Deadline

_SCRIPT = Path(__file__).with_name("peer_process.py")
_READ_SIZE = 2**16
_MAX_OUTPUT = 2**20


def _directory_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


#: Where Pyzo is; the yoton in it can be imported with this on the path.
PYZO = _directory_of("pyzo")

#: What has to be on the path for our yoton.
OURS = (_directory_of("yoton").parent, _directory_of("msgpack").parent)

#: The two ways to make a connection; the other end connects.
BINDERS = ("we bind", "they bind")


class Peer:
    """A process with a yoton; a context manager that ends it.

    Its code runs in one namespace, with ``yoton``, ``time`` and ``threading`` imported and a
    ``context`` made. Between two commands the event loop runs there, so handlers are called.

    Parameters
    ----------
    path : sequence of Path
        The directories in which modules are looked for; default: those of Pyzo.
    """

    def __init__(self, path: Sequence[Path] = (PYZO,)) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        # Without site-packages a Python starts in 20 ms, not 60.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-u", str(_SCRIPT), *map(str, path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._unread = b""
        try:
            self.run("context = yoton.Context()")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.kill()
        self._stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._log.close()

    def run(self, code: str, **values: object) -> Any:
        """Run code and get the value of its last statement, if that is an expression.

        Values, given by their names, have to be literals of Python, and so has the result, or
        None comes instead.
        """
        self.start(code, **values)
        return self.result()

    def start(self, code: str, **values: object) -> None:
        """Have code run meanwhile; `result` has to follow."""
        command = {
            "code": textwrap.dedent(code),
            "values": {name: repr(value) for name, value in values.items()},
        }
        self._stdin.write(json.dumps(command).encode() + b"\n")
        self._stdin.flush()

    def result(self) -> Any:
        """Wait for the end of what was started; an AssertionError if it failed."""
        answer = json.loads(self._read_line())
        if "error" in answer:
            raise AssertionError(f"{answer['error']}\n{self.output()}")
        return ast.literal_eval(answer["result"])

    def wait_until(self, condition: str, **values: object) -> None:
        """Wait until an expression is true there."""
        wait_until(lambda: self.run(condition, **values), condition)

    def exit(self) -> None:
        """Have Python end as it does at the end of a script."""
        self._stdin.close()
        self._process.wait(PATIENCE)

    def freeze(self) -> None:
        """Have the process stand still until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it run again."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it with no chance to say goodbye."""
        self._process.kill()
        self._process.wait()

    def output(self) -> str:
        """Get what it printed so far."""
        return os.pread(self._log.fileno(), _MAX_OUTPUT, 0).decode("utf-8", "replace")

    def _read_line(self) -> bytes:
        deadline = Deadline(PATIENCE)
        chunks = [self._unread]
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while b"\n" not in chunks[-1]:
                if not selector.select(deadline.remaining()):
                    raise AssertionError(f"no answer from the other process: {self.output()}")
                chunks.append(os.read(self._stdout.fileno(), _READ_SIZE))
                if not chunks[-1]:
                    raise AssertionError(f"the other process has ended: {self.output()}")
        line, _, self._unread = b"".join(chunks).partition(b"\n")
        return line


class Link(NamedTuple):
    """Our context and a peer that are connected, and our side of the connection."""

    ours: Context
    theirs: Peer
    connection: Connection


def connect(ours: Context, peer: Peer, binder: str, name: str = "") -> Connection:
    """Connect our context and that of a peer; there the connection is named ``connection``."""
    connection: Connection
    if binder == "we bind":
        connection = ours.bind("localhost:0", name=name)
        peer.run(
            "connection = context.connect(address, 5.0)", address=f"localhost:{connection.port1}"
        )
        wait_until(lambda: connection.is_connected, "connected")
    else:
        connection = ours.connect(f"localhost:{bind(peer)}", PATIENCE, name)
        peer.wait_until("connection.is_connected")
    return connection


def bind(peer: Peer) -> int:
    """Have the context of a peer wait for another one; gives the port."""
    port: int = peer.run("connection = context.bind('localhost:0'); connection.port1")
    return port


def connect_peers(binder: Peer, connector: Peer) -> None:
    """Connect the contexts of two peers."""
    connector.run("context.connect(address, 5.0)", address=f"localhost:{bind(binder)}")
    binder.wait_until("connection.is_connected")


def wait_with_events(condition: Callable[[], object], what: str = "") -> None:
    """Wait until condition() is true, with our event loop running meanwhile."""

    def look() -> object:
        process_events(False)
        return condition()

    wait_until(look, what)

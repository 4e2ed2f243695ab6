"""The public names, and what importing them does."""

from __future__ import annotations

import concurrent.futures
import inspect
import subprocess
import sys
import types

import pytest

import yoton
from yoton import exceptions

#: The names of the manual.
MANUAL = [
    "Context",
    "Connection",
    "TcpConnection",
    "ConnectionCollection",
    "PubChannel",
    "SubChannel",
    "ReqChannel",
    "RepChannel",
    "StateChannel",
    "BaseChannel",
    "select_sub_channel",
    "FileWrapper",
    "SimpleSocket",
    "Future",
    "CancelledError",
    "TimeoutError",
    "MessageType",
    "TEXT",
    "BINARY",
    "OBJECT",
    "Package",
    "UID",
    "Signal",
    "Timer",
    "Event",
    "app",
    "call_later",
    "process_events",
    "start_event_loop",
    "stop_event_loop",
    "embed_event_loop",
    "RequestServer",
    "do_request",
]


def test_the_names_of_the_manual_are_there():
    assert set(MANUAL) <= set(yoton.__all__)


def test_all_tells_the_public_names():
    public = {
        name
        for name in dir(yoton)
        if not name.startswith("_") and not isinstance(getattr(yoton, name), types.ModuleType)
    }
    assert set(yoton.__all__) == public | {"__version__"}


def test_all_exceptions_are_public_and_of_one_tree():
    tree = [value for value in vars(exceptions).values() if inspect.isclass(value)]
    assert all(issubclass(value, yoton.YotonError) for value in tree)
    assert {value.__name__ for value in tree} <= set(yoton.__all__)


def test_the_errors_of_futures_are_those_of_the_standard_library():
    assert yoton.CancelledError is concurrent.futures.CancelledError
    assert yoton.TimeoutError is concurrent.futures.TimeoutError


def test_the_packages_can_be_imported_by_themselves():
    for name in ("clientserver", "channels", "connection", "events"):
        assert isinstance(getattr(yoton, name), types.ModuleType)


def run(code):
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


def test_importing_starts_no_thread_and_opens_nothing():
    run(
        "import os, threading; before = os.listdir('/proc/self/fd') if os.path.exists('/proc')"
        " else []\n"
        "import yoton\n"
        "assert threading.active_count() == 1\n"
        "assert not before or os.listdir('/proc/self/fd') == before\n"
    )


def test_what_stands_beside_is_imported_by_its_use():
    for use in ("yoton.RequestServer", "yoton.do_request", "yoton.clientserver.Request"):
        run(f"import yoton, sys; assert 'yoton.clientserver' not in sys.modules; {use}")
    run("from yoton import *; assert RequestServer and do_request")


def test_there_is_nothing_by_other_names():
    with pytest.raises(AttributeError, match="module 'yoton' has no attribute 'Broker'"):
        yoton.Broker  # noqa: B018


def test_importing_a_part_first_works():
    for name in ("yoton.connection", "yoton.channels", "yoton.events", "yoton.clientserver"):
        run(f"import {name}")


def test_no_module_is_imported_later():
    run(
        "import yoton, sys\n"
        "before = set(sys.modules)\n"
        "class Rep(yoton.RepChannel):\n"
        "    def add(self, a, b): return a + b\n"
        "a, b = yoton.Context(), yoton.Context()\n"
        "rep, req = Rep(a, 'calc'), yoton.ReqChannel(b, 'calc')\n"
        "rep.set_mode('thread')\n"
        "connection = a.bind('localhost:0')\n"
        "b.connect(f'localhost:{connection.port1}')\n"
        "assert req.add(3, 4).result(20) == 7\n"
        "pub = yoton.PubChannel(a, 's', yoton.OBJECT)\n"
        "sub = yoton.SubChannel(b, 's', yoton.OBJECT)\n"
        "pub.send({'a': (1, 2)})\n"
        "assert sub.recv(20) == {'a': (1, 2)}\n"
        "yoton.Timer(0.01).start()\n"
        "a.close(); b.close()\n"
        "yoton.process_events(0.1)\n"
        "later = {name for name in set(sys.modules) - before if not name.startswith('encodings')}\n"
        "assert not later, later\n"
    )

"""What the tests share: waits with a deadline, connected contexts, and forked children."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable

from yoton.context import Context

#: Long enough for a loaded machine: only a failing test waits this long.
PATIENCE = 20.0
_STEP = 0.002


def wait_until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until condition() is true; an AssertionError says what did not happen."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {PATIENCE} s: {what or condition}")
        time.sleep(_STEP)


def connect(binder: Context, connector: Context) -> None:
    """Connect two contexts over TCP; returns when both know."""
    connection = binder.bind("localhost:0")
    connector.connect(f"localhost:{connection.port1}")
    wait_until(lambda: connection.is_connected, "the binding end notices the peer")


def run_in_child(func: Callable[[], object]) -> None:
    """Run func in a forked child and fail if it does."""
    pid = os.fork()
    if pid == 0:
        try:
            func()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0

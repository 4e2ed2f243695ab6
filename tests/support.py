"""What the tests share: waiting with a deadline instead of sleeping, and connected contexts."""

from __future__ import annotations

import time
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

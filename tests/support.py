"""What the tests share: waiting for a condition with a deadline, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable

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

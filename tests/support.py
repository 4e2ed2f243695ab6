"""What the tests share: waits with a deadline, connected contexts, and forked children."""

from __future__ import annotations

import itertools
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yoton.channels import PubChannel, SubChannel
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


class Places:
    """Gives addresses where nobody listens yet.

    Attributes
    ----------
    transport : str
        "tcp", "unix" or "memory".
    folder : Path
        Where to put sockets; its path has to be short.
    """

    transport = "tcp"
    folder = Path()

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """Get one more."""
        if self.transport == "tcp":
            return "localhost:0"
        number = next(self._numbers)
        return (
            f"unix://{self.folder}/{number}" if self.transport == "unix" else f"memory://{number}"
        )


#: Where contexts are connected that do not say where.
places = Places()


def connect(binder: Context, connector: Context) -> None:
    """Connect two contexts; returns when both know."""
    address = places.new()
    connection = binder.bind(address)
    connector.connect(address.replace(":0", f":{connection.port1}"))
    wait_until(lambda: connection.is_connected, "the binding end notices the peer")


def have_declined(pub: PubChannel, *contexts: Context) -> None:
    """Send what nobody wants until all of some contexts send it no more."""
    slot = pub._slot_number_out

    def is_declined() -> bool:
        pub.send("in vain")
        return all(slot in context._interest.declined_by for context in contexts)

    wait_until(is_declined)


def receive_wanted(sub: SubChannel) -> Any:
    """Receive the next message but for those of `have_declined`: some may be on their way still."""
    while (message := sub.recv(PATIENCE)) == "in vain":
        pass
    return message


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
    try:
        _, status = os.waitpid(pid, 0)
    except BaseException:
        # The test is over: one that hangs would do so for ever.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    assert os.waitstatus_to_exitcode(status) == 0

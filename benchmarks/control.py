"""What the processes of one run tell each other, apart from what is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import IO, Any


class Control:
    """A line of JSON per message, both ways, over the pipes of a child process."""

    def __init__(self, incoming: IO[str], outgoing: IO[str]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    def tell(self, value: Any) -> None:
        """Say something to the other process."""
        self._outgoing.write(json.dumps(value) + "\n")
        self._outgoing.flush()

    def hear(self) -> Any:
        """Wait for what the other process says.

        Raises
        ------
        EOFError
            It has ended.
        """
        line = self._incoming.readline()
        if not line:
            raise EOFError("the other process of this run has ended")
        return json.loads(line)


def control_of_parent() -> Control:
    """Get the way to the process that started this one; print() goes to stderr from now on."""
    outgoing = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Control(sys.stdin, outgoing)


def start_child(
    peer: str, workload: str, role: str, options: dict[str, Any], is_leader: bool = False
) -> subprocess.Popen[str]:
    """Start a process that takes a role in a run; a leader can be ended with all its children."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.child", peer, workload, role, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=is_leader,
    )


def control_of_child(child: subprocess.Popen[str]) -> Control:
    """Get the way to a process that was started by `start_child`."""
    assert child.stdin is not None
    assert child.stdout is not None
    return Control(child.stdout, child.stdin)

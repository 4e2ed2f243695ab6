"""What travels in the network of a kernel: the slots, and the messages on them.

====================  =======================  ====================  ========================
slot                  pattern                  from                  message
====================  =======================  ====================  ========================
cells                 pub/sub, OBJECT          clients               `Cell`
stdin                 pub/sub, TEXT            clients               a line
stdout, stderr        pub/sub, TEXT            kernel                text
cell-events           pub/sub, OBJECT          kernel                `CellEvent`
interpreter           state, TEXT              kernel                idle, busy or input
introspection         req/rep                  kernel replies        see kernel.py
raw-stdout            pub/sub, TEXT            broker                text
raw-stderr            pub/sub, TEXT            broker                text
process               state, OBJECT            broker                `ProcessStatus`
control               req/rep                  broker replies        see broker.py
====================  =======================  ====================  ========================

What one process sends arrives in the order in which it was sent, over all channels. So all
that a cell printed has come when its "finished" does, and all that a kernel said has come when
the broker tells of its end. What the kernel process writes past Python's sys.stdout, as C code
does, takes the way through a pipe and the broker, and may come a little later than "finished".
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

CELLS = "cells"
STDIN = "stdin"
STDOUT = "stdout"
STDERR = "stderr"
CELL_EVENTS = "cell-events"
INTERPRETER = "interpreter"
INTROSPECTION = "introspection"
RAW_STDOUT = "raw-stdout"
RAW_STDERR = "raw-stderr"
PROCESS = "process"
CONTROL = "control"

#: On stdin: what a terminal sends for Ctrl-D. The kernel's input() raises EOFError.
END_OF_INPUT = "\x04"

CellStage: TypeAlias = Literal["ready", "started", "input", "finished", "lost"]
ProcessPhase: TypeAlias = Literal["starting", "running", "ended"]


class Cell(TypedDict):
    """Code to run.

    run is the number of the kernel process it is meant for: a cell that was sent to a process
    that has died must not be run by its successor. A script has its file name and the list of
    its arguments; a cell has "" and None there.
    """

    id: str
    run: int
    source: str
    filename: str
    argv: list[str] | None


class CellEvent(TypedDict):
    """What becomes of a cell.

    It is "started", may want "input" again and again, and is "finished"; then error is the name
    of the exception that ended it, or "". If the process ends before, a kernel cannot tell: it
    is the client that finds the cell "lost". A kernel that can run cells says that it is "ready",
    with an empty id.
    """

    id: str
    run: int
    what: CellStage
    error: str


class ProcessStatus(TypedDict):
    """How the kernel process is.

    run counts the starts. exit_code is that of the process, if it has ended: what it gave to
    sys.exit, or minus the number of the signal that killed it.
    """

    phase: ProcessPhase
    run: int
    pid: int
    exit_code: int | None

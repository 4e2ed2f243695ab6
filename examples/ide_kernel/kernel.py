"""The kernel: a process that runs the code of clients.

A broker starts it, as ``python -m examples.ide_kernel.kernel ADDRESS RUN``. Code runs in the
main thread, one cell after the other. The threads of yoton answer questions meanwhile.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import inspect
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

import yoton
from examples.ide_kernel import slots
from examples.ide_kernel.execution import Interpreter
from examples.ide_kernel.introspection import Completion, Description, complete, describe_call

#: Characters in one message of output. A text of any size can be printed, but clients show
#: something before all of it has come.
OUTPUT_CHUNK = 2**16

#: Seconds after which a thread that computes lets another one have its turn. An answer to a
#: question takes a few turns; Python's usual 5 ms for each would be felt by who types.
SWITCH_INTERVAL = 0.001

#: How a shell tells that a process was ended by a signal.
EXIT_BY_SIGNAL = 128


class Introspection(yoton.RepChannel):
    """Answers questions about the code and its names, while code runs."""

    def __init__(self, context: yoton.Context, namespace: dict[str, object]) -> None:
        super().__init__(context, slots.INTROSPECTION)
        self._namespace = namespace

    @yoton.export
    def complete(self, source: str, position: int) -> Completion:
        """See `introspection.complete`."""
        return complete(source, position, self._namespace)

    @yoton.export
    def describe_call(self, source: str, position: int) -> Description | None:
        """See `introspection.describe_call`."""
        return describe_call(source, position, self._namespace)


class InputChannel(yoton.SubChannel):
    """Brings the lines for sys.stdin.

    Parameters
    ----------
    waiting : callable
        Gives a context manager, which is entered while somebody waits for a line.
    """

    def __init__(
        self,
        context: yoton.Context,
        waiting: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        super().__init__(context, slots.STDIN)
        self._waiting = waiting

    def recv(self, block: bool | float | None = True) -> str:
        if self.pending or block is False:
            line = str(super().recv(block))
        else:
            with self._waiting():
                line = str(super().recv(block))
        return "" if line.rstrip("\n") == slots.END_OF_INPUT else line


class Kernel:
    """Runs cells, and tells what becomes of them.

    Parameters
    ----------
    context : Context
        The kernel's node.
    run : int
        The number of this process among those that the broker has started.
    """

    def __init__(self, context: yoton.Context, run: int) -> None:
        self._run = run
        self._cell_id = ""
        self._cell_count = 0
        self._cells = yoton.SubChannel(context, slots.CELLS, yoton.OBJECT)
        self._events = yoton.PubChannel(context, slots.CELL_EVENTS, yoton.OBJECT)
        self._state = yoton.StateChannel(context, slots.INTERPRETER)
        self._stdin = yoton.FileWrapper(InputChannel(context, self._waiting_for_input))
        self._stdout = yoton.FileWrapper(yoton.PubChannel(context, slots.STDOUT), OUTPUT_CHUNK)
        self._stderr = yoton.FileWrapper(yoton.PubChannel(context, slots.STDERR), OUTPUT_CHUNK)
        # print() and input() lead into FileWrapper.
        self._interpreter = Interpreter({__file__, inspect.getfile(yoton.FileWrapper)})
        self._introspection = Introspection(context, self._interpreter.namespace)

    def replace_streams(self) -> None:
        """Become the place that the code of this process runs in."""
        sys.stdin, sys.stdout, sys.stderr = self._stdin, self._stdout, self._stderr
        sys.modules["__main__"] = self._interpreter.module
        sys.argv = [""]

    def serve(self) -> None:
        """Run the cells that come, until one of them ends the process by SystemExit."""
        self._introspection.set_mode("thread")
        self._state.send("idle")
        self._tell("", "ready")
        while True:
            cell = self._cells.recv()
            if cell["run"] == self._run:
                self._run_cell(cell)

    def interrupt(self, signum: int, frame: types.FrameType | None) -> None:
        """Handle SIGINT; it may come when no code runs yet, or none any more."""
        self._interpreter.interrupt(frame)

    def _run_cell(self, cell: slots.Cell) -> None:
        self._interpreter.prepare()  # before others know that there is something to interrupt
        self._cell_id = cell["id"]
        self._state.send("busy")
        self._tell(cell["id"], "started")
        error = SystemExit.__name__
        try:
            error = self._execute(cell)
        finally:
            self._cell_id = ""
            # Before the end is told, as who hears of that may look at the state; and both after
            # all that the cell has printed, as the packages of a context arrive in order.
            self._state.send("idle")
            self._tell(cell["id"], "finished", error)

    def _execute(self, cell: slots.Cell) -> str:
        if cell["argv"] is None:
            self._cell_count += 1
            return self._interpreter.run_cell(cell["source"], f"<cell {self._cell_count}>")
        return self._interpreter.run_script(cell["source"], cell["filename"], cell["argv"])

    @contextlib.contextmanager
    def _waiting_for_input(self) -> Iterator[None]:
        state = self._state.recv()
        self._state.send("input")
        self._tell(self._cell_id, "input")
        try:
            yield
        finally:
            self._state.send(state)

    def _tell(self, cell_id: str, what: slots.CellStage, error: str = "") -> None:
        self._events.send(slots.CellEvent(id=cell_id, run=self._run, what=what, error=error))


def _terminate(signum: int, frame: types.FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is done at the end is done in peace
    raise SystemExit(EXIT_BY_SIGNAL + signum)


def _end_without_broker(connection: yoton.Connection, reason: str) -> None:
    """End this process and all it has started, whatever they are doing."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _watch(connection: yoton.Connection) -> None:
    """Have the process end when the connection to the broker ends before it."""
    connection.closed.bind(_end_without_broker)
    atexit.register(connection.closed.unbind)
    threading.Thread(target=yoton.start_event_loop, name="kernel-events", daemon=True).start()
    if not connection.is_connected:  # it was so quick that nobody told
        _end_without_broker(connection, "")


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGTERM, _terminate)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # Where C code crashes, this tells the line of Python, on the raw stderr.
    faulthandler.enable(all_threads=False)
    address, run = arguments
    context = yoton.Context(name="kernel")
    # Before it connects: a message for which there is no channel yet is gone.
    kernel = Kernel(context, int(run))
    signal.signal(signal.SIGINT, kernel.interrupt)
    _watch(context.connect(address))
    kernel.replace_streams()
    # At its end, the interpreter runs what the code has registered with atexit, then yoton
    # closes the context: what is printed until then still arrives.
    kernel.serve()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Pyzo's own programs on this yoton: its kernel, as a process, and its whole IDE."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from interop.peer import OURS, PYZO, Peer, wait_with_events
from support import PATIENCE, wait_until

from yoton import (
    OBJECT,
    Connection,
    Context,
    PubChannel,
    ReqChannel,
    StateChannel,
    SubChannel,
)

#: What the IDE tells a kernel that starts.
STARTUP_INFO = {
    "name": "test",
    "exe": sys.executable,
    "gui": "none",
    "pythonPath": "",
    "projectPath": "",
    "scriptFile": "",
    "startDir": "",
    "startupScript": "",
    "argv": "",
    "environ": "",
}

#: The module search path of a kernel, which needs its own modules and a yoton.
PATHS = {"our kernel": [*OURS, PYZO], "their kernel": [PYZO]}


class Kernel:
    """A kernel of Pyzo, as a process that connects to a port.

    Parameters
    ----------
    path : sequence of Path
        Where it finds modules; the first yoton there counts.
    port : int
        Where the IDE waits.
    """

    def __init__(self, path: Sequence[Path], port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PYZO / "pyzokernel" / "start.py"), str(port)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()


class Ide:
    """The channels of Pyzo's IDE and of its broker, in one context of ours; waits for a kernel."""

    def __init__(self, context: Context) -> None:
        self.out = SubChannel(context, "strm-out")
        self.err = SubChannel(context, "strm-err")
        self.echo = SubChannel(context, "strm-echo")
        self.prompt = SubChannel(context, "strm-prompt")
        self.out.set_sync_mode(True)
        self.err.set_sync_mode(True)
        self.command = PubChannel(context, "ctrl-command")
        self.code = PubChannel(context, "ctrl-code", OBJECT)
        self.status = StateChannel(context, "stat-interpreter")
        self.startup = StateChannel(context, "stat-startup", OBJECT)
        self.introspect = ReqChannel(context, "reqp-introspect", PATIENCE)
        self.control = ReqChannel(context, "reqp-control", PATIENCE)
        self.wait_for_kernel(context)

    def wait_for_kernel(self, context: Context) -> None:
        """Wait for a new kernel to connect."""
        self.startup.send(STARTUP_INFO)
        self.connection = context.bind("localhost:0", name="kernel")
        self.connection.timeout = 0.5
        self.ends: list[str] = []
        self.connection.closed.bind(self._note_end)
        self._printed = ""

    def _note_end(self, connection: Connection, reason: str) -> None:
        assert connection is self.connection
        self.ends.append(reason)

    def wait_for_status(self, status: str) -> None:
        """Wait until the kernel has a status."""
        wait_with_events(lambda: self.status.recv() == status, status)

    def printed(self) -> str:
        """Get all that the kernel wrote to its stdout so far."""
        self._printed += "".join(self.out.recv_all())
        return self._printed

    def run(self, source: str) -> None:
        """Have a piece of code executed."""
        self.code.send(
            {"source": source, "fname": "<test>", "lineno": 0, "cellName": "", "changeDir": 0}
        )


@pytest.fixture
def ide(ours: Context) -> Ide:
    return Ide(ours)


@pytest.fixture
def our_kernel(ide: Ide) -> Iterator[Kernel]:
    with Kernel(PATHS["our kernel"], ide.connection.port1) as kernel:
        ide.wait_for_status("Ready")
        yield kernel


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_kernel_starts_and_does_what_the_ide_asks(ide: Ide, path: Sequence[Path]) -> None:
    with Kernel(path, ide.connection.port1) as kernel:
        ide.wait_for_status("Ready")
        assert ide.connection.pid2 == kernel.process.pid
        wait_until(lambda: ide.startup.recv().get("version") == tuple(sys.version_info))
        wait_until(lambda: "This is the Pyzo interpreter" in ide.printed())

        ide.command.send("import yoton; print(yoton.__file__)\n")
        wait_until(lambda: str(path[0] / "yoton") in ide.printed())
        assert "import yoton" in ide.echo.recv(PATIENCE)
        ide.run("x = 5\nprint('x is', x)\n")
        wait_until(lambda: "x is 5\n" in ide.printed())
        ide.command.send("1 / 0\n")
        errors: list[str] = []
        wait_until(lambda: "ZeroDivisionError" in "".join(errors.extend(ide.err) or errors))

        assert "bit_length" in ide.introspect.dir("x").result(PATIENCE)
        assert ide.introspect.signature("print").result(PATIENCE).startswith("print(")

        ide.control.terminate().result(PATIENCE)
        assert kernel.process.wait(PATIENCE) == 0
        wait_with_events(lambda: ide.ends)
        assert not ide.connection.is_alive
        assert kernel.process.stdout is not None
        assert kernel.process.stdout.read() == ""


@pytest.mark.parametrize("how", ["request", "signal"])
def test_an_endless_loop_in_our_kernel_is_interrupted(
    ide: Ide, our_kernel: Kernel, how: str
) -> None:
    ide.run("print('begin')\nwhile True: pass\n")
    wait_until(lambda: "begin" in ide.printed())
    ide.wait_for_status("Busy")
    if how == "request":
        ide.control.interrupt().result(PATIENCE)
    else:
        our_kernel.process.send_signal(signal.SIGINT)
    ide.wait_for_status("Ready")
    ide.command.send("print('alive')\n")
    wait_until(lambda: "alive" in ide.printed())


def test_nothing_is_lost_of_what_four_threads_in_our_kernel_print(
    ide: Ide, our_kernel: Kernel
) -> None:
    ide.run(
        """
import threading
threads = [threading.Thread(target=lambda: [print("@" * 20) for _ in range(200)]) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    )
    wait_with_events(lambda: ide.printed().count("@") >= 4 * 200 * 20)
    assert ide.printed().count("@") == 4 * 200 * 20


def test_what_our_kernel_prints_before_its_end_arrives(ide: Ide, our_kernel: Kernel) -> None:
    ide.run("for i in range(300): print('line', i)\nraise SystemExit(3)\n")
    # Read as slowly as the IDE, while the process ends.
    wait_with_events(lambda: ide.printed() and ide.ends)
    assert our_kernel.process.wait(PATIENCE) == 3
    assert ide.ends == ["Closed from other end."]
    lines = [line for line in ide.printed().splitlines() if line.startswith("line ")]
    assert lines == [f"line {i}" for i in range(300)]


def test_our_kernel_outputs_while_it_forks(ide: Ide, our_kernel: Kernel) -> None:
    ide.run(
        """
import os
pid = os.fork()
if pid == 0:
    print("from the child")
    os._exit(0)
os.waitpid(pid, 0)
print("from the parent")
"""
    )
    wait_until(lambda: "from the child" in ide.printed() and "from the parent" in ide.printed())


def test_our_kernel_is_driven_by_an_ide_of_theirs(theirs: Peer) -> None:
    port = theirs.run(
        """
        out = yoton.SubChannel(context, 'strm-out')
        out.set_sync_mode(True)
        code = yoton.PubChannel(context, 'ctrl-code', yoton.OBJECT)
        status = yoton.StateChannel(context, 'stat-interpreter')
        startup = yoton.StateChannel(context, 'stat-startup', yoton.OBJECT)
        introspect = yoton.ReqChannel(context, 'reqp-introspect', 5.0)
        control = yoton.ReqChannel(context, 'reqp-control', 5.0)
        startup.send(info)
        printed = ''
        def has_printed(text):
            global printed
            printed += ''.join(out.recv_all())
            return text in printed
        ends = []
        def note(connection, reason): ends.append(reason)
        connection = context.bind('localhost:0', name='kernel')
        connection.closed.bind(note)
        connection.port1
        """,
        info=STARTUP_INFO,
    )
    with Kernel(PATHS["our kernel"], port) as kernel:
        theirs.wait_until("status.recv() == 'Ready'")
        theirs.run(
            "code.send(dict(source=s, fname='<test>', lineno=0, cellName='', changeDir=0))",
            s="x = 5\nfor i in range(500): print('x is', x, i)\n",
        )
        theirs.wait_until("has_printed('x is 5 499')")
        assert theirs.run("printed.count('x is 5')") == 500
        names = theirs.run("introspect.dir('x').result(5.0)")
        assert "bit_length" in names
        theirs.run("control.terminate()")
        assert kernel.process.wait(PATIENCE) == 0
        theirs.wait_until("ends == ['Closed from other end.']")


def test_a_second_kernel_connects_after_the_first_was_killed(ide: Ide, ours: Context) -> None:
    for _ in range(2):
        with Kernel(PATHS["our kernel"], ide.connection.port1) as kernel:
            ide.wait_for_status("Ready")
            ide.run("print('hello')\n")
            wait_until(lambda: "hello" in ide.printed())
            kernel.process.kill()
            wait_with_events(lambda: ide.ends)
        ide.status.send("Dead")
        ide.wait_for_kernel(ours)


@pytest.mark.parametrize("kernel", PATHS)
def test_the_whole_ide_runs_on_ours(kernel: str, tmp_path: Path) -> None:
    if subprocess.run([sys.executable, "-c", QT_WORKS], env=OFFSCREEN, check=False).returncode:
        pytest.skip("no PyQt6 that works on this machine")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("pyzo_ide.py"))],
        env={
            **OFFSCREEN,
            "HOME": str(tmp_path),
            "PYTHONPATH": str(OURS[0]),
            "KERNEL_PATH": os.pathsep.join(map(str, PATHS[kernel])),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=2 * PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert f"the IDE runs on {OURS[0] / 'yoton'}" in done.stdout


OFFSCREEN = {
    **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
    "QT_QPA_PLATFORM": "offscreen",
}
QT_WORKS = "from PyQt6 import QtWidgets; QtWidgets.QApplication([])"

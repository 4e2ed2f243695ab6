"""Runs Pyzo's IDE without a screen, and uses it as somebody at the keyboard would.

The environment variable KERNEL_PATH is the module search path for its kernel; the first entry
has the yoton to be used there. The exit code is 0 if all went well.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator

# First: Pyzo takes the one that is already there.
import yoton  # isort: skip
import pyzo
from pyzo import _start
from pyzo.core.kernelbroker import KernelInfo
from pyzo.qt import QtCore, QtWidgets

KERNEL_PATH = os.environ["KERNEL_PATH"]
PATIENCE = 30.0
STEP_MILLISECONDS = 10


def use_the_ide() -> Iterator[str]:
    """Use it step by step; what is yielded is waited for by being called again."""
    while not pyzo.shells or pyzo.shells.getCurrentShell() is None:
        yield "a shell"
    shell = pyzo.shells.getCurrentShell()

    def text() -> str:
        return str(shell.toPlainText())

    while shell._state != "Ready" or not shell._version:
        yield "the kernel"
    shell.executeCommand("import yoton; print('kernel on', yoton.__file__)\n")
    while f"kernel on {KERNEL_PATH.split(os.pathsep)[0]}" not in text():
        yield "the kernel's yoton"

    shell.executeCode("x = 5\nfor i in range(1000): print('line', i)\n", "<test>")
    while "line 999\n" not in text():
        yield "all lines"
    assert text().count("line ") == 1000, text()
    names = shell._request.dir("x")
    while not names.done():
        yield "the names in an object"
    assert "bit_length" in names.result()

    shell.executeCode("print('begin')\nwhile True: pass\n", "<test>")
    while "begin" not in text() or shell._state != "Busy":
        yield "an endless loop"
    shell.interrupt()
    while "KeyboardInterrupt" not in text() or shell._state != "Ready":
        yield "its interruption"

    shell.restart()
    while "Kernel process" not in text():
        yield "the end of the kernel"
    while shell._state != "Ready":
        yield "a new kernel"
    shell.executeCommand("import os; os._exit(3)\n")
    while shell._state != "Dead" or "ernel process exited. (3)" not in text():
        yield "the end of the new kernel"


class UsedApplication(QtWidgets.QApplication):
    """A Qt application that uses the IDE while it runs, and ends it after that."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.is_successful = False
        self._steps = use_the_ide()
        self._waits_for = ""
        self._deadline = time.monotonic() + PATIENCE
        self._timer = QtCore.QTimer()
        self._timer.timeout.connect(self._step)
        self._timer.start(STEP_MILLISECONDS)

    def _step(self) -> None:
        try:
            self._waits_for = next(self._steps)
            if time.monotonic() > self._deadline:
                raise AssertionError(f"not seen: {self._waits_for}")
            return
        except StopIteration:
            self.is_successful = True
        except Exception:
            sys.__stdout__.write(traceback.format_exc())
        self._timer.stop()
        pyzo.main.close()


def main() -> None:
    info = KernelInfo()
    info.exe = sys.executable
    info.gui = "none"
    info.environ = f"PYTHONPATH={KERNEL_PATH}"
    pyzo.config.shellConfigs2[:] = [info]
    _start.MyApp = UsedApplication
    _start.start()
    sys.__stdout__.write(f"the IDE runs on {yoton.__file__}\n")
    sys.__stdout__.flush()
    os._exit(0 if QtWidgets.qApp.is_successful else 1)


if __name__ == "__main__":
    main()

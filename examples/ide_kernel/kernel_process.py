"""The process of a kernel, as its broker sees it."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO

import yoton

#: Bytes taken from a pipe at once: what a pipe holds on Linux.
_READ_SIZE = 65536

#: Seconds for the rest of the output, after all that hold its pipe should be gone. A program
#: that has left the process group may still hold it.
_PIPE_TIMEOUT = 1.0


class KernelProcess:
    """A kernel, and what it has started, in a process group of their own.

    Parameters
    ----------
    address : str
        Where the kernel has to connect.
    run : int
        The number that it gets.
    on_output : mapping of str to callable
        For "stdout" and "stderr", what gets the text that is written there past the channels.
        Called in a thread.
    on_exit : callable
        Called when the process has ended and all its output was given away, in a thread.
    """

    def __init__(
        self,
        address: str,
        run: int,
        on_output: Mapping[str, Callable[[str], object]],
        on_exit: Callable[[], object],
    ) -> None:
        self._on_exit = on_exit
        # In a session of its own a Ctrl-C at the terminal of the broker does not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.ide_kernel.kernel", address, str(run)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        pipes = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        self._readers = [
            threading.Thread(target=_read, args=(pipes[stream], target), daemon=True)
            for stream, target in on_output.items()
        ]
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        for thread in (*self._readers, self._waiter):
            thread.start()

    @property
    def pid(self) -> int:
        """Process id of the kernel."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with, minus the number of the signal that killed it; None before."""
        return self._process.returncode

    def interrupt(self) -> None:
        """Do what Ctrl-C does in a terminal."""
        self._signal(signal.SIGINT)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self._signal(signal.SIGKILL)

    def join(self, timeout: float) -> bool:
        """Wait until on_exit has been called; False if that takes longer than timeout seconds."""
        self._waiter.join(timeout)
        return not self._waiter.is_alive()

    def _signal(self, signum: int) -> None:
        # The group bears the number of its first process, and lasts as long as any.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signum)

    def _wait(self) -> None:
        self._process.wait()
        self.kill()  # what it has left behind
        for reader in self._readers:
            reader.join(_PIPE_TIMEOUT)
        self._on_exit()


def _read(pipe: BinaryIO, target: Callable[[str], object]) -> None:
    """Give away what comes through a pipe, as text, until its end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    # The channel is closed before this ends if some program holds the pipe for ever.
    with pipe, contextlib.suppress(yoton.ChannelClosed):
        while data := os.read(pipe.fileno(), _READ_SIZE):
            text = decoder.decode(data)
            if text:
                target(text)

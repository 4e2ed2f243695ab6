"""Programs in processes of their own, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from support import PATIENCE, wait_until

from yoton.channels import SubChannel
from yoton.context import Context
from yoton.events import process_events

#: Seconds that an end may take of its own.
END_TIME = 1.0

#: Seconds for the rest, on a machine whose processors are all busy with other things: the
#: interpreter does away with its modules, the system with the process.
MARGIN = 1.5

#: How a program begins that sends numbers to an `Audience`.
CONNECT = """
context = yoton.Context()
connection = context.connect(f"localhost:{sys.argv[1]}")
pub = yoton.PubChannel(context, "numbers")
"""

#: How it sends a thousand of them and makes sure that they have left.
FLUSH = """
for number in range(1000):
    pub.send(f"main {number}")
context.flush()
say("flushed main 1000")
"""

#: How threads of it do so, ``start_threads(daemon)``, until ``is_over`` is set.
THREADS = """
counts = {}
is_over = threading.Event()

def send(name):
    counts[name] = 0
    while not is_over.is_set():
        pub.send(f"{name} {counts[name]}")
        counts[name] += 1

def start_threads(daemon):
    for name in "abc":
        threading.Thread(target=send, args=(name,), daemon=daemon).start()
    time.sleep(0.05)
    flush()

def flush():
    flushed = dict(counts)
    context.flush()
    for name, count in flushed.items():
        say("flushed", name, count)
"""

# What all programs begin with.
_PRELUDE = """
import glob, os, signal, sys, threading, time
import yoton

def say(*words):
    # In one piece: another thread may say something at the same time.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def end_begins():
    say("the end begins at", time.monotonic())

def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    # Its threads go on until they have seen the signal.
    states = ["running"]
    while set(states) - {"T"}:
        time.sleep(0.001)
        states = [
            open(name).read().rpartition(")")[2].split()[0]
            for name in glob.glob(f"/proc/{pid}/task/*/stat")
        ]
"""

#: Seconds for a program to be in the wait that it has announced: Python sees a signal in the very
#: moment before the wait for a lock begins only after it.
_SETTLING_TIME = 0.1

_END_BEGINS = "the end begins at "


class Ending(NamedTuple):
    """How a program ended.

    Attributes
    ----------
    status : int
        Its exit status; negative for the number of a signal.
    seconds : float
        From the act that ended it to its end.
    errors : str
        What it wrote to stderr.
    """

    status: int
    seconds: float
    errors: str


class Program:
    """A Python program that runs; what it says are lines on its stdout.

    It calls ``end_begins()`` right before what ends it, unless a signal does. As a context
    manager it is killed in the end, with the processes that it has made.

    Parameters
    ----------
    code : str
        The program, which finds yoton imported, and ``say`` and ``end_begins`` defined.
    *arguments : object
        For its ``sys.argv``.

    Attributes
    ----------
    flushed : dict of str to int
        How many numbers each of its threads has flushed, as far as it was heard.
    """

    def __init__(self, code: str, *arguments: object) -> None:
        self._directory = tempfile.TemporaryDirectory()
        # A file, as multiprocessing imports the program anew in processes that it spawns.
        source = Path(self._directory.name, "program.py")
        source.write_text(_PRELUDE + code, encoding="utf-8")
        self._errors = Path(self._directory.name, "errors")
        # Python 3.12 and later warn of forking a process with threads.
        command = [sys.executable, "-W", "ignore::DeprecationWarning", str(source)]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._heard: list[str] = []
        self._end_began = 0.0
        self.flushed: dict[str, int] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._directory.cleanup()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self._lines.put(line.decode().rstrip("\n"))

    def hear(self, word: str) -> str:
        """Wait until it says something that begins so, and get what follows."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except Empty:
                raise self._failure(f"does not say {word!r} after {self._heard}") from None
            self._heard.append(line)
            if line.startswith("flushed "):
                _, name, count = line.split()
                self.flushed[name] = int(count)
            if line.startswith(word):
                return line.removeprefix(word)

    def send_signal(self, number: int) -> None:
        """Send a signal that is to end it, while it waits for something."""
        time.sleep(_SETTLING_TIME)
        self._end_began = time.monotonic()
        os.kill(self.pid, number)

    def end(self) -> Ending:
        """Wait for its end."""
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._failure("does not end") from None
        ended = time.monotonic()
        if not self._end_began:
            self._end_began = float(self.hear(_END_BEGINS))
        return Ending(status, ended - self._end_began, self._read_errors())

    def _failure(self, what: str) -> AssertionError:
        return AssertionError(f"the program {what}; on stderr: {self._read_errors()}")

    def _read_errors(self) -> str:
        return self._errors.read_text(encoding="utf-8")


class Audience:
    """What hears the numbers that a program sends, and of its end.

    Parameters
    ----------
    context : Context
        To which the program is to connect, at `port`.
    """

    def __init__(self, context: Context) -> None:
        self.connection = context.bind("localhost:0")
        self.port = self.connection.port1
        self._sub = SubChannel(context, "numbers")
        self._reasons: list[str] = []
        self.connection.closed.bind(lambda _, reason: self._reasons.append(reason))

    def check(self, program: Program, reason: str) -> None:
        """Check that all that was flushed has come, in order, and then the end."""
        wait_until(lambda: process_events() or self._reasons, "the end is heard")
        numbers: dict[str, list[int]] = {name: [] for name in program.flushed}
        for message in self._sub.recv_all():
            sender, number = message.split()
            numbers.setdefault(sender, []).append(int(number))
        for sender, received in numbers.items():
            assert received == list(range(len(received))), sender
            assert len(received) >= program.flushed.get(sender, 0), sender
        assert program.flushed
        assert self._reasons == [reason]


def check_ending(ending: Ending, status: int = 0, error: str = "") -> None:
    """Check that a program ended in time, with that status, and with one error or none."""
    errors = ending.errors
    assert ending.status == status, errors
    assert errors.count("Traceback") == bool(error), errors
    assert errors.rstrip().endswith(error) and bool(errors) == bool(error), errors
    assert "Fatal" not in errors and "Exception ignored" not in errors, errors
    assert ending.seconds < END_TIME + MARGIN

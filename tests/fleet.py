"""Processes that talk by way of a relay, while they are killed, stopped and cut off.

The process that makes a `Fleet` hears what the publisher and the subscriber send, calls the
replier, and keeps the books: by number, what came of what was sent.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from proxy import Proxy
from support import PATIENCE, wait_until

import yoton
from yoton.exceptions import ConnectionProblem

QUICKLY = yoton.ReconnectPolicy(first_delay=0.01, ceiling=0.1)

#: Seconds for which something is stopped or stalled at most.
_LONGEST_PAUSE = 0.3

_PRELUDE = """
import os, sys, threading, time
import yoton

QUICKLY = yoton.ReconnectPolicy(first_delay=0.01, ceiling=0.1)
context = yoton.Context()
port = sys.argv[1]

def connect():
    context.connect("localhost:" + port, 20.0, reconnect=QUICKLY)
"""

#: What the processes do. None goes on without the one that has started it.
_PROGRAMS = {
    "relay": """
while True:
    try:
        listener = context.listen("localhost:" + port)
        break
    except yoton.BindFailed:
        time.sleep(0.01)
""",
    "publisher": """
pub = yoton.PubChannel(context, "news", yoton.OBJECT)
connect()
def send():
    life, number = time.time_ns(), 0  # ids of processes come again
    while True:
        pub.send([life, number])
        number += 1
        time.sleep(0.001)
threading.Thread(target=send, daemon=True).start()
""",
    "subscriber": """
sub = yoton.SubChannel(context, "news", yoton.OBJECT)
pub = yoton.PubChannel(context, "echo", yoton.OBJECT)
connect()
def echo():
    while True:
        pub.send(sub.recv())
threading.Thread(target=echo, daemon=True).start()
""",
    "replier": """
class Calculator(yoton.RepChannel):
    def add(self, one, other):
        return one + other
    def work(self):
        time.sleep(1.0)
        return "done"

Calculator(context, "sums").set_mode("thread")
connect()
""",
}

_POSTLUDE = """
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


class Book:
    """What came on one channel: in order, and nothing twice."""

    def __init__(self) -> None:
        self.received = 0
        self.missing = 0
        self._last: dict[int, int] = {}
        #: Whether messages may be missing that nobody tells of: a process had them that was killed.
        self.is_excused = False

    def enter(self, life: int, number: int) -> None:
        """Enter a message of one life of its sender."""
        last = self._last.get(life)
        if last is not None:
            assert number > last, f"{number} came behind {last}"
            if number != last + 1:
                assert self.is_excused, f"{number} came behind {last}, and nobody was killed"
                self.missing += number - last - 1
        self._last[life] = number
        self.received += 1

    def begin_round(self, is_excused: bool) -> None:
        """Say whether messages may be missing from now on."""
        self.is_excused = is_excused


class Sample(NamedTuple):
    """What a process uses."""

    memory: int
    descriptors: int
    threads: int


def sample(pid: int) -> Sample:
    """Look what a process uses; memory in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in status)
    memory = int(fields["VmRSS"].split()[0]) * 1024
    return Sample(memory, len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]))


class Fleet:
    """A relay, a publisher, a subscriber and a replier, each a process; and this one.

    Parameters
    ----------
    seed : int
        Decides what happens.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.news, self.echoes = Book(), Book()
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._context = yoton.Context()
        self._news = yoton.SubChannel(self._context, "news", yoton.OBJECT)
        self._echoes = yoton.SubChannel(self._context, "echo", yoton.OBJECT)
        self._sums = yoton.ReqChannel(self._context, "sums")
        self._port = _free_port()
        self._proxy = Proxy(self._port)
        try:
            for role in _PROGRAMS:
                self._start(role)
            self.connection = self._context.connect(
                f"localhost:{self._proxy.port}", PATIENCE, reconnect=QUICKLY
            )
            # What was sent before this process was known to want it may come by parts.
            self._begin_round(is_excused=True)
            self.check_all_goes_on()
            self._begin_round(is_excused=False)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            _kill(process)
        self._context.close()
        self._proxy.close()

    @property
    def pids(self) -> dict[str, int]:
        """Ids of the processes, by what they do."""
        return {role: process.pid for role, process in self._processes.items()}

    def play_round(self) -> None:
        """Have something happen, and check that all goes on."""
        self.counts["rounds"] += 1
        acts: list[Callable[[], None]] = [self._kill_one, self._stop_one]
        acts += [self._cut, self._stall]
        self.chance.choice(acts)()
        self.check_all_goes_on()

    def play_gentle_round(self) -> None:
        """Have something happen to the lines alone."""
        self.counts["rounds"] += 1
        self._begin_round(is_excused=False)
        self.chance.choice([self._cut, self._stall, self._stop_one])()
        self.check_all_goes_on()

    # What happens

    def _begin_round(self, *, is_excused: bool) -> None:
        for book in (self.news, self.echoes):
            book.begin_round(is_excused)

    def _kill_one(self) -> None:
        role = self.chance.choice(list(_PROGRAMS))
        self.counts[f"killed {role}"] += 1
        running = self._sums.work()
        self._await(running.running, "the replier is at it")
        is_lossy = role in ("relay", "subscriber")
        self._begin_round(is_excused=is_lossy)
        _kill(self._processes[role])
        if role in ("replier", "relay"):
            # Nobody will answer it, or it could not be told who does.
            self._expect_error(running)
        else:
            assert running.result(PATIENCE) == "done"
        self._start(role)

    def _stop_one(self) -> None:
        process = self._processes[self.chance.choice(list(_PROGRAMS))]
        self.counts["stopped"] += 1
        process.send_signal(signal.SIGSTOP)
        self._pause()
        process.send_signal(signal.SIGCONT)

    def _cut(self) -> None:
        for _ in range(self.chance.randint(1, 5)):
            self.counts["cuts"] += 1
            self._proxy.cut()
            self._pause(0.05)

    def _stall(self) -> None:
        self.counts["stalls"] += 1
        self._proxy.stall()
        self._pause()
        if self.chance.random() < 0.5:
            self._proxy.cut()
        self._proxy.go_on()

    def _pause(self, longest: float = _LONGEST_PAUSE) -> None:
        time.sleep(self.chance.uniform(0.0, longest))

    def _start(self, role: str) -> None:
        port = self._port if role == "relay" else self._proxy.port
        process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + _PROGRAMS[role] + _POSTLUDE, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        self._processes[role] = process
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"the {role} does not start"

    # What has to hold

    def check_all_goes_on(self) -> None:
        """Check that messages go through, both ways, and a call is answered."""
        self._await(self._is_answered, "a call is answered")
        for _ in range(2):  # the first may have been on its way
            news, echoes = self.news.received, self.echoes.received
            self._await(lambda n=news: self.news.received > n, "news come")  # type: ignore[misc]
            self._await(lambda n=echoes: self.echoes.received > n, "echoes come")  # type: ignore[misc]

    def _is_answered(self) -> bool:
        try:
            answered = self._sums.add(1, 2).result(PATIENCE) == 3
        except ConnectionProblem:
            return False  # the call went to the one that was killed
        self.counts["calls"] += 1
        return answered

    def _expect_error(self, running: yoton.Future) -> None:
        self._await(running.done, "the call ends")
        assert isinstance(running.exception(), ConnectionProblem)
        self.counts["calls ended"] += 1

    def _await(self, condition: Callable[[], object], what: str) -> None:
        wait_until(lambda: self._take_what_came() or condition(), what)

    def _take_what_came(self) -> None:
        yoton.process_events()
        for sub, book in ((self._news, self.news), (self._echoes, self.echoes)):
            for life, number in sub.recv_all():
                book.enter(life, number)

    def report(self) -> str:
        """Tell what has happened."""
        counts = ", ".join(f"{name}: {count}" for name, count in sorted(self.counts.items()))
        return (
            f"{counts}; news: {self.news.received}, missing after kills: {self.news.missing};"
            f" echoes: {self.echoes.received}, missing after kills: {self.echoes.missing}"
        )


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def _free_port() -> int:
    with yoton.Context() as context, context.listen("localhost:0") as listener:
        return listener.port

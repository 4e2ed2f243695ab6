"""Ctrl-C at any moment while requests are made and waited for."""

from __future__ import annotations

import contextlib
import random
import signal

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import RepChannel, ReqChannel
from yoton.context import Context

#: Interrupts of the test.
COUNT = 1000

#: Seconds between interrupts: some hit at once, some when a request is on its way.
SHORTEST, LONGEST = 5e-6, 1e-3


class Calculator(RepChannel):
    def add(self, a, b):
        return a + b


@pytest.fixture
def pair():
    with Context() as requesting, Context() as replying:
        connect(requesting, replying)
        yield requesting, replying


class Alarm:
    """Has SIGALRM raise KeyboardInterrupt, as SIGINT does."""

    def __init__(self):
        self.has_struck = False
        self._before = signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, signum, frame):
        self.has_struck = True
        raise KeyboardInterrupt

    def set(self, delay):
        self.has_struck = False
        signal.setitimer(signal.ITIMER_REAL, delay)

    def close(self):
        signal.signal(signal.SIGALRM, self._before)


def interrupt_again_and_again(work):
    """Have work called and interrupted at random moments."""
    rng = random.Random(1)
    with contextlib.closing(Alarm()) as alarm:
        for _ in range(COUNT):
            with contextlib.suppress(KeyboardInterrupt):
                alarm.set(rng.uniform(SHORTEST, LONGEST))
                # One that strikes in a finalizer does not come here.
                while not alarm.has_struck:
                    work()


# The other method needs the signal that this test needs.
@pytest.mark.timeout(method="thread")
@pytest.mark.usefixtures("collector_off")
def test_interrupted_calls(pair):
    req = ReqChannel(pair[0], "calc")
    Calculator(pair[1], "calc").set_mode("thread")
    results = []
    interrupt_again_and_again(lambda: results.append(req.add(len(results), 1).result(PATIENCE)))
    # No result is that of another call, and nothing is left of those that were interrupted.
    assert results == list(range(1, len(results) + 1))
    assert req.add(3, 4).result(PATIENCE) == 7
    wait_until(lambda: not req._requester._running and not req._requester._waiting)

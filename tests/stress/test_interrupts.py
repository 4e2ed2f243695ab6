"""Ctrl-C at any moment: no lock stays held, no frame is cut off, no message is lost or doubled."""

from __future__ import annotations

import contextlib
import random
import signal
import time

import pytest
from support import PATIENCE, connect

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context
from yoton.message_types import BINARY

#: Seconds that each test interrupts.
DURATION = 2.0


@pytest.fixture
def pair():
    with Context() as sender, Context() as receiver:
        connect(sender, receiver)
        yield sender, receiver


@contextlib.contextmanager
def interrupts():
    """Have SIGALRM raise KeyboardInterrupt, as SIGINT does, when `strike_soon` asked for it."""

    def strike(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, strike)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def strike_soon(rng):
    signal.setitimer(signal.ITIMER_REAL, rng.uniform(5e-6, 5e-4))


@pytest.mark.parametrize("size", [10, 5000, 200_000], ids=["small", "medium", "large"])
def test_interrupted_sends(pair, size):
    pub, sub = PubChannel(pair[0], "x", BINARY), SubChannel(pair[1], "x", BINARY)
    rng = random.Random(size)
    padding = bytes(size)
    begun = 0
    received = []
    deadline = time.monotonic() + DURATION
    with interrupts():
        while time.monotonic() < deadline:
            try:
                strike_soon(rng)
                while True:
                    begun += 1
                    pub.send(b"%d %b" % (begun, padding))
                    if begun % 20 == 0:
                        received += sub.recv_all()
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                received += sub.recv_all()
    pub.send(b"0 end")
    while not received or received[-1] != b"0 end":
        message = sub.recv(PATIENCE)
        assert message, "the last message did not come"
        received.append(message)
    numbers = [int(message.split(b" ", 1)[0]) for message in received[:-1]]
    # recv_all may lose what it had taken when it was interrupted; the sending side may not.
    assert all(message.endswith(padding) for message in received[:-1])
    assert numbers == sorted(set(numbers))
    assert begun > 100


def test_interrupted_receives(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    rng = random.Random(5)
    interrupted = 0
    with interrupts():
        while interrupted < 200:
            try:
                strike_soon(rng)
                # Not for long: a signal in the very moment before a lock's wait begins is seen
                # by Python only after it.
                assert sub.recv(0.5) == ""
            except KeyboardInterrupt:
                interrupted += 1
    pub.send("fine")
    assert sub.recv(PATIENCE) == "fine"

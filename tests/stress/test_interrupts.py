"""Ctrl-C at any moment: no lock stays held, no frame is cut off, no message is lost or doubled."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time

import pytest
from support import PATIENCE, connect

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context
from yoton.message_types import BINARY

pytestmark = pytest.mark.usefixtures("collector_off")

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


# pytest's time limit needs the same signal, unless a thread looks after it.
@pytest.mark.timeout(method="thread")
@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
@pytest.mark.parametrize("most_pending", [0, 500], ids=["a few at a time", "at full speed"])
def test_interrupted_receives_of_a_stream(size, most_pending):
    """The thread that is interrupted leads, above all while few messages come at a time."""
    # No queue is to drop anything: it is Ctrl-C that must not.
    unlimited = (10**9, "old")
    with Context(queue_params=unlimited) as sender, Context(queue_params=unlimited) as receiver:
        connect(sender, receiver)
        pub, sub = PubChannel(sender, "x", BINARY), SubChannel(receiver, "x", BINARY)
        connection = receiver.connections[0]
        numbers, gaps, interrupted = _receive_interrupted(pub, sub, bytes(size), most_pending)
        assert numbers == sorted(set(numbers)), "none comes twice, and all in order"
        # recv may lose the one that it had taken when it was interrupted; nothing else may.
        assert gaps == []
        assert interrupted > 50
        assert len(numbers) > 50
        assert connection.is_connected
        pub.send(b"fine")
        assert sub.recv(PATIENCE) == b"fine"


def _receive_interrupted(pub, sub, padding, most_pending):
    """Get the numbers that came, those whose absence no interrupt explains, and a count."""
    is_over = threading.Event()

    def send():
        number = 0
        while not is_over.is_set():
            number += 1
            pub.send(b"%d %b" % (number, padding))
            while number % 5 == 0 and sub.pending > most_pending and not is_over.is_set():
                time.sleep(2e-5)
        pub.send(b"0 end")

    sending = threading.Thread(target=send)
    rng = random.Random(len(padding))
    numbers, gaps, interrupted, highest, may_lack = [], [], 0, 0, 0

    def take(message):
        nonlocal highest, may_lack
        number = int(message.split(b" ", 1)[0])
        assert message.endswith(padding)
        numbers.append(number)
        if number > highest + 1 + may_lack:
            gaps.append((highest, number))
        highest, may_lack = number, 0

    def receive():
        # A function, as Python 3.12 and later do not catch what strikes where a loop goes round.
        while time.monotonic() < deadline:
            if message := sub.recv(0.5):
                take(message)

    deadline = time.monotonic() + DURATION
    sending.start()
    try:
        with interrupts():
            while time.monotonic() < deadline:
                try:
                    strike_soon(rng)
                    receive()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    interrupted += 1
                    may_lack += 1
    finally:
        is_over.set()
    while (message := sub.recv(PATIENCE)) != b"0 end":
        assert message, "the last message did not come"
        take(message)
    sending.join(PATIENCE)
    assert not sending.is_alive()
    return numbers, gaps, interrupted

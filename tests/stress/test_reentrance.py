"""Finalizers and signal handlers that send, in the middle of whatever their thread was doing."""

from __future__ import annotations

import gc
import itertools
import signal
import threading
import time

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context

#: Seconds that each test disturbs.
DURATION = 2.0


@pytest.fixture
def pair():
    # The sender is faster than the receiver: it must not be a full queue that drops messages.
    unlimited = (10**9, "old")
    with Context(queue_params=unlimited) as sender, Context(queue_params=unlimited) as receiver:
        connect(sender, receiver)
        yield sender, receiver


def receive_all(sub):
    """Get the messages up to the one that is the end."""
    received = []
    while (message := sub.recv(PATIENCE)) != "end":
        assert message, f"only {len(received)} messages came"
        received.append(message)
    return received


def strike_soon():
    # Not SIGALRM, by which the time limit of the test comes.
    signal.setitimer(signal.ITIMER_PROF, 1e-4)


def check(received, count):
    numbers = {"main": [], "disturbing": []}
    for message in received:
        sender, number = message.split()
        numbers[sender].append(int(number))
    assert numbers["main"] == list(range(count))
    # A finalizer may run inside another one, which has its number but has not sent it yet.
    assert sorted(numbers["disturbing"]) == list(range(len(numbers["disturbing"])))
    assert numbers["disturbing"]


def test_finalizers_that_send(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    numbers = itertools.count()

    alive = set()

    class Garbage:
        def __init__(self, number):
            self.myself = self
            self.number = number
            alive.add(number)

        def __del__(self):
            pub.send(f"disturbing {next(numbers)}")
            alive.discard(self.number)

    received = []
    receiver = threading.Thread(target=lambda: received.extend(receive_all(sub)))
    receiver.start()
    thresholds = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        deadline = time.monotonic() + DURATION
        count = 0
        while time.monotonic() < deadline:
            Garbage(count)
            pub.send(f"main {count}")
            count += 1
    finally:
        gc.set_threshold(*thresholds)

    def all_are_finalized():
        gc.collect()  # which does nothing while another thread is at it
        return not alive

    wait_until(all_are_finalized)
    pub.send("end")
    receiver.join(PATIENCE)
    check(received, count)


def test_signal_handlers_that_send(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    numbers = itertools.count()

    def send(signum, frame):
        pub.send(f"disturbing {next(numbers)}")
        strike_soon()  # not before: handlers that interrupt handlers use up the stack

    received = []
    receiver = threading.Thread(target=lambda: received.extend(receive_all(sub)))
    receiver.start()
    before = signal.signal(signal.SIGPROF, send)
    strike_soon()
    try:
        deadline = time.monotonic() + DURATION
        count = 0
        while time.monotonic() < deadline:
            pub.send(f"main {count}")
            count += 1
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    pub.send("end")
    receiver.join(PATIENCE)
    check(received, count)

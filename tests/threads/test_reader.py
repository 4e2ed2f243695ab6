"""Threads that wait for messages and read themselves, beside the receive thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
from support import PATIENCE, connect, run_in_child, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.clock import Deadline
from yoton.connection.reader import LEAD_TIME, Reader
from yoton.context import Context
from yoton.events import process_events

#: Seconds within which something happens that nothing holds up; many times what it takes.
PROMPTLY = 1.0

Run = Callable[[Callable[[], object]], threading.Thread]


@pytest.fixture
def pair() -> Iterator[tuple[Context, Context]]:
    with Context() as sending, Context() as receiving:
        connect(sending, receiving)
        yield sending, receiving


@pytest.fixture
def run() -> Iterator[Run]:
    threads: list[threading.Thread] = []

    def start(func: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=func, daemon=True)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def reader_of(context: Context) -> Reader:
    link = context.connections[0]._link
    assert link is not None
    return link._reader


class Listener:
    """A thread that receives until its channel is closed."""

    def __init__(self, context: Context, slot: str, run: Run) -> None:
        self.sub = SubChannel(context, slot)
        self.received: list[str] = []
        self.arrivals: SimpleQueue[str] = SimpleQueue()
        self._reader = reader_of(context)
        self._thread = run(self._listen)

    def _listen(self) -> None:
        while message := self.sub.recv():
            self.received.append(message)
            self.arrivals.put(message)

    def have_lead(self, pub: PubChannel) -> None:
        """Return as soon as a thread leads: one that has just got a message does."""
        deadline = Deadline(PATIENCE)
        while not self._reader._has_leader:
            assert not deadline.passed()
            self.hear(pub)

    def hear(self, pub: PubChannel) -> None:
        """Send a message and wait until it was received."""
        count = len(self.received)
        pub.send("go on")
        wait_until(lambda: len(self.received) > count)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the thread ends"


def seconds(func: Callable[[], object]) -> float:
    start = time.monotonic()
    func()
    return time.monotonic() - start


# Several who wait


def test_two_threads_that_wait_on_one_connection_get_their_messages_promptly(
    pair: tuple[Context, Context], run: Run
) -> None:
    count = 300
    names = ("x", "y")
    pubs = [PubChannel(pair[0], name) for name in names]
    listeners = [Listener(pair[1], name, run) for name in names]

    def send_one_by_one() -> None:
        for number in range(count):
            # Each in its turn, and now and then both.
            for index in {number % 2, number % 3 % 2}:
                pubs[index].send(str(number))
                assert listeners[index].arrivals.get(timeout=PROMPTLY) == str(number)

    # Not if a thread led for ever, or each message waited for the other one's leading to end.
    assert seconds(send_one_by_one) < count * LEAD_TIME / 2
    for listener in listeners:
        listener.sub.close()
        listener.join(PATIENCE)
        assert sorted(listener.received, key=int) == listener.received


def test_a_wait_ends_in_time_while_messages_for_others_come(
    pair: tuple[Context, Context], run: Run
) -> None:
    pub, others, sub = PubChannel(pair[0], "y"), SubChannel(pair[1], "y"), SubChannel(pair[1], "x")
    is_over = threading.Event()

    def send() -> None:
        deadline = Deadline(PATIENCE)
        while not is_over.is_set() and not deadline.passed():
            pub.send("for others")
            others.recv_all()

    run(send)
    try:
        wait_until(lambda: others.pending)
        for timeout in (0.0, 0.01, 0.2):
            waited = seconds(lambda timeout=timeout: sub.recv(timeout))
            assert timeout <= waited < timeout + PROMPTLY
    finally:
        is_over.set()


def test_a_wait_ends_in_time_when_nothing_comes(pair: tuple[Context, Context]) -> None:
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    for timeout in (0.02, 0.1):
        pub.send("so that it leads")
        assert sub.recv(PATIENCE)
        waited = seconds(lambda timeout=timeout: sub.recv(timeout))
        assert timeout <= waited < timeout + PROMPTLY


def test_who_asks_again_and_again_gets_all_messages(
    pair: tuple[Context, Context], run: Run
) -> None:
    count = 500
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    run(lambda: [pub.send(str(number)) for number in range(count)])
    received: list[str] = []
    deadline = Deadline(PATIENCE)
    while len(received) < count and not deadline.passed():
        if message := sub.recv(False):
            received.append(message)
    assert received == [str(number) for number in range(count)]


# The end


def test_closing_the_channel_ends_the_wait_of_a_thread_that_leads(
    pair: tuple[Context, Context], run: Run
) -> None:
    listener = Listener(pair[1], "x", run)
    listener.have_lead(PubChannel(pair[0], "x"))
    listener.sub.close()
    listener.join(PROMPTLY)


def test_closing_the_context_ends_the_wait_of_a_thread_that_leads(
    pair: tuple[Context, Context], run: Run
) -> None:
    listener = Listener(pair[1], "x", run)
    listener.have_lead(PubChannel(pair[0], "x"))
    assert seconds(pair[1].close) < PROMPTLY
    listener.join(PROMPTLY)


@pytest.mark.parametrize("closing", [0, 1], ids=["the peer", "this end"])
@pytest.mark.parametrize("method", ["close", "close_on_problem"])
def test_a_thread_that_leads_does_not_keep_a_connection_from_its_end(
    pair: tuple[Context, Context], run: Run, closing: int, method: str
) -> None:
    listener = Listener(pair[1], "x", run)
    here, there = pair[1].connections[0], pair[closing].connections[0]
    listener.have_lead(PubChannel(pair[0], "x"))
    assert seconds(getattr(there, method)) < PROMPTLY
    deadline = Deadline(PROMPTLY)
    here.await_end(deadline)
    assert not deadline.passed()
    assert not here.is_alive
    # And it gets what comes by the next one.
    connect(*pair)
    pub = PubChannel(pair[0], "y")
    later = Listener(pair[1], "y", run)
    pub.send("by the next one")
    wait_until(lambda: later.received)
    for each in (listener, later):
        each.sub.close()
        each.join(PROMPTLY)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Python 3.12 and later warn of forking a process with threads.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_a_thread_leads_harms_nobody(pair: tuple[Context, Context], run: Run) -> None:
    pub, listener = PubChannel(pair[0], "x"), Listener(pair[1], "x", run)
    listener.have_lead(pub)

    def receive_and_close() -> None:
        assert listener.sub.recv() == ""
        pair[1].close()

    run_in_child(receive_and_close)
    listener.hear(pub)
    listener.sub.close()
    listener.join(PROMPTLY)


# After a thread has led


def test_what_comes_while_a_thread_that_led_does_other_things_is_received(
    pair: tuple[Context, Context],
) -> None:
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    for number in range(20):
        pub.send("to lead")
        assert sub.recv(PATIENCE) == "to lead"
        pub.send(f"meanwhile {number}")
        # It does not read now; somebody has to.
        start = time.monotonic()
        wait_until(lambda: sub.pending)
        assert time.monotonic() < start + PROMPTLY
        assert sub.recv(False) == f"meanwhile {number}"


def test_handlers_hear_of_messages_beside_a_thread_that_leads(
    pair: tuple[Context, Context],
) -> None:
    pubs = [PubChannel(pair[0], name) for name in ("x", "y")]
    waiting, handled = (SubChannel(pair[1], name) for name in ("x", "y"))
    received: list[str] = []
    handled.received.bind(lambda channel: received.extend(channel.recv_all()))
    for number in range(20):
        pubs[0].send("to lead")
        assert waiting.recv(PATIENCE) == "to lead"
        pubs[1].send(str(number))
        # While it leads, or right afterwards.
        if number % 2:
            waiting.recv(0.01)
        start = time.monotonic()
        wait_until(lambda number=number: process_events() or len(received) > number)
        assert time.monotonic() < start + PROMPTLY
    assert received == [str(number) for number in range(20)]

"""Forked children: they have closed copies, can have contexts of their own, and harm nobody."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import CancelledError

import pytest
from support import PATIENCE, connect, run_in_child, wait_until

from yoton.channels import PubChannel, RepChannel, ReqChannel, SubChannel
from yoton.connection.liveness import Liveness
from yoton.connection.protocol import OTHER_END_CLOSED
from yoton.context import Context
from yoton.events import process_events, signals
from yoton.exceptions import ChannelClosed, ConnectionClosed

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 and later warn of forking a process with threads.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_child_has_closed_copies(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    waiting = pair[0].bind("localhost:0")

    def look():
        assert pub.closed and sub.closed and sub.recv() == ""
        assert pair[0].connections_all == []
        assert not waiting.is_alive
        with pytest.raises(ChannelClosed):
            pub.send("from the child")
        pair[0].close()

    run_in_child(look)
    pub.send("from the parent")
    assert sub.recv(PATIENCE) == "from the parent"
    assert waiting.is_waiting


def test_the_child_sees_no_life_in_the_peers_of_its_copies(pair):
    connection = pair[0].connections[0]
    wait_until(lambda: connection.liveness is Liveness.RUNNING)

    def look():
        assert connection.liveness is Liveness.NOT_CONNECTED

    run_in_child(look)
    assert connection.liveness is Liveness.RUNNING


def test_the_child_can_have_a_context_of_its_own(make_context):
    parent = make_context()
    sub = SubChannel(parent, "x")
    connection = parent.bind("localhost:0")

    def send():
        with Context() as context:
            pub = PubChannel(context, "x")
            context.connect(f"localhost:{connection.port1}")
            pub.send("from the child")

    run_in_child(send)
    assert sub.recv(PATIENCE) == "from the child"


def test_the_child_can_bind_handlers_whatever_the_other_threads_were_at():
    is_inside, is_over = threading.Event(), threading.Event()

    def be_inside():
        with signals._making_lock:
            is_inside.set()
            is_over.wait(PATIENCE)

    thread = threading.Thread(target=be_inside)
    thread.start()
    is_inside.wait(PATIENCE)
    try:
        run_in_child(lambda: signals.Signal().bind(print))
    finally:
        is_over.set()
        thread.join()


def test_a_child_that_lives_on_does_not_keep_connections_open(make_context):
    first, second = make_context(), make_context()
    connect(first, second)
    reasons = []
    second.connections[0].closed.bind(lambda _, reason: reasons.append(reason))
    reading_end, writing_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing_end)
        os.read(reading_end, 1)
        os._exit(0)
    try:
        first.connections[0].close()
        wait_until(lambda: process_events() or reasons)
        assert reasons == [OTHER_END_CLOSED]
    finally:
        os.close(writing_end)
        os.close(reading_end)
        os.waitpid(pid, 0)


@pytest.fixture
def requests(pair):
    """A request that runs, and one that waits for a replier."""
    is_over = threading.Event()

    class Worker(RepChannel):
        def work(self):
            return is_over.wait(PATIENCE)

    worker = Worker(pair[0], "work")
    worker.set_mode("thread")
    running = ReqChannel(pair[1], "work").work()
    waiting = ReqChannel(pair[1], "nobody").work()
    wait_until(running.running)
    yield running, waiting
    is_over.set()
    assert running.result(PATIENCE)


def test_requests_fail_in_the_child(requests):
    def look():
        for request in requests:
            with pytest.raises(ConnectionClosed, match="forked"):
                request.result(PATIENCE)
            assert request.done() and not request.running()

    run_in_child(look)
    assert not any(request.done() for request in requests)


def test_locks_that_other_threads_hold_at_the_fork_are_free_in_the_child(pair, requests):
    sub = SubChannel(pair[1], "x")
    locks = [requests[0]._condition, requests[0]._asker._lock, sub._inbox._lock]
    are_held, may_go = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            are_held.set()
            may_go.wait(PATIENCE)

    def look():
        signal.alarm(int(PATIENCE))  # it would be a deadlock
        with pytest.raises(ConnectionClosed):
            requests[0].result()
        assert sub.recv() == ""
        requests[0]._asker.close()

    holding = threading.Thread(target=hold)
    holding.start()
    assert are_held.wait(PATIENCE)
    try:
        run_in_child(look)
    finally:
        may_go.set()
        holding.join(PATIENCE)


@contextlib.contextmanager
def forking_after(seconds):
    """Fork in a signal handler of this thread; gives the list for the result of that."""
    forked = []

    def fork(*_):
        forked.append(os.fork())

    before = signal.signal(signal.SIGUSR1, fork)
    this_thread = threading.get_ident()
    ringing = threading.Timer(seconds, lambda: signal.pthread_kill(this_thread, signal.SIGUSR1))
    ringing.start()
    try:
        yield forked
        if forked == [0]:
            os._exit(0)
        ends = []
        wait_until(lambda: ends.append(os.waitpid(forked[0], os.WNOHANG)) or any(ends[-1]), "ends")
        forked.clear()
        assert os.waitstatus_to_exitcode(ends[-1][1]) == 0
    finally:
        if forked == [0]:
            os._exit(1)
        ringing.join()
        signal.signal(signal.SIGUSR1, before)
        for pid in forked:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def do_in_the_parent(func, forked):
    """Do something in another thread as soon as this one has forked."""
    threading.Thread(target=lambda: wait_until(lambda: forked) or func(), daemon=True).start()


# While it leads, and when it waits for being woken.
@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_who_waits_for_a_message_when_a_signal_handler_forks_goes_on_in_the_child(pair, seconds):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    with forking_after(seconds) as forked:
        do_in_the_parent(lambda: pub.send("from the parent"), forked)
        message = sub.recv()
        assert message == ("" if forked == [0] else "from the parent")


@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_who_waits_for_a_reply_when_a_signal_handler_forks_goes_on_in_the_child(pair, seconds):
    request = ReqChannel(pair[1], "nobody", None).work()
    with forking_after(seconds) as forked:
        do_in_the_parent(request.cancel, forked)
        with pytest.raises((ConnectionClosed, CancelledError)) as caught:
            request.result()
        assert caught.type is (ConnectionClosed if forked == [0] else CancelledError)

"""What can be told of a peer that is silent, with real processes."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys

import pytest
from support import PATIENCE, wait_until

from yoton import (
    ArgumentError,
    ChannelClosed,
    Liveness,
    PubChannel,
    ReqChannel,
    SubChannel,
    process_events,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs what Linux tells")

PEER = """
import ctypes
import sys
import time
import yoton
import yoton.context

if len(sys.argv) > 3:
    yoton.context.pid_space = lambda: sys.argv[3]
context = yoton.Context()
orders = yoton.SubChannel(context, "orders")
context.connect(sys.argv[1], 10.0, reconnect=len(sys.argv) > 2)
while True:
    if orders.recv() == "hold the interpreter":
        ctypes.PyDLL(None).usleep(3_000_000)
"""


@pytest.fixture
def peer_of(make_context):
    """Connects a context to a process, and watches the connection."""
    processes = []

    def start(*arguments):
        context = make_context()
        listener = context.listen("localhost:0")
        address = f"localhost:{listener.port}"
        process = subprocess.Popen([sys.executable, "-c", PEER, address, *arguments])
        processes.append(process)
        wait_until(lambda: listener.connections)
        [connection] = listener.connections
        told = []
        connection.liveness_changed.bind(lambda _, liveness: told.append(liveness))
        assert connection.liveness is Liveness.RUNNING
        return context, process, connection, told

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for(connection, liveness):
    wait_until(lambda: process_events() or connection.liveness is liveness, liveness.value)


def test_code_in_c_that_holds_the_interpreter_is_no_death(peer_of):
    context, _, connection, told = peer_of()
    PubChannel(context, "orders").send("hold the interpreter")
    wait_for(connection, Liveness.NOT_RUNNING_PYTHON)
    wait_for(connection, Liveness.RUNNING)
    wait_until(lambda: process_events() or len(told) == 2)
    assert told == [Liveness.NOT_RUNNING_PYTHON, Liveness.RUNNING]
    assert connection.is_connected


def test_a_stopped_process_is_no_dead_one(peer_of):
    _, process, connection, _ = peer_of()
    process.send_signal(signal.SIGSTOP)
    wait_for(connection, Liveness.NOT_RUNNING_PYTHON)
    assert connection.is_connected
    process.send_signal(signal.SIGCONT)
    wait_for(connection, Liveness.RUNNING)


def test_who_asks_when_the_process_is_stopped_already_is_told_too(make_context):
    context = make_context()
    listener = context.listen("localhost:0")
    code = [sys.executable, "-c", PEER, f"localhost:{listener.port}"]
    with subprocess.Popen(code) as process:
        wait_until(lambda: listener.connections)
        [connection] = listener.connections
        wait_until(lambda: connection._link._silence._is_asleep)
        process.send_signal(signal.SIGSTOP)
        wait_for(connection, Liveness.NOT_RUNNING_PYTHON)
        process.send_signal(signal.SIGCONT)
        wait_for(connection, Liveness.RUNNING)
        process.kill()


@pytest.mark.parametrize("arguments", [(), ("reconnect",)], ids=["closes", "waits"])
def test_a_killed_process_is_a_dead_one(peer_of, arguments):
    _, process, connection, told = peer_of(*arguments)
    process.kill()
    wait_until(lambda: not connection.is_connected)
    process.wait()
    wait_for(connection, Liveness.PROCESS_DEAD)
    wait_until(lambda: process_events() or not connection.is_alive)
    assert told[-1] is Liveness.PROCESS_DEAD


def test_a_pid_of_another_container_means_nothing(peer_of):
    _, process, connection, _ = peer_of("reconnect", "another container")
    process.kill()
    process.wait()
    wait_until(lambda: connection.is_reconnecting)
    wait_for(connection, Liveness.LINE_LOST)
    assert not connection._has_peer_ended()


def test_who_has_said_goodbye_is_not_connected(make_context):
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0")
    client.connect(f"localhost:{listener.port}")
    wait_until(lambda: listener.connections)
    [connection] = listener.connections
    client.close()
    wait_for(connection, Liveness.NOT_CONNECTED)


def test_a_cut_line_is_no_dead_process(peer_of):
    _, process, connection, _told = peer_of("reconnect")
    process.send_signal(signal.SIGSTOP)  # so that it does not come back at once
    connection.lose_line()
    wait_for(connection, Liveness.LINE_LOST)
    process.send_signal(signal.SIGCONT)
    wait_for(connection, Liveness.RUNNING)
    assert connection.is_connected


def test_who_is_silent_for_too_long_is_given_up_if_one_says_so(peer_of):
    _, process, connection, _ = peer_of()
    reasons = []
    connection.closed.bind(lambda _, reason: reasons.append(reason))
    connection.dead_after = 1.0
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process_events() or reasons)
    assert reasons == ["Silent for too long, considered dead."]
    assert connection.liveness is Liveness.NOT_CONNECTED


def test_who_is_given_up_early_need_not_be_silent_for_the_timeout(peer_of):
    _, process, connection, _ = peer_of()
    connection.timeout = 10 * PATIENCE
    connection.dead_after = 1.0
    read_before = connection._link.last_read
    wait_until(lambda: connection._link.last_read > read_before)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: not connection.is_connected)
    assert connection.stats()["seconds_since"]["in"] >= 1.0


def test_a_peer_that_lives_is_silent_for_half_a_second_at_times(peer_of):
    _, _, connection, _ = peer_of()
    connection.dead_after = 0.01
    read_before = connection._link.last_read
    wait_until(lambda: connection._link.last_read > read_before + 0.5)  # two beats
    assert connection.is_connected


def test_a_session_outlives_being_given_up(peer_of):
    _, process, connection, _ = peer_of("reconnect")
    reasons = []
    connection.reconnecting.bind(lambda _, reason: reasons.append(reason))
    connection.dead_after = 0.6
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: connection.is_reconnecting)
    wait_until(lambda: process_events() or reasons)
    assert reasons == ["Silent for too long, considered dead."]
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: connection.is_connected)
    wait_for(connection, Liveness.RUNNING)


def test_who_was_heard_just_now_is_not_given_up(peer_of):
    _, _, connection, _ = peer_of()
    connection.dead_after = 1.0
    # As if the thread that looks came in between reading and telling of that.
    connection._consider_dead(100.0)
    assert connection.is_connected
    assert not connection._is_end_wanted


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, "1", []])
def test_seconds_that_are_none_are_refused(peer_of, seconds):
    _, _, connection, _ = peer_of()
    with pytest.raises(ArgumentError):
        connection.dead_after = seconds
    assert connection.dead_after is None


@pytest.mark.parametrize("seconds", [1e7, math.inf])
def test_silence_may_be_told_as_late_as_one_likes(pair, seconds):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    [connection] = pair[1].connections
    connection.timeout = seconds
    read_before = connection._link.last_read
    wait_until(lambda: connection._link.last_read > read_before + 0.5)  # two beats
    pub.send("still here")
    assert sub.recv(PATIENCE) == "still here"
    assert connection.is_connected


@pytest.mark.parametrize("seconds", [math.nan, "1", None])
def test_a_timeout_that_is_no_number_is_refused(pair, seconds):
    [connection] = pair[1].connections
    with pytest.raises(ArgumentError):
        connection.timeout = seconds
    assert connection.timeout == 0.5


def test_who_waits_for_a_peer_is_not_connected(make_context):
    connection = make_context().bind("localhost:0")
    assert connection.liveness is Liveness.NOT_CONNECTED


REPLIER = """
import ctypes
import sys
import time
import yoton

class Worker(yoton.RepChannel):
    def work(self):
        time.sleep(100)
    def hold_the_interpreter(self):
        ctypes.PyDLL(None).usleep(3_000_000)

context = yoton.Context(name="worker")
worker = Worker(context, "work")
worker.set_mode(sys.argv[2])
context.connect(sys.argv[1], 10.0)
yoton.start_event_loop()
"""


@pytest.fixture
def worker_of(make_context):
    """Starts a process with a replier, in a mode, and gets a channel to it."""
    processes = []

    def start(mode):
        context = make_context()
        address = f"localhost:{context.listen('localhost:0').port}"
        processes.append(subprocess.Popen([sys.executable, "-c", REPLIER, address, mode]))
        channel = ReqChannel(context, "work")
        assert channel.wait_for_repliers(1, PATIENCE)
        return channel

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("mode", ["thread", "event"])
def test_a_replier_says_that_it_is_busy_since_when_and_with_what(worker_of, mode):
    channel = worker_of(mode)
    [status] = channel.repliers(PATIENCE)
    assert (status.is_answering, status.is_busy, status.peer.name) == (True, False, "worker")
    call = channel.work()
    wait_until(call.running)
    wait_until(lambda: channel.repliers(PATIENCE)[0].is_busy)
    [status] = channel.repliers(PATIENCE)
    assert (status.method, status.waiting) == ("work", 0)
    before = status.seconds
    wait_until(lambda: channel.repliers(PATIENCE)[0].seconds > before + 0.05)


def test_a_replier_whose_interpreter_is_held_does_not_answer(worker_of):
    channel = worker_of("thread")
    call = channel.hold_the_interpreter()
    wait_until(call.running)
    wait_until(lambda: not channel.repliers(0.1)[0].is_answering)
    assert call.result(PATIENCE) is None
    assert channel.repliers(PATIENCE)[0].is_answering


def test_nobody_is_there_to_ask(make_context):
    channel = ReqChannel(make_context(), "work")
    assert channel.repliers() == []
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.repliers()


LOST_LINE = """
import subprocess, sys, time, yoton
from yoton import Liveness

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server, client = yoton.Context(), yoton.Context()
listener = server.listen("localhost:0")
connection = client.connect(f"localhost:{listener.port}")
assert connection.liveness is Liveness.RUNNING
subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
deadline = time.monotonic() + 20.0
while connection.liveness is not Liveness.LINE_LOST:
    assert time.monotonic() < deadline, connection.liveness
    time.sleep(0.02)
assert connection.is_connected
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
while connection.liveness is not Liveness.RUNNING:
    assert time.monotonic() < deadline, connection.liveness
    time.sleep(0.02)
print("seen")
"""


def can_make_networks():
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return (
        subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not can_make_networks(), reason="may not make a network of its own")
def test_a_line_that_lets_nothing_through_is_lost_and_may_come_back():
    result = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", LOST_LINE],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env=os.environ,
    )
    assert (result.stdout, result.returncode) == ("seen\n", 0), result.stderr

"""How programs end: quickly, without losing what was flushed, and with a word to the peer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from programs import CONNECT, FLUSH, THREADS, Audience, Program, check_ending

from yoton.channels import PubChannel
from yoton.connection.protocol import OTHER_END_CLOSED, OTHER_END_DROPPED
from yoton.context import Context


@pytest.fixture
def context() -> Iterator[Context]:
    # It is not to be a full queue that loses messages.
    with Context(queue_params=(10**9, "old")) as context:
        yield context


@pytest.fixture
def audience(context: Context) -> Audience:
    return Audience(context)


def check(
    audience: Audience,
    code: str,
    status: int = 0,
    error: str = "",
    reason: str = OTHER_END_CLOSED,
) -> None:
    """Check the end of a program that connects to the audience."""
    with Program(CONNECT + code, audience.port) as program:
        check_ending(program.end(), status, error)
        audience.check(program, reason)


# Ends that the program comes to by itself


@pytest.mark.parametrize("daemon", [True, False])
def test_main_ends_while_threads_send_at_full_speed(audience: Audience, daemon: bool) -> None:
    code = f"""
def stop():
    threading.main_thread().join()
    time.sleep(0.1)
    flush()
    is_over.set()
    end_begins()

start_threads(daemon={daemon})
if {daemon}:
    end_begins()
else:
    threading.Thread(target=stop).start()
"""
    check(audience, THREADS + code)


def test_a_pool_of_threads_finishes_its_work(audience: Audience) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(1)
for number in range(1000):
    pool.submit(pub.send, f"pool {number}")
say("flushed pool 1000")
end_begins()
"""
    check(audience, code)


def test_an_error_leaves_main_while_threads_send(audience: Audience) -> None:
    code = "start_threads(daemon=True); end_begins(); raise RuntimeError('oops')"
    check(audience, THREADS + code, 1, "RuntimeError: oops")


LEAVE = """
def leave(*arguments):
    end_begins()
    sys.exit(3)

"""


def test_an_exit_in_a_callback_of_the_event_loop(audience: Audience) -> None:
    code = "yoton.call_later(leave, 0.01); yoton.start_event_loop()"
    check(audience, FLUSH + LEAVE + code, 3)


def test_an_exit_in_a_handler_of_received(audience: Audience, context: Context) -> None:
    code = """
orders = yoton.SubChannel(context, "orders")
orders.received.bind(leave)
say("ready")
yoton.start_event_loop()
"""
    orders = PubChannel(context, "orders")
    with Program(CONNECT + FLUSH + LEAVE + code, audience.port) as program:
        program.hear("ready")
        orders.send("leave")
        check_ending(program.end(), 3)
        audience.check(program, OTHER_END_CLOSED)


def test_an_exit_in_a_handler_of_closed(audience: Audience) -> None:
    code = "connection.closed.bind(leave); connection.close(); yoton.start_event_loop()"
    check(audience, FLUSH + LEAVE + code, 3)


# What the methods of a replier raise is logged; in a thread of its own it ends nothing.
@pytest.mark.parametrize(
    ("mode", "main"),
    [
        ("event", "yoton.start_event_loop()"),
        ("off", "\nwhile True:\n    rep._process_events_local()\n    time.sleep(0.001)"),
        ("thread", "future.exception(5.0); sys.exit(3)"),
    ],
)
def test_an_exit_in_a_method_of_a_replier(audience: Audience, mode: str, main: str) -> None:
    code = f"""
import logging

class Replier(yoton.RepChannel):
    leave = leave

logging.getLogger("yoton").addHandler(logging.NullHandler())
rep = Replier(context, "replier")
rep.set_mode("{mode}")
asking = yoton.Context()
context.connect(f"localhost:{{asking.bind('localhost:0').port1}}")
future = yoton.ReqChannel(asking, "replier").leave()
{main}
"""
    check(audience, FLUSH + LEAVE + code, 3)


def test_a_method_that_goes_on_does_not_hold_the_end_up(audience: Audience) -> None:
    code = """
class Replier(yoton.RepChannel):
    def work(self):
        say("at work")
        time.sleep(1000)

rep = Replier(context, "replier")
rep.set_mode("thread")
asking = yoton.Context()
context.connect(f"localhost:{asking.bind('localhost:0').port1}")
yoton.ReqChannel(asking, "replier").work()
time.sleep(0.05)
end_begins()
"""
    check(audience, FLUSH + code)


def test_os_exit(audience: Audience) -> None:
    code = "start_threads(daemon=True); end_begins(); os._exit(4)"
    check(audience, THREADS + code, 4, reason=OTHER_END_DROPPED)


# Signals


def test_sigterm_by_default(audience: Audience) -> None:
    code = "start_threads(daemon=True); say('ready'); time.sleep(1000)"
    with Program(CONNECT + THREADS + code, audience.port) as program:
        program.hear("ready")
        program.send_signal(signal.SIGTERM)
        check_ending(program.end(), -signal.SIGTERM)
        audience.check(program, OTHER_END_DROPPED)


WAITS = {
    "sending": "send('main')",
    "receiving": "yoton.SubChannel(context, 'silence').recv()",
    "the event loop": "yoton.start_event_loop()",
    "a result": "yoton.ReqChannel(context, 'nobody', None).work().result()",
}


@pytest.mark.parametrize("name", WAITS)
def test_sigterm_with_a_handler_that_exits(audience: Audience, name: str) -> None:
    code = f"""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
start_threads(daemon=True)
say("ready")
{WAITS[name]}
"""
    with Program(CONNECT + THREADS + code, audience.port) as program:
        program.hear("ready")
        program.send_signal(signal.SIGTERM)
        check_ending(program.end(), 5)
        audience.check(program, OTHER_END_CLOSED)


def test_sigterm_with_a_handler_that_closes_and_exits(audience: Audience) -> None:
    """In the middle of a send it does not wait; what was sent has time at the exit."""
    code = """
def leave(*arguments):
    context.close()
    sys.exit(5)

signal.signal(signal.SIGTERM, leave)
say("ready")
while True:
    pub.send(f"main {number}")
    number += 1
"""
    with Program(CONNECT + FLUSH + "number += 1" + code, audience.port) as program:
        program.hear("ready")
        program.send_signal(signal.SIGTERM)
        check_ending(program.end(), 5)
        audience.check(program, OTHER_END_CLOSED)


# Peers that are not there yet, or not any more


def test_an_exit_while_connections_wait_for_peers_and_shake_hands(audience: Audience) -> None:
    code = """
import socket

waiting = [context.bind("localhost:0") for _ in range(3)]
shaking = [socket.create_connection(("127.0.0.1", c.port1)) for c in waiting[1:] * 2]
silent = socket.create_server(("127.0.0.1", 0))
address = f"localhost:{silent.getsockname()[1]}"
threading.Thread(target=yoton.Context().connect, args=(address,), daemon=True).start()
accepted = silent.accept()
end_begins()
"""
    check(audience, FLUSH + code)


PEER = """
context = yoton.Context(queue_params=(10**9, "old"))
sub = yoton.SubChannel(context, "numbers")
say("bound", context.bind("localhost:0").port1)
for number in range(1000):
    assert sub.recv() == f"main {number}"
say("all has come")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no processes")
def test_an_exit_while_the_peer_is_stopped() -> None:
    """Its end takes as long as all ends together may; what was flushed arrives later."""
    code = """
stop(int(sys.argv[2]))
"""
    with Program(PEER) as peer:
        port = peer.hear("bound ")
        with Program(CONNECT + code + FLUSH + "end_begins()", port, peer.pid) as program:
            check_ending(program.end())
        os.kill(peer.pid, signal.SIGCONT)
        peer.hear("all has come")


@pytest.mark.parametrize(
    ("number", "handler"),
    [
        (signal.SIGINT, "signal.default_int_handler"),
        (signal.SIGTERM, "lambda *_: sys.exit(5)"),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_while_the_interpreter_waits_for_a_peer(number: int, handler: str) -> None:
    """Who is in a hurry need not wait, and sees no error."""
    code = f"""
signal.signal({int(number)}, {handler})
stop(int(sys.argv[2]))
import atexit
atexit.register(say, "waiting")  # right before contexts close
"""
    with Program(PEER) as peer:
        port = peer.hear("bound ")
        with Program(CONNECT + code, port, peer.pid) as program:
            program.hear("waiting")
            program.send_signal(number)
            check_ending(program.end())


def test_a_flush_after_contexts_were_closed_says_that_nothing_leaves(audience: Audience) -> None:
    code = """
import atexit
import yoton.ending

def send_late():
    pub.send("late")
    try:
        context.flush()
    except yoton.ConnectionClosed as error:
        say("refused", error)
    else:
        say("refused not at all")

# Handlers of before the import of yoton run after its own.
atexit.unregister(yoton.ending._close_all)
atexit.register(send_late)
atexit.register(yoton.ending._close_all)
context.flush()
end_begins()
"""
    with Program(CONNECT + FLUSH + code, audience.port) as program:
        check_ending(program.end())
        assert "sent when the exit had closed" in program.hear("refused")
        audience.check(program, OTHER_END_CLOSED)


def test_what_comes_when_no_thread_can_be_started_any_more(audience: Audience) -> None:
    """Which is so at the end of an interpreter, from Python 3.12 on."""
    code = """
import socket

def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

class Adder(yoton.RepChannel):
    def add(self, a, b):
        return a + b

waiting = context.bind("localhost:0")
answering = yoton.Context()
rep = Adder(answering, "adder")
rep.set_mode("thread")
yoton.Context().connect(f"localhost:{answering.bind('localhost:0').port1}")
asking = yoton.Context()
asking.connect(f"localhost:{answering.bind('localhost:0').port1}")
req = yoton.ReqChannel(asking, "adder")
time.sleep(1.2)  # the thread of the scheduler has ended
threading.Thread.start = refuse
assert req.add(3, 4).result(5.0) == 7
with socket.create_connection(("127.0.0.1", waiting.port1)) as peer:
    assert peer.recv(1) == b""
assert waiting.is_waiting
end_begins()
"""
    with Program(CONNECT + FLUSH + code, audience.port) as program:
        ending = program.end()
        audience.check(program, OTHER_END_CLOSED)
    assert ending.status == 0, ending.errors
    assert ending.errors.startswith("Cannot shake hands"), ending.errors
    assert ending.errors.count("\n") == 1


@pytest.mark.parametrize("wait", ["context.close(20.0)", "context.flush(20.0)"])
@pytest.mark.parametrize(
    ("number", "status", "error"),
    [(signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, 5, "")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_while_much_waits_for_a_peer_that_does_not_read(
    number: int, status: int, error: str, wait: str
) -> None:
    code = f"""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
stop(int(sys.argv[2]))
yoton.PubChannel(context, "much", yoton.BINARY).send(bytes(2**24))
say("waiting")
{wait}
"""
    with Program(PEER) as peer:
        port = peer.hear("bound ")
        with Program(CONNECT + code, port, peer.pid) as program:
            program.hear("waiting")
            program.send_signal(number)
            check_ending(program.end(), status, error)

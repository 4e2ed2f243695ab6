"""Ctrl-C in every call that waits: it gets through at once, and all goes on after it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from interrupts import is_interrupted
from recorded import LINE_OF_X
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, ReqChannel, SubChannel
from yoton.channels.file import FileWrapper
from yoton.channels.simple_socket import SimpleSocket
from yoton.clientserver import do_request
from yoton.context import Context
from yoton.events import process_events, start_event_loop
from yoton.message_types import BINARY

pytestmark = pytest.mark.skipif(os.name == "nt", reason="this system sends no SIGINT to itself")

#: Seconds after which the signal comes: the call waits by then.
DELAY = 0.1

#: Seconds in which it has to get through; the rest is for a loaded machine.
LIMIT = 1.0

#: Moments between two interrupts of a call that has a thousand of them.
STRIDE = 11

#: More than the system takes for a peer that does not read.
MUCH = bytes(2**24)

#: A call that waits for much longer than it takes the signal to come.
Wait = Callable[[], object]


class Scene:
    """A context with two peers: a good one, and one that says hello and nothing else."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.here = stack.enter_context(Context())
        self.there = stack.enter_context(Context())
        connect(self.there, self.here)

    def add_silent_peer(self) -> None:
        connection = self.here.bind("localhost:0")
        peer = socket.create_connection(("127.0.0.1", connection.port1))
        self.stack.enter_context(peer)
        peer.sendall(LINE_OF_X)
        wait_until(lambda: connection.is_connected)

    def silent_port(self) -> int:
        """Get a port where somebody listens and says nothing."""
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port: int = listener.getsockname()[1]
        return port


def recv(scene: Scene) -> Wait:
    return SubChannel(scene.here, "silence").recv


def recv_with_a_timeout(scene: Scene) -> Wait:
    sub = SubChannel(scene.here, "silence")
    return lambda: sub.recv(PATIENCE)


def recv_without_a_peer(scene: Scene) -> Wait:
    sub = SubChannel(scene.stack.enter_context(Context()), "silence")
    return lambda: sub.recv(PATIENCE)


def readline(scene: Scene) -> Wait:
    return FileWrapper(SubChannel(scene.here, "silence")).readline


def recv_of_a_simple_socket(scene: Scene) -> Wait:
    return scene.stack.enter_context(SimpleSocket()).recv


def result(scene: Scene) -> Wait:
    req = ReqChannel(scene.here, "nobody", None)
    return lambda: req.work().result(PATIENCE)


def exception(scene: Scene) -> Wait:
    return ReqChannel(scene.here, "nobody", None).work().exception


def send_to_a_peer_that_does_not_read(scene: Scene) -> Wait:
    scene.add_silent_peer()
    pub = PubChannel(scene.here, "much", BINARY)

    def send() -> None:
        while True:
            pub.send(MUCH)

    return send


def send_in_sync_mode(scene: Scene) -> Wait:
    sub = SubChannel(scene.there, "much")
    sub.set_sync_mode(True)
    pub = PubChannel(scene.here, "much")

    def send() -> None:
        # Not in bursts: they would be there before the receiver can say that it is full.
        while True:
            pub.send("message")
            scene.here.flush()

    return send


def flush(scene: Scene) -> Wait:
    scene.add_silent_peer()
    PubChannel(scene.here, "much", BINARY).send(MUCH)
    return lambda: scene.here.flush(PATIENCE)


def flush_to_a_peer_that_has_not_come(scene: Scene) -> Wait:
    context = scene.stack.enter_context(Context())
    connection = context.bind("localhost:0")
    PubChannel(context, "early").send("message")
    return lambda: connection.flush(PATIENCE)


def close(scene: Scene) -> Wait:
    scene.add_silent_peer()
    PubChannel(scene.here, "much", BINARY).send(MUCH)
    return lambda: scene.here.close(PATIENCE)


def leaving_a_with(scene: Scene) -> Wait:
    scene.add_silent_peer()
    return lambda: scene.here.__exit__(None, None, None)


def close_of_a_connection(scene: Scene) -> Wait:
    scene.add_silent_peer()
    return scene.here.connections[-1].close


def connect_where_nobody_listens(scene: Scene) -> Wait:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return lambda: scene.here.connect(f"localhost:{port}", PATIENCE)


def connect_where_nobody_answers(scene: Scene) -> Wait:
    port = scene.silent_port()
    return lambda: scene.here.connect(f"localhost:{port}")


def event_loop(scene: Scene) -> Wait:
    return start_event_loop


def event_processing(scene: Scene) -> Wait:
    return lambda: process_events(True)


def request(scene: Scene) -> Wait:
    port = scene.silent_port()
    return lambda: do_request(f"localhost:{port}", "anybody?")


WAITS = [
    *(recv, recv_with_a_timeout, recv_without_a_peer, readline, recv_of_a_simple_socket),
    *(result, exception, event_loop, event_processing, request),
    *(send_to_a_peer_that_does_not_read, send_in_sync_mode),
    *(flush, flush_to_a_peer_that_has_not_come, close, leaving_a_with, close_of_a_connection),
    *(connect_where_nobody_listens, connect_where_nobody_answers),
]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        yield Scene(stack)


@pytest.mark.parametrize("prepare", WAITS)
def test_ctrl_c(scene: Scene, prepare: Callable[[Scene], Wait]) -> None:
    wait = prepare(scene)
    struck = threading.Timer(DELAY, os.kill, (os.getpid(), signal.SIGINT))
    struck.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        wait()
    assert time.monotonic() - started < DELAY + LIMIT
    # One that does not read would hold back what is sent now.
    for connection in scene.here.connections_all[1:]:
        connection.close_on_problem()
    check_messages(scene)


# Between opening a file of /proc and the "with" that closes it, Python itself closes it, and warns.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_interrupt_while_connecting_leaves_no_connection_behind() -> None:
    moment = 1
    with Context() as server:
        server.listen("memory://interrupted")
        while is_connecting_interrupted(moment):
            wait_until(lambda: not server.connections_all)
            moment += STRIDE
    assert moment > 10 * STRIDE


def is_connecting_interrupted(moment: int) -> bool:
    with Context() as client:
        if not is_interrupted(lambda: client.connect("memory://interrupted"), moment):
            return False
        wait_until(lambda: not client.connections_all)
        started = time.monotonic()
    assert time.monotonic() - started < LIMIT
    return True


def check_messages(scene: Scene) -> None:
    """Check that messages go both ways, to a peer that was there and to a new one."""
    new = scene.stack.enter_context(Context())
    connect(scene.here, new)
    for there in {new, scene.there} if scene.here.connection_count > 1 else {new}:
        for sender, receiver in [(scene.here, there), (there, scene.here)]:
            with SubChannel(receiver, "check") as sub, PubChannel(sender, "check") as pub:
                pub.send("fine")
                assert sub.recv(PATIENCE) == "fine"

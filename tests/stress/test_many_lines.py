"""Many connections, one after the other and at once: all come back, and nothing grows."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from proxy import Proxy
from soak import MAX_GROWTH, Sample, sample
from support import PATIENCE, wait_until

from yoton import Context, PubChannel, ReconnectPolicy, SubChannel

#: `make soak` makes more.
CYCLES = int(os.environ.get("CONNECT_CYCLES", "1000"))

THREADS = 32
MESSAGES = 100
CONTEXTS = 200

QUICKLY = ReconnectPolicy(first_delay=0.01, ceiling=0.1)


@pytest.fixture
def to_close() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def await_no_more_than(most: Sample) -> None:
    """Wait until threads have ended and descriptors are closed."""
    wait_until(lambda: sample(os.getpid())[1:] <= most[1:], f"{sample(os.getpid())}, {most}")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.timeout(60 + CYCLES // 10)
@pytest.mark.parametrize("reconnect", [False, True])
def test_connections_that_come_and_go_leave_nothing_behind(
    to_close: ExitStack, reconnect: bool
) -> None:
    server = to_close.enter_context(Context())
    listener = server.listen("localhost:0")
    before = sample(os.getpid())
    for number in range(CYCLES):
        if number == CYCLES // 2:
            before = sample(os.getpid())
        with Context() as client:
            client.connect(f"localhost:{listener.port}", 10.0, reconnect=reconnect)
    wait_until(lambda: not server.connections_all)
    after = sample(os.getpid())
    assert after.memory <= before.memory + MAX_GROWTH.memory
    await_no_more_than(before)


@pytest.mark.timeout(120)
def test_many_threads_send_while_the_line_is_cut(to_close: ExitStack) -> None:
    server, client = (
        to_close.enter_context(Context(queue_params=(10**6, "old"))) for _ in range(2)
    )
    sub = SubChannel(server, "news")
    listener = server.listen("localhost:0")
    proxy = Proxy(listener.port)
    to_close.callback(proxy.close)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    pub = PubChannel(client, "news")

    def send(name: int) -> None:
        for number in range(MESSAGES):
            pub.send(f"{name} {number}")

    threads = [threading.Thread(target=send, args=[name]) for name in range(THREADS)]
    for thread in threads:
        thread.start()
    received: list[list[str]] = []
    while len(received) < THREADS * MESSAGES:
        if len(received) % 200 == 0:
            proxy.cut()
        message = sub.recv(PATIENCE)
        assert message, f"{len(received)} came"
        received.append(message.split())
    for name in range(THREADS):
        numbers = [number for sender, number in received if sender == str(name)]
        assert numbers == [str(number) for number in range(MESSAGES)]
    wait_until(lambda: connection.is_connected)


@pytest.mark.timeout(120)
def test_all_come_back_to_a_listener_that_is_restarted(to_close: ExitStack) -> None:
    server = to_close.enter_context(Context())
    listener = server.listen("localhost:0")
    port = listener.port
    contexts = [to_close.enter_context(Context()) for _ in range(CONTEXTS)]
    with ThreadPoolExecutor(8) as pool:
        connections = list(
            pool.map(lambda c: c.connect(f"localhost:{port}", 10.0, reconnect=QUICKLY), contexts)
        )
    wait_until(lambda: len(listener.connections) == CONTEXTS)
    server.close()
    wait_until(lambda: not any(connection.is_connected for connection in connections))
    listener = server.listen(f"localhost:{port}")
    wait_until(lambda: len(listener.connections) == CONTEXTS)
    pub = PubChannel(server, "news")
    subs = [SubChannel(context, "news") for context in contexts]
    pub.send("back")
    assert [sub.recv(PATIENCE) for sub in subs] == ["back"] * CONTEXTS

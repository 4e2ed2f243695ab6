"""The timeout of Context.close: how long it may block in total, and what it gives time for."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from recorded import LINE_OF_X
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, RepChannel, ReqChannel, SubChannel
from yoton.connection import threaded
from yoton.context import Context
from yoton.exceptions import ArgumentError
from yoton.message_types import BINARY

TIMEOUT = 0.3

#: Seconds beyond the timeout on a loaded machine; less than it takes to wait for two peers, or
#: for a replier, that do not answer one after the other, if one waits as long as by default.
MARGIN = 0.6


@contextlib.contextmanager
def silent_peer(context: Context) -> Iterator[socket.socket]:
    """Connect a peer that says hello and nothing else."""
    connection = context.bind("localhost:0")
    with socket.create_connection(("127.0.0.1", connection.port1)) as peer:
        peer.sendall(LINE_OF_X)
        wait_until(lambda: connection.is_connected)
        yield peer


def seconds_to_close(context: Context, timeout: float) -> float:
    started = time.monotonic()
    context.close(timeout)
    return time.monotonic() - started


def read_all(peer: socket.socket) -> int:
    """Read up to the end and get the number of bytes."""
    peer.settimeout(PATIENCE)
    count = 0
    while data := peer.recv(2**16):
        count += len(data)
    return count


def test_peers_that_do_not_answer_are_waited_for_together_and_broken_off() -> None:
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(Context())
        peers = [stack.enter_context(silent_peer(context)) for _ in range(4)]
        good = stack.enter_context(Context())
        connect(good, context)
        sub = SubChannel(good, "x")
        PubChannel(context, "x").send("the last word")
        assert TIMEOUT <= seconds_to_close(context, TIMEOUT) < TIMEOUT + MARGIN
        assert context.connections_all == []
        assert sub.recv(PATIENCE) == "the last word"
        assert all(read_all(peer) > 0 for peer in peers)


def test_it_is_over_as_soon_as_all_have_answered() -> None:
    with Context() as here, Context() as there:
        connect(here, there)
        assert seconds_to_close(here, PATIENCE) < PATIENCE / 2


@pytest.mark.parametrize("timeout", [PATIENCE, 1e7, math.inf])
def test_a_slow_peer_gets_the_time_to_take_all(
    monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.05)
    size = 2**24
    counts = []
    with Context() as context, silent_peer(context) as peer:
        PubChannel(context, "x", BINARY).send(bytes(size))

        def read() -> None:
            counts.append(read_all(peer))
            peer.close()

        reading = threading.Timer(0.3, read)
        reading.start()
        context.close(timeout)
        assert counts[0] > size
        reading.join()


def test_repliers_that_are_busy_are_part_of_the_total() -> None:
    begun, is_over = threading.Event(), threading.Event()

    class Busy(RepChannel):
        def work(self) -> None:
            begun.set()
            is_over.wait(PATIENCE)

    with Context() as asking, Context() as answering:
        for slot in ("a", "b"):
            Busy(answering, slot).set_mode("thread")
        connect(answering, asking)
        try:
            for slot in ("a", "b"):
                ReqChannel(asking, slot).work()
                assert begun.wait(PATIENCE)
                begun.clear()
            assert seconds_to_close(answering, TIMEOUT) < TIMEOUT + MARGIN
        finally:
            is_over.set()


def test_a_timeout_that_is_no_number_is_refused() -> None:
    with Context() as context:
        channel = PubChannel(context, "x")
        with pytest.raises(ArgumentError, match="nan"):
            context.close(math.nan)
        assert not channel.closed

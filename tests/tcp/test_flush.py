"""Flushing: what it waits for, and what it does not."""

from __future__ import annotations

import contextlib
import itertools
import math
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from programs import Program
from recorded import BEAT, LINE_OF_X, read_plain_packages
from support import PATIENCE, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context
from yoton.exceptions import ConnectionClosed, FlushTimeout
from yoton.message_types import BINARY


def test_a_flush_ends_while_other_threads_go_on_sending():
    with Context(queue_params=(10**9, "old")) as receiver, Context() as sender:
        sub = SubChannel(receiver, "numbers")
        sender.connect(f"localhost:{receiver.bind('localhost:0').port1}")
        pub = PubChannel(sender, "numbers")
        is_over = threading.Event()
        counts = [0, 0, 0]

        def send(index):
            for number in itertools.count():
                if is_over.is_set():
                    return
                pub.send(f"{index} {number}")
                counts[index] = number + 1

        threads = [threading.Thread(target=send, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                flushed = counts.copy()
                sender.flush(PATIENCE / 2)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    numbers = [message.split() for message in sub.recv_all()]
    for index in range(3):
        received = [int(number) for sender, number in numbers if sender == str(index)]
        assert received[: flushed[index]] == list(range(flushed[index]))


@pytest.mark.parametrize("timeout", [None, math.inf])
def test_a_flush_may_wait_without_limit(timeout):
    with Context() as context:
        binding = context.bind("localhost:0")
        with socket.create_connection(("127.0.0.1", binding.port1)) as peer:
            peer.sendall(LINE_OF_X)
            wait_until(lambda: binding.is_connected)
            PubChannel(context, "x", BINARY).send(bytes(2**24))
            with pytest.raises(FlushTimeout):
                context.flush(0.0)
            flushes = [context.flush, binding.flush]
            flushing = [threading.Thread(target=flush, args=(timeout,)) for flush in flushes]
            for thread in flushing:
                thread.start()
            wait_until(lambda: not any(t.is_alive() for t in flushing) or not peer.recv(2**16))
            assert not any(thread.is_alive() for thread in flushing)
            context.flush(timeout)


def test_a_flush_waits_for_the_others_when_a_connection_ends():
    with Context() as context, contextlib.ExitStack() as stack:
        peers = []
        for _ in range(2):
            binding = context.bind("localhost:0")
            peers.append(
                stack.enter_context(socket.create_connection(("127.0.0.1", binding.port1)))
            )
            peers[-1].sendall(LINE_OF_X)
            wait_until(lambda binding=binding: binding.is_connected)
        ending, staying = peers
        PubChannel(context, "x", BINARY).send(bytes(2**24))
        with ThreadPoolExecutor(1) as pool:
            flushing = pool.submit(context.flush, PATIENCE)
            # Only once it waits: it does so for those that it finds at its beginning.
            assert not wait([flushing], 0.2).done
            ending.close()
            wait_until(lambda: context.connection_count == 1)
            assert not wait([flushing], 0.05).done
            wait_until(lambda: flushing.done() or not staying.recv(2**16))
            with pytest.raises(ConnectionClosed):
                flushing.result()
        assert binding.is_connected
        context.flush(0.0)


#: What the system takes, though the peer does not read.
TAKEN_SIZE = 300_000

only_linux_tells = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells what it has not sent"
)


def connect_slowly(port):
    """Connect to a port as a plain peer that has little room for what comes."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    peer.sendall(LINE_OF_X)
    return peer


def read_slowly(peer):
    """Read what comes, in small pieces, and show a sign of life after each."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := peer.recv(4096):
            pieces.append(piece)
            with contextlib.suppress(BrokenPipeError):
                peer.sendall(BEAT)
            time.sleep(0.005)
    return b"".join(pieces)


@only_linux_tells
def test_a_flush_waits_for_what_the_system_keeps():
    with Context() as context:
        binding = context.bind("localhost:0")
        with connect_slowly(binding.port1) as peer:
            wait_until(lambda: binding.is_connected)
            PubChannel(context, "x", BINARY).send(bytes(TAKEN_SIZE))
            assert binding.stats()["pending"]["messages"] == 0
            with pytest.raises(FlushTimeout):
                context.flush(0.05)
            reading = threading.Thread(target=read_slowly, args=(peer,))
            reading.start()
            context.flush(PATIENCE)
            context.close()
            reading.join()


FLUSH_AND_END = f"""
context = yoton.Context()
binding = context.bind("localhost:0")
say("port", binding.port1)
while not binding.is_connected:
    time.sleep(0.001)
yoton.PubChannel(context, "x", yoton.BINARY).send(bytes({TAKEN_SIZE}))
context.flush({PATIENCE})
end_begins()
os._exit(0)
"""


@only_linux_tells
def test_what_was_flushed_arrives_though_the_process_is_gone_and_the_peer_talks():
    with Program(FLUSH_AND_END) as program:
        with connect_slowly(int(program.hear("port "))) as peer:
            received = read_slowly(peer)
        program.end()
    _, packages = received.split(b"\r\n", 1)
    assert TAKEN_SIZE in [len(data) for _, data in read_plain_packages(packages)]


def test_a_flush_costs_little_while_the_peer_keeps_up():
    with Context() as receiver, Context() as sender:
        sub = SubChannel(receiver, "numbers")
        sender.connect(f"localhost:{receiver.bind('localhost:0').port1}")
        pub = PubChannel(sender, "numbers")
        times = []
        for number in range(100):
            pub.send(str(number))
            started = time.monotonic()
            sender.flush(PATIENCE)
            times.append(time.monotonic() - started)
            # So that the systems wait for something to send the acknowledgement with.
            assert sub.recv(PATIENCE) == str(number)
    # That takes 40 ms.
    assert sorted(times)[50] < 0.01

"""Flushing: what it waits for, and what it does not."""

from __future__ import annotations

import itertools
import math
import socket
import threading

import pytest
from recorded import LINE_OF_X
from support import PATIENCE, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context
from yoton.exceptions import FlushTimeout
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

"""Flushing: what it waits for, and what it does not."""

from __future__ import annotations

import itertools
import threading

from support import PATIENCE

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context


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

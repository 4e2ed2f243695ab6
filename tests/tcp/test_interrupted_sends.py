"""Signal handlers that flush or close at any moment of a send, which goes on only after them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable

from interrupts import call_with
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.connection.protocol import OTHER_END_CLOSED
from yoton.context import Context
from yoton.events import process_events
from yoton.exceptions import ChannelClosed, FlushTimeout

#: Seconds that a handler may take, on a loaded machine; a close that waits takes two.
MUCH = 1.0

#: More than a send has.
MOMENTS = 1000


class Handler:
    """What a signal handler does, and how long it took."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self.seconds = 0.0

    def __call__(self) -> None:
        # Python runs handlers in no other; but these are watched as well, from Python 3.12 on.
        if threading.current_thread() is threading.main_thread():
            began = time.monotonic()
            self._act()
            self.seconds = time.monotonic() - began


def test_a_handler_that_sends_and_flushes() -> None:
    with Context() as sender, Context() as receiver:
        connect(receiver, sender)
        pub, sub = PubChannel(sender, "news"), SubChannel(receiver, "news")
        assert pub.wait_for_subscribers(timeout=PATIENCE)
        flushed = []

        def send_and_flush() -> None:
            pub.send("by the handler")
            with contextlib.suppress(FlushTimeout):
                sender.flush(PATIENCE)
                flushed.append(True)

        for moment in itertools.count(1):
            handler = Handler(send_and_flush)
            # In a burst the message would be held back, and leave in another thread.
            sender._burst.answer_is_awaited()
            was_called = call_with(lambda: pub.send("by main"), handler, moment)
            assert handler.seconds < MUCH, moment
            messages = [sub.recv(PATIENCE) for _ in range(1 + was_called)]
            assert sorted(messages) == ["by main", "by the handler"][: 1 + was_called], moment
            if not was_called:
                break
            assert moment < MOMENTS
        # There are moments in which it can be, and others.
        assert 0 < len(flushed) < moment - 1


def send_last(pub: PubChannel) -> None:
    with contextlib.suppress(ChannelClosed):
        pub.send("last")


def is_heard(reasons: list[str]) -> bool:
    process_events()
    return bool(reasons)


def test_a_handler_that_closes() -> None:
    for moment in itertools.count(1):
        with Context() as sender, Context() as receiver:
            reasons: list[str] = []
            binding = receiver.bind("localhost:0")
            binding.closed.bind(lambda _, reason, reasons=reasons: reasons.append(reason))
            sender.connect(f"localhost:{binding.port1}")
            pub, sub = PubChannel(sender, "news"), SubChannel(receiver, "news")
            pub.send("before")
            handler = Handler(sender.close)
            was_called = call_with(functools.partial(send_last, pub), handler, moment)
            assert handler.seconds < MUCH, moment
            if was_called:
                wait_until(functools.partial(is_heard, reasons))
                assert reasons == [OTHER_END_CLOSED], moment
                assert sub.recv_all()[:1] == ["before"], moment
        if not was_called:
            break
        assert moment < MOMENTS

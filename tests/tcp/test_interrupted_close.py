"""Ctrl-C at any moment of a close: another close does the rest."""

from __future__ import annotations

import contextlib
import threading

from interrupts import Interrupted, call_with

from yoton.context import Context
from yoton.events import process_events

#: More than a close has; it takes about a hundred.
MOMENTS = 1000


def interrupt_main_thread() -> None:
    # Python strikes no other; but these are watched as well, from Python 3.12 on.
    if threading.current_thread() is threading.main_thread():
        raise Interrupted


def test_a_connection_that_waits_for_a_peer() -> None:
    for moment in range(1, MOMENTS):
        with Context() as context:
            connection = context.bind("localhost:0")
            ends: list[str] = []
            connection.closed.bind(lambda _, reason, ends=ends: ends.append(reason))
            was_interrupted = True
            with contextlib.suppress(Interrupted):
                was_interrupted = call_with(context.close, interrupt_main_thread, moment)
            context.close()
            process_events()
            # An interrupt when all else was done keeps the word of it back.
            assert len(ends) == 1 or (was_interrupted and not ends), moment
            assert context.connections_all == [], moment
            context.flush(0.0)  # which a connection that is half closed would refuse
            # The port is free.
            with contextlib.closing(Context()) as other:
                other.bind(f"localhost:{connection.port1}")
        if not was_interrupted:
            break
    assert moment < MOMENTS - 1
    assert not [t for t in threading.enumerate() if t.name.startswith("yoton-accept")]

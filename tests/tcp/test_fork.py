"""Forked children: they have closed copies, can have contexts of their own, and harm nobody."""

from __future__ import annotations

import os

import pytest
from support import PATIENCE, connect, run_in_child, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.connection.protocol import OTHER_END_CLOSED
from yoton.context import Context
from yoton.events import process_events
from yoton.exceptions import ChannelClosed

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 and later warn of forking a process with threads.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_child_has_closed_copies(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    waiting = pair[0].bind("localhost:0")

    def look():
        assert pub.closed and sub.closed and sub.recv() == ""
        assert pair[0].connections_all == []
        assert not waiting.is_alive
        with pytest.raises(ChannelClosed):
            pub.send("from the child")
        pair[0].close()

    run_in_child(look)
    pub.send("from the parent")
    assert sub.recv(PATIENCE) == "from the parent"
    assert waiting.is_waiting


def test_the_child_can_have_a_context_of_its_own(make_context):
    parent = make_context()
    sub = SubChannel(parent, "x")
    connection = parent.bind("localhost:0")

    def send():
        with Context() as context:
            pub = PubChannel(context, "x")
            context.connect(f"localhost:{connection.port1}")
            pub.send("from the child")

    run_in_child(send)
    assert sub.recv(PATIENCE) == "from the child"


def test_a_child_that_lives_on_does_not_keep_connections_open(make_context):
    first, second = make_context(), make_context()
    connect(first, second)
    reasons = []
    second.connections[0].closed.bind(lambda _, reason: reasons.append(reason))
    reading_end, writing_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing_end)
        os.read(reading_end, 1)
        os._exit(0)
    try:
        first.connections[0].close()
        wait_until(lambda: process_events() or reasons)
        assert reasons == [OTHER_END_CLOSED]
    finally:
        os.close(writing_end)
        os.close(reading_end)
        os.waitpid(pid, 0)

"""The end of connections: who hears what, when, and after what."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.connection import threaded
from yoton.connection.protocol import (
    OTHER_END_CLOSED,
    OTHER_END_DROPPED,
    contexts_gone_package,
)
from yoton.context import CLOSED_BY_CONTEXT
from yoton.events import process_events
from yoton.exceptions import ChannelClosed


def ends_of(connection):
    """Get a list that fills with what the handlers of closed get."""
    ends = []
    connection.closed.bind(lambda closed, reason: ends.append((closed, reason)))
    return ends


def wait_for_end(ends):
    def is_told():
        process_events()
        return ends

    wait_until(is_told, "closed is emitted")
    process_events(0.05)


def test_close_delivers_what_was_sent_before_and_tells_the_peer(pair):
    binder, connector = pair
    here, there = binder.connections[0], connector.connections[0]
    ends_here, ends_there = ends_of(here), ends_of(there)
    pub, sub = PubChannel(binder, "last words"), SubChannel(connector, "last words")
    for number in range(50):
        pub.send(str(number))
    here.close()
    wait_for_end(ends_there)
    assert ends_here == [(here, "Closed on command.")]
    assert ends_there == [(there, OTHER_END_CLOSED)]
    assert sub.recv_all() == [str(number) for number in range(50)]
    assert not here.is_alive and not there.is_alive


def test_what_is_sent_when_a_connection_is_about_to_close_is_told_as_that(pair, caplog):
    [connection] = pair[0].connections
    pub = PubChannel(pair[0], "too late")
    connection.outbox.close()
    pub.send("one")
    pair[0]._tell_others(contexts_gone_package([1]), None)
    pub.send("two")
    pair[0].flush_burst()
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [f"{connection!r}: packages are dropped, as it is about to close"]
    assert connection.outbox.departures.closed == 2


def test_what_the_peer_had_sent_still_arrives_when_this_end_closes(pair):
    binder, connector = pair
    pub, sub = PubChannel(connector, "crossing"), SubChannel(binder, "crossing")
    for number in range(50):
        pub.send(str(number))
    connection = binder.connections[0]
    connection.close()
    assert sub.recv_all() == [str(number) for number in range(50)]


def test_context_close_gives_its_reason(pair):
    binder, _ = pair
    ends = ends_of(binder.connections[0])
    binder.close()
    wait_for_end(ends)
    assert [reason for _, reason in ends] == [CLOSED_BY_CONTEXT]


def test_a_given_reason_is_told(pair):
    connection = pair[0].connections[0]
    ends = ends_of(connection)
    connection.close("enough")
    wait_for_end(ends)
    connection.close("again")
    process_events()
    assert [reason for _, reason in ends] == ["enough"]


def test_close_on_problem_does_not_say_goodbye(pair):
    binder, connector = pair
    here, there = binder.connections[0], connector.connections[0]
    ends_here, ends_there = ends_of(here), ends_of(there)
    here.close_on_problem("trouble")
    wait_for_end(ends_there)
    assert [reason for _, reason in ends_here] == ["trouble"]
    assert ends_there[0][1] != OTHER_END_CLOSED


def test_a_waiting_connection_lets_its_port_go_and_tells(make_context):
    context = make_context()
    connection = context.bind("localhost:0")
    ends = ends_of(connection)
    connection.close()
    wait_for_end(ends)
    assert [reason for _, reason in ends] == ["Closed on command."]
    assert context.connections_all == []
    make_context().bind(f"localhost:{connection.port1}")


def test_both_ends_close_at_once(make_context):
    for _ in range(20):
        binder, connector = make_context(), make_context()
        connect(binder, connector)
        here, there = binder.connections[0], connector.connections[0]
        ends_here, ends_there = ends_of(here), ends_of(there)
        here.begin_close("a")
        there.begin_close("b")
        wait_for_end(ends_here)
        wait_for_end(ends_there)
        assert len(ends_here) == len(ends_there) == 1


def test_a_peer_that_does_not_answer_the_goodbye_holds_close_up_for_a_limited_time(
    make_context, monkeypatch
):
    monkeypatch.setattr(threaded, "CLOSE_TIMEOUT", 0.3)
    context = make_context()
    connection = context.bind("localhost:0")
    with socket.create_connection(("127.0.0.1", connection.port1)) as peer:
        peer.sendall(b"YOTON!00000000000000aa.55\r\n")
        wait_until(lambda: connection.is_connected)
        started = time.monotonic()
        connection.close()
        assert 0.2 < time.monotonic() - started < PATIENCE
    assert not connection.is_alive


def test_the_end_of_the_stream_inside_a_package_ends_the_connection(make_context):
    context = make_context()
    connection = context.bind("localhost:0")
    ends = ends_of(connection)
    with socket.create_connection(("127.0.0.1", connection.port1)) as peer:
        peer.sendall(b"YOTON!00000000000000aa.55\r\nYOTON   half a header")
        wait_until(lambda: connection.is_connected)
        peer.shutdown(socket.SHUT_WR)
        wait_for_end(ends)
    assert [reason for _, reason in ends] == [OTHER_END_DROPPED]


def test_receiving_ends_with_an_empty_message_when_the_channel_closes(pair):
    sub = SubChannel(pair[0], "quiet")
    pub = PubChannel(pair[0], "quiet")
    pub.close()
    with pytest.raises(ChannelClosed, match="quiet"):
        pub.send("too late")
    sub.close()
    assert sub.recv() == ""


def test_the_end_of_a_killed_process_is_heard(make_context):
    context = make_context()
    connection = context.bind("localhost:0")
    ends = ends_of(connection)
    code = f"""
import sys
from yoton.context import Context
Context().connect("localhost:{connection.port1}")
print("connected", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"connected\n"
        os.kill(child.pid, signal.SIGKILL)
        wait_for_end(ends)
    assert len(ends) == 1 and ends[0][1] != OTHER_END_CLOSED


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise RuntimeError('oops')"])
def test_the_end_of_the_interpreter_loses_nothing_and_says_goodbye(make_context, ending):
    context = make_context()
    connection = context.bind("localhost:0")
    ends = ends_of(connection)
    sub = SubChannel(context, "output")
    code = f"""
import sys
from yoton.context import Context
from yoton.channels import PubChannel
context = Context()
context.connect("localhost:{connection.port1}")
pub = PubChannel(context, "output")
for number in range(300):
    pub.send(str(number))
{ending}
"""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=PATIENCE)
    assert time.monotonic() - started < PATIENCE
    wait_for_end(ends)
    assert sub.recv_all() == [str(number) for number in range(300)]
    assert [reason for _, reason in ends] == [OTHER_END_CLOSED]

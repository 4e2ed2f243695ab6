"""What comes in between while a connection loses its line or gets another one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from proxy import Proxy
from support import PATIENCE, wait_until

from yoton import (
    OBJECT,
    ConnectFailed,
    Connection,
    Context,
    PubChannel,
    ReconnectPolicy,
    SubChannel,
    process_events,
)
from yoton.connection import listener as listener_room
from yoton.events.signals import Signal
from yoton.gaps import MAX_LOSSES, Gap, Loss
from yoton.package import EVERYONE

QUICKLY = ReconnectPolicy(first_delay=0.001, ceiling=0.02)


class Line:
    """Two contexts, and a proxy between them."""

    def __init__(self, make_context, **listening):
        self.server, self.client = make_context(), make_context()
        self.listener = self.server.listen("localhost:0", **listening)
        self.proxy = Proxy(self.listener.port)
        self.connection = self.client.connect(f"localhost:{self.proxy.port}", reconnect=QUICKLY)
        wait_until(lambda: self.listener.connections)
        [self.accepted] = self.listener.connections

    def cut_for_long(self):
        self.proxy.let_nobody_through()
        wait_until(lambda: self.connection.is_reconnecting and self.accepted.is_reconnecting)


@pytest.fixture
def make_line(make_context):
    lines = []

    def make(**listening):
        lines.append(Line(make_context, **listening))
        return lines[-1]

    yield make
    for line in lines:
        line.proxy.close()


# Two lines at once


def test_who_comes_back_finds_its_place_though_there_is_no_other(make_line, make_context):
    line = make_line(max_connections=1)
    line.cut_for_long()
    line.proxy.let_through()
    wait_until(lambda: line.connection.is_connected and line.accepted.is_connected)
    with pytest.raises(ConnectFailed):
        make_context().connect(f"localhost:{line.listener.port}", reconnect=QUICKLY)
    assert line.listener.connections == (line.accepted,)


def test_of_two_lines_at_once_one_is_taken(make_line, monkeypatch):
    """Or one would forget what the other one has written."""
    line = make_line()
    pub, sub = PubChannel(line.server, "news"), SubChannel(line.client, "news")
    line.cut_for_long()
    for number in range(10):
        pub.send(str(number))
    is_first_there, may_go_on = threading.Event(), threading.Event()
    answer, let_in = listener_room._answer, line.listener._acceptor._let_in
    taken = []

    def answer_and_wait(*args, **kwargs):
        answer(*args, **kwargs)
        if not is_first_there.is_set():
            is_first_there.set()
            assert may_go_on.wait(PATIENCE)

    def note(*args):
        taken.append(let_in(*args))
        return taken[-1]

    monkeypatch.setattr(listener_room, "_answer", answer_and_wait)
    line.listener._acceptor._let_in = note
    line.proxy.let_through()
    assert is_first_there.wait(PATIENCE)
    line.proxy.cut()
    wait_until(lambda: taken)
    assert not taken[0]
    may_go_on.set()
    assert [sub.recv(PATIENCE) for _ in range(10)] == [str(number) for number in range(10)]
    assert line.server.connections_all == [line.accepted]


def test_a_session_that_is_begun_twice_is_one(make_context, monkeypatch):
    """The answer to the first line got lost, and the peer came again before it was made."""
    server, client = make_context(), make_context()
    listening = server.listen("localhost:0")
    proxy = Proxy(listening.port)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    wait_until(lambda: listening.connections)
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting)
    for each in server.connections_all:
        each.close()
    is_first_there, may_go_on, came_again = (threading.Event() for _ in range(3))
    let_in_anew, let_in = listening._let_in_anew, listening._acceptor._let_in

    def let_in_late(*args):
        if not is_first_there.is_set():
            is_first_there.set()
            assert may_go_on.wait(PATIENCE)
        return let_in_anew(*args)

    def note(*args):
        if is_first_there.is_set():
            came_again.set()
        return let_in(*args)

    monkeypatch.setattr(listening, "_let_in_anew", let_in_late)
    listening._acceptor._let_in = note
    proxy.let_through()
    assert is_first_there.wait(PATIENCE)
    proxy.cut()
    assert came_again.wait(PATIENCE)
    may_go_on.set()
    pub, sub = PubChannel(server, "news"), SubChannel(client, "news")
    wait_until(lambda: pub.send("new") or sub.recv(False) == "new")
    assert len(server.connections_all) == 1
    proxy.close()


def test_a_connection_that_is_made_while_its_context_is_closed_is_closed_too(
    make_context, monkeypatch
):
    server, client = make_context(), make_context()
    listening = server.listen("localhost:0")
    is_coming, may_go_on = threading.Event(), threading.Event()
    run = listening._connection_class.run

    def run_late(connection, *args):
        if connection._context is server:
            is_coming.set()
            assert may_go_on.wait(PATIENCE)
        return run(connection, *args)

    monkeypatch.setattr(listening._connection_class, "run", run_late)
    client.connect(f"localhost:{listening.port}")
    assert is_coming.wait(PATIENCE)
    with ThreadPoolExecutor() as pool:
        closing = pool.submit(server.close)
        wait([closing], 0.3)  # it would be done by then if it did not wait
        may_go_on.set()
        closing.result()
    assert not server.connections_all


# What is told, and what ends


def test_a_flush_goes_on_over_the_next_line(make_line):
    line = make_line()
    pub, sub = PubChannel(line.client, "news", OBJECT), SubChannel(line.server, "news", OBJECT)
    line.proxy.stall()
    for _ in range(8):
        pub.send(bytes(2**20))  # more than the line takes
    with ThreadPoolExecutor() as pool:
        flushing = pool.submit(line.client.flush, PATIENCE)
        wait_until(lambda: line.connection._link._writer._written.parked)
        line.proxy.let_nobody_through()
        line.proxy.go_on()
        wait_until(lambda: line.connection.is_reconnecting)
        line.proxy.let_through()
        flushing.result()
    assert [len(sub.recv(PATIENCE)) for _ in range(8)] == [2**20] * 8


def test_a_gap_is_told_before_what_another_thread_sends_just_then(make_line, monkeypatch):
    line = make_line()
    pub, sub = PubChannel(line.server, "news"), SubChannel(line.client, "news")
    pub.send("first")
    assert sub.recv(PATIENCE) == "first"
    lose_all_but_the_last(line, pub, 5)
    take_link, came = line.accepted._take_link, []

    def send_at_once(*args):
        before = take_link(*args)
        pub.send("at once")
        return before

    def note_gap(channel, count):
        came.append(count)

    def note_message(channel, package, numbers):
        came.extend(each.data.decode() for each in package.packages())

    monkeypatch.setattr(line.accepted, "_take_link", send_at_once)
    monkeypatch.setattr(SubChannel, "messages_lost", note_gap)
    monkeypatch.setattr(SubChannel, "deliver", note_message)
    line.proxy.let_through()
    wait_until(lambda: "at once" in came)
    assert came == [4, "4", "at once"]


def lose_all_but_the_last(line, pub, count):
    """Send so many messages that do not arrive, of which the session keeps only the last one."""
    session = line.accepted._session
    line.proxy.stall()
    session._kept_size = 1
    for number in range(count):
        pub.send(str(number))
        line.server.flush()
    wait_until(lambda: session.kept_count == 1)
    line.cut_for_long()
    line.proxy.go_on()


def test_what_befalls_a_connection_is_told_in_its_order(make_line, monkeypatch):
    line = make_line()
    told, emit = [], Signal.emit

    def emit_late(signal, *args):
        if signal is line.accepted.reconnecting:
            time.sleep(0.1)  # the peer would be back by then
        emit(signal, *args)

    line.accepted.reconnecting.bind(lambda *_: told.append("lost"))
    line.accepted.reconnected.bind(lambda *_: told.append("found"))
    monkeypatch.setattr(Signal, "emit", emit_late)
    line.proxy.cut()
    wait_until(lambda: process_events() or len(told) == 2)
    assert told == ["lost", "found"]


def test_who_loses_its_line_again_has_the_whole_time_to_come_back(make_line, monkeypatch):
    lifetime = 0.6
    line = make_line(session_lifetime=lifetime)
    line_lost = line.accepted._returning.line_lost

    def notice_late(lasted):
        # In another thread, the peer has come back by then.
        threading.Thread(target=wait_and_notice, args=[lasted]).start()

    def wait_and_notice(lasted):
        wait_until(lambda: line.accepted.is_connected)
        line_lost(lasted)
        has_noticed.set()

    has_noticed = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(line.accepted._returning, "line_lost", notice_late)
        line.proxy.cut()
        assert has_noticed.wait(PATIENCE)
    time.sleep(lifetime / 2)
    line.proxy.let_nobody_through()
    wait_until(lambda: line.accepted.is_reconnecting)
    lost = time.monotonic()
    wait_until(lambda: not line.accepted.is_alive)
    assert time.monotonic() - lost > 0.9 * lifetime


def test_nobody_waits_for_a_peer_that_a_closed_listener_lets_in_no_more(make_line):
    line = make_line()
    line.listener.close()
    assert line.accepted.is_connected
    line.proxy.let_nobody_through()
    wait_until(lambda: not line.accepted.is_alive)
    assert not line.server.connections_all


def test_what_is_damaged_on_the_way_comes_by_another_line(make_line):
    line = make_line()
    pub, sub = PubChannel(line.server, "news"), SubChannel(line.client, "news")
    told = []
    line.connection.reconnected.bind(lambda _, is_resumed: told.append(is_resumed))
    for turn in range(3):
        pub.send("whole")
        assert sub.recv(PATIENCE) == "whole"
        damage(line)
        pub.send("behind the damage")
        assert sub.recv(PATIENCE) == "behind the damage"
        wait_until(lambda turn=turn: process_events() or len(told) == turn + 1)
    assert all(told)
    assert line.listener.connections == (line.accepted,)


def test_nobody_tries_again_and_again_what_makes_no_sense(make_line):
    line = make_line()
    PubChannel(line.server, "news")
    told = []
    line.connection.reconnected.bind(lambda _, is_resumed: told.append(is_resumed))
    line.cut_for_long()
    line.proxy.let_through()
    wait_until(lambda: process_events() or told == [True])
    wait_until(lambda: line.connection.is_connected and line.accepted.is_connected)
    damage(line)
    wait_until(lambda: process_events() or told == [True, False])
    wait_until(lambda: not line.accepted.is_alive or line.accepted.is_reconnecting)


def damage(line):
    link = line.accepted._link
    link._writer.add_notice(b"YOTON is not what stands here. " * 10)
    link.kick()


def test_a_gap_elsewhere_is_told_though_the_line_is_lost_just_then(make_line):
    line = make_line()
    told = gaps_of(line.connection)
    line.cut_for_long()
    pass_on(line, Loss(8, EVERYONE, 5), Loss(8, EVERYONE, 2), Loss(9, EVERYONE, 2**64))
    pass_on(line, *(Loss(slot + 10, EVERYONE, 1) for slot in range(3 * MAX_LOSSES)))
    line.proxy.let_through()
    wait_until(lambda: process_events() or len(told) == 2)
    assert told == [7 + 2**64 - 1, 3 * MAX_LOSSES]


def test_a_gap_elsewhere_is_told_though_the_line_is_cut_while_it_is_on_it(make_line):
    line = make_line()
    told = gaps_of(line.connection)
    line.proxy.stall()
    pass_on(line, Loss(8, EVERYONE, 5))
    line.accepted.flush()
    line.proxy.cut()
    line.proxy.go_on()
    pass_on(line, Loss(8, EVERYONE, 2))
    wait_until(lambda: process_events() or len(told) == 2)
    assert told == [5, 2]


def test_a_gap_elsewhere_is_not_told_again_by_another_line(make_line):
    line = make_line()
    told = gaps_of(line.connection)
    for messages in range(1, 6):
        pass_on(line, Loss(8, EVERYONE, messages))
        wait_until(lambda messages=messages: process_events() or messages in told)
        line.cut_for_long()
        line.proxy.let_through()
        wait_until(lambda: line.connection.is_connected and line.accepted.is_connected)
    assert told == [1, 2, 3, 4, 5]
    assert line.connection.stats()["gaps"] == 15
    assert line.connection.stats()["in"] == line.accepted.stats()["out"]


def gaps_of(connection):
    told = []
    connection.gap.bind(lambda _, count: told.append(count))
    return told


def pass_on(line, *losses):
    """Have the server hear of losses by a connection of its own."""
    line.server.gap_found(Gap((1, 1), losses), Connection(line.server))


def test_what_was_dropped_stays_counted_over_all_lines(make_context):
    server, client = make_context(), Context(queue_params=(10, "new"))
    listener = server.listen("localhost:0")
    port = listener.port

    def go_away() -> None:
        wait_until(lambda: listener.connections)
        [other_end] = listener.connections
        # First, so that the client finds nobody for as long as the test takes.
        listener.close()
        other_end.close()
        wait_until(lambda: connection.is_reconnecting)

    with client:
        connection = client.connect(f"localhost:{port}", reconnect=QUICKLY)
        # The client begins anew, with a new outbox.
        go_away()
        pub = PubChannel(client, "news")
        for _ in range(15):
            pub.send("too many")
        client.flush_burst()
        assert connection.dropped == 5
        listener = server.listen(f"localhost:{port}")
        wait_until(lambda: connection.is_connected)
        connection.flush(PATIENCE)
        go_away()
        assert connection.dropped == 5


@pytest.mark.parametrize("which", ["yoton-send", "yoton-receive"])
def test_a_line_for_which_there_are_no_threads_is_lost(make_line, monkeypatch, which):
    line = make_line()
    start, has_failed = threading.Thread.start, threading.Event()

    def start_unless(thread):
        if thread.name.startswith(which):
            has_failed.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    pub, sub = PubChannel(line.server, "news"), SubChannel(line.client, "news")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_unless)
        line.proxy.cut()
        pub.send("in need")
        assert has_failed.wait(PATIENCE)
    assert sub.recv(PATIENCE) == "in need"

"""Connections with the yoton inside Pyzo: their beginning, silence, and their end."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from interop.peer import OURS, Link, Peer, bind, connect, connect_peers, wait_with_events
from interop.tap import Tap
from support import PATIENCE, wait_until

from yoton import Connection, Context, PubChannel, SubChannel

NUMBERS = [str(i) for i in range(50)]

# How the reasons begin when they end, or are ended.
ENDS_OF_THEIRS = ("Other end dropped the connection.", "Closed from other end.", "Socket error")

# Within a heartbeat or two.
SOON = 1.5

NOTE_THE_END = """
    ends = []
    def note(connection, reason): ends.append((reason, sub.pending))
    connection.closed.bind(note)
"""


def note_ends(connection: Connection) -> list[tuple[Connection, str]]:
    ends: list[tuple[Connection, str]] = []

    def note(connection: Connection, reason: str) -> None:
        ends.append((connection, reason))

    connection.closed.bind(note)
    return ends


def note_silence(connection: Connection) -> list[bool]:
    heard: list[bool] = []

    def note(connection: Connection, is_silent: bool) -> None:
        heard.append(is_silent)

    connection.timedout.bind(note)
    return heard


# The beginning


def test_both_ends_know_each_other(link: Link) -> None:
    connection = link.connection
    assert connection.id1 == link.ours.id
    assert connection.id2 == link.theirs.run("context.id")
    assert connection.pid2 == link.theirs.pid
    assert link.theirs.run("connection.id2") == link.ours.id
    assert link.theirs.run("connection.pid2") == connection.pid1
    assert link.theirs.run("connection.port1") == connection.port2
    assert link.theirs.run("connection.port2") == connection.port1
    assert connection.peer is not None
    assert not connection.peer.is_extended


def test_what_was_sent_before_connecting_arrives_both_ways_in_order(
    ours: Context, theirs: Peer, binder: str
) -> None:
    pub, sub = PubChannel(ours, "out"), SubChannel(ours, "back")
    theirs.run("sub = yoton.SubChannel(context, 'out'); pub = yoton.PubChannel(context, 'back')")
    for number in NUMBERS:
        pub.send(number)
    theirs.run("for number in numbers: pub.send(number)", numbers=NUMBERS)
    connect(ours, theirs, binder)
    assert [sub.recv(PATIENCE) for _ in NUMBERS] == NUMBERS
    assert theirs.run("[sub.recv(5.0) for _ in numbers]") == NUMBERS
    pub.send("later")
    assert theirs.run("sub.recv(5.0)") == "later"


@pytest.mark.parametrize("who_closes", ["we close", "they close"])
def test_the_same_contexts_connect_again_after_a_close(
    ours: Context, theirs: Peer, binder: str, who_closes: str
) -> None:
    pub, sub = PubChannel(ours, "out"), SubChannel(ours, "back")
    theirs.run("sub = yoton.SubChannel(context, 'out'); pub = yoton.PubChannel(context, 'back')")
    for i in range(3):
        # The first ones go into the startup queue.
        pub.send(f"{i} before")
        theirs.run("pub.send(text)", text=f"{i} before")
        connection = connect(ours, theirs, binder)
        pub.send(f"{i} after")
        theirs.run("pub.send(text)", text=f"{i} after")
        expected = [f"{i} before", f"{i} after"]
        assert [sub.recv(PATIENCE) for _ in expected] == expected
        assert theirs.run("[sub.recv(5.0) for _ in range(2)]") == expected
        if who_closes == "we close":
            connection.close()
        else:
            theirs.run("connection.close()")
        wait_until(lambda connection=connection: not connection.is_alive)
        theirs.wait_until("not connection.is_alive")


def test_the_port_can_be_bound_again_while_the_first_peer_is_connected(ours: Context) -> None:
    sub = SubChannel(ours, "chat")
    with Peer() as one, Peer() as two:
        first = connect(ours, one, "we bind")
        second = ours.bind(f"localhost:{first.port1}")
        two.run("context.connect(address)", address=f"localhost:{second.port1}")
        wait_until(lambda: ours.connection_count == 2)
        for peer in (one, two):
            peer.run("yoton.PubChannel(context, 'chat').send('hello')")
            assert sub.recv(PATIENCE) == "hello"


def test_theirs_and_ours_talk_between_two_other_processes() -> None:
    with Peer() as theirs, Peer(OURS) as ours:
        connect_peers(ours, theirs)
        theirs.run("sub = yoton.SubChannel(context, 'chat')")
        ours.run("yoton.PubChannel(context, 'chat').send('hello')")
        assert theirs.run("sub.recv(5.0)") == "hello"


def test_a_stranger_that_says_nothing_does_not_keep_them_from_us(ours: Context) -> None:
    sub = SubChannel(ours, "chat")
    connection = ours.bind("localhost:0")
    with socket.create_connection(("127.0.0.1", connection.port1)), Peer() as theirs:
        start = time.monotonic()
        theirs.run("context.connect(address)", address=f"localhost:{connection.port1}")
        assert time.monotonic() - start < SOON
        theirs.run("yoton.PubChannel(context, 'chat').send('hello')")
        assert sub.recv(PATIENCE) == "hello"


# Silence


def test_we_notice_that_they_stand_still_and_nothing_is_lost(link: Link) -> None:
    heard = note_silence(link.connection)
    pub, sub = PubChannel(link.ours, "out"), SubChannel(link.ours, "back")
    link.theirs.run(
        "sub = yoton.SubChannel(context, 'out'); pub = yoton.PubChannel(context, 'back')"
    )
    link.theirs.freeze()
    wait_with_events(lambda: heard == [True])
    for number in NUMBERS:
        pub.send(number)
    assert link.connection.is_connected
    link.theirs.thaw()
    wait_with_events(lambda: heard == [True, False])
    assert link.theirs.run("[sub.recv(5.0) for _ in range(50)]") == NUMBERS
    link.theirs.run("for number in numbers: pub.send(number)", numbers=NUMBERS)
    assert [sub.recv(PATIENCE) for _ in NUMBERS] == NUMBERS
    assert heard == [True, False]


def test_they_notice_that_we_stand_still_and_nothing_is_lost(theirs: Peer) -> None:
    with Peer(OURS) as ours:
        connect_peers(theirs, ours)
        theirs.run(
            """
            heard = []
            def note(connection, is_silent): heard.append(is_silent)
            connection.timedout.bind(note)
            pub, sub = yoton.PubChannel(context, 'out'), yoton.SubChannel(context, 'back')
            """
        )
        ours.run("sub, pub = yoton.SubChannel(context, 'out'), yoton.PubChannel(context, 'back')")
        ours.freeze()
        theirs.wait_until("heard == [True]")
        theirs.run("for number in numbers: pub.send(number)", numbers=NUMBERS)
        ours.thaw()
        theirs.wait_until("heard == [True, False]")
        assert ours.run("[sub.recv(5.0) for _ in range(50)]") == NUMBERS
        ours.run("for number in numbers: pub.send(number)", numbers=NUMBERS)
        assert theirs.run("[sub.recv(5.0) for _ in range(50)]") == NUMBERS
        assert theirs.run("connection.is_connected")


def test_a_line_that_stands_still_is_noticed_at_both_ends_and_loses_nothing(
    ours: Context, theirs: Peer
) -> None:
    with Tap(bind(theirs)) as tap:
        connection = ours.connect(f"localhost:{tap.port}")
        heard = note_silence(connection)
        sub = SubChannel(ours, "chat")
        theirs.run(
            """
            heard = []
            def note(connection, is_silent): heard.append(is_silent)
            connection.timedout.bind(note)
            pub = yoton.PubChannel(context, 'chat')
            """
        )
        tap.hold()
        theirs.run("for number in numbers: pub.send(number)", numbers=NUMBERS)
        wait_with_events(lambda: heard == [True])
        theirs.wait_until("heard == [True]")
        tap.release()
        wait_with_events(lambda: heard == [True, False])
        theirs.wait_until("heard == [True, False]")
        assert [sub.recv(PATIENCE) for _ in NUMBERS] == NUMBERS


def test_they_stand_still_inside_a_message_and_we_notice(ours: Context, theirs: Peer) -> None:
    with Tap(bind(theirs)) as tap:
        connection = ours.connect(f"localhost:{tap.port}")
        heard = note_silence(connection)
        sub = SubChannel(ours, "back")
        theirs.start("yoton.PubChannel(context, 'back').send('x' * 30_000_000)")
        wait_until(lambda: len(tap.from_binder) > 1_000_000)
        tap.hold()
        wait_with_events(lambda: heard == [True])
        assert len(tap.from_binder) < 30_000_000
        tap.release()
        wait_with_events(lambda: heard == [True, False])
        assert sub.recv(PATIENCE) == "x" * 30_000_000
        theirs.result()


@pytest.mark.parametrize("binder", ["we bind"])
def test_idle_ends_do_not_take_each_other_for_silent(link: Link) -> None:
    heard = note_silence(link.connection)
    link.theirs.run(
        """
        heard = []
        def note(connection, is_silent): heard.append(is_silent)
        connection.timedout.bind(note)
        """
    )
    # Six beats: a loaded machine makes some of them late.
    link.connection.timeout = 1.5
    link.theirs.run("connection.timeout = 1.5")
    end = time.monotonic() + 1.7
    wait_with_events(lambda: time.monotonic() > end)
    assert heard == []
    assert link.theirs.run("heard") == []


# The end


def test_we_close_and_they_hear_it_after_all_that_was_sent(link: Link) -> None:
    ends = note_ends(link.connection)
    pub = PubChannel(link.ours, "out")
    link.theirs.run("sub = yoton.SubChannel(context, 'out')")
    link.theirs.run(NOTE_THE_END)
    for number in NUMBERS:
        pub.send(number)
    link.connection.close()
    link.theirs.wait_until("ends")
    assert link.theirs.run("ends") == [("Closed from other end.", 50)]
    assert link.theirs.run("sub.recv_all()") == NUMBERS
    wait_with_events(lambda: ends)
    assert ends == [(link.connection, "Closed on command.")]


def test_our_context_closes_and_they_hear_it_after_all_that_was_sent(link: Link) -> None:
    ends = note_ends(link.connection)
    pub = PubChannel(link.ours, "out")
    link.theirs.run("sub = yoton.SubChannel(context, 'out')")
    link.theirs.run(NOTE_THE_END)
    pub.send("x" * 10_000_000)
    for number in NUMBERS:
        pub.send(number)
    link.ours.close()
    link.theirs.wait_until("ends")
    assert link.theirs.run("ends") == [("Closed from other end.", 51)]
    wait_with_events(lambda: ends)
    assert ends == [(link.connection, "Closed by the context.")]


def test_our_process_exits_and_they_hear_it_after_all_that_was_sent(theirs: Peer) -> None:
    with Peer(OURS) as ours:
        connect_peers(theirs, ours)
        theirs.run("sub = yoton.SubChannel(context, 'out')")
        theirs.run(NOTE_THE_END)
        ours.run("pub = yoton.PubChannel(context, 'out')")
        ours.run("for i in range(300): pub.send(str(i))")
        ours.exit()
        theirs.wait_until("ends")
        assert theirs.run("ends") == [("Closed from other end.", 300)]


def test_they_close_and_we_hear_it_once_after_what_they_flushed(link: Link) -> None:
    ends = note_ends(link.connection)
    sub = SubChannel(link.ours, "back")
    link.theirs.run("pub = yoton.PubChannel(context, 'back')")
    link.theirs.run(
        """
        for number in numbers: pub.send(number)
        context.flush(5.0)
        connection.close()
        """,
        numbers=NUMBERS,
    )
    wait_with_events(lambda: ends)
    assert_ended_once(ends, link.connection)
    came = sub.recv_all()
    assert came == NUMBERS[: len(came)]
    # Its flush does not wait until the last package, which has left the queue, is written.
    assert len(came) >= 49


def test_they_close_while_we_send_and_we_hear_it_once(link: Link) -> None:
    ends = note_ends(link.connection)
    pub = PubChannel(link.ours, "out")
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(0.0001):
            pub.send("x" * 1000)

    thread = threading.Thread(target=send)
    thread.start()
    link.theirs.run("sub = yoton.SubChannel(context, 'out')")
    link.theirs.wait_until("sub.pending > 10")
    link.theirs.run("context.close()")
    wait_with_events(lambda: ends)
    is_over.set()
    thread.join()
    assert_ended_once(ends, link.connection)


def test_their_process_is_killed_and_we_hear_it_promptly(link: Link) -> None:
    ends = note_ends(link.connection)
    sub = SubChannel(link.ours, "back")
    link.theirs.run("pub = yoton.PubChannel(context, 'back'); pub.send('last words')")
    wait_until(lambda: sub.pending)
    start = time.monotonic()
    link.theirs.kill()
    wait_with_events(lambda: ends)
    assert time.monotonic() - start < SOON
    assert_ended_once(ends, link.connection)
    assert sub.recv_all() == ["last words"]


def test_their_process_is_killed_inside_a_message_and_we_hear_it_promptly(
    ours: Context, theirs: Peer
) -> None:
    with Tap(bind(theirs)) as tap:
        connection = ours.connect(f"localhost:{tap.port}")
        ends = note_ends(connection)
        sub = SubChannel(ours, "back")
        theirs.run("pub = yoton.PubChannel(context, 'back'); pub.send('whole')")
        wait_until(lambda: sub.pending)
        tap.hold()
        theirs.run("pub.send('x' * 30_000_000)")
        theirs.kill()
        tap.release()
        wait_with_events(lambda: ends)
        assert_ended_once(ends, connection)
        assert sub.recv_all() == ["whole"]


def test_our_process_is_killed_and_they_hear_it(theirs: Peer) -> None:
    with Peer(OURS) as ours:
        connect_peers(theirs, ours)
        theirs.run("sub = yoton.SubChannel(context, 'out')")
        theirs.run(NOTE_THE_END)
        ours.kill()
        theirs.wait_until("ends")
        assert theirs.run("len(ends)") == 1


def test_a_waiting_connection_of_ours_is_closed(ours: Context, theirs: Peer) -> None:
    connection = ours.bind("localhost:0")
    port = connection.port1
    ends = note_ends(connection)
    connection.close()
    wait_with_events(lambda: ends)
    assert ends == [(connection, "Closed on command.")]
    assert "OSError" in str(
        theirs.run(
            """
            try: context.connect(address, 0.2)
            except OSError as error: result = repr(error)
            result
            """,
            address=f"localhost:{port}",
        )
    )


def assert_ended_once(ends: list[tuple[Connection, str]], connection: Connection) -> None:
    assert len(ends) == 1
    assert ends[0][0] is connection
    assert ends[0][1].startswith(ENDS_OF_THEIRS)
    assert not connection.is_alive
    assert not connection.is_connected

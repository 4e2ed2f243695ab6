"""Many contexts at one port, in one file or under one name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import PATIENCE, places, run_in_child, wait_until

from yoton import (
    BindFailed,
    ConnectFailed,
    Context,
    PubChannel,
    RepChannel,
    ReqChannel,
    StateChannel,
    SubChannel,
    process_events,
)
from yoton.connection import accepting, transports
from yoton.exceptions import ArgumentError

over_all_transports = pytest.mark.parametrize("transport", ["tcp", "unix", "memory"], indirect=True)

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets in files")


@pytest.fixture
def served(make_context):
    """A context that listens, and a function that connects others to it."""
    server = make_context()
    address = places.new()
    listening = server.listen(address)
    where = address.replace(":0", f":{listening.port}")

    def join(**kwargs):
        context = make_context()
        context.connect(where, 10.0, **kwargs)
        return context

    return server, listening, join


def knock(listening):
    return socket.create_connection((listening.hostname, listening.port), PATIENCE)


def descriptors():
    return len(os.listdir("/dev/fd"))


def has_hung_up(peer):
    try:
        return not peer.recv(100)
    except TimeoutError:
        return False


@over_all_transports
def test_many_contexts_connect_and_talk(served):
    server, listening, join = served
    questions, answers = PubChannel(server, "question"), SubChannel(server, "answer")
    contexts = [join() for _ in range(10)]
    subs = [SubChannel(context, "question") for context in contexts]
    pubs = [PubChannel(context, "answer") for context in contexts]
    wait_until(lambda: len(listening.connections) == 10)
    questions.send("who?")
    assert [sub.recv(PATIENCE) for sub in subs] == ["who?"] * 10
    for number, pub in enumerate(pubs):
        pub.send(str(number))
    assert {answers.recv(PATIENCE) for _ in pubs} == {str(n) for n in range(10)}
    assert server.connection_count == 10


def test_what_was_sent_before_goes_to_the_first(make_context):
    server = make_context()
    where = f"localhost:{server.listen('localhost:0').port}"
    PubChannel(server, "news").send("early")
    first = make_context()
    sub = SubChannel(first, "news")
    first.connect(where)
    assert sub.recv(PATIENCE) == "early"


@over_all_transports
def test_those_who_connect_reach_each_other_and_share_calls_and_states(served):
    server, _, join = served

    class Calculator(RepChannel):
        def add(self, one, other):
            return one + other

    state = StateChannel(server, "status")
    state.send("ready")
    replier = join()
    Calculator(replier, "calc").set_mode("thread")
    requester = join()
    assert ReqChannel(requester, "calc").add(1, 2).result(PATIENCE) == 3
    other = StateChannel(requester, "status")
    late = join()
    late_state = StateChannel(late, "status")
    wait_until(lambda: late_state.recv() == other.recv() == "ready")


@over_all_transports
def test_connected_is_told_with_each_connection(served):
    _, listening, join = served
    told = []
    listening.connected.bind(told.append)
    join()
    join()
    wait_until(lambda: process_events() or len(told) == 2)
    assert set(told) == set(listening.connections)


def test_connections_have_the_name_of_the_listener(make_context):
    server = make_context()
    listening = server.listen("localhost:0", name="door")
    make_context().connect(f"localhost:{listening.port}")
    wait_until(lambda: listening.connections)
    assert listening.name == "door"
    assert server.connections["door"] is listening.connections[0]


@over_all_transports
def test_who_goes_is_no_longer_there_and_may_come_back(served):
    server, listening, join = served
    context = join()
    wait_until(lambda: len(listening.connections) == 1)
    context.close()
    wait_until(lambda: not listening.connections)
    assert server.connection_count == 0
    join()
    wait_until(lambda: len(listening.connections) == 1)


def test_a_closed_listener_lets_nobody_in_and_keeps_who_is_there(served):
    server, listening, join = served
    context = join()
    wait_until(lambda: listening.connections)
    listening.close()
    listening.close()
    assert listening.closed
    with pytest.raises(ConnectFailed):
        Context().connect(f"localhost:{listening.port}", 0.05)
    pub, sub = PubChannel(server, "news"), SubChannel(context, "news")
    pub.send("still")
    assert sub.recv(PATIENCE) == "still"


def test_the_end_of_a_context_is_the_end_of_its_listeners(make_context):
    server = make_context()
    with server:
        listening = server.listen("localhost:0")
    assert listening.closed
    with server.listen(f"localhost:{listening.port}") as again:
        assert not again.closed
    assert again.closed


def test_a_taken_port_is_told_and_the_next_one_tried(make_context):
    server = make_context()
    port = server.listen("localhost:0").port
    with pytest.raises(BindFailed, match=str(port)):
        server.listen(f"localhost:{port}")
    assert server.listen(f"localhost:{port}", max_tries=20).port > port


def test_silent_clients_delay_nobody_and_are_let_go(served, monkeypatch):
    monkeypatch.setattr(accepting, "HANDSHAKE_TIMEOUT", 1.0)
    _, listening, join = served
    silent = [knock(listening) for _ in range(20)]
    started = time.monotonic()
    join()
    assert time.monotonic() - started < 0.9
    for peer in silent:
        with peer, contextlib.suppress(ConnectionResetError):
            assert peer.recv(100) == b""


def test_a_client_that_dribbles_is_let_go_at_the_deadline(served, monkeypatch):
    monkeypatch.setattr(accepting, "HANDSHAKE_TIMEOUT", 0.5)
    _, listening, _ = served
    started = time.monotonic()
    with knock(listening) as peer:
        peer.settimeout(0.05)
        peer.sendall(b"YOTON!")
        with contextlib.suppress(OSError):
            while not has_hung_up(peer):
                peer.sendall(b"0")
    assert 0.5 < time.monotonic() - started < PATIENCE / 2


@pytest.mark.parametrize("those", [False, True], ids=["plain", "with sessions"])
@pytest.mark.parametrize("newcomer", [False, True], ids=["plain", "with a session"])
def test_beyond_the_limit_a_peer_is_told_that_there_is_no_room(make_context, those, newcomer):
    server = make_context()
    listening = server.listen("localhost:0", max_connections=2)
    assert listening.max_connections == 2
    where = f"localhost:{listening.port}"
    contexts = [make_context() for _ in range(3)]
    contexts[0].connect(where, reconnect=those)
    contexts[1].connect(where, reconnect=those)
    wait_until(lambda: len(listening.connections) == 2)
    with pytest.raises(ConnectFailed, match="There is no room for another peer"):
        contexts[2].connect(where, reconnect=newcomer)
    contexts[0].close()
    wait_until(lambda: len(listening.connections) == 1)
    contexts[2].connect(where, reconnect=newcomer)


@pytest.mark.parametrize("those", [False, True], ids=["plain", "with sessions"])
def test_beyond_the_limit_a_peer_without_the_extension_is_told_in_place_of_a_line(
    make_context, those
):
    listening = make_context().listen("localhost:0", max_connections=1)
    make_context().connect(f"localhost:{listening.port}", reconnect=those)
    wait_until(lambda: listening.connections)
    with knock(listening) as peer:
        peer.sendall(b"YOTON!00000000000000aa.55\r\n")
        assert peer.recv(100) == b"ERROR: no room for another peer.\r\n"
        assert has_hung_up(peer)


def test_a_peer_that_is_cut_off_in_its_handshake_keeps_no_place(make_context, monkeypatch):
    listening = make_context().listen("localhost:0", max_connections=1)
    has_failed, shake_hands = threading.Event(), accepting.shake_hands

    def fail_first(*args):
        events = shake_hands(*args)
        if not has_failed.is_set():
            has_failed.set()
            raise ConnectFailed("Cut off.")
        return events

    monkeypatch.setattr(accepting, "shake_hands", fail_first)
    make_context().connect(f"localhost:{listening.port}")
    assert has_failed.is_set()
    wait_until(lambda: not listening._coming)
    make_context().connect(f"localhost:{listening.port}")


@unix
def test_peers_that_hang_up_early_leave_nothing_behind_at_a_full_listener(make_context, caplog):
    path = places.folder / "socket"
    listening = make_context().listen(f"unix://{path}", max_connections=1)
    make_context().connect(f"unix://{path}")
    wait_until(lambda: listening.connections)
    acceptor, before = listening._acceptor, descriptors()
    for _ in range(30):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
    wait_until(lambda: len(caplog.messages) >= 30 and not acceptor._knocking)
    wait_until(lambda: descriptors() <= before)
    assert "Traceback" not in caplog.text


def test_a_peer_that_cannot_be_let_in_for_whatever_reason_is_let_go(served, monkeypatch, caplog):
    _, listening, join = served

    def fail(*_):
        raise ArithmeticError("out of numbers")

    with monkeypatch.context() as patched:
        patched.setattr(listening._acceptor, "_let_in", fail)
        with knock(listening) as peer:
            peer.sendall(b"YOTON!00000000000000aa.55\r\n")
            assert peer.recv(100).startswith(b"YOTON!")
            assert has_hung_up(peer)
    assert not listening._acceptor._knocking
    assert "out of numbers" in caplog.text
    join()


def test_of_those_that_come_at_once_for_the_last_place_all_but_one_are_told(make_context):
    server = make_context()
    listening = server.listen("localhost:0", max_connections=1)
    contexts = [make_context() for _ in range(8)]
    refused = []

    def try_to_connect(context):
        try:
            context.connect(f"localhost:{listening.port}")
        except ConnectFailed as error:
            refused.append(str(error))

    threads = [threading.Thread(target=try_to_connect, args=[c]) for c in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert refused == ["Could not connect: There is no room for another peer."] * 7
    wait_until(lambda: len(listening.connections) == 1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[("max_connections", value) for value in (0, -1, 2.5, math.nan, True, "2", None)],
        *[("session_lifetime", value) for value in (-1, math.nan, True, "60", None)],
        *[("name", value) for value in (1, None, b"name")],
    ],
)
def test_an_argument_that_makes_no_sense_is_told(make_context, argument, value):
    with pytest.raises(ArgumentError, match=rf"{argument}.*, not {re.escape(repr(value))}"):
        make_context().listen("localhost:0", **{argument: value})


def test_a_session_may_be_kept_for_ever(make_context):
    listening = make_context().listen("localhost:0", session_lifetime=math.inf)
    connection = make_context().connect(f"localhost:{listening.port}", reconnect=True)
    wait_until(lambda: listening.connections)
    [accepted] = listening.connections
    connection.lose_line()
    wait_until(lambda: connection.is_connected and listening.connections == (accepted,))


def test_a_listener_that_finds_no_thread_for_a_peer_goes_on(served, monkeypatch):
    _, listening, join = served

    class NoThread(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(accepting.threading, "Thread", NoThread)
        with knock(listening) as peer:
            assert peer.recv(100) == b""
    join()
    wait_until(lambda: listening.connections)


WITHOUT_DESCRIPTORS = """
import resource
import sys
import yoton

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
context = yoton.Context()
place = getattr(context, sys.argv[1])("localhost:0")
print(place.port if sys.argv[1] == "listen" else place.port1, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["listen", "bind"])
def test_a_program_that_has_run_out_of_descriptors_lets_peers_in_later(make_context, how):
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        port = int(process.stdout.readline())
        crowd = [socket.create_connection(("localhost", port), PATIENCE) for _ in range(60)]
        assert "Too many open files" in process.stderr.readline()
        for peer in crowd:
            peer.close()
        make_context().connect(f"localhost:{port}", PATIENCE)
        process.communicate("done\n", PATIENCE)


def test_a_listener_outlives_whatever_the_system_says_to_its_accept(served, monkeypatch):
    _, listening, join = served
    accept, failures = listening._acceptor._listener.accept, iter([errno.EMFILE, errno.EPERM])

    def fail_first():
        stream = accept()
        for number in failures:
            stream.close()
            raise OSError(number, os.strerror(number))
        return stream

    monkeypatch.setattr(listening._acceptor._listener, "accept", fail_first)
    knock(listening).close()  # the accept that is under way is the one of before
    for _ in range(2):
        with knock(listening) as peer:
            assert peer.recv(100) == b""
    join()
    wait_until(lambda: listening.connections)


def test_a_listener_that_cannot_take_peers_can_be_closed(served, monkeypatch):
    _, listening, _ = served
    has_failed = threading.Event()

    def fail():
        has_failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(accepting, "_RETRY_DELAY", 10 * PATIENCE)
    monkeypatch.setattr(listening._acceptor._listener, "accept", fail)
    knock(listening).close()
    assert has_failed.wait(PATIENCE)
    monkeypatch.undo()
    listening.close()
    assert not listening._acceptor._thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_closed_copies_and_the_parent_goes_on(served):
    server, listening, join = served

    def look():
        assert listening.closed
        assert server.connection_count == 0
        with Context() as own, own.listen("localhost:0") as fresh, Context() as other:
            other.connect(f"localhost:{fresh.port}")

    run_in_child(look)
    context = join()
    pub, sub = PubChannel(server, "news"), SubChannel(context, "news")
    pub.send("after the fork")
    assert sub.recv(PATIENCE) == "after the fork"


def test_two_hundred_contexts_at_one_listener_each_sending(make_context):
    server = make_context()
    listening = server.listen("localhost:0")
    sub = SubChannel(server, "news")
    contexts = [make_context() for _ in range(200)]

    def connect_and_send(part):
        for number in part:
            contexts[number].connect(f"localhost:{listening.port}", 10.0)
            pub = PubChannel(contexts[number], "news")
            for count in range(20):
                pub.send(f"{number} {count}")

    threads = [
        threading.Thread(target=connect_and_send, args=[range(start, 200, 8)]) for start in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(listening.connections) == 200
    received = [sub.recv(PATIENCE).split() for _ in range(200 * 20)]
    for number in range(200):
        assert [n for s, n in received if s == str(number)] == [str(n) for n in range(20)]


# Sockets in the file system, and names in a process


@unix
def test_the_file_goes_with_the_listener(make_context):
    path = places.folder / "socket"
    with make_context().listen(f"unix://{path}") as listening:
        assert path.is_socket()
        assert (listening.hostname, listening.port) == (str(path), 0)
        assert str(path) in repr(listening)
    assert not path.exists()


@unix
def test_the_file_goes_when_a_bound_connection_has_its_peer(make_context):
    path = places.folder / "socket"
    connection = make_context().bind(f"unix://{path}")
    peer = make_context().connect(f"unix://{path}")
    wait_until(lambda: connection.is_connected)
    wait_until(lambda: not path.exists())
    assert peer.hostname2 == connection.hostname1 == str(path)


@unix
def test_a_file_with_a_relative_path_goes_when_the_directory_has_changed(make_context, monkeypatch):
    monkeypatch.chdir(places.folder)
    listening = make_context().listen("unix://socket")
    monkeypatch.chdir("/")
    listening.close()
    assert not (places.folder / "socket").exists()


@unix
def test_a_file_that_somebody_listens_at_is_taken(make_context):
    path = places.folder / "socket"
    make_context().listen(f"unix://{path}")
    with pytest.raises(BindFailed, match="Could not bind"):
        make_context().listen(f"unix://{path}", max_tries=5)
    assert path.exists()


@unix
def test_a_file_that_is_no_socket_is_left_alone(make_context):
    path = places.folder / "socket"
    path.write_text("precious")
    with pytest.raises(BindFailed):
        make_context().listen(f"unix://{path}")
    assert path.read_text() == "precious"


@unix
def test_a_socket_that_a_killed_program_left_is_replaced(make_context):
    path = places.folder / "socket"
    leave_over(path)
    server, client = make_context(), make_context()
    server.listen(f"unix://{path}")
    client.connect(f"unix://{path}")


def leave_over(path):
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))


@unix
def test_of_two_that_find_a_socket_left_over_one_gets_its_place(make_context, monkeypatch):
    path = places.folder / "socket"
    leave_over(path)
    is_left_over, both_look = transports._is_left_over, threading.Barrier(2)

    def look_with_the_other(place):
        is_it = is_left_over(place)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_look.wait(0.3)  # the other one does not come if it has to wait
        return is_it

    monkeypatch.setattr(transports, "_is_left_over", look_with_the_other)
    listening, refused = [], []

    def listen(context):
        try:
            listening.append(context.listen(f"unix://{path}"))
        except BindFailed as error:
            refused.append(error)

    threads = [threading.Thread(target=listen, args=[make_context()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (len(listening), len(refused)) == (1, 1)
    make_context().connect(f"unix://{path}")
    wait_until(lambda: listening[0].connections)


@unix
def test_who_holds_the_lock_of_a_folder_for_ever_is_told(make_context, monkeypatch):
    monkeypatch.setattr(transports, "_LOCK_TIMEOUT", 0.05)
    folder = os.open(places.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(BindFailed, match="Could not bind to unix://"):
            make_context().listen(f"unix://{places.folder}/socket")
    finally:
        os.close(folder)
    make_context().listen(f"unix://{places.folder}/socket")


@unix
@pytest.mark.parametrize("where", ["the system", "the file system"])
def test_a_socket_is_made_where_there_are_no_locks(make_context, monkeypatch, where):
    if where == "the system":
        monkeypatch.setattr(transports, "fcntl", None)
    else:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    path = places.folder / "socket"
    leave_over(path)
    make_context().listen(f"unix://{path}")
    make_context().connect(f"unix://{path}")


def no_locks(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@unix
def test_a_file_that_was_replaced_meanwhile_stays(make_context):
    path = places.folder / "socket"
    listening = make_context().listen(f"unix://{path}")
    path.unlink()
    path.write_text("of somebody else")
    listening.close()
    assert path.exists()


@unix
def test_a_path_that_is_too_long_is_told(make_context):
    with pytest.raises(BindFailed, match="Could not bind to unix:///"):
        make_context().listen(f"unix:///{'x' * 200}")
    with pytest.raises(ConnectFailed, match="Cannot connect to unix:///"):
        make_context().connect(f"unix:///{'x' * 200}", 0.05)


@unix
def test_a_forked_child_leaves_the_file_of_its_parent(make_context):
    path = places.folder / "socket"
    server, client = make_context(), make_context()
    server.listen(f"unix://{path}")
    run_in_child(server.close)
    client.connect(f"unix://{path}")


def test_a_name_is_for_one_listener_and_free_again(make_context):
    server = make_context()
    with server.listen("memory://place"):
        with pytest.raises(BindFailed):
            server.listen("memory://place")
        make_context().connect("memory://place")
    with pytest.raises(ConnectFailed, match="Cannot connect to memory://place"):
        make_context().connect("memory://place", 0.01)
    server.bind("memory://place").close()
    server.listen("memory://place")

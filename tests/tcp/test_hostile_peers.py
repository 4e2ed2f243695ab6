"""Clients that are no yoton, or that break the protocol: they harm nobody else."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import time

import pytest
from support import PATIENCE, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.connection import accepting
from yoton.events import process_events

LINE = b"YOTON!00000000000000aa.55\r\n"


def knock(connection):
    peer = socket.create_connection(("127.0.0.1", connection.port1))
    peer.settimeout(PATIENCE)
    return peer


def read_all(peer):
    data = b""
    while piece := peer.recv(65536):
        data += piece
    return data


def package(slot, source_seq, data, source_id=0xAA, dest_id=0, dest_seq=0, size=None):
    size = len(data) if size is None else size
    return (
        struct.pack("<8s6Q", b"YOTON   ", slot, source_id, source_seq, dest_id, dest_seq, size)
        + data
    )


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"ERROR: this is Yoton.\r\n"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"ERROR: this is Yoton.\r\n"),
        (b"YOTON!xyz.55\r\n", b"ERROR: could not parse id.\r\n"),
        (b"YOTON!aa.b\r\n", b"ERROR: could not parse id.\r\n"),
        (b"YOTON!" + b"a" * 10_000, b"ERROR: could not parse id.\r\n"),
    ],
    ids=["http", "tls", "bad id", "bad pid", "endless line"],
)
def test_who_is_no_yoton_gets_an_answer_and_the_door(make_context, request_bytes, answer):
    connection = make_context().bind("localhost:0")
    with knock(connection) as peer:
        peer.sendall(request_bytes)
        assert read_all(peer) == answer
    assert connection.is_waiting


def test_who_says_nothing_gets_the_door_in_time_and_keeps_nobody_waiting(make_context, monkeypatch):
    monkeypatch.setattr(accepting, "HANDSHAKE_TIMEOUT", 1.0)
    binder, connector = make_context(), make_context()
    connection = binder.bind("localhost:0")
    silent = [knock(connection) for _ in range(20)]
    started = time.monotonic()
    connector.connect(f"localhost:{connection.port1}")
    assert time.monotonic() - started < 0.9
    for peer in silent:
        with peer, contextlib.suppress(ConnectionResetError):
            assert read_all(peer) == b""


def test_a_silent_client_alone_is_let_go(make_context, monkeypatch):
    monkeypatch.setattr(accepting, "HANDSHAKE_TIMEOUT", 0.2)
    connection = make_context().bind("localhost:0")
    with knock(connection) as peer:
        assert read_all(peer) == b""
    assert connection.is_waiting


def test_more_knocking_clients_than_are_waited_for(make_context):
    binder, connector = make_context(), make_context()
    connection = binder.bind("localhost:0")
    with contextlib.ExitStack() as silent:
        for _ in range(accepting.MAX_PENDING_HANDSHAKES + 20):
            silent.enter_context(knock(connection))
        connector.connect(f"localhost:{connection.port1}", timeout=PATIENCE)
        wait_until(lambda: connection.is_connected)


@pytest.mark.parametrize("announced", [2**62, 2**64 - 1, 2**30 + 1])
def test_a_header_that_announces_too_much_ends_the_connection_and_takes_no_memory(
    make_context, announced
):
    context = make_context()
    connection = context.bind("localhost:0")
    reasons = []
    connection.closed.bind(lambda _, reason: reasons.append(reason))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with knock(connection) as peer:
        peer.sendall(LINE + package(50, 1, b"x" * 1000, size=announced))
        wait_until(lambda: process_events() or reasons)
    assert reasons == [f"Package of {announced} bytes announced, at most {2**30} are accepted."]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_a_wrong_magic_ends_the_connection_after_what_came_before(make_context):
    context = make_context()
    sub = SubChannel(context, "chat")
    connection = context.bind("localhost:0")
    reasons = []
    connection.closed.bind(lambda _, reason: reasons.append(reason))
    with knock(connection) as peer:
        peer.sendall(LINE + package(0x00000FE15408168F, 1, b"hello") + b"garbage" * 20)
        wait_until(lambda: process_events() or reasons)
    assert reasons == ["Lost track of the stream."]
    assert sub.recv(False) == "hello"


def test_a_package_in_single_bytes_behind_the_handshake(make_context):
    context = make_context()
    sub = SubChannel(context, "chat")
    connection = context.bind("localhost:0")
    with knock(connection) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in LINE + package(0x00000FE15408168F, 1, b"hello"):
            peer.sendall(bytes([byte]))
        assert sub.recv(PATIENCE) == "hello"


def test_a_hello_that_is_none_ends_the_handshake(make_context):
    connection = make_context().bind("localhost:0")
    with knock(connection) as peer:
        peer.sendall(b"YOTON!00000000000000aa.+55\r\n" + package(1, 2, b"garbage"))
        answer = read_all(peer)
    assert answer.startswith(b"YOTON!")
    assert connection.is_waiting


@pytest.mark.parametrize("pid", [2**31, 2**40, 2**64, -1, 0])
def test_who_claims_to_be_a_process_that_cannot_be_comes_in_all_the_same(make_context, pid):
    listening = make_context().listen("localhost:0")
    with socket.create_connection(("127.0.0.1", listening.port)) as peer:
        peer.sendall(b"YOTON!00000000000000aa.%d\r\n" % pid)
        wait_until(lambda: listening.connections)
        assert listening.connections[0].pid2 == pid


def test_endless_sources_and_slots_end_no_thread(make_context):
    context = make_context()
    connection = context.bind("localhost:0")
    sub = SubChannel(context, "chat")
    with knock(connection) as peer:
        peer.sendall(LINE)
        flood = b"".join(package(number, 1, b"x", source_id=number) for number in range(2, 5000))
        peer.sendall(flood + package(0x00000FE15408168F, 2, b"hello"))
        assert sub.recv(PATIENCE) == "hello"
        assert connection.is_connected


def test_bad_sync_words_and_states_are_survived(make_context):
    context = make_context()
    connection = context.bind("localhost:0")
    pub = PubChannel(context, "chat")
    with knock(connection) as peer:
        peer.sendall(LINE + package(0x00000FE37207F442, 1, b"\xff nonsense"))
        wait_until(lambda: connection.is_connected)
        pub.send("hello")
        data = b""
        while b"hello" not in data:
            data += peer.recv(1000)

"""What a forked child must not take along: what waits to be sent, and peers that knock."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest
from support import PATIENCE, connect, run_in_child, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.connection.streams import _socket_streams
from yoton.context import Context
from yoton.exceptions import ConnectFailed

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 and later warn of forking a process with threads.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_child_does_not_send_what_the_parent_has_to_send(make_context):
    context = make_context()
    PubChannel(context, "early").send("from the parent")

    def look():
        with Context() as peer:
            sub = SubChannel(peer, "early")
            connect(peer, context)
            context.flush()
            context.close()
            assert sub.recv_all() == []

    run_in_child(look)
    peer = make_context()
    sub = SubChannel(peer, "early")
    connect(peer, context)
    assert sub.recv() == "from the parent"


def test_the_child_does_not_hold_peers_that_shake_hands(make_context):
    connection = make_context().bind("localhost:0")
    with socket.create_connection(("127.0.0.1", connection.port1)):
        knocking = connection._acceptor._knocking
        wait_until(lambda: knocking)

        def look():
            assert knocking[0]._socket.fileno() == -1

        run_in_child(look)
        assert knocking[0]._socket.fileno() != -1


def test_the_child_does_not_hold_a_line_that_is_just_being_made(make_context):
    context = make_context()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def connect_in_vain():
            with contextlib.suppress(ConnectFailed):
                context.connect(f"localhost:{address[1]}")

        connecting = threading.Thread(target=connect_in_vain)
        connecting.start()
        with server.accept()[0] as peer:
            assert peer.recv(10), "hands are being shaken"
            [line] = (each for each in list(_socket_streams) if each.peer_address == address)

            def look():
                assert line._socket.fileno() == -1

            run_in_child(look)
            assert line._socket.fileno() != -1
        connecting.join(PATIENCE)

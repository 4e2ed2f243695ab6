"""Connections that end because the peer has said goodbye: what they still hold is not lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from recorded import CLOSE, LINE_OF_X
from support import wait_until

from yoton.channels import PubChannel
from yoton.context import Context
from yoton.exceptions import ConnectionClosed, FlushTimeout
from yoton.message_types import BINARY

#: More than the system takes for a peer that does not read.
SIZE = 2**24


class Peer:
    """Says hello and goodbye, and reads only when it is told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(LINE_OF_X)
        self.count = 0

    def read_all(self) -> None:
        while data := self.socket.recv(2**16):
            self.count += len(data)
        self.socket.close()


@pytest.fixture
def context() -> Iterator[Context]:
    with Context() as context:
        yield context


@pytest.fixture
def peer(context: Context) -> Iterator[Peer]:
    connection = context.bind("localhost:0")
    peer = Peer(connection.port1)
    wait_until(lambda: connection.is_connected)
    PubChannel(context, "x", BINARY).send(bytes(SIZE))
    peer.socket.sendall(CLOSE)
    wait_until(lambda: not connection.is_alive)
    with peer.socket:
        yield peer


def test_a_close_waits_until_they_have_ended(context: Context, peer: Peer) -> None:
    reading = threading.Timer(0.1, peer.read_all)
    reading.start()
    context.close()
    assert peer.count > SIZE
    reading.join()


def test_a_flush_waits_until_it_has_left(context: Context, peer: Peer) -> None:
    with pytest.raises(FlushTimeout):
        context.flush(0.05)
    reading = threading.Timer(0.1, peer.read_all)
    reading.start()
    context.flush()
    reading.join()
    assert peer.count > SIZE


def test_a_flush_tells_that_it_will_not_leave(context: Context, peer: Peer) -> None:
    breaking_off = threading.Timer(0.1, peer.socket.close)
    breaking_off.start()
    with pytest.raises(ConnectionClosed):
        context.flush()
    breaking_off.join()

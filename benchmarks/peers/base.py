"""What a peer has to be able to do to be measured.

An adapter is a module in this package with a subclass of `Peer` that is named ``Adapter``. It
imports its library at the top, and is itself imported by the processes that use it only.

What is handed out are callables of the library itself wherever possible, so that no layer of
ours is measured.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

#: From here on a copy costs more than sharing the memory, for those that can do both.
LARGE = 65536


@dataclass(frozen=True)
class Listener(Generic[T]):
    """The server's end before its clients have come.

    Attributes
    ----------
    addresses : list of str
        Where clients connect.
    accept : callable
        Waits for the clients and gives what to talk to them with.
    """

    addresses: list[str]
    accept: Callable[[], T]


@dataclass(frozen=True)
class Stream:
    """What a publisher sends and its subscribers receive.

    Attributes
    ----------
    form : str
        "binary", "text" or "object".
    size : int
        Bytes of the messages, about.
    is_lossless : bool
        Whether queues are without limits, or as they are in a program that says nothing.
    has_topics : bool
        Whether there is something that no subscriber wants.
    """

    form: str = "binary"
    size: int = 100
    is_lossless: bool = True
    has_topics: bool = False


@dataclass(frozen=True)
class Pair:
    """Binary messages both ways; the traffic goes beside them, on the same line if possible."""

    send: Callable[[bytes], object]
    recv: Callable[[], Any]
    send_traffic: Callable[[bytes], object] | None = None
    recv_traffic: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Publisher:
    """One way to all subscribers; the unwanted is for a topic that none has subscribed to."""

    send: Callable[[Any], object]
    send_unwanted: Callable[[Any], object] | None = None


@dataclass(frozen=True)
class Subscriber:
    """The other end of a `Publisher`."""

    recv: Callable[[], Any]


@dataclass(frozen=True)
class Caller:
    """Calls add() at the server: once, or for each of some pairs of numbers at the same time."""

    call: Callable[[int, int], int]
    call_all: Callable[[list[tuple[int, int]]], list[int]]


class Peer:
    """A library, or a way to use it. Methods are only called for what `abilities` promises.

    Attributes
    ----------
    title : str
        Heading of its column.
    import_code : str
        What a program writes to have it.
    abilities : frozenset of str
        Some of "pair", "traffic" (beside the pair), "calls", "publish", "messages" (text and
        objects), "queues" (that drop), "relay".
    """

    title: ClassVar[str]
    import_code: ClassVar[str]
    abilities: ClassVar[frozenset[str]]

    def version(self) -> str:
        """Get the version of the library."""
        raise NotImplementedError

    def listen_pair(self, has_traffic: bool) -> Listener[Pair]:
        """Make the server's end of a pair."""
        raise NotImplementedError

    def connect_pair(self, addresses: list[str], has_traffic: bool) -> Pair:
        """Make the client's end of a pair."""
        raise NotImplementedError

    def listen_calls(self, is_pipelined: bool) -> Listener[Callable[[], None]]:
        """Offer add(); what it accepts serves calls for ever."""
        raise NotImplementedError

    def connect_caller(self, addresses: list[str], is_pipelined: bool) -> Caller:
        """Make what calls add()."""
        raise NotImplementedError

    def listen_publisher(self, subscribers: int, stream: Stream) -> Listener[Publisher]:
        """Make a publisher, one address for each of its subscribers."""
        raise NotImplementedError

    def connect_subscriber(self, address: str, stream: Stream) -> Subscriber:
        """Make one subscriber."""
        raise NotImplementedError

    def relay(self, address: str) -> Listener[Callable[[], None]]:
        """Join a publisher to a subscriber; what it accepts relays for ever."""
        raise NotImplementedError


def free_port() -> int:
    """Find a free TCP port, for libraries that have to be told one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

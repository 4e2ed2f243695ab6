"""One end of a link, for tests: its outbox, and an owner that notes what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from support import PATIENCE

from yoton.clock import Deadline
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import Identity, Protocol
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import ThreadedLink, shake_hands
from yoton.interest import Notice
from yoton.package import Package
from yoton.queues import Overflow

OWN = Identity(1, 10, name="own")
OTHER = Identity(2, 20, name="other")


def patience() -> Deadline:
    return Deadline(PATIENCE)


class Owner:
    """Notes what its link tells."""

    def __init__(self, timeout: float) -> None:
        self.silent_after = timeout
        self.packages: list[Package] = []
        self.gone: list[int] = []
        self.notices: list[Notice] = []
        self.silence: list[bool] = []
        self.closing: list[str] = []
        self.ended: list[str] = []
        #: Called with the packages that arrive.
        self.on_packages: Callable[[Sequence[Package]], object] = lambda packages: None
        #: Called when the link closes.
        self.on_closing: Callable[[], object] = lambda: None

    def deliver(self, packages: Sequence[Package]) -> None:
        self.packages += packages
        self.on_packages(packages)

    def deliver_leading(self, packages: Sequence[Package]) -> bool:
        return False

    def act(self) -> None:
        pass

    def contexts_gone(self, ids: Sequence[int]) -> None:
        self.gone += ids

    def heard(self, notice: Notice) -> None:
        self.notices.append(notice)

    def silence_changed(self, is_silent: bool) -> None:
        self.silence.append(is_silent)

    def link_closing(self, reason: str) -> None:
        assert not self.ended
        self.closing.append(reason)
        self.on_closing()

    comes_back = False

    def link_ended(self, reason: str, *, is_cut_short: bool) -> None:
        self.ended.append(reason)

    @property
    def numbers(self) -> list[int]:
        return [package.source_seq for package in self.packages]


class End:
    """A link with its outbox and its owner."""

    def __init__(
        self, stream: ByteStream, protocol: Protocol, own: Identity, timeout: float = PATIENCE
    ) -> None:
        self.stream = stream
        self.protocol = protocol
        self.own = own
        self.owner = Owner(timeout)
        self.outbox = Outbox(100_000, Overflow.DROP_NEW)
        self.link: ThreadedLink
        # Numbering a package and appending it are one step, as in a context.
        self._numbering = threading.Lock()
        self._seq = 0

    def shake_hands(self, timeout: float = PATIENCE) -> None:
        greeting = shake_hands(self.stream, self.protocol, timeout)
        name = "to test"
        self.link = ThreadedLink(
            self.stream, self.protocol, greeting, self.outbox, self.owner, name
        )

    def put(self, data: bytes, is_msgpack: bool = False) -> bool:
        with self._numbering:
            self._seq += 1
            return self.outbox.put(Package(data, 8, self.own.id, self._seq, is_msgpack=is_msgpack))

    def send(self, *messages: bytes) -> None:
        for data in messages:
            assert self.put(data)
            self.link.kick()

    def join(self) -> None:
        assert self.link.join(patience()), "the link ends"

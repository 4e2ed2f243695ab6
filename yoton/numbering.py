"""Messages become packages: numbered in the order in which they were sent, and bundled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, repeat, starmap
from operator import itemgetter

from yoton.package import EVERYONE, Bundle, Envelope, Package

#: Messages that go into one bundle: more save nothing.
BUNDLE_COUNT = 256

#: Bytes of the largest message in a bundle. Larger ones take more time to be copied into one
#: than to be sent by themselves.
BUNDLED_SIZE = 8191

_envelope_of = itemgetter(0)
_data_of = itemgetter(1)


class Numbering:
    """Takes messages from any thread, without a lock, and gives numbered packages out.

    A finalizer or a signal handler may add a message in the middle of all this, and Ctrl-C may
    end it at any moment: no message is lost, and none gets two numbers. A package may be given
    out once more then, with the number that it had.

    Parameters
    ----------
    source_id : int
        Id of the context.
    """

    def __init__(self, source_id: int) -> None:
        self._source_id = source_id
        self._source_seq = 0
        self._added: deque[tuple[Envelope, bytes]] = deque()
        # Taken from there, then made into packages.
        self._taken: list[tuple[Envelope, bytes]] = []
        self._numbered: deque[Package] = deque()
        self._is_giving_out = False

    def __len__(self) -> int:
        """Get the number of messages that were added and not numbered."""
        return len(self._added)

    @property
    def is_done(self) -> bool:
        """Whether all that was added has been given out."""
        return not (self._added or self._taken or self._numbered)

    def add(self, envelope: Envelope, data: bytes) -> None:
        """Add a message; `give_out` has to follow."""
        self._added.append((envelope, data))

    def give_out(self, receive: Callable[[Package], object]) -> None:
        """Number all that was added and hand it over; called with one lock held.

        A call in the middle of another one leaves everything to that: else its message would
        overtake one that has its number already.
        """
        while not self._is_giving_out and not self.is_done:
            try:
                self._is_giving_out = True
                self._number_what_was_added()
                self._hand_over(receive)
            finally:
                self._is_giving_out = False

    def _hand_over(self, receive: Callable[[Package], object]) -> None:
        while self._numbered:
            receive(self._numbered[0])
            self._numbered.popleft()

    def _number_what_was_added(self) -> None:
        if self._numbered:
            return
        if not self._taken:
            # One call into C moves them, so no interrupt comes in between.
            self._taken.extend(starmap(self._added.popleft, repeat((), len(self._added))))
        count = len(self._taken)
        packages = deque(self._packages() if count > 1 else map(self._package, self._taken))
        # No call from here on, so no interrupt either.
        self._numbered, self._taken, self._source_seq = packages, [], self._source_seq + count

    def _package(self, sent: tuple[Envelope, bytes]) -> Package:
        (slot, dest_id, dest_seq, is_msgpack), data = sent
        seq = self._source_seq + 1
        return Package(data, slot, self._source_id, seq, dest_id, dest_seq, is_msgpack)

    def _packages(self) -> Iterator[Package]:
        seq = self._source_seq
        for envelope, group in groupby(self._taken, _envelope_of):
            slot, dest_id, dest_seq, is_msgpack = envelope
            for data in _bundled(envelope, map(_data_of, group)):
                if isinstance(data, bytes):
                    seq += 1
                    yield Package(data, slot, self._source_id, seq, dest_id, dest_seq, is_msgpack)
                else:
                    seq += len(data)
                    sizes = list(map(len, data))
                    yield Bundle(b"".join(data), sizes, slot, self._source_id, seq, is_msgpack)


def _bundled(envelope: Envelope, messages: Iterable[bytes]) -> Iterator[bytes | list[bytes]]:
    """Get those messages that go by themselves as they are, and others in lists."""
    if envelope.dest_id != EVERYONE or envelope.dest_seq:
        yield from messages
        return
    run = list(messages)
    for start in range(0, len(run), BUNDLE_COUNT):
        part = run[start : start + BUNDLE_COUNT]
        if len(part) == 1 or max(map(len, part)) > BUNDLED_SIZE:
            yield from part
        else:
            yield part

"""Messages become packages: numbered in the order in which they were sent, and bundled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, repeat, starmap
from operator import itemgetter
from typing import TypeAlias

from yoton.package import Bundle, Envelope, Package

#: Messages that go into one bundle: more save nothing.
BUNDLE_COUNT = 256

#: Bytes of the largest message in a bundle. Larger ones take more time to be copied into one
#: than to be sent by themselves.
BUNDLED_SIZE = 8191

#: Envelope, dest seq and data of a message.
_Message: TypeAlias = "tuple[Envelope, int, bytes]"

_envelope_of, _dest_seq_of, _data_of = map(itemgetter, range(3))


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
        self._added: deque[_Message] = deque()
        # Taken from there, then made into packages.
        self._taken: list[_Message] = []
        # A list: it is made for each message alone, which takes longer with a deque.
        self._numbered: list[Package] = []
        self._is_giving_out = False

    def __len__(self) -> int:
        """Get the number of messages that were added and not numbered."""
        return len(self._added)

    @property
    def is_done(self) -> bool:
        """Whether all that was added has been given out."""
        return not (self._added or self._taken or self._numbered)

    def add(self, envelope: Envelope, dest_seq: int, data: bytes) -> None:
        """Add a message; `give_out` has to follow."""
        self._added.append((envelope, dest_seq, data))

    def give_out(self, receive: Callable[[Package], object]) -> None:
        """Number all that was added and hand it over; called with one lock held.

        A call in the middle of another one leaves everything to that: else its message would
        overtake one that has its number already.
        """
        while (self._added or self._taken or self._numbered) and not self._is_giving_out:
            try:
                self._is_giving_out = True
                self._give_out_some(receive)
            finally:
                self._is_giving_out = False

    def _give_out_some(self, receive: Callable[[Package], object]) -> None:
        if not self._numbered:
            self._number_what_was_added()
        while self._numbered:
            receive(self._numbered[0])
            self._numbered.pop(0)

    def _number_what_was_added(self) -> None:
        if len(self._added) == 1 and not self._taken:
            self._number_lone()
            return
        if not self._taken:
            # One call into C moves them, so no interrupt comes in between.
            self._taken.extend(starmap(self._added.popleft, repeat((), len(self._added))))
        count = len(self._taken)
        packages = list(self._packages())
        # No call from here on, so no interrupt either.
        self._numbered, self._taken, self._source_seq = packages, [], self._source_seq + count

    def _number_lone(self) -> None:
        """Do the same for a message alone: its sender waits for that."""
        seq = self._source_seq + 1
        packages = [self._package(seq, *self._added[0])]
        # One call from here on, the last, so no interrupt comes in between.
        self._numbered, self._source_seq = packages, seq
        self._added.popleft()

    def _package(self, seq: int, envelope: Envelope, dest_seq: int, data: bytes) -> Package:
        slot, dest_id, is_msgpack = envelope
        return Package(data, slot, self._source_id, seq, dest_id, dest_seq, is_msgpack)

    def _packages(self) -> Iterator[Package]:
        seq = self._source_seq
        for _, group in groupby(self._taken, _envelope_of):
            run = list(group)
            for start in range(0, len(run), BUNDLE_COUNT):
                part = run[start : start + BUNDLE_COUNT]
                sizes = list(map(len, map(_data_of, part)))
                if len(part) == 1 or max(sizes) > BUNDLED_SIZE:
                    for index, message in enumerate(part, 1):
                        yield self._package(seq + index, *message)
                else:
                    yield self._bundle(seq + len(part), part, sizes)
                seq += len(part)

    def _bundle(self, seq: int, messages: Sequence[_Message], sizes: list[int]) -> Bundle:
        slot, dest_id, is_msgpack = messages[0][0]
        data = b"".join(map(_data_of, messages))
        dest_seqs = list(map(_dest_seq_of, messages))
        if not any(dest_seqs):
            dest_seqs = []
        return Bundle(data, sizes, slot, self._source_id, seq, dest_id, dest_seqs, is_msgpack)

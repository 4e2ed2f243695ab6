"""The package: one framed message, and the numbers that name slots and contexts."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from yoton.hashing import text_hash

#: Packages between the two ends of one link; never routed.
SLOT_LINK = 1
#: Packages between contexts.
SLOT_CONTEXT = 2
#: Channels have this slot and up.
FIRST_CHANNEL_SLOT = 8

#: A dest id of 0 means every context.
EVERYONE = 0

#: The dest seqs of states, which are versions, are below this one; from here on they are of texts
#: about requests.
VERSIONS_END = 2**63

#: Source id and source seq of a package.
Place: TypeAlias = "tuple[int, int]"
#: ... before any package.
BEGINNING: Place = (0, 0)

_UINT64 = 2**64
_UINT32 = 2**32


def slot_number(full_name: str) -> int:
    """Get the number under which a slot travels.

    Parameters
    ----------
    full_name : str
        Base name, message type and pattern joined by dots, as in ``"chat.txt.pub-sub"``.
        Blanks around it and upper case do not count.
    """
    normal = normal_slot_name(full_name)
    return FIRST_CHANNEL_SLOT + text_hash(normal) % (_UINT64 - FIRST_CHANNEL_SLOT)


def normal_slot_name(full_name: str) -> str:
    """Get the one way to write the full name of a slot that counts."""
    return full_name.strip().lower()


class UID:
    """A 64-bit number that is unique in a network: a clock above, randomness below.

    Parameters
    ----------
    id : int, optional
        The number to wrap. Default: make a new one.
    """

    __slots__ = ("_value",)

    def __init__(self, id: int | None = None) -> None:
        self._value = _new_id() if id is None else id % _UINT64

    def get_int(self) -> int:
        """Get it as an integer."""
        return self._value

    def get_hex(self) -> str:
        """Get it as 16 lowercase hexadecimal digits."""
        return f"{self._value:016x}"

    def get_bytes(self) -> bytes:
        """Get it as 8 bytes, least significant first, as on the wire."""
        return self._value.to_bytes(8, "little")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UID) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"UID(0x{self.get_hex()})"


def _new_id() -> int:
    milliseconds = int(time.time() * 1000) % _UINT32
    # From the system: processes that a test or a shell starts in the same millisecond, or that a
    # fork makes, must not draw the same numbers, whatever seed the user's program has set.
    return max(1, milliseconds) * _UINT32 + int.from_bytes(os.urandom(4), "little")


class Envelope(NamedTuple):
    """What messages have in common that can travel in one bundle.

    Parameters
    ----------
    slot : int
        Number of the slot, see `slot_number`.
    dest_id : int
        The only context meant, or `EVERYONE`.
    is_msgpack : bool
        Whether the message is an OBJECT in msgpack.
    """

    slot: int
    dest_id: int = EVERYONE
    is_msgpack: bool = False


class Package:
    """One message on its way: data and where it goes.

    Parameters
    ----------
    data : bytes
        The encoded message.
    slot : int
        Number of the slot, see `slot_number`.
    source_id, source_seq : int
        The context that made it and its number there, counted from 1 over all its channels.
    dest_id : int
        The only context meant, or `EVERYONE`.
    dest_seq : int
        For the channels' use: a request id, a state's version.
    is_msgpack : bool
        Whether data is an OBJECT in msgpack. A relay has to re-encode it for a peer that
        knows the tagged encoding alone.

    Attributes
    ----------
    count : int
        The number of messages in it.
    size : int
        The bytes of its data.
    """

    __slots__ = (
        "count",
        "data",
        "dest_id",
        "dest_seq",
        "is_msgpack",
        "size",
        "slot",
        "source_id",
        "source_seq",
    )

    def __init__(
        self,
        data: bytes,
        slot: int,
        source_id: int,
        source_seq: int,
        dest_id: int = EVERYONE,
        dest_seq: int = 0,
        is_msgpack: bool = False,
    ) -> None:
        self.data = data
        self.slot = slot
        self.source_id = source_id
        self.source_seq = source_seq
        self.dest_id = dest_id
        self.dest_seq = dest_seq
        self.is_msgpack = is_msgpack
        self.count = 1
        # Each place that it passes counts it.
        self.size = len(data)

    @property
    def is_state(self) -> bool:
        """Whether it brings a state: of several that one channel has sent, the last one counts."""
        return self.dest_id == EVERYONE and 0 < self.dest_seq < VERSIONS_END

    def messages(self) -> Sequence[bytes]:
        """Get the data of each message."""
        return (self.data,)

    def packages(self) -> Sequence[Package]:
        """Get the messages one by one."""
        return (self,)

    def without_first(self, count: int) -> Package:
        """Get what is left without some of the messages; those are fewer than it has."""
        assert count == 0, "a single message has no part"
        return self

    def without_last(self, count: int) -> Package:
        """Get what is left without some of the messages; those are fewer than it has."""
        return self.without_first(count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Package) and self._wire_fields() == other._wire_fields()

    __hash__ = None  # type: ignore[assignment]

    def _wire_fields(self) -> tuple[object, ...]:
        return (
            self.data,
            self.slot,
            self.source_id,
            self.source_seq,
            self.dest_id,
            self.dest_seq,
            self.is_msgpack,
        )

    def __repr__(self) -> str:
        return (
            f"Package({self.size} bytes, slot={self.slot:#x},"
            f" source={self.source_id:#x}:{self.source_seq},"
            f" dest={self.dest_id:#x}:{self.dest_seq})"
        )


class Bundle(Package):
    """Messages that follow each other, with one envelope, sent as one package.

    Only extended ends know of bundles; others get the messages one by one.

    Parameters
    ----------
    data : bytes
        The encoded messages, one behind the other.
    sizes : sequence of int
        How many bytes each of them has.
    slot, source_id, dest_id, is_msgpack
        As of a `Package`.
    source_seq : int
        The number of the last message; those before it have the numbers before.
    dest_seqs : sequence of int
        The dest seq of each message; empty if all are 0.

    Attributes
    ----------
    frame : bytes or None
        Its bytes on the wire once it was encoded: the same for all peers.
    """

    __slots__ = ("dest_seqs", "frame", "sizes")

    def __init__(
        self,
        data: bytes,
        sizes: Sequence[int],
        slot: int,
        source_id: int,
        source_seq: int,
        dest_id: int = EVERYONE,
        dest_seqs: Sequence[int] = (),
        is_msgpack: bool = False,
    ) -> None:
        super().__init__(data, slot, source_id, source_seq, dest_id, is_msgpack=is_msgpack)
        self.sizes = sizes
        self.dest_seqs = dest_seqs
        self.frame: bytes | None = None
        self.count = len(sizes)

    @property
    def is_state(self) -> bool:
        """Whether it brings states: the last one counts."""
        last = self.dest_seqs[-1] if self.dest_seqs else 0
        return self.dest_id == EVERYONE and 0 < last < VERSIONS_END

    def messages(self) -> Sequence[bytes]:
        """Get the data of each message."""
        data = self.data
        ends = itertools.accumulate(self.sizes, initial=0)
        return [data[begin:end] for begin, end in itertools.pairwise(ends)]

    def packages(self) -> Sequence[Package]:
        """Get the messages one by one."""
        slot, source_id, dest_id = self.slot, self.source_id, self.dest_id
        seqs = itertools.count(self.source_seq - self.count + 1)
        dest_seqs = self.dest_seqs or itertools.repeat(0)
        return [
            Package(data, slot, source_id, seq, dest_id, dest_seq, self.is_msgpack)
            for data, seq, dest_seq in zip(self.messages(), seqs, dest_seqs, strict=False)
        ]

    def without_first(self, count: int) -> Package:
        """Get what is left without some of the messages; those are fewer than it has."""
        return Bundle(
            self.data[sum(self.sizes[:count]) :],
            self.sizes[count:],
            self.slot,
            self.source_id,
            self.source_seq,
            self.dest_id,
            self.dest_seqs[count:],
            self.is_msgpack,
        )

    def without_last(self, count: int) -> Package:
        """Get what is left without some of the messages; those are fewer than it has."""
        left = self.count - count
        return Bundle(
            self.data[: sum(self.sizes[:left])],
            self.sizes[:left],
            self.slot,
            self.source_id,
            self.source_seq - count,
            self.dest_id,
            self.dest_seqs[:left],
            self.is_msgpack,
        )

    def _wire_fields(self) -> tuple[object, ...]:
        return (*super()._wire_fields(), *self.sizes, *self.dest_seqs)

    def __repr__(self) -> str:
        return f"Bundle({self.count} messages, {super().__repr__()})"

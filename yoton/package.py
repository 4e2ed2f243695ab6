"""The package: one framed message, and the numbers that name slots and contexts."""

from __future__ import annotations

import random
import time

from yoton.hashing import text_hash

#: Packages between the two ends of one link; never routed.
SLOT_LINK = 1
#: Packages between contexts.
SLOT_CONTEXT = 2
#: Channels have this slot and up.
FIRST_CHANNEL_SLOT = 8

#: A dest id of 0 means every context.
EVERYONE = 0

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
    normal = full_name.strip().lower()
    return FIRST_CHANNEL_SLOT + text_hash(normal) % (_UINT64 - FIRST_CHANNEL_SLOT)


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


# Processes that a test or a shell starts in the same millisecond, or that a fork makes, must
# not draw the same numbers; a seed set by the user's program must not matter either.
_random = random.SystemRandom()


def _new_id() -> int:
    milliseconds = int(time.time() * 1000) % _UINT32
    return max(1, milliseconds) * _UINT32 + _random.randrange(_UINT32)


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
    recv_seq : int
        Number that the receiving context gave it, to order messages across channels.
    is_msgpack : bool
        Whether data is an OBJECT in msgpack. A relay has to re-encode it for a peer that
        knows the tagged encoding alone.
    """

    __slots__ = (
        "data",
        "dest_id",
        "dest_seq",
        "is_msgpack",
        "recv_seq",
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
        recv_seq: int = 0,
        is_msgpack: bool = False,
    ) -> None:
        self.data = data
        self.slot = slot
        self.source_id = source_id
        self.source_seq = source_seq
        self.dest_id = dest_id
        self.dest_seq = dest_seq
        self.recv_seq = recv_seq
        self.is_msgpack = is_msgpack

    def __eq__(self, other: object) -> bool:
        """Compare what travels; the receiving number is local."""
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
            f"Package({len(self.data)} bytes, slot={self.slot:#x},"
            f" source={self.source_id:#x}:{self.source_seq},"
            f" dest={self.dest_id:#x}:{self.dest_seq})"
        )

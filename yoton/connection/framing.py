"""Packages to bytes and back: a header of 56 bytes, then the data.

All seven fields of the header are unsigned 64-bit numbers, least significant byte first:
magic, slot, source id, source seq, dest id, dest seq, size of the data.
"""

from __future__ import annotations

import struct

from yoton.exceptions import RemoteProtocolError
from yoton.package import SLOT_LINK, Package

_HEADER = struct.Struct("<7Q")
HEADER_SIZE = _HEADER.size

_MAGIC = int.from_bytes(b"YOTON   ", "little")
#: Between extended ends: the data is an OBJECT in msgpack.
_MAGIC_MSGPACK = int.from_bytes(b"YOTON  M", "little")

#: Data that a node accepts in one package, unless it says otherwise: far above what one
#: message should be, and still what the memory of a small machine can hold.
DEFAULT_MAX_DATA_SIZE = 2**30

#: From here on joining header and data costs more than writing two pieces in one call.
_LARGE_DATA = 8192

LOST_TRACK = "Lost track of the stream."


def encode_package(package: Package) -> tuple[bytes, ...]:
    """Get the bytes of a package, in pieces that have to be written in order."""
    header = _HEADER.pack(
        _MAGIC_MSGPACK if package.is_msgpack else _MAGIC,
        package.slot,
        package.source_id,
        package.source_seq,
        package.dest_id,
        package.dest_seq,
        len(package.data),
    )
    if len(package.data) < _LARGE_DATA:
        return (header + package.data,)
    return (header, package.data)


def encode_signal(number: int) -> bytes:
    """Get the bytes of a package without data, by which two ends speak of their link."""
    return _HEADER.pack(_MAGIC, SLOT_LINK, 0, number, 0, 0, 0)


class FrameDecoder:
    """Cuts a stream of bytes into packages.

    Holds at most one package of the greatest size and what came behind it in the same read.

    Parameters
    ----------
    max_data_size : int
        The most bytes of data that a package may have.

    Attributes
    ----------
    failure : RemoteProtocolError or None
        Why the stream cannot be read on. Nothing is decoded any more then.
    """

    def __init__(self, max_data_size: int = DEFAULT_MAX_DATA_SIZE) -> None:
        self._max_data_size = max_data_size
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = HEADER_SIZE
        self.failure: RemoteProtocolError | None = None

    @property
    def is_inside_package(self) -> bool:
        """Whether the bytes so far end in the middle of a package."""
        return self._held > 0

    @property
    def announced_size(self) -> int:
        """Bytes of data of the package that is not complete, 0 if its header is not either."""
        return self._needed - HEADER_SIZE

    def decode(self, data: bytes) -> list[Package]:
        """Add bytes from the stream and get the packages that they complete.

        Never raises: what is wrong is told by `failure`, after the packages before it.
        """
        if self.failure is not None:
            return []
        self._chunks.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return []
        return self._cut(b"".join(self._chunks))

    def _cut(self, data: bytes) -> list[Package]:
        packages: list[Package] = []
        start = 0
        needed = HEADER_SIZE
        while len(data) - start >= HEADER_SIZE:
            magic, slot, source_id, source_seq, dest_id, dest_seq, size = _HEADER.unpack_from(
                data, start
            )
            self.failure = self._find_fault(magic, size)
            if self.failure is not None:
                start = len(data)
                break
            needed = HEADER_SIZE + size
            end = start + needed
            if len(data) < end:
                break
            body = data[start + HEADER_SIZE : end]
            is_msgpack = magic == _MAGIC_MSGPACK
            packages.append(
                Package(body, slot, source_id, source_seq, dest_id, dest_seq, 0, is_msgpack)
            )
            start = end
            needed = HEADER_SIZE
        self._hold(data[start:], needed)
        return packages

    def _hold(self, rest: bytes, needed: int) -> None:
        self._chunks = [rest] if rest else []
        self._held = len(rest)
        self._needed = needed

    def _find_fault(self, magic: int, size: int) -> RemoteProtocolError | None:
        if magic not in (_MAGIC, _MAGIC_MSGPACK):
            return RemoteProtocolError(LOST_TRACK)
        if size > self._max_data_size:
            return RemoteProtocolError(
                f"Package of {size} bytes announced, at most {self._max_data_size} are accepted."
            )
        return None

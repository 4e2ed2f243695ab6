"""Packages to bytes and back: a header of 56 bytes, then the data.

All seven fields of the header are unsigned 64-bit numbers, least significant byte first:
magic, slot, source id, source seq, dest id, dest seq, size of the data.

A bundle has the number of its messages in place of the dest seq, and its data begins with a
table of their sizes, 4 bytes each. In a numbered bundle one of their dest seqs follows, 8 bytes
each.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import TypeAlias

from yoton.exceptions import RemoteProtocolError
from yoton.package import SLOT_LINK, Bundle, Package

_HEADER = struct.Struct("<7Q")
HEADER_SIZE = _HEADER.size

_MAGIC = int.from_bytes(b"YOTON   ", "little")
#: Between extended ends: the data is an OBJECT in msgpack.
_MAGIC_MSGPACK = int.from_bytes(b"YOTON  M", "little")
#: Between extended ends: a bundle, and one of OBJECTs in msgpack.
_MAGIC_BUNDLE = int.from_bytes(b"YOTON  B", "little")
_MAGIC_MSGPACK_BUNDLE = int.from_bytes(b"YOTON BM", "little")
#: ... and numbered ones.
_MAGIC_NUMBERED = int.from_bytes(b"YOTON  N", "little")
_MAGIC_MSGPACK_NUMBERED = int.from_bytes(b"YOTON NM", "little")
_SINGLE_MAGICS = (_MAGIC, _MAGIC_MSGPACK)
_NUMBERED_MAGICS = (_MAGIC_NUMBERED, _MAGIC_MSGPACK_NUMBERED)
_MSGPACK_MAGICS = (_MAGIC_MSGPACK, _MAGIC_MSGPACK_BUNDLE, _MAGIC_MSGPACK_NUMBERED)
_MAGICS = (*_SINGLE_MAGICS, *_NUMBERED_MAGICS, _MAGIC_BUNDLE, _MAGIC_MSGPACK_BUNDLE)

#: Messages that a bundle may have: more save nothing, and each takes memory besides its data.
MAX_BUNDLE_COUNT = 1024

#: Data that a node accepts in one package, unless it says otherwise: far above what one
#: message should be, and still what the memory of a small machine can hold.
DEFAULT_MAX_DATA_SIZE = 2**30

#: From here on joining header and data costs more than writing two pieces in one call.
_LARGE_DATA = 8192

#: From here on reading one package by itself costs less than copying it out of what was read.
_DATA_READ_BY_ITSELF = 2**17

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
        package.size,
    )
    if package.size < _LARGE_DATA:
        return (header + package.data,)
    return (header, package.data)


def encode_bundle(bundle: Bundle) -> tuple[bytes, ...]:
    """Get the bytes of a bundle, for an extended peer."""
    frame = bundle.frame
    if frame is None:
        header = _HEADER.pack(
            _bundle_magic(bundle),
            bundle.slot,
            bundle.source_id,
            bundle.source_seq,
            bundle.dest_id,
            bundle.count,
            bundle_size(bundle),
        )
        table = _bundle_table(bundle).pack(*bundle.sizes, *bundle.dest_seqs)
        frame = bundle.frame = b"".join((header, table, bundle.data))
    return (frame,)


def bundle_size(bundle: Bundle) -> int:
    """Get the number of bytes that the data of a bundle takes, with its table."""
    return _bundle_table(bundle).size + bundle.size


def _bundle_magic(bundle: Bundle) -> int:
    if bundle.dest_seqs:
        return _MAGIC_MSGPACK_NUMBERED if bundle.is_msgpack else _MAGIC_NUMBERED
    return _MAGIC_MSGPACK_BUNDLE if bundle.is_msgpack else _MAGIC_BUNDLE


def _bundle_table(bundle: Bundle) -> struct.Struct:
    return _table(bundle.count, bool(bundle.dest_seqs))


@functools.lru_cache(2 * MAX_BUNDLE_COUNT)
def _table(count: int, is_numbered: bool) -> struct.Struct:
    return struct.Struct(f"<{count}I{count}Q" if is_numbered else f"<{count}I")


def encode_signal(number: int) -> bytes:
    """Get the bytes of a package without data, by which two ends speak of their link."""
    return _HEADER.pack(_MAGIC, SLOT_LINK, 0, number, 0, 0, 0)


#: The seven fields of a header.
_Header: TypeAlias = tuple[int, int, int, int, int, int, int]

#: A place in a stream, see `FrameDecoder.bookmark`.
Bookmark: TypeAlias = "tuple[_Header | None, list[bytes], int, int, int, bool]"


class FrameDecoder:
    """Cuts a stream of bytes into packages.

    Holds at most one package of the greatest size and what came behind it in the same read.

    Parameters
    ----------
    max_data_size : int
        The most bytes of data that a package may have.

    Attributes
    ----------
    missing_size : int
        Bytes to read next, and no more, where large packages come one after the other; else 0.
        That is the rest of a header, or of the data behind it: read in one piece, it need not
        be copied.
    failure : RemoteProtocolError or None
        Why the stream cannot be read on. Nothing is decoded any more then.
    """

    def __init__(self, max_data_size: int = DEFAULT_MAX_DATA_SIZE) -> None:
        self._max_data_size = max_data_size
        # Of the package whose data is not complete.
        self._header: _Header | None = None
        # What belongs to the next header, or behind that one, and how much it takes to go on.
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = HEADER_SIZE
        # Whether the package at hand is that large, or else the one before.
        self._reads_by_itself = False
        self.missing_size = 0
        self.failure: RemoteProtocolError | None = None

    @property
    def bookmark(self) -> Bookmark:
        """Set/get how far it has come, as long as there is no failure."""
        chunks = self._chunks
        return (
            self._header,
            chunks,
            len(chunks),
            self._held,
            self._needed,
            self._reads_by_itself,
        )

    @bookmark.setter
    def bookmark(self, bookmark: Bookmark) -> None:
        self._header, chunks, count, self._held, self._needed, self._reads_by_itself = bookmark
        del chunks[count:]
        self._chunks = chunks
        self.failure = None

    @property
    def is_inside_package(self) -> bool:
        """Whether the bytes so far end in the middle of a package."""
        return self._held > 0 or self._header is not None

    @property
    def announced_size(self) -> int:
        """Bytes of data of the package that is not complete, 0 if its header is not either."""
        return _size_in(self._header) if self._header else 0

    def lone_package(self, data: bytes) -> Package | None:
        """Get the package that bytes from the stream are; None if they are anything else.

        Nothing changes by that: it is a short way for what comes alone, and does the same as
        `decode`, which takes what this one leaves.
        """
        size = len(data) - HEADER_SIZE
        if self._held or self._header or self.failure or not 0 < size < _DATA_READ_BY_ITSELF:
            return None
        magic, slot, source_id, source_seq, dest_id, dest_seq, told = _HEADER.unpack_from(data)
        if told != size or size > self._max_data_size or magic not in _SINGLE_MAGICS:
            return None
        is_msgpack = magic == _MAGIC_MSGPACK
        data = data[HEADER_SIZE:]
        return Package(data, slot, source_id, source_seq, dest_id, dest_seq, is_msgpack)

    def decode(self, data: bytes) -> list[Package]:
        """Add bytes from the stream and get the packages that they complete.

        Never raises: what is wrong is told by `failure`, after the packages before it.
        """
        if self.failure is not None:
            return []
        self._chunks.append(data)
        self._held += len(data)
        packages = self._cut(b"".join(self._chunks)) if self._held >= self._needed else []
        self.missing_size = self._needed - self._held if self._reads_by_itself else 0
        return packages

    def _cut(self, data: bytes) -> list[Package]:
        packages: list[Package] = []
        header, start, end = self._header, 0, self._needed
        while end <= len(data):
            try:
                if header is None:
                    header = self._header_at(data, start)
                    start, end = end, end + _size_in(header)
                else:
                    packages.append(_package(header, data[start:end]))
                    header = None
                    start, end = end, end + HEADER_SIZE
            except RemoteProtocolError as failure:
                self.failure = failure
                header, start = None, len(data)
                break
        if header is not None or packages:
            self._reads_by_itself = (
                _size_in(header) if header else len(packages[-1].data)
            ) >= _DATA_READ_BY_ITSELF
        rest = data[start:]
        self._header, self._chunks = header, [rest] if rest else []
        self._held, self._needed = len(rest), end - start
        return packages

    def _header_at(self, data: bytes, start: int) -> _Header:
        header: _Header = _HEADER.unpack_from(data, start)
        if header[0] not in _MAGICS:
            raise RemoteProtocolError(LOST_TRACK)
        size = _size_in(header)
        if size > self._max_data_size:
            raise RemoteProtocolError(
                f"Package of {size} bytes announced, at most {self._max_data_size} are accepted."
            )
        return header


def _size_in(header: _Header) -> int:
    return header[-1]


def _package(header: _Header, data: bytes) -> Package:
    magic, slot, source_id, source_seq, dest_id, dest_seq, _ = header
    is_msgpack = magic in _MSGPACK_MAGICS
    if magic in _SINGLE_MAGICS:
        return Package(data, slot, source_id, source_seq, dest_id, dest_seq, is_msgpack)
    sizes, dest_seqs, messages = _split_bundle(data, dest_seq, magic in _NUMBERED_MAGICS)
    return Bundle(messages, sizes, slot, source_id, source_seq, dest_id, dest_seqs, is_msgpack)


def _split_bundle(
    data: bytes, count: int, is_numbered: bool
) -> tuple[Sequence[int], Sequence[int], bytes]:
    """Get the sizes and the dest seqs of the messages, and these, one behind the other."""
    table = _table(count, is_numbered) if 0 < count <= MAX_BUNDLE_COUNT else None
    if table is None or len(data) < table.size:
        raise RemoteProtocolError(f"Bundle of {len(data)} bytes with {count} messages.")
    entries, messages = table.unpack_from(data), data[table.size :]
    sizes = entries[:count]
    if sum(sizes) != len(messages) or 0 in sizes:
        raise RemoteProtocolError("The table of a bundle does not fit its messages.")
    return sizes, entries[count:], messages

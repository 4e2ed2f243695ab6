"""A reader of the wire that shares no code with the package, to judge what the package writes."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct("<8s6Q")
MAGIC = b"YOTON   "
#: Added to a request's id in the packages that negotiate who takes it.
P = 2**63

_K = 0xD2D84A61


class Package(NamedTuple):
    """The fields of a package."""

    slot: int
    source_id: int
    source_seq: int
    dest_id: int
    dest_seq: int
    data: bytes


def split_line(stream: bytes) -> tuple[bytes, bytes]:
    """Part the handshake line, with its end, from the packages."""
    end = stream.index(b"\r\n") + 2
    return bytes(stream[:end]), bytes(stream[end:])


def packages_in(stream: bytes) -> list[Package]:
    """Read what follows the handshake line; what is not complete yet is left out."""
    if b"\r\n" not in stream:
        return []
    _, rest = split_line(stream)
    packages = []
    while len(rest) >= HEADER.size:
        magic, slot, source_id, source_seq, dest_id, dest_seq, size = HEADER.unpack_from(rest)
        assert magic == MAGIC
        if len(rest) < HEADER.size + size:
            break
        data = rest[HEADER.size : HEADER.size + size]
        packages.append(Package(slot, source_id, source_seq, dest_id, dest_seq, data))
        rest = rest[HEADER.size + size :]
    return packages


def encode(package: Package) -> bytes:
    """Get the bytes of a package."""
    *numbers, data = package
    return HEADER.pack(MAGIC, *numbers, len(data)) + data


def slot_of(name: str) -> int:
    """Get the number of a slot from its full name."""
    value = 0
    for character in name.strip().lower():
        value += value // 8 + ord(character) * _K
    value += value // 8 + len(name.strip()) * _K
    return 8 + value % (2**64 - 8)


def read_object(data: bytes) -> object:
    """Read an OBJECT, all of it."""
    value, rest = _read_object(data)
    assert rest == b""
    return value


def _read_object(data: bytes) -> tuple[object, bytes]:
    tag, rest = data[:1], data[1:]
    if tag == b"n":
        return None, rest
    if tag == b"b":
        assert rest[0] in (0, 1)
        return rest[0] == 1, rest[1:]
    if tag == b"i":
        return struct.unpack("<q", rest[:8])[0], rest[8:]
    if tag == b"f":
        return struct.unpack("<d", rest[:8])[0], rest[8:]
    count, rest = _read_count(rest)
    if tag == b"s":
        return rest[:count].decode("utf-8"), rest[count:]
    assert tag in (b"l", b"t", b"d"), tag
    values = []
    for _ in range(2 * count if tag == b"d" else count):
        value, rest = _read_object(rest)
        values.append(value)
    if tag == b"d":
        return dict(zip(values[::2], values[1::2], strict=True)), rest
    return (values if tag == b"l" else tuple(values)), rest


def _read_count(data: bytes) -> tuple[int, bytes]:
    if data[0] < 255:
        return data[0], data[1:]
    return int.from_bytes(data[1:9], "little"), data[9:]

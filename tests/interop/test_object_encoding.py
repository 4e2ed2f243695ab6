"""The tagged encoding of OBJECT, compared with the yoton inside Pyzo, byte for byte."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from enum import IntEnum

import pytest
from hypothesis import given
from interop.peer import Peer
from object_values import patient, same, tagged_values

from yoton.message_types import OBJECT

Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 3


@pytest.fixture(scope="module")
def pyzo() -> Iterator[Peer]:
    with Peer() as peer:
        peer.run("from collections import OrderedDict, namedtuple")
        peer.run("from enum import IntEnum")
        peer.run("names = {'nan': float('nan'), 'inf': float('inf')}")
        yield peer


def _encoded_by(pyzo: Peer, value: object) -> bytes:
    text = pyzo.run("yoton.OBJECT.message_to_bytes(eval(text, names)).hex()", text=ascii(value))
    assert isinstance(text, str)
    return bytes.fromhex(text)


@patient
@given(tagged_values)
def test_both_write_the_same_bytes_and_read_them(pyzo: Peer, value: object) -> None:
    # The text of a NaN does not tell its bits, so it is read first.
    value = eval(ascii(value), {"nan": float("nan"), "inf": float("inf")})
    data = OBJECT.message_to_bytes(value)
    assert _encoded_by(pyzo, value) == data
    code = "yoton.OBJECT.message_to_bytes(yoton.OBJECT.message_from_bytes(bytes.fromhex(data)))"
    assert pyzo.run(code, data=data.hex()) == data
    assert same(OBJECT.message_from_bytes(data), value)


@pytest.mark.parametrize("size", [0, 1, 253, 254, 255, 256, 1000])
def test_counts_of_all_sizes(pyzo: Peer, size: int) -> None:
    for value in ("a" * size, [None] * size, (True,) * size, dict.fromkeys(range(size))):
        assert _encoded_by(pyzo, value) == OBJECT.message_to_bytes(value)


def test_subclasses_are_written_alike(pyzo: Peer) -> None:
    ordered = OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    code = """
ordered = OrderedDict(a=1, b=2)
ordered.move_to_end("a")
value = [IntEnum("Colour", {"RED": 3}).RED, namedtuple("Point", "x y")(1, 2), ordered]
yoton.OBJECT.message_to_bytes(value)
"""
    assert pyzo.run(code) == OBJECT.message_to_bytes([Colour.RED, Point(1, 2), ordered])


@pytest.mark.parametrize(
    "data", [b"", b"nn", b"b\x07", b"l\xff\x01\0\0\0\0\0\0\0nxyz", b"d\x02s\x01ans\x01ab\x01"]
)
def test_both_are_equally_lenient(pyzo: Peer, data: bytes) -> None:
    theirs = pyzo.run("yoton.OBJECT.message_from_bytes(bytes.fromhex(data))", data=data.hex())
    assert same(OBJECT.message_from_bytes(data), theirs)


@pytest.mark.parametrize(
    "data",
    [b"l\x01", b"i123", b"b", b"s\x05ab", b"l\xff\xff", b"l\x01z", b"l\x01\xff", b"s\x02\xff\xff"],
)
def test_callers_of_both_catch_the_same_errors(pyzo: Peer, data: bytes) -> None:
    code = """
try:
    yoton.OBJECT.message_from_bytes(bytes.fromhex(data))
except Exception as error:
    found = type(error).__name__
found
"""
    theirs = pyzo.run(code, data=data.hex())
    with pytest.raises(Exception) as caught:
        OBJECT.message_from_bytes(data)
    assert theirs in [kind.__name__ for kind in type(caught.value).__mro__]

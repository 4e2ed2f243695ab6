"""The tagged encoding of OBJECT: one byte that names the type, then the value.

Every yoton reads it. It knows None, bool, int of 64 bits, float, str, list, tuple and dict.
A size or count N is one byte from 0 to 254, or the byte 255 and eight bytes; all numbers are
little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from yoton.exceptions import DecodeError, EncodeError, TextDecodeError, TruncatedError
from yoton.misfit import NESTING_LIMIT, misfit_error

NONE, BOOL, INT, FLOAT, STR, LIST, TUPLE, DICT = b"nbifsltd"

#: What the first byte of an encoded message can be.
TAGS = frozenset((NONE, BOOL, INT, FLOAT, STR, LIST, TUPLE, DICT))

#: A byte 0 to 254 is a count; this one says that the count is in the eight bytes that follow.
_LONG_COUNT = 0xFF

_UINT64 = struct.Struct("<Q")
_INT64 = struct.Struct("<q")
_FLOAT64 = struct.Struct("<d")
_TAG_INT64 = struct.Struct("<Bq")
_TAG_FLOAT64 = struct.Struct("<Bd")


# Encoding


def encode(message: object) -> bytes:
    """Encode a message.

    Parameters
    ----------
    message : object
        Subclasses of the known types count as their base.

    Raises
    ------
    EncodeError
        It contains something else, an int of more than 64 bits, a str with a lone surrogate,
        itself, or more than 400 levels of containers. The text says what and where.
    """
    try:
        return _encode(message)
    except MemoryError:
        raise
    except Exception as error:
        # A subclass may raise anything from its methods.
        raise misfit_error(message, _encode_leaf, (list, tuple, dict), error) from error


def _encode(message: object) -> bytes:
    chunks: list[bytes] = []
    # The items still to write of each container, from the message inwards. No recursion, as
    # the stack that the caller has left may be small.
    unwritten: list[Iterator[object]] = [iter((message,))]
    while unwritten:
        for value in unwritten[-1]:
            encoder = _ENCODERS.get(type(value)) or _encoder_of_base(value)
            head, items = encoder(value)
            chunks.append(head)
            if items:
                if len(unwritten) > NESTING_LIMIT:
                    raise EncodeError("too many levels of containers")
                unwritten.append(iter(items))
                break
        else:
            unwritten.pop()
    return b"".join(chunks)


def _encode_leaf(value: object) -> bytes:
    return _encoder_of_base(value)(value)[0]


#: What an encoder gives: the first bytes of the value, and the values to encode behind these.
_Encoded = tuple[bytes, Iterable[object]]
_Encoder = Callable[[Any], _Encoded]


def _encoder_of_base(value: object) -> _Encoder:
    for known, encoder in _ENCODERS.items():
        if isinstance(value, known):
            return encoder
    raise EncodeError("the tagged encoding does not know its type")


def _encode_none(value: None) -> _Encoded:
    return b"n", ()


def _encode_bool(value: bool) -> _Encoded:
    return b"b\x01" if value else b"b\x00", ()


def _encode_int(value: int) -> _Encoded:
    try:
        return _TAG_INT64.pack(INT, value), ()
    except struct.error as error:
        raise EncodeError("it takes more than 64 bits") from error


def _encode_float(value: float) -> _Encoded:
    return _TAG_FLOAT64.pack(FLOAT, value), ()


def _encode_str(value: str) -> _Encoded:
    data = str.encode(value)
    return b"s" + _encode_count(len(data)) + data, ()


# Containers are copied first, so that the count is right even if another thread adds items.


def _encode_list(value: list[object]) -> _Encoded:
    items = tuple(value)
    return b"l" + _encode_count(len(items)), items


def _encode_tuple(value: tuple[object, ...]) -> _Encoded:
    items = tuple(value)
    return b"t" + _encode_count(len(items)), items


def _encode_dict(value: dict[object, object]) -> _Encoded:
    pairs = tuple(value.items())
    return b"d" + _encode_count(len(pairs)), tuple(chain.from_iterable(pairs))


def _encode_count(count: int) -> bytes:
    if count < _LONG_COUNT:
        return count.to_bytes(1, "little")
    return b"\xff" + _UINT64.pack(count)


_ENCODERS: dict[type, _Encoder] = {
    str: _encode_str,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    type(None): _encode_none,
    list: _encode_list,
    tuple: _encode_tuple,
    dict: _encode_dict,
}


# Decoding


def decode(data: bytes) -> Any:
    """Decode a message.

    Parameters
    ----------
    data : bytes
        At least one byte. Bytes behind the message are ignored, and a bool may be any byte
        that is not 0, as in the yoton inside Pyzo.

    Raises
    ------
    TruncatedError
        The bytes end before the message does, or a count is larger than they allow. It is a
        DecodeError and an EOFError.
    TextDecodeError
        A str is not UTF-8. It is a DecodeError and a UnicodeDecodeError.
    DecodeError
        An unknown tag, a dict key that cannot be one, or more than 400 levels of containers.
    """
    try:
        return _decode(data)
    except (IndexError, struct.error) as error:
        raise _truncated(data) from error


class _OpenContainer:
    """A container whose items are being read."""

    __slots__ = ("count", "items", "tag")

    def __init__(self, tag: int, count: int) -> None:
        self.tag = tag
        self.count = 2 * count if tag == DICT else count
        self.items: list[Any] = []

    def build(self) -> Any:
        if self.tag == LIST:
            return self.items
        if self.tag == TUPLE:
            return tuple(self.items)
        items = iter(self.items)
        try:
            return dict(zip(items, items, strict=True))
        except TypeError as error:
            raise DecodeError(
                f"a dict in an OBJECT has a key that cannot be one: {error}"
            ) from error


def _decode(data: bytes) -> Any:
    position = 0
    # From the message inwards. No recursion, as in _encode.
    unfinished: list[_OpenContainer] = []
    while True:
        tag = data[position]
        position += 1
        decoder = _LEAF_DECODERS.get(tag)
        if decoder is not None:
            value, position = decoder(data, position)
        elif tag in (LIST, TUPLE, DICT):
            count, position = _decode_count(data, position)
            container = _OpenContainer(tag, count)
            # Every item takes a byte at least.
            if container.count > len(data) - position:
                raise _truncated(data)
            if container.count:
                if len(unfinished) == NESTING_LIMIT:
                    raise DecodeError(f"an OBJECT has more than {NESTING_LIMIT} levels")
                unfinished.append(container)
                continue
            value = container.build()
        else:
            raise DecodeError(f"an OBJECT has the unknown tag 0x{tag:02x} at byte {position - 1}")
        while unfinished:
            container = unfinished[-1]
            container.items.append(value)
            if len(container.items) < container.count:
                break
            value = unfinished.pop().build()
        else:
            return value


def _decode_none(data: bytes, position: int) -> tuple[None, int]:
    return None, position


def _decode_bool(data: bytes, position: int) -> tuple[bool, int]:
    return data[position] != 0, position + 1


def _decode_int(data: bytes, position: int) -> tuple[int, int]:
    return _INT64.unpack_from(data, position)[0], position + 8


def _decode_float(data: bytes, position: int) -> tuple[float, int]:
    return _FLOAT64.unpack_from(data, position)[0], position + 8


def _decode_str(data: bytes, position: int) -> tuple[str, int]:
    size, start = _decode_count(data, position)
    end = start + size
    if end > len(data):
        raise _truncated(data)
    try:
        return data[start:end].decode(), end
    except UnicodeDecodeError as error:
        raise TextDecodeError(*error.args) from error


def _decode_count(data: bytes, position: int) -> tuple[int, int]:
    count = data[position]
    if count < _LONG_COUNT:
        return count, position + 1
    return _UINT64.unpack_from(data, position + 1)[0], position + 9


def _truncated(data: bytes) -> TruncatedError:
    return TruncatedError(f"an OBJECT ends after {len(data)} bytes, before it is complete")


_LEAF_DECODERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    STR: _decode_str,
    BOOL: _decode_bool,
    INT: _decode_int,
    FLOAT: _decode_float,
    NONE: _decode_none,
}

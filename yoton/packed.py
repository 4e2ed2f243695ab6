"""OBJECT in msgpack: what msgpack knows, and Python's other common types as extensions.

Importing this module raises ImportError where msgpack is not installed.

An ExtType either is a value, with its data, or it is a head, without data: the first element
of an array whose other elements make a tuple, a set or a numpy array. So these are written and
read in one pass, however deep they are nested, and large arrays are not copied once per level.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from msgpack import ExtType, OutOfData, Packer, Unpacker, UnpackException, unpackb

from yoton.arrays import (
    array_fields,
    array_from_fields,
    array_scalar_fields,
    array_scalar_from_fields,
    is_array,
    is_array_scalar,
)
from yoton.exceptions import CodecError, DecodeError, EncodeError, TextDecodeError, TruncatedError
from yoton.misfit import misfit_error

# The codes of the ExtTypes. Heads of arrays:
TUPLE = 1
SET = 2
ARRAY = 3
ARRAY_SCALAR = 4
# Values, with their data:
INT = 16  # two's complement, little-endian, any number of bytes
COMPLEX = 17  # two doubles, little-endian
DATETIME = 18  # _NAIVE_DATETIME or _AWARE_DATETIME

#: The first byte of every head. What does not contain it has none, and is read in a shorter way.
_HEAD_START = 0xC7

_INT_MIN = -(2**63)
_INT_LIMIT = 2**64
_COMPLEX = struct.Struct("<dd")
#: Year, month, day, hour, minute, second, microsecond, fold.
_NAIVE_DATETIME = struct.Struct("<H5BIB")
#: The same, and the offset from UTC in microseconds.
_AWARE_DATETIME = struct.Struct("<H5BIBq")
_MICROSECOND = timedelta(microseconds=1)

#: Before version 1.2, msgpack takes memory for as many elements as an array claims to have, up
#: to the size of the message, at each level of nesting. For smaller messages that comes to some
#: 64 MiB at worst; larger ones are checked to be complete first, at little cost.
UNCHECKED_SIZE = 8192

#: The pure Python unpacker interns all keys that are str, which fails for numpy.str_, unless
#: it is told how to make a dict. The compiled one is faster if it is not told.
_PAIRS_HOOK = dict if Unpacker.__module__ == "msgpack.fallback" else None


# Encoding


def pack(message: object) -> bytes:
    """Encode a message.

    Parameters
    ----------
    message : object
        Subclasses of the known types count as their base; bytearray and memoryview come back
        as bytes, an aware datetime with a fixed offset.

    Raises
    ------
    EncodeError
        It contains something that cannot be carried, itself, or too many levels of
        containers. The text says what and where.
    """
    try:
        return _pack(message)
    except MemoryError:
        raise
    except Exception as error:
        # A subclass may raise anything from its methods.
        raise misfit_error(message, _pack, (list, tuple, dict, set), error) from error


def _pack(message: object) -> bytes:
    # A new packer each time takes a few percent longer than one per thread, but keeps no
    # memory after a large message, and a message can be sent while another one is encoded.
    data: bytes = Packer(default=_substitute, strict_types=True).pack(message)
    return data


def _substitute(value: Any) -> object:
    """Get what msgpack knows in place of a value that it does not know."""
    if isinstance(value, tuple):
        return [_HEADS[TUPLE], *value]
    if is_array_scalar(value):
        # Before float, complex, str and bytes, of which some of them are subclasses.
        return [_HEADS[ARRAY_SCALAR], *array_scalar_fields(value)]
    if is_array(value):
        return [_HEADS[ARRAY], *array_fields(value)]
    for known, substitute in _SUBSTITUTES.items():
        if isinstance(value, known):
            return substitute(value)
    raise EncodeError("neither msgpack nor an extension knows its type")


def _int_substitute(value: int) -> object:
    # The value is an integer of a subclass, or beyond what msgpack knows, or both.
    exact = int.__int__(value)
    if _INT_MIN <= exact < _INT_LIMIT:
        return exact
    return ExtType(INT, exact.to_bytes(exact.bit_length() // 8 + 1, "little", signed=True))


def _complex_substitute(value: complex) -> object:
    return ExtType(COMPLEX, _COMPLEX.pack(value.real, value.imag))


def _datetime_substitute(value: datetime) -> object:
    fields = (
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.fold,
    )
    offset = value.utcoffset()
    if offset is None:
        return ExtType(DATETIME, _NAIVE_DATETIME.pack(*fields))
    return ExtType(DATETIME, _AWARE_DATETIME.pack(*fields, offset // _MICROSECOND))


_HEADS = {code: ExtType(code, b"") for code in (TUPLE, SET, ARRAY, ARRAY_SCALAR)}
# str(), int() and the like would do what a subclass says, like the name of an enum.Enum.
_SUBSTITUTES: dict[type, Callable[[Any], object]] = {
    set: lambda value: [_HEADS[SET], *value],
    datetime: _datetime_substitute,
    int: _int_substitute,
    float: float.__float__,
    complex: _complex_substitute,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
    list: list,
    dict: dict,
}


# Decoding


def unpack(data: bytes) -> Any:
    """Decode a message.

    Parameters
    ----------
    data : bytes
        At least one byte. The timestamps of msgpack are read as well, as datetimes in UTC.

    Raises
    ------
    DecodeError
        The data is something else, or contains a numpy array and numpy is not installed.
        Where it can be told, it is a TruncatedError or a TextDecodeError.
    """
    if _HEAD_START in data:
        return _unpack_with_heads(data, _BUILDERS)
    return _unpack(data, _read_value)


def unpack_without_arrays(data: bytes) -> Any:
    """Decode a message for a relay, which can have no use for arrays: never imports numpy.

    Raises
    ------
    EncodeError
        The message contains a numpy array or scalar.
    DecodeError
        As for `unpack`.
    """
    return _unpack_with_heads(data, _BUILDERS_WITHOUT_ARRAYS)


class _Head:
    """The first element of an array that is to become something else than a list."""

    __slots__ = ("build", "used")

    def __init__(self, build: Callable[[list[Any]], object]) -> None:
        self.build = build
        self.used = False


_Builders = dict[int, Callable[[list[Any]], object]]


def _unpack_with_heads(data: bytes, builders: _Builders) -> Any:
    heads: list[_Head] = []
    message = _unpack(data, partial(_read_extension, heads, builders), _close_array)
    for head in heads:
        if not head.used:
            raise DecodeError("an OBJECT has the head of a tuple or the like in a wrong place")
    return message


def _unpack(
    data: bytes,
    read_extension: Callable[[int, bytes], object],
    close_array: Callable[[list[Any]], object] | None = None,
) -> Any:
    try:
        if len(data) > UNCHECKED_SIZE:
            _check_complete(data)
        return unpackb(
            data,
            ext_hook=read_extension,
            list_hook=close_array,
            object_pairs_hook=_PAIRS_HOOK,
            strict_map_key=False,
            timestamp=3,
        )
    except CodecError:
        raise
    except UnicodeDecodeError as error:
        raise TextDecodeError(*error.args) from error
    except OutOfData as error:
        raise TruncatedError(f"an OBJECT of {len(data)} bytes ends too early") from error
    except _DATA_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DecodeError(f"{len(data)} bytes are no OBJECT: {reason}") from error


# What msgpack, the making of dicts, sets and datetimes, and numpy raise about bad data.
_DATA_ERRORS = (UnpackException, ValueError, TypeError, OverflowError, RecursionError)


def _check_complete(data: bytes) -> None:
    unpacker = Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()


def _read_value(code: int, data: bytes) -> object:
    if code not in _VALUE_READERS:
        raise DecodeError(f"an OBJECT has an unknown ExtType {code} of {len(data)} bytes")
    return _VALUE_READERS[code](data)


def _read_extension(heads: list[_Head], builders: _Builders, code: int, data: bytes) -> object:
    if code not in builders or data:
        return _read_value(code, data)
    head = _Head(builders[code])
    heads.append(head)
    return head


def _close_array(items: list[Any]) -> object:
    if not items or type(items[0]) is not _Head:
        return items
    head = items[0]
    head.used = True
    return head.build(items[1:])


def _read_int(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _read_complex(data: bytes) -> complex:
    if len(data) != _COMPLEX.size:
        raise DecodeError(f"a complex in an OBJECT has {len(data)} bytes")
    return complex(*_COMPLEX.unpack(data))


def _read_datetime(data: bytes) -> datetime:
    if len(data) == _NAIVE_DATETIME.size:
        *fields, fold = _NAIVE_DATETIME.unpack(data)
        return datetime(*fields).replace(fold=fold)
    if len(data) == _AWARE_DATETIME.size:
        *fields, fold, offset = _AWARE_DATETIME.unpack(data)
        zone = timezone(timedelta(microseconds=offset))
        return datetime(*fields).replace(fold=fold, tzinfo=zone)
    raise DecodeError(f"a datetime in an OBJECT has {len(data)} bytes")


def _refuse_array(fields: list[Any]) -> object:
    raise EncodeError("OBJECT can carry a numpy array or scalar in msgpack only")


_VALUE_READERS: dict[int, Callable[[bytes], object]] = {
    INT: _read_int,
    COMPLEX: _read_complex,
    DATETIME: _read_datetime,
}
_BUILDERS: _Builders = {
    TUPLE: tuple,
    SET: set,
    ARRAY: array_from_fields,
    ARRAY_SCALAR: array_scalar_from_fields,
}
_BUILDERS_WITHOUT_ARRAYS: _Builders = {
    **_BUILDERS,
    ARRAY: _refuse_array,
    ARRAY_SCALAR: _refuse_array,
}

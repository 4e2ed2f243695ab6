"""numpy arrays and scalars as lists of fields that msgpack can carry, and back.

Nothing here makes numpy a dependency. A process that has not imported numpy has no arrays to
encode. Decoding one imports numpy at that moment: the one exception to the rule that modules
are imported at the start, as the import takes a good part of a second and most programs never
receive an array.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from functools import lru_cache
from typing import Any

from yoton.exceptions import DecodeError, EncodeError

#: The names of the dtypes without fields: a byte order, a kind, a size, a unit of time.
#: Strict, because numpy reads more than it writes: "O" would make memory addresses of bytes,
#: and with a unit like "0s" it fails at some later use of the array.
# Compiled at its first use, as that takes longer than all the rest of importing this.
_PLAIN_DTYPE = (
    r"(?a:[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV](?:0|[1-9]\d{0,9})"
    r"|[mM]8(?:\[(?:[1-9]\d{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?))"
)

#: Reading a nested dtype takes Python's stack; structures in use have two levels or three.
DTYPE_NESTING_LIMIT = 16

#: numpy has no arrays of more dimensions, nor larger ones. Checked here, as the product of many
#: or of large numbers takes long.
DIMENSION_LIMIT = 64
LENGTH_LIMIT = 2**63

_LAST_CODE_POINT = 0x10FFFF


def is_array(value: object) -> bool:
    """Tell whether a value is a numpy array."""
    return isinstance(value, _loaded_type("numpy", "ndarray"))


def is_array_scalar(value: object) -> bool:
    """Tell whether a value is a numpy scalar."""
    return isinstance(value, _loaded_type("numpy", "generic"))


def _loaded_type(module: str, name: str) -> Any:
    """Get a type if its module is loaded as far as that, else a tuple of no types."""
    return getattr(sys.modules.get(module), name, ())


# Values to fields


def array_fields(value: Any) -> list[object]:
    """Get what makes an array: dtype, order, shape, and its bytes, not copied if contiguous.

    Raises
    ------
    EncodeError
        The array is masked, or its items are or contain Python objects, take no bytes, have
        members that overlap, or are of a type that another module has added to numpy.
    """
    if isinstance(value, _loaded_type("numpy.ma", "MaskedArray")):
        raise EncodeError("its mask would get lost")
    numpy = sys.modules["numpy"]
    array = numpy.asarray(value)
    dtype = _dtype_fields(array.dtype)
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    # numpy gives no memoryview of dates and some others, but of the integers in their place.
    data = array.ravel(order).view(numpy.uint8).data
    return [dtype, order, list(array.shape), data]


def array_scalar_fields(value: Any) -> list[object]:
    """Get what makes a numpy scalar: dtype and bytes, or just the text of a str_ or bytes_.

    Raises
    ------
    EncodeError
        As for `array_fields`.
    """
    # As items of an array, texts would lose their trailing zeros.
    if isinstance(value, str):
        return [str.__str__(value)]
    if isinstance(value, bytes):
        return [bytes(memoryview(value))]
    return [_dtype_fields(value.dtype), value.tobytes()]


@lru_cache(maxsize=128)
def _dtype_fields(dtype: Any) -> object:
    fields = _write_dtype(dtype)
    try:
        comes_back = dtype.itemsize > 0 and _read_dtype(fields) == dtype
    except (DecodeError, TypeError, ValueError):
        comes_back = False
    if not comes_back:
        raise EncodeError(f"its items are of the type {dtype}")
    return fields


def _write_dtype(dtype: Any) -> object:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": _write_dtype(base), "shape": list(shape)}
    if dtype.names is not None:
        members = [(name, *dtype.fields[name]) for name in dtype.names]
        return {
            "itemsize": dtype.itemsize,
            "members": [
                [name, offset, _write_dtype(member), *title]
                for name, member, offset, *title in members
            ],
        }
    return dtype.str


# Fields to values


def array_from_fields(fields: list[Any]) -> Any:
    """Make a writable array from what `array_fields` gave.

    Raises
    ------
    DecodeError
        The fields do not fit together, or numpy is not installed.
    ValueError, TypeError, OverflowError
        numpy refuses them.
    """
    if len(fields) == 4:
        dtype_fields, order, shape, data = fields
        known_order = isinstance(order, str) and order in ("C", "F")
        if known_order and isinstance(shape, list) and isinstance(data, bytes):
            return _array(dtype_fields, order, shape, data)
    raise DecodeError("a numpy array is not made of dtype, order, shape and bytes")


def array_scalar_from_fields(fields: list[Any]) -> Any:
    """Make a numpy scalar from what `array_scalar_fields` gave.

    Raises
    ------
    DecodeError, ValueError, TypeError, OverflowError
        As for `array_from_fields`.
    """
    if len(fields) == 2 and isinstance(fields[1], bytes):
        return _array(fields[0], "C", [], fields[1])[()]
    if len(fields) == 1 and isinstance(fields[0], str):
        return _import_numpy().str_(fields[0])
    if len(fields) == 1 and isinstance(fields[0], bytes):
        return _import_numpy().bytes_(fields[0])
    raise DecodeError("a numpy scalar is not made of dtype and bytes")


def _array(dtype_fields: object, order: str, shape: list[Any], data: bytes) -> Any:
    numpy = _import_numpy()
    dtype = _read_dtype(dtype_fields)
    if not dtype.itemsize or _item_count(shape) * dtype.itemsize != len(data):
        raise DecodeError(
            f"a numpy array of shape {shape} and type {dtype} does not have {len(data)} bytes"
        )
    array = numpy.ndarray(shape, dtype, data, order=order).copy(order)
    _check_items(array)
    return array


def _import_numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise DecodeError(
            "the message contains a numpy array or scalar, but numpy is not installed"
        ) from error


def _read_dtype(fields: object, level: int = 0) -> Any:
    if level > DTYPE_NESTING_LIMIT:
        raise DecodeError(f"a numpy dtype has more than {DTYPE_NESTING_LIMIT} levels")
    match fields:
        case str(name):
            return _plain_dtype(name)
        case {"base": base, "shape": list(shape)}:
            return sys.modules["numpy"].dtype((_read_dtype(base, level + 1), tuple(shape)))
        case {"itemsize": int(itemsize), "members": list(members)}:
            return _structured_dtype(itemsize, members, level)
    raise DecodeError("a numpy dtype is neither plain, nor an array, nor a structure")


@lru_cache(maxsize=128)
def _plain_dtype(name: str) -> Any:
    if not re.fullmatch(_PLAIN_DTYPE, name):
        raise DecodeError("a numpy dtype has an unknown name")
    return sys.modules["numpy"].dtype(name)


def _structured_dtype(itemsize: int, members: list[Any], level: int) -> Any:
    names, offsets, formats, titles = [], [], [], []
    for member in members:
        match member:
            case [str(name), int(offset), dtype_fields, *title] if _is_title(title):
                names.append(name)
                offsets.append(offset)
                formats.append(_read_dtype(dtype_fields, level + 1))
                titles.append(title[0] if title else None)
            case _:
                raise DecodeError("a member of a numpy dtype is not made of name, offset, dtype")
    if sum(member.itemsize for member in formats) > itemsize:
        # Members that overlap could make the check of all items last for hours.
        raise DecodeError("the members of a numpy dtype are larger than the whole")
    return sys.modules["numpy"].dtype(
        {
            "names": names,
            "offsets": offsets,
            "formats": formats,
            "titles": titles,
            "itemsize": itemsize,
        }
    )


def _is_title(rest: list[Any]) -> bool:
    return not rest or (len(rest) == 1 and isinstance(rest[0], str))


def _item_count(shape: list[Any]) -> int:
    if len(shape) > DIMENSION_LIMIT:
        raise DecodeError(f"a numpy array has {len(shape)} dimensions")
    for length in shape:
        if not isinstance(length, int) or not 0 <= length < LENGTH_LIMIT:
            raise DecodeError("a numpy array has a shape that is not made of lengths")
    return math.prod(shape)


def _check_items(array: Any) -> None:
    """Refuse bytes that make numpy fail at the use of an item: odd bools and characters."""
    numpy = sys.modules["numpy"]
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _check_items(array[name])
    elif dtype.kind == "b" and (array.view(numpy.uint8) > 1).any():
        raise DecodeError("a numpy array has a bool that is neither 0 nor 1")
    elif dtype.kind == "U" and array.nbytes:
        code_points = numpy.ascontiguousarray(array).view(dtype.byteorder + "u4")
        if (code_points > _LAST_CODE_POINT).any():
            raise DecodeError("a numpy array has a character that is not in Unicode")

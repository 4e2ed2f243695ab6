"""What the tests of OBJECT share: values of all kinds, and a comparison stricter than ==."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from yoton import packed

#: For tests of hypothesis: a loaded machine may take its time over an example.
patient = settings(deadline=None, max_examples=60)

# Values that the tagged encoding carries.

tagged_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text()
    | st.text(min_size=250, max_size=260)
)


def _containers(items: Any, keys: Any) -> Any:
    return (
        st.lists(items, max_size=5)
        | st.lists(items, max_size=5).map(tuple)
        | st.dictionaries(keys, items, max_size=5)
    )


tagged_keys = tagged_leaves | st.tuples(tagged_leaves, tagged_leaves)
tagged_values = st.recursive(tagged_leaves, lambda items: _containers(items, tagged_keys))

# Values that msgpack carries.

zones = st.timedeltas(
    timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1)
).map(timezone)
datetimes = st.builds(
    datetime.replace,
    st.datetimes(),
    tzinfo=st.none() | zones,
    fold=st.integers(0, 1),
)


def _carried(dtype: Any) -> bool:
    return dtype.itemsize > 0 and not dtype.hasobject


dtypes = (numpy_st.scalar_dtypes() | numpy_st.array_dtypes(allow_subarrays=True)).filter(_carried)
shapes = numpy_st.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
arrays = st.one_of(
    numpy_st.arrays(dtypes, shapes), numpy_st.arrays(dtypes, shapes).map(lambda a: a.T)
)
array_scalars = (
    numpy_st.arrays(dtypes, ()).map(lambda array: array[()])
    | st.text().map(numpy.str_)
    | st.binary().map(numpy.bytes_)
)

packed_keys = (
    tagged_leaves
    | st.integers()
    | st.complex_numbers()
    | st.binary()
    | datetimes
    | st.text().map(numpy.str_)
    | st.floats().map(numpy.float64)
)
packed_keys |= st.tuples(packed_keys, packed_keys)
packed_leaves = packed_keys | st.sets(packed_keys, max_size=5) | arrays | array_scalars
packed_values = st.recursive(packed_leaves, lambda items: _containers(items, packed_keys))


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are of the same types and equal all the way down.

    NaN equals itself, 0.0 and -0.0 differ, dicts have the same order.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, numpy.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and _same_items(one, other)
    if isinstance(one, (numpy.str_, numpy.bytes_)):
        return bool(one == other)
    if isinstance(one, numpy.generic):
        return one.dtype == other.dtype and _same_items(numpy.asarray(one), numpy.asarray(other))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, complex):
        return same((one.real, one.imag), (other.real, other.imag))
    if isinstance(one, datetime):
        naive = one.replace(tzinfo=None) == other.replace(tzinfo=None)
        return naive and one.utcoffset() == other.utcoffset() and one.fold == other.fold
    return bool(one == other)


def _same_items(one: Any, other: Any) -> bool:
    # Not the bytes of structures and of long doubles, which have gaps.
    if one.dtype.names is not None:
        return all(_same_items(one[name], other[name]) for name in one.dtype.names)
    if one.dtype.char in "gG":
        return bool(numpy.array_equal(one, other, equal_nan=True))
    return bool(one.tobytes() == other.tobytes())


def nested(levels: int) -> list[Any]:
    """Get lists in tuples in lists, with as many levels."""
    value: Any = []
    for level in range(levels - 1):
        value = [value] if level % 2 else (value,)
    return value


def with_little_stack(function: Callable[[], Any]) -> Any:
    """Call a function where Python's stack has room for some dozens of calls."""

    def descend(levels: int) -> Any:
        return descend(levels - 1) if levels else function()

    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    return descend(sys.getrecursionlimit() - depth - 50)


@contextmanager
def msgpack_from(module_name: str) -> Iterator[None]:
    """Let the package use the compiled or the pure Python msgpack, whatever was imported."""
    implementation = pytest.importorskip(module_name)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("Packer", "Unpacker", "unpackb"):
            patch.setattr(packed, name, getattr(implementation, name))
        patch.setattr(packed, "_PAIRS_HOOK", dict if "fallback" in module_name else None)
        yield


MSGPACK_MODULES = ("msgpack._cmsgpack", "msgpack.fallback")

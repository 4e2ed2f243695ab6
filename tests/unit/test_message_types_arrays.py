"""numpy arrays and scalars in OBJECT, with the compiled and the pure Python msgpack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy
import pytest
from hypothesis import given
from object_values import MSGPACK_MODULES, array_scalars, arrays, msgpack_from, patient, same

from yoton.exceptions import DecodeError, EncodeError
from yoton.packed import ARRAY, ARRAY_SCALAR, pack, unpack


@pytest.fixture(params=MSGPACK_MODULES, scope="module", autouse=True)
def _implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    with msgpack_from(request.param):
        yield


@patient
@given(arrays)
def test_an_array_comes_back_writable_in_the_same_layout(array: Any) -> None:
    back = unpack(pack(array))
    assert same(back, array)
    assert back.flags.writeable and back.flags.owndata
    assert back.flags.f_contiguous or not array.flags.f_contiguous
    assert back.flags.c_contiguous or not array.flags.c_contiguous


@patient
@given(array_scalars)
def test_a_scalar_comes_back(scalar: Any) -> None:
    assert same(unpack(pack(scalar)), scalar)


_STRUCTURE = numpy.dtype(
    [("id", "<u2"), ("name", "<U5"), ("where", [("x", ">f4"), ("y", ">f4", (2, 3))])]
)


@pytest.mark.parametrize(
    "array",
    [
        numpy.array(1.5),
        numpy.zeros((0, 3)),
        numpy.arange(12).reshape(3, 4).T,
        numpy.arange(24).reshape(2, 3, 4)[:, ::-1, ::2],
        numpy.arange(5, dtype=">i2"),
        numpy.array([True, False]),
        numpy.array([1, 2], "m8[25s]"),
        numpy.array(["NaT", "2020-01-01"], "M8[ns]"),
        numpy.array(["a", "\u00e9\U0001f600", "x\0y"]),
        numpy.array([b"a\0b", b""]),
        numpy.array([1, 2j], "c16"),
        numpy.array([1.5], numpy.longdouble),
        numpy.array([b"abc"], "V3"),
        numpy.zeros((2, 2), _STRUCTURE),
        numpy.zeros(2, numpy.dtype([("a", "u1"), ("b", "f8")], align=True)),
        numpy.zeros(2, numpy.dtype([(("title", "a"), "u1")])),
        numpy.broadcast_to(numpy.arange(3), (2, 3)),
    ],
    ids=lambda array: f"{array.dtype.str}-{array.shape}",
)
def test_every_kind_of_array_comes_back(array: Any) -> None:
    back = unpack(pack({"a": (array,)}))["a"][0]
    assert same(back, array)
    assert back.flags.writeable


@pytest.mark.parametrize(
    "scalar",
    [
        numpy.float64(1.5),
        numpy.float16(2),
        numpy.bool_(True),
        numpy.uint64(2**64 - 1),
        numpy.complex128(1j),
        numpy.longdouble(1) / 3,
        numpy.datetime64("2020-01-01T00:00", "5m"),
        numpy.timedelta64("NaT", "s"),
        numpy.str_("a\0"),
        numpy.str_(""),
        numpy.bytes_(b"a\0"),
        numpy.void(b"abc"),
        numpy.zeros(1, _STRUCTURE)[0],
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_every_kind_of_scalar_comes_back(scalar: Any) -> None:
    assert same(unpack(pack([scalar])), [scalar])


def test_numpy_scalars_can_be_keys() -> None:
    value = {numpy.str_("a"): 1, numpy.float64(2): 2, (numpy.int64(3),): 3}
    assert same(unpack(pack(value)), value)


def test_a_subclass_of_array_counts_as_array() -> None:
    record = numpy.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]).view(numpy.recarray)
    back = unpack(pack(record))
    assert type(back) is numpy.ndarray
    assert back.tolist() == [(1, 2.5)]


# What is not carried


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (numpy.array([None]), "object"),
        (numpy.zeros(1, [("a", "i4"), ("b", "O")]), "'O'"),
        (numpy.ma.masked_array([1, 2], [True, False]), "mask"),
        (numpy.zeros(2, "V0"), "V0"),
        (numpy.zeros(2, {"names": ["a", "b"], "formats": ["u4", "u4"], "offsets": [0, 2]}), "offs"),
    ],
    ids=["object", "member", "masked", "no bytes", "overlap"],
)
def test_an_array_that_would_not_come_back_is_refused(array: Any, what: str) -> None:
    with pytest.raises(EncodeError, match=what) as caught:
        pack({"a": array})
    assert "(at message['a'])" in str(caught.value)


def test_an_array_with_too_deep_a_type_is_refused() -> None:
    dtype = numpy.dtype("u1")
    for _ in range(20):
        dtype = numpy.dtype([("a", dtype)])
    with pytest.raises(EncodeError, match="of the type"):
        pack(numpy.zeros(1, dtype))


def test_without_numpy_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    array, scalar = pack(numpy.zeros(3)), pack(numpy.str_("a"))
    monkeypatch.setitem(sys.modules, "numpy", None)
    for data in (array, scalar):
        with pytest.raises(DecodeError, match="numpy is not installed"):
            unpack(data)
    assert unpack(pack([1, "a", 2.5])) == [1, "a", 2.5]


# Input from strangers

_ARRAY = msgpack.ExtType(ARRAY, b"")
_SCALAR = msgpack.ExtType(ARRAY_SCALAR, b"")


def _structure(itemsize: Any, *members: Any) -> dict[str, Any]:
    return {"itemsize": itemsize, "members": list(members)}


@pytest.mark.parametrize(
    "dtype",
    [
        "|O",
        "O",
        "<f8,<f8",
        "(2,)<f8",
        "float64",
        "=f8",
        "<f3",
        "|V0",
        "|S0",
        "<U99999999999",
        "<U2147483647",
        "<M8[0s]",
        "<M8[s/7]",
        "<M8[s]\n",
        "<M8[99999999999s]",
        "\u0661",
        "",
        None,
        8,
        ["<f8"],
        {"base": "<f8", "shape": [-1]},
        {"base": "<f8", "shape": [2**62, 2**62]},
        {"base": "<f8", "shape": [0]},
        {"base": "|O", "shape": [1]},
        _structure(8, ["a", 0, "|O"]),
        _structure(8, ["a", -1, "<f4"]),
        _structure(8, ["a", 6, "<f4"]),
        _structure(8, ["a", 2**70, "<f4"]),
        _structure(8, ["a", 0, "<f4"], ["a", 4, "<f4"]),
        _structure(8, ["a", 0, "<f8"], ["b", 0, "<f8"]),
        _structure(-8, ["a", 0, "<f4"]),
        _structure(2**70, ["a", 0, "<f4"]),
        _structure(8, ["a", 0]),
        _structure(8, ["a", 0, "<f4", 5]),
        _structure(8, ["a", 0, "<f4", "title", "more"]),
        _structure(8, [1, 0, "<f4"]),
        _structure("8", ["a", 0, "<f4"]),
    ],
    ids=str,
)
def test_types_that_numpy_must_not_be_asked_for_are_refused(dtype: Any) -> None:
    for head in ([_ARRAY, dtype, "C", [1], bytes(8)], [_SCALAR, dtype, bytes(8)]):
        with pytest.raises(DecodeError):
            unpack(_packb(head))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["<f8", "C", [1]],
        ["<f8", "C", [1], bytes(8), 1],
        ["<f8", "C", [1], bytes(7)],
        ["<f8", "C", [1], bytes(9)],
        ["<f8", "C", [2**61], b""],
        ["<f8", "C", [2**32, 2**32], b""],
        ["<f8", "C", [0, 2**62, 2**62], b""],
        ["<f8", "C", [-1], bytes(8)],
        ["<f8", "C", [-1, -1], bytes(8)],
        ["<f8", "C", [1.0], bytes(8)],
        ["<f8", "C", [True], bytes(8)],
        ["<f8", "C", ["1"], bytes(8)],
        ["<f8", "C", 1, bytes(8)],
        ["<f8", "C", [1], "12345678"],
        ["<f8", "C", [1], None],
        ["<f8", "K", [1], bytes(8)],
        ["<f8", None, [1], bytes(8)],
        ["|V0", "C", [2**62], b""],
        ["|b1", "C", [2], b"\x01\x02"],
        ["<U1", "C", [1], b"\xff\xff\xff\xff"],
        [">U1", "C", [1], b"\x00\x11\x00\x00"],
        [_structure(5, ["a", 1, "<U1"]), "C", [1], bytes(1) + b"\xff" * 4],
        [_structure(2, ["a", 0, {"base": "|b1", "shape": [2]}]), "C", [1], b"\x00\x03"],
    ],
    ids=str,
)
def test_fields_that_do_not_fit_together_are_refused(fields: list[Any]) -> None:
    with pytest.raises(DecodeError):
        unpack(_packb([_ARRAY, *fields]))


@pytest.mark.parametrize("shape", [[1] * 65, [1] * 100_000, [0, 2**63], [0, 2**70], [[1]], [None]])
def test_a_shape_is_looked_at_before_its_product_is_taken(shape: list[Any]) -> None:
    with pytest.raises(DecodeError, match=r"dimensions|not made of lengths"):
        unpack(_packb([_ARRAY, "<f8", "C", shape, b""]))


@pytest.mark.parametrize("fields", [[], [1], ["<f8", b"", b""], ["<f8", "12345678"]], ids=str)
def test_scalars_that_are_none_are_refused(fields: list[Any]) -> None:
    with pytest.raises(DecodeError):
        unpack(_packb([_SCALAR, *fields]))


def test_an_array_among_the_fields_is_refused() -> None:
    inner = [_ARRAY, "<f8", "C", [1], bytes(8)]
    for place in range(4):
        fields: list[Any] = ["<f8", "C", [1], bytes(8)]
        fields[place] = inner
        with pytest.raises(DecodeError):
            unpack(_packb([_ARRAY, *fields]))


def _packb(value: Any) -> bytes:
    def big_int(number: Any) -> msgpack.ExtType:
        return msgpack.unpackb(pack(number))

    data = msgpack.packb(value, default=big_int)
    assert isinstance(data, bytes)
    return data

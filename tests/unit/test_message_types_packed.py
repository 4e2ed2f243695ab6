"""OBJECT in msgpack, with the compiled and the pure Python msgpack."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_values import (
    MSGPACK_MODULES,
    msgpack_from,
    nested,
    packed_values,
    patient,
    same,
    with_little_stack,
)

from yoton import packed
from yoton.exceptions import DecodeError, EncodeError, TextDecodeError, TruncatedError
from yoton.misfit import NESTING_LIMIT
from yoton.packed import pack, unpack


@pytest.fixture(params=MSGPACK_MODULES, scope="module", autouse=True)
def _implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    with msgpack_from(request.param):
        yield


class Colour(IntEnum):
    RED = 3


class Word(str, Enum):
    YES = "yes"


class Shouted(str):
    def __str__(self) -> str:
        return self.upper()


Point = namedtuple("Point", "x y")


@patient
@given(packed_values)
def test_every_value_comes_back_equal_and_of_the_same_type(value: object) -> None:
    assert same(unpack(pack(value)), value)


@pytest.mark.parametrize("exponent", [31, 32, 62, 63, 64, 65, 127, 128, 20000])
def test_ints_of_any_size(exponent: int) -> None:
    for value in (2**exponent - 1, 2**exponent, -(2**exponent), -(2**exponent) - 1):
        assert same(unpack(pack(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1),
        datetime(9999, 12, 31, 23, 59, 59, 999999),
        datetime(2020, 10, 25, 2, 30, fold=1),
        datetime(2020, 1, 2, tzinfo=timezone.utc),
        datetime(2020, 1, 2, 3, 4, 5, 6, timezone(-timedelta(hours=3, seconds=7, microseconds=8))),
    ],
)
def test_datetimes_keep_fold_and_offset(value: datetime) -> None:
    assert same(unpack(pack(value)), value)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Colour.RED, 3),
        (type("Int", (int,), {})(2**70), 2**70),
        (Word.YES, "yes"),
        (Shouted("quiet"), "quiet"),
        (Point(1, 2), (1, 2)),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (type("Float", (float,), {})(1.5), 1.5),
        (type("List", (list,), {})([1]), [1]),
        (type("Set", (set,), {})([1]), {1}),
        (type("Complex", (complex,), {})(1j), 1j),
        (type("Bytes", (bytes,), {})(b"\x00a"), b"\x00a"),
        (type("Datetime", (datetime,), {})(2020, 1, 2), datetime(2020, 1, 2)),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
    ],
)
def test_a_subclass_counts_as_its_base(value: object, base: object) -> None:
    assert same(unpack(pack([value])), [base])


def test_timestamps_of_other_msgpack_writers_are_datetimes_in_utc() -> None:
    assert unpack(msgpack.packb(msgpack.Timestamp(0, 5000))) == datetime(
        1970, 1, 1, 0, 0, 0, 5, timezone.utc
    )


# What is not carried


@pytest.mark.parametrize("value", [object(), frozenset(), range(3), timedelta(1), print])
def test_other_types_are_refused_by_name(value: object) -> None:
    with pytest.raises(EncodeError, match=rf"an? {type(value).__name__} \(at message\[0\]\)"):
        pack([value])


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(EncodeError, match="surrogates"):
        pack(["\ud800"])


class Hostile(dict[str, int]):
    def __iter__(self) -> Iterator[str]:
        raise LookupError("out of order")

    keys = items = __iter__  # type: ignore[assignment]


def test_an_error_raised_by_the_message_itself_is_the_cause() -> None:
    with pytest.raises(EncodeError, match="out of order") as caught:
        pack([Hostile(a=1)])
    assert isinstance(caught.value.__cause__, LookupError)


def test_as_many_levels_as_promised() -> None:
    assert same(unpack(pack(nested(NESTING_LIMIT))), nested(NESTING_LIMIT))


@pytest.mark.parametrize("levels", [2000, 100_000])
def test_too_many_levels_are_refused(levels: int) -> None:
    with pytest.raises(EncodeError, match="levels"):
        pack(nested(levels))
    with pytest.raises(DecodeError, match=r"OBJECT: \w"):
        unpack(b"\x91" * levels + b"\xc0")
    with pytest.raises(DecodeError, match=r"OBJECT: \w"):
        unpack(b"\x92\xc7\x00\x01" * levels + b"\xc0")


def test_a_stack_that_is_used_up_raises_no_recursion_error() -> None:
    value = nested(NESTING_LIMIT)
    data = pack(value)
    with suppress(EncodeError):
        assert with_little_stack(lambda: pack(value)) == data
    with suppress(DecodeError):
        assert pack(with_little_stack(lambda: unpack(data))) == data


# Input from strangers


def _refuses_all_parts(value: object) -> None:
    data = pack(value)
    # All of them where that does not take long.
    for length in range(1, len(data), 1 + len(data) // 500):
        with pytest.raises(DecodeError):
            unpack(data[:length])


@patient
@given(packed_values)
def test_no_part_of_a_message_passes_for_one(value: object) -> None:
    _refuses_all_parts(value)


def test_no_part_of_a_message_of_all_types_passes_for_one() -> None:
    leaves = [None, True, -5, 2**70, 1.5, 1j, "text", b"bytes", datetime(2020, 1, 2)]
    aware = datetime(2020, 1, 2, tzinfo=timezone.utc)
    arrays = [numpy.arange(3), numpy.float64(1), numpy.zeros(1, [("a", "i4"), ("b", "U2")])]
    _refuses_all_parts({"list": leaves, "set": {aware}, (1, 2): tuple(arrays)})


@patient
@given(st.binary(min_size=1))
def test_any_bytes_decode_or_raise_a_decode_error(data: bytes) -> None:
    with suppress(DecodeError):
        unpack(data)


@patient
@given(packed_values, st.integers(0), st.integers(0, 255))
def test_a_changed_byte_decodes_or_raises_a_decode_error(
    value: object, index: int, byte: int
) -> None:
    data = bytearray(pack(value))
    data[index % len(data)] = byte
    with suppress(DecodeError):
        unpack(bytes(data))


# Well-formed msgpack with extensions of any kind at any place.
_codes = st.sampled_from([1, 1, 2, 3, 3, 4, 4, 16, 17, 18, 99])
_leaves = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.none()
    | st.sampled_from(["C", "F", "<f8", "|b1", "<U1", "|V0", "<M8[s]", "itemsize", "members", ""])
    | st.sampled_from([0, 1, 2, 8])
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, _codes, st.binary(max_size=20))
)
_heads = st.builds(msgpack.ExtType, _codes, st.just(b""))


def _wild_containers(items: Any) -> Any:
    return (
        st.lists(items, max_size=5)
        | st.builds(lambda head, rest: [head, *rest], _heads, st.lists(items, max_size=5))
        | st.dictionaries(st.sampled_from(["itemsize", "members", "base", "shape", "a"]), items)
    )


@patient
@given(st.recursive(_leaves, _wild_containers))
def test_extensions_out_of_place_decode_or_raise_a_decode_error(wild: object) -> None:
    data = msgpack.packb(wild)
    try:
        value = unpack(data)
    except DecodeError:
        return
    assert same(unpack(pack(value)), value)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        b"\x01\x02",  # two values
        pytest.param(
            b"\x93\xc7\x00\x04\xa3<M8\xc4\x08" + b"\x01" * 9, id="unprintable, and one more"
        ),
        b"\x81\x90\xc0",  # {[]: None}
        b"\x81\x92\xc7\x00\x01\x90\xc0",  # {([],): None}
        b"\x92\xc7\x00\x02\x90",  # {[]} as a set
        b"\xc7\x00\x01",  # the head of a tuple, alone
        b"\x92\xc0\xc7\x00\x01",  # and behind something else
        b"\x93\xc7\x00\x01\xc7\x00\x01\xc0",  # and twice
        b"\x81\xc7\x00\x01\xc0",  # and as a key
        b"\x91\xd4\x01\x00",  # and with data
        b"\xd4\x63\x00",  # unknown code
        b"\xd4\xfe\x00",  # negative code
        b"\xd4\x11\x00",  # complex of one byte
        b"\xd4\x12\x00",  # datetime of one byte
        b"\xc7\x0c\x12" + b"\xff" * 12,  # datetime in month 255
        b"\xc7\x0c\x12\xe4\x07\x01\x01\x00\x00\x00\x00\x00\x00\x00\x02",  # fold of 2
        b"\xc7\x14\x12\xe4\x07\x01\x01" + bytes(8) + b"\xff" * 7 + b"\x7f",  # offset of ages
        b"\xc7\x0c\xff\x00\x00\x00\x00\x7f" + b"\xff" * 7,  # timestamp in the far future
    ],
)
def test_bad_input_raises_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        unpack(data)
    assert str(caught.value)


def test_a_str_that_is_not_utf8() -> None:
    with pytest.raises(TextDecodeError):
        unpack(b"\x91\xa1\xff")


def test_counts_of_large_messages_are_checked_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 2**20
    data = (b"\xdd" + size.to_bytes(4, "big")) * 100
    data += b"\xc0" * (size - len(data))
    monkeypatch.setattr(packed, "unpackb", None)
    with pytest.raises(TruncatedError):
        unpack(data)


def test_large_messages_pass_that_check() -> None:
    value = {"list": list(range(20_000)), "array": numpy.zeros(10_000), "text": "x" * 50_000}
    assert same(unpack(pack(value)), value)


@pytest.mark.parametrize("head", [b"\xc8\x00\x00\x01", b"\xc9\x00\x00\x00\x00\x01"])
def test_a_head_in_a_longer_form_than_it_needs_is_refused(head: bytes) -> None:
    assert unpack(b"\x92\xc7\x00\x01\x07") == (7,)
    with pytest.raises(DecodeError, match="unknown ExtType 1"):
        unpack(b"\x92" + head + b"\x07")


def test_the_first_byte_of_a_head_may_be_in_anything() -> None:
    for message in ("\xc7".encode("latin-1"), [b"\xc7\x00\x01", ("x",)], 0xC7):
        assert unpack(pack(message)) == message

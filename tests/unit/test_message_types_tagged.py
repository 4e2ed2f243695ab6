"""The tagged encoding of OBJECT: its bytes, what it refuses, hostile input."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from contextlib import suppress
from enum import Enum, IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_values import nested, patient, same, tagged_values, with_little_stack

from yoton.exceptions import DecodeError, EncodeError, TextDecodeError, TruncatedError
from yoton.misfit import NESTING_LIMIT
from yoton.tagged import decode, encode

Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 3


class Word(str, Enum):
    YES = "yes"


def test_the_documented_example() -> None:
    value = {"a": [1, 2.5, None, True], "t": ("x", -1)}
    data = bytes.fromhex(
        "64 02 73 01 61 6c 04 69 0100000000000000 66 0000000000000440 6e 62 01"
        " 73 01 74 74 02 73 01 78 69 ffffffffffffffff"
    )
    assert encode(value) == data
    assert decode(data) == value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("a" * 254, b"s\xfe" + b"a" * 254),
        ("a" * 255, b"s\xff\xff\0\0\0\0\0\0\0" + b"a" * 255),
        ("\u00e9", b"s\x02\xc3\xa9"),
        ([None] * 254, b"l\xfe" + b"n" * 254),
        ((None,) * 255, b"t\xff\xff\0\0\0\0\0\0\0" + b"n" * 255),
        ({}, b"d\0"),
        (2**63 - 1, b"i\xff\xff\xff\xff\xff\xff\xff\x7f"),
        (False, b"b\0"),
    ],
)
def test_counts_and_limits_have_their_bytes(value: object, data: bytes) -> None:
    assert encode(value) == data
    assert same(decode(data), value)


@patient
@given(tagged_values)
def test_every_value_comes_back_equal_and_of_the_same_type(value: object) -> None:
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Colour.RED, 3),
        (Word.YES, "yes"),
        (Point(1, 2), (1, 2)),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (type("Float", (float,), {})(1.5), 1.5),
        (type("List", (list,), {})([1]), [1]),
    ],
)
def test_a_subclass_counts_as_its_base(value: object, base: object) -> None:
    assert encode(value) == encode(base)
    assert same(decode(encode([value])), [base])


def test_an_ordered_dict_is_written_in_its_own_order() -> None:
    value = OrderedDict(a=1, b=2)
    value.move_to_end("a")
    assert list(decode(encode(value))) == ["b", "a"]


# What is not carried


@pytest.mark.parametrize("value", [b"", {1}, 1j, object(), frozenset(), bytearray()])
def test_other_types_are_refused_by_name(value: object) -> None:
    with pytest.raises(EncodeError, match=rf"an? {type(value).__name__} \(at message\[0\]\)"):
        encode([value])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**2000])
def test_an_int_of_more_than_64_bits_is_refused(value: int) -> None:
    with pytest.raises(EncodeError, match="64 bits"):
        encode({"n": value})


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(EncodeError, match="surrogates"):
        encode(["\ud800"])


def test_as_many_levels_as_promised_and_no_more() -> None:
    assert same(decode(encode(nested(NESTING_LIMIT))), nested(NESTING_LIMIT))
    assert same(decode(encode(nested(NESTING_LIMIT + 1))), nested(NESTING_LIMIT + 1))
    with pytest.raises(EncodeError, match="levels"):
        encode(nested(NESTING_LIMIT + 2))
    with pytest.raises(DecodeError, match="levels"):
        decode(b"l\x01" * (NESTING_LIMIT + 1) + b"n")


def test_deep_messages_do_not_depend_on_the_stack_of_the_caller() -> None:
    value = nested(NESTING_LIMIT)
    data = encode(value)
    assert with_little_stack(lambda: encode(value)) == data
    assert encode(with_little_stack(lambda: decode(data))) == data


# Input from strangers


@patient
@given(st.data())
def test_every_part_of_a_message_is_truncated(data: st.DataObject) -> None:
    encoded = encode(data.draw(tagged_values))
    # All of them where that does not take long.
    for length in range(1, len(encoded), 1 + len(encoded) // 500):
        with pytest.raises(TruncatedError):
            decode(encoded[:length])


def test_truncated_is_an_end_of_file_to_older_callers() -> None:
    with pytest.raises(EOFError):
        decode(b"i12")


@pytest.mark.parametrize("tag", [b"s", b"l", b"t", b"d"])
def test_a_count_beyond_the_data_is_refused_before_anything_is_read(tag: bytes) -> None:
    for count in (3, 2**31, 2**64 - 1):
        with pytest.raises(TruncatedError):
            decode(tag + b"\xff" + count.to_bytes(8, "little") + b"zz")


def test_readers_take_the_long_count_for_small_numbers_too() -> None:
    assert decode(b"l\xff\x01\0\0\0\0\0\0\0n") == [None]


def test_bytes_behind_the_message_are_ignored() -> None:
    assert decode(b"l\x01nxyz") == [None]


def test_any_byte_but_zero_is_true() -> None:
    assert decode(b"b\x07") is True


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"l\x01z", "unknown tag 0x7a at byte 2"),
        (b"\xff", "unknown tag 0xff"),
        (b"d\x01l\x00n", "unhashable"),
        (b"d\x01t\x01d\x00n", "unhashable"),
    ],
)
def test_bad_input_gets_a_clear_error(data: bytes, what: str) -> None:
    with pytest.raises(DecodeError, match=what):
        decode(data)


def test_a_str_that_is_not_utf8() -> None:
    with pytest.raises(TextDecodeError):
        decode(b"l\x01s\x01\xff")


@patient
@given(
    st.binary(min_size=1)
    | st.text("nbifsltd\0\x01\x02\x03\xff", min_size=1).map(lambda text: text.encode("latin-1"))
)
def test_any_bytes_decode_or_raise_a_decode_error(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError:
        return
    assert same(decode(encode(value)), value)


@patient
@given(tagged_values, st.integers(0), st.integers(0, 255))
def test_a_changed_byte_decodes_or_raises_a_decode_error(
    value: object, index: int, byte: int
) -> None:
    data = bytearray(encode(value))
    data[index % len(data)] = byte
    with suppress(DecodeError):
        decode(bytes(data))

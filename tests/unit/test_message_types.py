"""The message types as channels see them: names, what they accept, which encoding is read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_values import packed_values, patient, same, tagged_values
from support import PATIENCE

from yoton import message_types
from yoton.exceptions import DecodeError, EncodeError, TextDecodeError
from yoton.message_types import BINARY, OBJECT, TEXT, MessageType, msgpack_to_tagged


def test_names_are_those_of_slots() -> None:
    assert [kind.message_type_name() for kind in (TEXT, BINARY, OBJECT)] == ["txt", "bin", "obj"]


def test_the_base_leaves_everything_to_its_subclasses() -> None:
    with pytest.raises(NotImplementedError):
        MessageType().message_type_name()
    with pytest.raises(NotImplementedError):
        MessageType().message_to_bytes("")
    with pytest.raises(NotImplementedError):
        MessageType().message_from_bytes(b"")


# TEXT and BINARY


@patient
@given(st.text())
def test_text_comes_back(text: str) -> None:
    data = TEXT.message_to_bytes(text)
    assert type(data) is bytes
    assert TEXT.message_from_bytes(data) == text


@pytest.mark.parametrize("message", [b"bytes", bytearray(b"a"), None, 1, ["a"]])
def test_text_refuses_other_types_and_names_them(message: object) -> None:
    with pytest.raises(EncodeError, match=type(message).__name__):
        TEXT.message_to_bytes(message)  # type: ignore[arg-type]


def test_text_refuses_a_lone_surrogate_and_gives_the_cause() -> None:
    with pytest.raises(EncodeError, match="position 2") as caught:
        TEXT.message_to_bytes("ab\ud800")
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)


def test_text_that_is_not_utf8_raises_what_callers_of_unicode_catch() -> None:
    with pytest.raises(TextDecodeError) as caught:
        TEXT.message_from_bytes(b"ab\xff")
    assert isinstance(caught.value, UnicodeDecodeError)
    assert isinstance(caught.value, DecodeError)
    assert caught.value.start == 2


@patient
@given(st.binary())
def test_binary_passes_as_it_is(data: bytes) -> None:
    assert BINARY.message_to_bytes(data) == data
    assert BINARY.message_from_bytes(data) == data


@pytest.mark.parametrize("message", ["text", bytearray(b"a"), memoryview(b"a"), None, 1])
def test_binary_refuses_other_types_and_names_them(message: object) -> None:
    with pytest.raises(EncodeError, match=type(message).__name__):
        BINARY.message_to_bytes(message)  # type: ignore[arg-type]


# OBJECT: which of the two encodings is it?


def test_no_data_is_none() -> None:
    assert OBJECT.message_from_bytes(b"") is None


@patient
@given(tagged_values)
def test_object_reads_both_encodings(value: object) -> None:
    assert same(OBJECT.message_from_bytes(OBJECT.message_to_bytes(value)), value)
    assert same(OBJECT.message_from_bytes(OBJECT.message_to_msgpack(value)), value)


@patient
@given(packed_values)
def test_msgpack_never_begins_like_the_tagged_encoding(value: object) -> None:
    assert OBJECT.message_to_msgpack(value)[0] not in b"nbifsltd"


def test_an_int_alone_is_not_taken_for_a_tag() -> None:
    tags = set(b"nbifsltd")
    for number in range(-200, 300):
        data = OBJECT.message_to_msgpack(number)
        assert OBJECT.message_from_bytes(data) == number
        assert (data[0] == 0xCC) == (number in tags or 128 <= number < 256)


# Relays


@patient
@given(tagged_values)
def test_a_relay_gets_the_same_bytes_as_the_sender_would(value: object) -> None:
    assert msgpack_to_tagged(OBJECT.message_to_msgpack(value)) == OBJECT.message_to_bytes(value)


def test_a_relay_refuses_what_the_tagged_encoding_does_not_carry() -> None:
    with pytest.raises(EncodeError, match=r"a set \(at message\['a'\]\)"):
        msgpack_to_tagged(OBJECT.message_to_msgpack({"a": {1}}))


def test_a_relay_refuses_what_is_no_msgpack() -> None:
    with pytest.raises(DecodeError):
        msgpack_to_tagged(b"\xc1")


# Without msgpack


def test_without_msgpack_the_tagged_encoding_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    data = OBJECT.message_to_msgpack([1])
    monkeypatch.setattr(message_types, "MSGPACK_AVAILABLE", False)
    assert OBJECT.message_from_bytes(OBJECT.message_to_bytes([1])) == [1]
    with pytest.raises(EncodeError, match="msgpack is installed"):
        OBJECT.message_to_msgpack([1])
    with pytest.raises(DecodeError, match="msgpack is installed"):
        OBJECT.message_from_bytes(data)
    with pytest.raises(DecodeError, match="msgpack is installed"):
        msgpack_to_tagged(data)


def _run(code: str, **variables: str) -> str:
    """Run code in a Python of its own; gives what it printed."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **variables},
    ).stdout


def test_importing_works_without_msgpack() -> None:
    code = """
import sys
sys.modules["msgpack"] = None
from yoton.message_types import MSGPACK_AVAILABLE, OBJECT
print(MSGPACK_AVAILABLE, OBJECT.message_from_bytes(OBJECT.message_to_bytes({"a": (1,)})))
"""
    assert _run(code) == "False {'a': (1,)}\n"


def test_the_pure_python_msgpack_will_do() -> None:
    code = """
import numpy
from yoton.message_types import OBJECT
(key,) = OBJECT.message_from_bytes(OBJECT.message_to_msgpack({numpy.str_("a"): (1,)}))
print(type(key).__name__, key)
"""
    assert _run(code, MSGPACK_PUREPYTHON="1") == "str_ a\n"


def test_numpy_is_imported_when_an_array_is_decoded_and_not_before() -> None:
    code = """
import sys
from yoton.exceptions import EncodeError
from yoton.message_types import MSGPACK_AVAILABLE, OBJECT, msgpack_to_tagged
array = bytes.fromhex("95 c70003 a3 3c6931 a143 9102 c402 0102".replace(" ", ""))
assert OBJECT.message_from_bytes(OBJECT.message_to_msgpack([1, {2.5}, (3,)])) == [1, {2.5}, (3,)]
try:
    msgpack_to_tagged(array)
except EncodeError:
    print(MSGPACK_AVAILABLE, "numpy" in sys.modules)
print(OBJECT.message_from_bytes(array).tolist(), "numpy" in sys.modules)
"""
    assert _run(code) == "True False\n[1, 2] True\n"

"""An EncodeError of OBJECT names what does not fit, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from yoton.exceptions import EncodeError
from yoton.misfit import NESTING_LIMIT, PLACE_LENGTH
from yoton.packed import pack
from yoton.tagged import encode

both_encodings = pytest.mark.parametrize("to_bytes", [encode, pack])


class Handle:
    pass


_HANDLE = Handle()


def _error(to_bytes: Callable[[object], bytes], message: object) -> str:
    with pytest.raises(EncodeError) as caught:
        to_bytes(message)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is not None
    return str(caught.value)


@both_encodings
@pytest.mark.parametrize(
    ("message", "text"),
    [
        (_HANDLE, "OBJECT cannot carry a Handle: "),
        ({"peers": [0, 1, _HANDLE]}, "OBJECT cannot carry a Handle (at message['peers'][2]): "),
        (({"a": (1, _HANDLE)},), "OBJECT cannot carry a Handle (at message[0]['a'][1]): "),
        ({1: {(2, _HANDLE): 3}}, "OBJECT cannot carry a Handle (at <key of message[1]>[1]): "),
        ({object: 3}, "OBJECT cannot carry a type (at <key of message>): "),
        ([object()], "OBJECT cannot carry an object (at message[0]): "),
        ({"\ud800": 1}, "OBJECT cannot carry a str (at <key of message>): 'utf-8' codec"),
        ([[1], [2], ["\ud800"]], "OBJECT cannot carry a str (at message[2][0]): 'utf-8' codec"),
    ],
)
def test_the_first_misfit_is_named_with_its_place(
    to_bytes: Callable[[object], bytes], message: object, text: str
) -> None:
    assert _error(to_bytes, message).startswith(text)


def test_a_misfit_in_a_set() -> None:
    text = "OBJECT cannot carry a frozenset (at <element of message['a']>): "
    assert _error(pack, {"a": {1, frozenset()}}).startswith(text)


@both_encodings
def test_a_cycle_is_named_with_its_place(to_bytes: Callable[[object], bytes]) -> None:
    inner: dict[str, Any] = {}
    inner["up"] = (inner,)
    text = "OBJECT cannot carry a dict that contains itself (at message[1]['up'][0])"
    assert _error(to_bytes, [0, inner]) == text


@both_encodings
def test_the_same_list_twice_is_no_cycle(to_bytes: Callable[[object], bytes]) -> None:
    shared = [1]
    assert to_bytes([shared, shared]) == to_bytes([[1], [1]])
    assert "at message[2]" in _error(to_bytes, [shared, shared, object()])


@both_encodings
def test_too_many_levels_are_told_with_the_limit(to_bytes: Callable[[object], bytes]) -> None:
    message: Any = 1
    for _ in range(3000):
        message = {"a": message}
    assert f"more than {NESTING_LIMIT} levels" in _error(to_bytes, message)


@both_encodings
def test_a_long_place_is_shortened(to_bytes: Callable[[object], bytes]) -> None:
    message: Any = _HANDLE
    for _ in range(300):
        message = [message]
    text = _error(to_bytes, message)
    assert "message[0][0]" in text
    assert " ... " in text
    assert len(text) < 2 * PLACE_LENGTH


@both_encodings
def test_keys_are_shortened(to_bytes: Callable[[object], bytes]) -> None:
    text = _error(to_bytes, {"a" * 10_000: _HANDLE})
    assert "(at message['aaaaaaaaaaaa...aaaaaaaaaaaaa'])" in text


def test_a_key_that_python_will_not_write_out() -> None:
    assert "(at message[...])" in _error(pack, {10**5000: _HANDLE})

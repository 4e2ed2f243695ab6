"""The messages that are sent, and how a receiver knows that it got them."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

#: Made before the clock runs. More of them would only test the memory of the machine.
_MOST_MESSAGES = 1000
_MOST_BYTES = 32 * 2**20
#: Up to here all bytes are compared. That takes longer than receiving, for large messages.
_COMPARED_WHOLE = 1024

_NUMBER = struct.Struct("<Q")


class LossyError(Exception):
    """Something else arrived than was sent."""


class Payload:
    """Messages with a number in their first 8 bytes, each different from its neighbours.

    Parameters
    ----------
    form : str
        "binary", "text" or "object".
    size : int
        Bytes of a message, at least 1. An "object" is a dict of five fields, whatever the size.
    """

    def __init__(self, form: str, size: int) -> None:
        count = max(2, min(_MOST_MESSAGES, _MOST_BYTES // size))
        make: Callable[[int, int], Any] = {"binary": _binary, "text": _text, "object": _object}[
            form
        ]
        self.messages: list[Any] = [make(number, size) for number in range(count)]
        #: Tells whether what was received is what was expected; for loops without `check`.
        self.is_same: Callable[[Any, Any], bool] = (
            operator.eq if form != "binary" or size <= _COMPARED_WHOLE else _has_same_edges
        )

    def first(self, count: int) -> Iterator[Any]:
        """Iterate over so many messages, again and again the same ones."""
        return islice(cycle(self.messages), count)

    def check(self, received: Any, expected: Any) -> None:
        """Compare.

        Raises
        ------
        LossyError
            They differ.
        """
        if not self.is_same(received, expected):
            raise LossyError(f"got {_start(received)} instead of {_start(expected)}")


def _binary(number: int, size: int) -> bytes:
    return (_NUMBER.pack(number) + b"x" * max(0, size - _NUMBER.size))[:size]


def _text(number: int, size: int) -> str:
    return f"{number:08}".ljust(size, "x")


def _object(number: int, size: int) -> dict[str, Any]:
    return {
        "step": number,
        "error": 0.25,
        "name": "measurement",
        "done": False,
        "values": [1, 2, 3, 4.5],
    }


def _has_same_edges(received: Any, expected: bytes) -> bool:
    middle = len(expected) // 2
    return (
        len(received) == len(expected)
        and received[:8] == expected[:8]
        and received[middle : middle + 8] == expected[middle : middle + 8]
        and received[-8:] == expected[-8:]
    )


def _start(message: Any) -> str:
    if isinstance(message, dict):
        return repr(message)
    beginning = message[:8] if isinstance(message, str) else bytes(message[:8])
    return f"{beginning!r} (length {len(message)})"

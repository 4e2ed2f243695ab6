"""Whether a thread is in the middle of reading or writing.

If it asks, it is a finalizer or a signal handler that asks. That one should not wait for what
comes of reading or writing: its own thread has to go on before that. Both run on top of the calls
that they interrupt, so the stack tells; nobody who reads or writes has to take note of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from types import CodeType, FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: By their identity: to hash the code of a function takes the longer the more there is in it.
_busy_codes: dict[int, CodeType] = {}


def keeps_busy(function: F) -> F:
    """Decorate a function in whose middle nothing should wait for its own thread."""
    _busy_codes[id(function.__code__)] = function.__code__
    return function


def is_busy() -> bool:
    """Tell whether this thread is in the middle of a function that `keeps_busy`."""
    return next(_calls_of(_busy_codes), None) is not None


def is_in_the_middle_of(method: Callable[..., Any], owner: object) -> bool:
    """Tell whether this thread is in the middle of a method of that very object."""
    return any(call.f_locals["self"] is owner for call in _calls_of({id(method.__code__)}))


def _calls_of(codes: Collection[int]) -> Iterator[FrameType]:
    """Get the calls of this thread that run one of some codes, the innermost first."""
    # Who sends more than a peer takes asks with each message, so there is little in the loop.
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if id(frame.f_code) in codes:
            yield frame
        frame = frame.f_back

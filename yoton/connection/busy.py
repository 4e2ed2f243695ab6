"""Whether a thread is in the middle of reading or writing.

If it asks, it is a finalizer or a signal handler that asks. That one should not wait for what
comes of reading or writing: its own thread has to go on before that. Both run on top of the calls
that they interrupt, so the stack tells; nobody who reads or writes has to take note of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_busy_codes: set[CodeType] = set()


def keeps_busy(function: F) -> F:
    """Decorate a function in whose middle nothing should wait for its own thread."""
    _busy_codes.add(function.__code__)
    return function


def is_busy() -> bool:
    """Tell whether this thread is in the middle of a function that `keeps_busy`."""
    return any(frame.f_code in _busy_codes for frame in _stack())


def is_in_the_middle_of(method: Callable[..., Any], owner: object) -> bool:
    """Tell whether this thread is in the middle of a method of that very object."""
    code = method.__code__
    return any(frame.f_code is code and frame.f_locals["self"] is owner for frame in _stack())


def _stack() -> Iterator[FrameType]:
    """Get the calls of this thread, the innermost first."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back

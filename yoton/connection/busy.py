"""Whether a thread is in the middle of reading or writing.

If it asks, it is a finalizer or a signal handler that asks. That one should not wait for what
comes of reading or writing: its own thread has to go on before that. Both run on top of the calls
that they interrupt, so the stack tells; nobody who reads or writes has to take note of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    # In a plain loop: who sends more than a peer takes asks with each message.
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if id(frame.f_code) in _busy_codes:
            return True
        frame = frame.f_back
    return False


def is_in_the_middle_of(method: Callable[..., Any], owner: object) -> bool:
    """Tell whether this thread is in the middle of a method of that very object."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is method.__code__ and frame.f_locals["self"] is owner:
            return True
        frame = frame.f_back
    return False

"""Ctrl-C, and calls from a finalizer, at every moment, one after the other, or at random."""

from __future__ import annotations

import dis
import functools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import yoton

_PACKAGE_DIRECTORY = os.path.dirname(yoton.__file__) + os.sep

# Python handles signals when a call returns, when a function begins, and when a loop goes round.
_SIGNALS_HANDLED_AFTER = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD")

#: For sys.monitoring; debuggers, coverage and profilers have others.
_TOOL_ID = 4


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt, which would end the test run."""


def is_interrupted(func: Callable[[], object], moment: int) -> bool:
    """Call func and interrupt it.

    Parameters
    ----------
    func : callable
        What to interrupt while it is in code of the package.
    moment : int
        At which of the moments in which Python handles signals, counted from 1.

    Returns
    -------
    bool
        Whether it was interrupted; False if it has fewer moments.
    """

    def interrupt() -> None:
        raise Interrupted

    try:
        call_with(func, interrupt, moment)
    except Interrupted:
        return True
    return False


def call_with(func: Callable[[], object], intruder: Callable[[], object], moment: int) -> bool:
    """Call func, and from within it intruder, as a signal or a finalizer would.

    Parameters
    ----------
    func : callable
        What is disturbed while it is in code of the package.
    intruder : callable
        Called once.
    moment : int
        At which of the moments in which Python handles signals, counted from 1.

    Returns
    -------
    bool
        Whether intruder was called; False if func has fewer moments.
    """
    watcher = _Watcher(intruder, moment)
    if sys.version_info >= (3, 12):
        watcher.monitor(func)
    else:
        watcher.trace(func)
    return watcher.moments_left <= 0


class _Watcher:
    """Follows the operations of the package and counts the moments."""

    def __init__(self, intruder: Callable[[], object], moment: int) -> None:
        self._intruder = intruder
        self.moments_left = moment
        self._thread = threading.get_ident()
        # The offset of the operation before, in each frame.
        self._last: dict[FrameType, int] = {}

    def trace(self, func: Callable[[], object]) -> None:
        """Call func and watch it, up to Python 3.11."""
        outer_trace = sys.gettrace()
        sys.settrace(self._trace_call)
        try:
            func()
        finally:
            sys.settrace(outer_trace)

    def monitor(self, func: Callable[[], object]) -> None:
        """Call func and watch it, from Python 3.12 on, where tracing misses operations."""
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL_ID, "interrupts")
        monitoring.register_callback(_TOOL_ID, monitoring.events.INSTRUCTION, self._see_operation)
        monitoring.set_events(_TOOL_ID, monitoring.events.INSTRUCTION)
        try:
            func()
        finally:
            monitoring.set_events(_TOOL_ID, monitoring.events.NO_EVENTS)
            monitoring.free_tool_id(_TOOL_ID)

    def _trace_call(self, frame: FrameType, event: str, arg: object) -> Any:
        if not _is_of_package(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._trace_operation

    def _trace_operation(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            self._operation_begins(frame, frame.f_lasti)
        return self._trace_operation

    def _see_operation(self, code: CodeType, offset: int) -> object:
        if not _is_of_package(code):
            return sys.monitoring.DISABLE
        if threading.get_ident() != self._thread:
            return None
        self._operation_begins(sys._getframe(1), offset)
        return None

    def _operation_begins(self, frame: FrameType, offset: int) -> None:
        last = self._last.get(frame)
        self._last[frame] = offset
        # The first that is seen of a function is its beginning.
        if last is None or _is_moment(frame.f_code, last, offset):
            self.moments_left -= 1
            if self.moments_left == 0:
                self._intruder()


def _is_of_package(code: CodeType) -> bool:
    return code.co_filename.startswith(_PACKAGE_DIRECTORY)


@functools.cache
def _is_moment(code: CodeType, last: int, present: int) -> bool:
    """Tell whether an exception now is like one from the end of the last operation."""
    is_handled = _operation(code, last).startswith(_SIGNALS_HANDLED_AFTER)
    return is_handled and _handler(code, last) == _handler(code, present)


def _operation(code: CodeType, offset: int) -> str:
    return dis.opname[code.co_code[offset]]


def _handler(code: CodeType, offset: int) -> int | None:
    """Get where an exception in an operation continues, from Python 3.11 on."""
    if sys.version_info < (3, 11):
        return None  # it is not in a table
    entries = dis._parse_exception_table(code)
    return next((entry.target for entry in entries if entry.start <= offset < entry.end), None)


class RandomInterrupts:
    """Interrupts the main thread at random moments, about a thousand times a second."""

    def __init__(self) -> None:
        self._is_armed = False
        #: How often it has interrupted.
        self.count = 0

    def interrupt(self, func: Callable[[], object]) -> bool:
        """Call func, and interrupt it at most once; returns whether it was interrupted."""
        try:
            self._is_armed = True
            func()
            self._is_armed = False
        except Interrupted:
            return True
        return False

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise the exception, if the main thread is at what may be interrupted."""
        if self._is_armed:
            self._is_armed = False
            self.count += 1
            raise Interrupted


@contextmanager
def random_interrupts() -> Iterator[RandomInterrupts]:
    """Get something that interrupts; only in the main thread."""
    interrupts = RandomInterrupts()
    is_over = threading.Event()
    main_thread = threading.get_ident()

    def send_signals() -> None:
        while not is_over.wait(random.uniform(0.0, 0.002)):
            signal.pthread_kill(main_thread, signal.SIGUSR1)

    handler_before = signal.signal(signal.SIGUSR1, interrupts.handle_signal)
    sender = threading.Thread(target=send_signals, daemon=True)
    sender.start()
    try:
        yield interrupts
    finally:
        is_over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, handler_before)

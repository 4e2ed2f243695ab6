"""Runs code as the interactive interpreter of Python does.

There is nothing of channels here. Code prints to sys.stdout and sys.stderr, whatever they are.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import itertools
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

ResultT = TypeVar("ResultT")

#: All flags of compile() that stand for a `from __future__ import`.
_FUTURE_FLAGS = sum(
    getattr(__future__, name).compiler_flag for name in __future__.all_feature_names
)


class Interpreter:
    """Runs cells and scripts in one namespace.

    Parameters
    ----------
    hidden_files : collection of str
        Names of files of the kernel. A traceback has no lines for frames in them.
    """

    def __init__(self, hidden_files: Collection[str] = ()) -> None:
        #: The module that the code finds itself in. To be put into sys.modules by who wants
        #: pickle and multiprocessing to find it.
        self.module = types.ModuleType("__main__")
        self.module.__dict__["__builtins__"] = builtins
        self._hidden_files = {__file__, *hidden_files}
        self._future_flags = 0
        self._is_interrupt_due = False

    @property
    def namespace(self) -> dict[str, object]:
        """The names that the code has defined."""
        return self.module.__dict__

    def run_cell(self, source: str, filename: str) -> str:
        """Run code, and show the value of its last line if that is an expression.

        Parameters
        ----------
        source : str
            The code.
        filename : str
            What tracebacks call it, for instance ``<cell 1>``.

        Returns
        -------
        str
            Name of the exception that ended it, of which the traceback was printed; "" if there
            was none.

        Raises
        ------
        SystemExit
            The code wants the process to end.
        """
        return self._run(source, filename, shows_value=True)

    def run_script(self, source: str, filename: str, argv: list[str]) -> str:
        """Run code as ``python filename *argv`` does; else like `run_cell`."""
        with self._as_script(filename, argv):
            return self._run(source, filename, shows_value=False)

    def prepare(self) -> None:
        """Have interrupts, from now on, be for the code that is run next."""
        self._is_interrupt_due = False

    def interrupt(self, frame: types.FrameType | None) -> None:
        """Handle the signal of Ctrl-C.

        Parameters
        ----------
        frame : frame
            What the signal has interrupted.

        Raises
        ------
        KeyboardInterrupt
            It has interrupted code of the user. Everywhere else it would do harm: then the next
            code is interrupted as soon as it begins, unless `prepare` is called before.
        """
        if _runs_user_code(frame):
            raise KeyboardInterrupt
        self._is_interrupt_due = True

    def _run(self, source: str, filename: str, shows_value: bool) -> str:
        _remember_source(source, filename)
        try:
            _call_user_code(self._execute, source, filename, shows_value)
        except SystemExit:
            raise
        except BaseException as error:
            self._show(error)
            return type(error).__name__
        return ""

    def _execute(self, source: str, filename: str, shows_value: bool) -> None:
        if self._is_interrupt_due:
            raise KeyboardInterrupt
        tree = compile(source, filename, "exec", ast.PyCF_ONLY_AST | self._future_flags, True)
        last = []
        if shows_value and tree.body and isinstance(tree.body[-1], ast.Expr):
            last = [tree.body.pop()]
        self._execute_part(tree, filename, "exec")
        # The mode of the interactive prompt: the value goes to sys.displayhook.
        self._execute_part(ast.Interactive(last), filename, "single")

    def _execute_part(self, tree: ast.Module | ast.Interactive, filename: str, mode: str) -> None:
        code = compile(tree, filename, mode, self._future_flags, True)
        # A `from __future__ import` holds for all that follows.
        self._future_flags |= code.co_flags & _FUTURE_FLAGS
        exec(code, self.namespace)

    @contextlib.contextmanager
    def _as_script(self, filename: str, argv: list[str]) -> Iterator[None]:
        directory = os.path.dirname(os.path.abspath(filename))
        argv_before, sys.argv = sys.argv, [filename, *argv]
        sys.path.insert(0, directory)
        self.namespace["__file__"] = filename
        try:
            yield
        finally:
            self.namespace.pop("__file__", None)
            with contextlib.suppress(ValueError):  # the script may have taken it out
                sys.path.remove(directory)
            sys.argv = argv_before

    def _show(self, error: BaseException) -> None:
        # Where pdb.pm() looks.
        sys.last_type, sys.last_value = type(error), error
        sys.last_traceback = error.__traceback__
        try:
            # The text of an exception is made by its __str__, which may never end.
            text = _call_user_code(self.format_error, error)
        except BaseException as second:
            text = f"{type(error).__name__}: its text could not be had: {type(second).__name__}\n"
        try:
            sys.stderr.write(text)
        except Exception:  # the code has closed or replaced it
            print(text, end="", file=sys.__stderr__)

    def format_error(self, error: BaseException) -> str:
        """Format a traceback, with source lines, without the frames of the kernel."""
        report = traceback.TracebackException.from_exception(error, compact=True)
        for part in _parts(report):
            # Frames of the kernel lead to the code, and follow where the code calls it.
            from_code_on = itertools.dropwhile(self._is_hidden, part.stack)
            part.stack[:] = list(itertools.takewhile(self._is_visible, from_code_on))
        return "".join(report.format() if report.stack else report.format_exception_only())

    def _is_hidden(self, frame: traceback.FrameSummary) -> bool:
        return frame.filename in self._hidden_files

    def _is_visible(self, frame: traceback.FrameSummary) -> bool:
        return not self._is_hidden(frame)


def _remember_source(source: str, filename: str) -> None:
    """Have tracebacks, inspect and pdb find the lines; no file with them may exist."""
    lines = source.splitlines(keepends=True)
    # Without a time of modification linecache does not look for the file.
    linecache.cache[filename] = (len(source), None, lines, filename)


def _parts(report: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Get a report, those of the exceptions behind it, and those of an exception group."""
    yield report
    nested = (report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ()))
    for part in nested:
        if part is not None:
            yield from _parts(part)


def _call_user_code(function: Callable[..., ResultT], *arguments: object) -> ResultT:
    """Call a function that may run code of the user; see `_runs_user_code`."""
    return function(*arguments)


def _runs_user_code(frame: types.FrameType | None) -> bool:
    """Tell whether code of the user runs in this frame, or has led to it."""
    while frame is not None:
        if frame.f_code is _call_user_code.__code__:
            return True
        frame = frame.f_back
    return False

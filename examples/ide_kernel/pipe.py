"""The front end for code from a file or a pipe: runs it, shows its output, and ends."""

from __future__ import annotations

import os
import signal
import sys
import tokenize

from examples.ide_kernel.kernel import EXIT_BY_SIGNAL
from examples.ide_kernel.session import PATIENCE, Output, Session

#: Exit status when the code ended with an exception, as that of Python.
EXIT_ON_ERROR = 1


def run(session: Session, script: str, argv: list[str]) -> int:
    """Run a script, or without one the code from standard input.

    Returns
    -------
    int
        The exit status: 0, 1 if the code ended with an exception, or that of the kernel if the
        code has ended it.
    """
    session.output.bind(_show)
    if script:
        with tokenize.open(script) as file:  # in the encoding that its first lines say
            cell = session.submit(file.read(), script, argv)
    else:
        cell = session.submit(sys.stdin.read())
    event = session.see_through(cell, _next_line)
    if event["what"] == "finished" and event["error"] != "SystemExit":
        return EXIT_ON_ERROR if event["error"] else 0
    return exit_status(session)


def exit_status(session: Session) -> int:
    """Wait for the end of the kernel's process, and say of what.

    Returns
    -------
    int
        Its exit status, in the form in which a shell tells of a signal.
    """
    status = session.wait_for_status(lambda status: status["phase"] == "ended", PATIENCE)
    code = status["exit_code"]
    assert code is not None  # it has ended
    if code < 0:
        print(f"the kernel was ended by signal {-code}", file=sys.stderr)
        return EXIT_BY_SIGNAL - code
    return code


def _show(output: Output) -> None:
    if output.is_foreign:
        return
    stream = sys.stdout if output.stream == "stdout" else sys.stderr
    try:
        stream.write(output.text)
        stream.flush()
    except BrokenPipeError:
        # Nobody reads any more. The broker and the kernel end when this process does.
        os._exit(EXIT_BY_SIGNAL + signal.SIGPIPE)


def _next_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")

"""The end of the process, and a fork: what becomes of all contexts then."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from typing import Protocol

from yoton.clock import Deadline
from yoton.connection.base import Connection
from yoton.connection.streams import abandon_sockets
from yoton.neighbours import await_end
from yoton.workers import EndOfWorker

#: Seconds that the orderly end of all contexts may take when the interpreter exits.
EXIT_TIMEOUT = 1.0


class Endable(Protocol):
    """What ends with the process."""

    def begin_close(self, deadline: Deadline | None = None) -> tuple[Connection, ...]:
        """Begin to close all connections, without waiting for that, and get them."""

    def abandon(self) -> None:
        """Begin anew in a forked child, whatever other threads were doing at the fork."""


# All that there are.
_contexts: weakref.WeakSet[Endable] = weakref.WeakSet()


def attend(context: Endable) -> None:
    """Have a context end in an orderly way with the process, and be another one after a fork."""
    _contexts.add(context)


def attend_worker() -> None:
    """Do so also in a process that multiprocessing has made; called when there are connections."""
    _end_of_worker.attend()


class _Exit:
    """The exit of this process.

    Attributes
    ----------
    has_come : bool
        Whether all contexts were closed for it.
    """

    has_come = False


#: What contexts know of it.
process_exit = _Exit()


@atexit.register
def _close_all() -> None:
    process_exit.has_come = True
    # Who presses Ctrl-C once more, or has a signal handler exit, does not want to wait. And it
    # would be shown as an error.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        contexts = list(_contexts)
        closing = [connection for context in contexts for connection in context.begin_close()]
        await_end(closing, Deadline(EXIT_TIMEOUT))


_end_of_worker = EndOfWorker(_close_all)


def _abandon_all() -> None:
    process_exit.has_come = False
    abandon_sockets()
    for context in list(_contexts):
        context.abandon()


# A forked child has no threads to serve its copies of the connections, and must not keep them
# open when its parent closes them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)

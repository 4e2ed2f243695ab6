"""The end of a process that multiprocessing has made, such as a worker of a pool.

Unless it was spawned, such a process ends without an end of its interpreter: nothing of what
was registered with `atexit` is called.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

#: Behind all that multiprocessing does at the end: it waits for the processes that this one has
#: made, which may still talk to it.
_PRIORITY = -100


class EndOfWorker:
    """Has a function called at the end of the process if multiprocessing has made that.

    Parameters
    ----------
    func : callable
        Called once in each process that called `attend`. Not if other threads are still at work
        by then, which the process waits for: they may need what would be ended.
    """

    def __init__(self, func: Callable[[], object]) -> None:
        self._func = func
        # A forked child has a copy of this, and an end of its own.
        self._attended_by: int | None = None

    def attend(self) -> None:
        """Have the function called in this process; any number of times."""
        # Not imported: what is not there has made no process, and would change how programs end.
        process = sys.modules.get("multiprocessing.process")
        util = sys.modules.get("multiprocessing.util")
        if process is None or util is None or process.parent_process() is None:
            return
        if self._attended_by != os.getpid():
            self._attended_by = os.getpid()
            util.Finalize(None, self._end, exitpriority=_PRIORITY)

    def _end(self) -> None:
        me = threading.current_thread()
        if all(thread.daemon or thread is me for thread in threading.enumerate()):
            self._func()

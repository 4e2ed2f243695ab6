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

_THREAD_NAME = "yoton-end-of-worker"


class EndOfWorker:
    """Has a function called at the end of the process if multiprocessing has made that.

    Parameters
    ----------
    func : callable
        Called once in each process that called `attend`; once all threads have ended that the
        process waits for, as they may need what is ended then.
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
        if self._attended_by == os.getpid():
            return
        self._attended_by = os.getpid()
        if util.is_exiting() and threading.current_thread() in _threads_to_await():
            # The main thread has come to its end, and calls perhaps nothing more.
            self._wait_for_others()
        else:
            util.Finalize(None, self._end, exitpriority=_PRIORITY)

    def _end(self) -> None:
        if _threads_to_await() - {threading.current_thread()}:
            self._wait_for_others()
        else:
            self._func()

    def _wait_for_others(self) -> None:
        # The process waits for this thread as well, and has idle ones end, as those of a pool.
        threading.Thread(target=self._end_behind_others, name=_THREAD_NAME, daemon=False).start()

    def _end_behind_others(self) -> None:
        # Those that they start are waited for as well. To others, the main thread has ended when it
        # has nothing left to do but to wait for them.
        me = {threading.current_thread()}
        while threads := _threads_to_await() - me:
            for thread in threads:
                thread.join()
        self._func()


def _threads_to_await() -> set[threading.Thread]:
    """Get the threads without which the process does not end.

    Not those that are just being started: who starts one is there until that is done.
    """
    return {thread for thread in threading.enumerate() if not thread.daemon and thread.is_alive()}

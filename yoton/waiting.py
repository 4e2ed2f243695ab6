"""Waiting for a change of what a lock guards.

`threading.Condition` does this too, but an interrupt (Ctrl-C) inside its Python code can leave
its lock held, and a notification costs as much when nobody waits. A `WaitPoint` never holds
the lock while it waits, so there is nothing to leave behind.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from yoton.clock import FOREVER, LONGEST_WAIT, Deadline

_Item = TypeVar("_Item")

#: Seconds that the main thread waits at a time. A signal that comes when it has let go of the
#: interpreter, and does not wait yet, does not wake it: its handler, that of Ctrl-C as well, runs
#: after this time then. On Windows no signal wakes who waits for a lock.
SIGNAL_INTERVAL = 0.5


def wait_time(deadline: Deadline) -> float:
    """Get the seconds that this thread may wait at a time, 0.0 once the deadline has passed.

    Who has to wait longer looks after that, and waits again.
    """
    is_main = threading.get_ident() == threading.main_thread().ident
    limit, remaining = SIGNAL_INTERVAL if is_main else LONGEST_WAIT, deadline.remaining()
    return limit if remaining is None else min(remaining, limit)


class Bell:
    """Wakes a thread that waits for it; for one that waits at a time.

    `queue.SimpleQueue` would do, but in CPython 3.11 its `get` with a short timeout may wait for
    ever, when the thread gets the processor only after that time.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake who waits, or who will do so next; never waits."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._lock.release()

    def wait(self, deadline: Deadline) -> None:
        """Wait until it is rung, unless it has been; may end before that, and the deadline."""
        self._lock.acquire(timeout=wait_time(deadline))


class Mailbox(Generic[_Item]):
    """What one thread is to take, from any thread, at any moment."""

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()
        self._bell = Bell()
        # Whether the one that takes is about to wait. As a rule it has put the item itself.
        self._is_awaited = False

    def put(self, item: _Item) -> None:
        """Append an item; never waits."""
        self._items.append(item)
        if self._is_awaited:
            self._bell.ring()

    def is_empty(self) -> bool:
        """Tell whether there is none."""
        return not self._items

    def get(self) -> _Item:
        """Take the oldest item; wait for it if there is none."""
        while not self._items:
            self._is_awaited = True
            if not self._items:  # nobody has put one just before that
                self._bell.wait(FOREVER)
            self._is_awaited = False
        return self._items.popleft()


class WaitPoint:
    """Where threads wait until something holds of what a lock guards.

    Parameters
    ----------
    lock : threading.RLock
        The lock that guards what is waited for. Reentrant: a finalizer or a signal handler, which
        may run between any two steps, may use what its own thread is just using.

    Attributes
    ----------
    parked : list of threading.Lock
        One locked lock for each waiting thread, guarded by that lock. Who finds it empty after
        a change, even without the lock, has nobody to wake.
    """

    __slots__ = ("_lock", "parked")

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self.parked: list[threading.Lock] = []

    def wait_for(self, predicate: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until predicate() is true.

        It does not wait if its thread holds the lock: that is a finalizer or a signal handler
        in the middle of a step, which has to go on before anybody can make a change.

        Parameters
        ----------
        predicate : callable
            Called with the lock held, each time `wake_all` was called, and at other times. It may
            change what the lock guards, so as to take what it waited for in the same step.
        deadline : Deadline
            When to give up.

        Returns
        -------
        bool
            True once the predicate was true, False when the deadline passed before.
        """
        if self._lock._is_owned():  # type: ignore[attr-defined]  # threading.Condition asks it too
            return predicate()
        while True:
            ticket = threading.Lock()
            ticket.acquire()
            try:
                with self._lock:
                    # Parked before it looks: a finalizer may make the change in between.
                    self.parked.append(ticket)
                    if predicate():
                        return True
                    timeout = wait_time(deadline)
                    if timeout == 0.0:
                        return False
                ticket.acquire(timeout=timeout)
            finally:
                self._forget(ticket)

    def wake_all(self) -> None:
        """Let all waiting threads look again; the lock is held by the caller.

        Call it before the change that they wait for. They cannot look until the lock is free,
        and an interrupt in between then wakes them for nothing, instead of not at all.
        """
        if not self.parked:
            return
        for ticket in self.parked:
            with contextlib.suppress(RuntimeError):  # another call that was cut short opened it
                ticket.release()
        self.parked.clear()

    def abandon(self) -> None:
        """Free the lock and have who waits look again; for use in a forked child.

        Another thread may have held the lock, which the child lacks. Who waits there is the thread
        that forked, in a signal handler.
        """
        free_in_child(self._lock)
        with self._lock:
            self.wake_all()

    def _forget(self, ticket: threading.Lock) -> None:
        with self._lock:
            if ticket in self.parked:
                self.parked.remove(ticket)


def free_in_child(lock: threading.RLock) -> None:
    """Free a lock that another thread may have held at a fork, in the child, which lacks that."""
    if not lock._is_owned():  # type: ignore[attr-defined]
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the locks of threading do

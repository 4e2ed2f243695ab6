"""What forked children write, brought to the parent, which has the connections.

A fork copies the memory but not the threads, so a child cannot send. It gets a pipe to its
parent instead, where a thread passes on what comes.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import threading
import weakref
from collections.abc import Callable

#: Bytes taken from the pipe at once: what a pipe holds on Linux.
_READ_SIZE = 65536


class ForkedOutput:
    """The way of one text stream from children to their parent.

    Parameters
    ----------
    write : callable
        Gets, in the parent, the texts that children wrote. A method; it is held weakly.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = weakref.WeakMethod(write)
        self._pipe: tuple[int, int] | None = None
        self.is_in_child = False
        _outputs.add(self)

    def write(self, text: str) -> None:
        """Send a text to the parent; for use in a child.

        Blocks while the pipe is full. Raises OSError when the parent is gone.
        """
        assert self._pipe is not None  # made before the fork
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._pipe[1], data) :]

    def open_pipe(self) -> None:
        """Get ready for a fork; a child of a child shares the pipe that is there."""
        if not self.is_in_child:
            self._pipe = os.pipe()

    def become_child(self) -> None:
        """Keep the writing end."""
        if self._pipe is not None and not self.is_in_child:
            self.is_in_child = True
            os.close(self._pipe[0])

    def stay_parent(self) -> None:
        """Keep the reading end, and pass on what comes."""
        if self._pipe is not None and not self.is_in_child:
            reading_end, writing_end = self._pipe
            self._pipe = None
            _reading_ends.add(reading_end)
            os.close(writing_end)
            threading.Thread(
                target=_pass_on,
                args=(reading_end, self._write),
                name="yoton-forked-output",
                daemon=True,
            ).start()


def _pass_on(reading_end: int, write: weakref.WeakMethod[Callable[[str], object]]) -> None:
    """Pass on what comes, until all children are gone."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        while True:
            data = os.read(reading_end, _READ_SIZE)
            target = write()
            if not data or target is None:
                return
            # The channel may be closed before the children end.
            with contextlib.suppress(OSError):
                target(decoder.decode(data))
    finally:
        with _fork_lock:
            _reading_ends.discard(reading_end)
            os.close(reading_end)


# All of them, for the moment of a fork.
_outputs: weakref.WeakSet[ForkedOutput] = weakref.WeakSet()

# Held from right before a fork until right after it, in both processes: threads that fork at the
# same time must not take each other's pipes. The one lock that is held while something else is
# done, which is the fork.
_fork_lock = threading.RLock()

# What this process reads from its children, guarded by the lock. As long as another process has a
# copy, a child that writes is not told that its parent is gone, but waits for ever.
_reading_ends: set[int] = set()


def _before_fork() -> None:
    _fork_lock.acquire()
    for output in list(_outputs):
        output.open_pipe()


def _after_fork_in_child() -> None:
    try:
        for output in list(_outputs):
            output.become_child()
        for reading_end in _reading_ends:
            os.close(reading_end)
        _reading_ends.clear()
    finally:
        _fork_lock.release()


def _after_fork_in_parent() -> None:
    try:
        for output in list(_outputs):
            output.stay_parent()
    finally:
        _fork_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_child=_after_fork_in_child,
        after_in_parent=_after_fork_in_parent,
    )

"""Channels that look like text files, to stand in for sys.stdin, sys.stdout and sys.stderr."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator

from yoton.channels.forked_output import ForkedOutput
from yoton.channels.publishing import PubChannel
from yoton.channels.subscribing import SubChannel
from yoton.exceptions import ArgumentError, EncodeError
from yoton.message_types import TEXT


class FileWrapper:
    """Makes a channel look like a text file.

    A `PubChannel` is written to: each write is sent at once, as one message. A `SubChannel` is
    read from: each message is a line, as if somebody had typed it. Any number of threads may
    use it. What a forked child writes, the parent sends.

    Parameters
    ----------
    channel : PubChannel or SubChannel
        A channel of the type `TEXT`.
    chunksize : int
        Characters that a message has at most; longer writes make several. 0: no limit.
    echo : PubChannel, optional
        Where to send what is read.
    isatty : bool
        What `isatty` returns.

    Raises
    ------
    ArgumentError
        An argument is of another kind. A ValueError.
    """

    #: Where Python 2 notes whether a space goes before the next thing printed.
    softspace = False
    encoding = "UTF-8"
    #: A lone surrogate, as in the name of a file that is no UTF-8, is written as ``\\udc80``.
    errors = "backslashreplace"
    newlines = None

    def __init__(
        self,
        channel: PubChannel | SubChannel,
        chunksize: int = 0,
        echo: PubChannel | None = None,
        isatty: bool = False,
    ) -> None:
        if not isinstance(channel, (PubChannel, SubChannel)):
            raise ArgumentError(f"FileWrapper needs a PubChannel or a SubChannel, not {channel!r}")
        if channel.message_type is not TEXT:
            raise ArgumentError(f"FileWrapper needs a channel of the type TEXT, not {channel!r}")
        if echo is not None and not isinstance(echo, PubChannel):
            raise ArgumentError(f"the echo of a FileWrapper is a PubChannel, not {echo!r}")
        if chunksize < 0:
            raise ArgumentError(f"the chunksize of a FileWrapper is not negative: {chunksize}")
        self._channel = channel
        self._chunksize = chunksize
        self._echo = echo
        self._isatty = bool(isatty)
        # Guards the rest of a message of which only a part was read.
        self._rest_lock = threading.RLock()
        self._rest = ""
        self._pid = os.getpid()
        self._forked_output = ForkedOutput(self.write) if self.writable() else None

    def __repr__(self) -> str:
        return f"<FileWrapper of {self._channel!r}>"

    def __enter__(self) -> FileWrapper:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._channel.closed

    def close(self) -> None:
        """Close it and its channel."""
        self._channel.close()

    def isatty(self) -> bool:
        """Tell whether it stands for a terminal."""
        return self._isatty

    def fileno(self) -> int:
        """Raise io.UnsupportedOperation: there is no descriptor. May be assigned to."""
        raise io.UnsupportedOperation("a FileWrapper has no file descriptor")

    def readable(self) -> bool:
        """Tell whether it can be read."""
        return isinstance(self._channel, SubChannel)

    def writable(self) -> bool:
        """Tell whether it can be written."""
        return isinstance(self._channel, PubChannel)

    def seekable(self) -> bool:
        """Tell that it has no position."""
        return False

    # Writing

    def write(self, message: str) -> int:
        """Send a text; blocks as `PubChannel.send` does.

        Returns
        -------
        int
            The number of characters.

        Raises
        ------
        ChannelClosed
            The channel is closed. An OSError.
        EncodeError
            It is no str. A ValueError.
        """
        channel = self._output()
        if self._forked_output is not None and self._forked_output.is_in_child:
            self._forked_output.write(message)
            return len(message)
        try:
            self._send(channel, message)
        except EncodeError:
            if not isinstance(message, str):
                raise
            self._send(channel, message.encode(self.encoding, self.errors).decode(self.encoding))
        return len(message)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each text of lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: what is written is sent at once."""

    def _send(self, channel: PubChannel, message: str) -> None:
        if not self._chunksize or len(message) <= self._chunksize:
            channel.send(message)
            return
        for start in range(0, len(message), self._chunksize):
            channel.send(message[start : start + self._chunksize])

    def _output(self) -> PubChannel:
        if not isinstance(self._channel, PubChannel):
            raise io.UnsupportedOperation(f"cannot write: {self!r} is for reading")
        return self._channel

    # Reading

    def read(self, block: bool | float | None = None) -> str:
        """Read the next message, or what is left of one.

        Parameters
        ----------
        block : bool, float, int or None
            None or True: wait for it. False: do not wait. A float: the seconds to wait at most.
            An int: wait, and return not more than so many characters; negative: all of the
            message.

        Returns
        -------
        str
            "" when none came in time, or the channel is closed.
        """
        if isinstance(block, int) and not isinstance(block, bool):
            return self._cut(self._next_text(None), block)
        return self._next_text(block)

    def readline(self, size: int | None = -1) -> str:
        """Read a line, with the line feed at its end; waits for it.

        Parameters
        ----------
        size : int, optional
            The number of characters to return at most; zero, negative or None: the whole line.

        Returns
        -------
        str
            "" when the channel is closed.
        """
        text = self._next_text(None)
        if not text:
            return ""
        if not text.endswith("\n"):
            text += "\n"
        line_size = text.index("\n") + 1
        return self._cut(text, min(size, line_size) if size and size > 0 else line_size)

    def readlines(self, hint: int = -1) -> list[str]:
        """Read lines until the channel is closed, or they have hint characters together."""
        lines = []
        count = 0
        while line := self.readline():
            lines.append(line)
            count += len(line)
            if 0 < hint <= count:
                break
        return lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _next_text(self, block: bool | float | None) -> str:
        channel = self._input()
        with self._rest_lock:
            text, self._rest = self._rest, ""
        if text or os.getpid() != self._pid:
            return text  # nothing comes to a forked child
        text = str(channel.recv(block))
        if self._echo is not None and text:
            self._echo.send(text)
        return text

    def _cut(self, text: str, size: int) -> str:
        """Get the beginning of a text and keep the rest for the next time."""
        if size < 0:
            return text
        with self._rest_lock:
            self._rest = text[size:] + self._rest
        return text[:size]

    def _input(self) -> SubChannel:
        if not isinstance(self._channel, SubChannel):
            raise io.UnsupportedOperation(f"cannot read: {self!r} is for writing")
        return self._channel

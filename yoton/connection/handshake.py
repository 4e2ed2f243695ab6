"""The first line each way: who is there, and whether both ends speak the extension.

A line is ``YOTON!`` + the context's id in hexadecimal + ``.`` + the process id + CR LF. A ``+``
in front of the process id says that the sender knows the extension; a reader that does not know
it takes the plus for the sign of the number.
"""

from __future__ import annotations

from yoton.exceptions import RemoteProtocolError
from yoton.record import Record

_GREETING = b"YOTON!"
_LINE_END = b"\r\n"

#: Bytes in which a line has to end. A line takes some forty; an http client's first line, to
#: be answered politely, a few hundred.
MAX_LINE_SIZE = 2048

_UINT64 = 2**64

HANDSHAKE_FAILED = "Handshake failed."
HANDSHAKE_TIMED_OUT = "Handshake timed out."
CONNECTED_TO_SELF = "Handshake failed (context cannot connect to self)."
NO_ROOM = "There is no room for another peer."

_ANSWER_NOT_YOTON = b"ERROR: this is Yoton." + _LINE_END
_ANSWER_BAD_ID = b"ERROR: could not parse id." + _LINE_END
#: What a peer without the extension gets in place of a line when there is no room for it.
ANSWER_NO_ROOM = b"ERROR: no room for another peer." + _LINE_END


class HandshakeRefused(RemoteProtocolError):
    """The peer's line is not acceptable.

    Parameters
    ----------
    detail : str
        What is wrong with it.
    answer : bytes
        What a binding end says before it hangs up.
    """

    def __init__(self, detail: str, answer: bytes) -> None:
        super().__init__(detail)
        self.answer = answer


class Line(Record):
    """What a handshake line says.

    Parameters
    ----------
    id : int
        Id of the context.
    pid : int
        Id of its process.
    is_extended : bool
        Whether it knows the extension.
    """

    __slots__ = ("id", "is_extended", "pid")

    def __init__(self, id: int, pid: int, is_extended: bool) -> None:
        self.id = id
        self.pid = pid
        self.is_extended = is_extended


def encode_line(context_id: int, pid: int) -> bytes:
    """Get the line of a context of this package, which knows the extension."""
    return b"%s%016x.+%d%s" % (_GREETING, context_id, pid, _LINE_END)


def split_line(data: bytes) -> tuple[bytes, bytes] | None:
    """Part the first line, without its end, from what follows; None if it is not complete.

    Raises
    ------
    HandshakeRefused
        The bytes cannot be the beginning of a line, or it is too long.
    """
    if not _GREETING.startswith(data[: len(_GREETING)]):
        raise HandshakeRefused(f"not a yoton: {data[:60]!r}", _ANSWER_NOT_YOTON)
    line, end, rest = data[:MAX_LINE_SIZE].partition(_LINE_END)
    if end:
        return line, rest + data[MAX_LINE_SIZE:]
    if len(data) >= MAX_LINE_SIZE:
        raise HandshakeRefused(f"line without an end: {data[:60]!r}", _ANSWER_BAD_ID)
    return None


def parse_line(line: bytes) -> Line:
    """Read a line, given without its end.

    Raises
    ------
    HandshakeRefused
        It does not begin as it should, or its numbers do not parse.
    """
    if not line.startswith(_GREETING):
        raise HandshakeRefused(f"not a yoton: {line[:60]!r}", _ANSWER_NOT_YOTON)
    id_text, _, pid_text = line[len(_GREETING) :].partition(b".")
    try:
        context_id, pid = int(id_text, 16), int(pid_text)
    except ValueError:
        raise HandshakeRefused(f"numbers do not parse: {line[:60]!r}", _ANSWER_BAD_ID) from None
    if not 0 <= context_id < _UINT64:
        raise HandshakeRefused(f"id beyond 64 bits: {line[:60]!r}", _ANSWER_BAD_ID)
    return Line(context_id, pid, pid_text.strip().startswith(b"+"))

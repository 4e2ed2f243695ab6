"""The line of a request: one line of UTF-8 text, ended by CR LF or by the end of the stream."""

from __future__ import annotations

from yoton.exceptions import EncodeError, RemoteProtocolError

_LINE_END = "\r\n"
_LINE_END_BYTES = b"\r\n"


def encode_line(text: object, what: str) -> bytes:
    """Get the bytes of a line, with CR LF appended unless it ends so.

    Raises
    ------
    EncodeError
        The text is no str, or has no UTF-8 form; what says which text it is.
    """
    if not isinstance(text, str):
        raise EncodeError(f"{what} is of type {type(text).__name__}, expected str")
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EncodeError(f"{what} has no UTF-8 form: {error}") from error
    return data if text.endswith(_LINE_END) else data + _LINE_END_BYTES


class RequestLine:
    """Finds the end of a request in bytes that come in pieces.

    Parameters
    ----------
    max_size : int
        Bytes that a request may have, with its CR LF.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._received = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes; get the request once it is there, with its CR LF.

        Raises
        ------
        RemoteProtocolError
            The request is larger than max_size.
        """
        searched = max(0, len(self._received) - 1)
        self._received += data
        end = self._received.find(_LINE_END_BYTES, searched)
        size = len(self._received) if end < 0 else end + len(_LINE_END_BYTES)
        if size > self._max_size:
            raise RemoteProtocolError(f"the request is larger than {self._max_size} bytes")
        return None if end < 0 else bytes(self._received[:size])

    def end_of_stream(self) -> bytes | None:
        """Get the request that the end of the stream completes, None if there are no bytes."""
        return bytes(self._received) or None

    def out_of_time(self) -> bytes | None:
        """Get the request that is complete by a lone LF, None if there is none.

        Raises
        ------
        RemoteProtocolError
            A part of a request came, and to act on a part may do harm.
        """
        if self._received and not self._received.endswith(b"\n"):
            raise RemoteProtocolError("the request did not end in time")
        return self.end_of_stream()

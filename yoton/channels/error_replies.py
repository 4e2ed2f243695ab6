"""How an error travels from the replier that met it to the requester.

It is a reply of its own form, a tuple: a mark, a text and, between ends that speak the
extension, the name of the exception's type and the traceback.
"""

from __future__ import annotations

import traceback

from yoton.exceptions import RequestError

_MARK = "yoton_ERROR_HANDLING_REQUEST"

#: Errors whose text says enough without the place; the rule of the yoton inside Pyzo.
_WITHOUT_PLACE = (ValueError, SyntaxError, OverflowError)

#: Characters of a text that are sent. An error may quote the data it is about, whatever the
#: size of that; a traceback may be as deep as the stack.
MAX_TEXT_LENGTH = 20_000


def error_reply(error: BaseException, is_extended: bool) -> tuple[str, ...]:
    """Get the reply to a request that failed.

    Parameters
    ----------
    error : BaseException
        What was raised, or stands for something that was not done.
    is_extended : bool
        Whether the requester knows of types and tracebacks.
    """
    text = f"{_text_of(error)}\n{_place_of(error)}"
    if not is_extended:
        return _MARK, _sendable(text)
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return _MARK, _sendable(text), type(error).__name__, _sendable("".join(lines))


def request_error(reply: object) -> RequestError | None:
    """Get the error that a reply tells of; None if it is a result."""
    if not isinstance(reply, tuple) or not 2 <= len(reply) <= 4:
        return None
    mark, *parts = reply
    # Results may have items, such as arrays, that do not compare.
    if not isinstance(mark, str) or mark != _MARK:
        return None
    return RequestError(*(str(part) for part in parts))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        # The class is the user's.
        return f"{type(error).__name__}, which has no text, as its __str__ fails"


def _place_of(error: BaseException) -> str:
    places = list(traceback.walk_tb(error.__traceback__))
    if not places or isinstance(error, _WITHOUT_PLACE):
        return ""
    frame, line = places[-1]
    return f"line {line} of {frame.f_code.co_filename}."


def _sendable(text: str) -> str:
    if len(text) > MAX_TEXT_LENGTH:
        text = f"{text[:MAX_TEXT_LENGTH]} ..."
    # File names that are no text come with lone surrogates, which cannot be sent.
    return text.encode("utf-8", "backslashreplace").decode()

"""High-water marks: how much may wait somewhere, and what becomes of what comes beyond that."""

from __future__ import annotations

import enum
import math

from yoton.exceptions import ArgumentError

#: Bytes that an inbox, or the outbox of a connection, holds unless the user says otherwise. More
#: than programs that keep up ever have waiting, and so little that a dozen of them that do not
#: keep up fit into the memory of any machine.
DEFAULT_MAX_SIZE = 2**28

#: Bytes that a small message takes in an inbox besides its own: for the object that has them, its
#: number, and the pair of both. 130 were measured for two. A mark in bytes does not count them.
MESSAGE_OVERHEAD = 2**7

#: Messages that take as much by that.
DEFAULT_MAX_COUNT = DEFAULT_MAX_SIZE // MESSAGE_OVERHEAD


class Policy(enum.Enum):
    """What happens at a high-water mark."""

    #: Who sends waits.
    BLOCK = "block"
    #: The oldest ones that wait are dropped.
    DROP_OLD = "drop_old"
    #: What comes is dropped.
    DROP_NEW = "drop_new"
    #: All but the newest are dropped.
    LATEST = "latest"
    #: What comes is dropped, and an exception tells so.
    ERROR = "error"


class HighWaterMark:
    """How much may wait, and what happens there.

    Parameters
    ----------
    messages : int
        How many messages.
    size : float
        How many bytes; one message is allowed to have more.
    policy : Policy
        What happens when one more comes.
    timeout : float or None
        Seconds for which somebody waits, where the policy is to block. None: without limit.
    """

    # No tuple with names: making the class of one takes longer, at each import.
    __slots__ = ("messages", "policy", "size", "timeout")

    def __init__(self, messages: int, size: float, policy: Policy, timeout: float | None) -> None:
        self.messages = messages
        self.size = size
        self.policy = policy
        self.timeout = timeout


def checked_mark(
    messages: int | None,
    size: int | None,
    policy: str,
    timeout: float | None,
    default_messages: int,
    default_size: int = DEFAULT_MAX_SIZE,
) -> HighWaterMark:
    """Make a mark of what a user says.

    Parameters
    ----------
    messages, size, policy, timeout
        As for `HighWaterMark`; None where the user says nothing.
    default_messages : int
        How many messages when the user does not say, unless only the latest is to be kept.
    default_size : int
        How many bytes when the user does not say.

    Raises
    ------
    ArgumentError
        One of them is something else.
    """
    try:
        checked_policy = Policy(policy)
    except ValueError as error:
        names = ", ".join(repr(each.value) for each in Policy)
        raise ArgumentError(f"{policy!r} is no policy; there are {names}") from error
    _check_positive("messages", messages)
    _check_positive("bytes", size)
    if timeout is not None:
        _check_timeout(timeout, checked_policy)
    if messages is None:
        messages = 1 if checked_policy is Policy.LATEST else default_messages
    return HighWaterMark(messages, default_size if size is None else size, checked_policy, timeout)


def _check_positive(what: str, number: object) -> None:
    is_int = isinstance(number, int) and not isinstance(number, bool)
    if number is not None and (not is_int or number < 1):  # type: ignore[operator]
        raise ArgumentError(f"a mark is a positive number of {what} or None, not {number!r}")


def _check_timeout(timeout: object, policy: Policy) -> None:
    if policy is not Policy.BLOCK:
        raise ArgumentError(f"nobody waits with {policy.value!r}, so there is no timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ArgumentError(f"a timeout is a number of seconds or None, not {timeout!r}")
    if math.isinf(timeout):
        raise ArgumentError("a timeout without limit is None")

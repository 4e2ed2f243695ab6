"""What can go wrong, by whose fault it is.

::

    YotonError
        LocalUsageError           the caller asked for something that cannot be
            ArgumentError         a value of the wrong kind (a ValueError)
            AddressError          text that is no address (a ValueError)
            SlotError             a slot that is taken or collides (a ValueError)
            ChannelClosed         use of a closed channel (an OSError)
            PackageTooLarge       a message over the limit of a node (a ValueError)
        RemoteProtocolError       the peer sent what the protocol does not allow
        ConnectionProblem         the line or the peer is not there (an OSError)
            ConnectFailed         nobody to connect to, or the handshake was refused
            BindFailed            no port could be bound
            ConnectionClosed      the connection ended while it was needed
        FlushTimeout              pending packages did not leave in time (a RuntimeError)
        HighWaterMarkReached      too much waits, and the policy is to tell so
        RequestError              the method at the replier raised an error
        CodecError
            EncodeError           a message that cannot be carried (a ValueError)
            DecodeError           bytes that are no message of the type (a ValueError)
                TruncatedError    ... because they end too early (an EOFError)
                TextDecodeError   ... because they are no UTF-8 (a UnicodeDecodeError)
        ServerUnavailable         no server answered a do_request (a RuntimeError)

The second bases (ValueError, OSError, RuntimeError ...) are the exceptions that callers of
the yoton inside Pyzo catch.
"""

from __future__ import annotations


class YotonError(Exception):
    """Base of all exceptions of this package."""


class LocalUsageError(YotonError):
    """The caller asked for something that cannot be done."""


class ArgumentError(LocalUsageError, ValueError):
    """An argument has a value that it cannot have."""


class AddressError(LocalUsageError, ValueError):
    """A text is not an address."""


class SlotError(LocalUsageError, ValueError):
    """A slot is taken in this context, or collides with another one."""


class ChannelClosed(LocalUsageError, OSError):
    """A message was sent on a channel that is closed, or somebody was waited for at it."""


class PackageTooLarge(LocalUsageError, ValueError):
    """A message is larger than this node, or one it is connected to, accepts."""


class RemoteProtocolError(YotonError):
    """A peer sent what the protocol does not allow."""


class ConnectionProblem(YotonError, OSError):
    """A connection could not be made or did not last."""


class ConnectFailed(ConnectionProblem):
    """There was nobody to connect to, or the handshake did not succeed."""


class BindFailed(ConnectionProblem):
    """None of the ports that were tried could be bound."""


class ConnectionClosed(ConnectionProblem):
    """The connection ended while somebody waited for what was to come over it."""


class FlushTimeout(YotonError, RuntimeError):
    """Pending packages had not left when the deadline passed."""


class HighWaterMarkReached(YotonError):
    """So much waits somewhere that a message was not sent, or messages were dropped.

    Parameters
    ----------
    message : str
        What was to be done.
    dropped : int
        How many messages were dropped since the last time that this was told; 0 for one that
        was not sent.
    """

    def __init__(self, message: str, dropped: int = 0) -> None:
        super().__init__(message)
        self.dropped = dropped

    def __reduce__(self) -> tuple[type[HighWaterMarkReached], tuple[str, int]]:
        return type(self), (str(self), self.dropped)


class RequestError(YotonError):
    """The method that handled a request raised an error.

    Parameters
    ----------
    message : str
        What the replier says about the error; the first line is the error's own text.
    remote_type : str
        Name of the exception's type at the replier, "" where it did not say.
    remote_traceback : str
        Formatted traceback at the replier, "" where it did not say.
    """

    def __init__(self, message: str, remote_type: str = "", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.remote_type = remote_type
        self.remote_traceback = remote_traceback

    def __reduce__(self) -> tuple[type[RequestError], tuple[str, str, str]]:
        return type(self), (str(self), self.remote_type, self.remote_traceback)


class CodecError(YotonError):
    """A message and its bytes could not be converted into each other."""


class EncodeError(CodecError, ValueError):
    """A message cannot be carried by its message type."""


class DecodeError(CodecError, ValueError):
    """Received bytes are no message of the channel's type."""


class TruncatedError(DecodeError, EOFError):
    """Received bytes end before the message does."""


class TextDecodeError(DecodeError, UnicodeDecodeError):
    """Received bytes of a TEXT message are not UTF-8.

    Takes the arguments of UnicodeDecodeError: encoding, object, start, end, reason.
    """


class ServerUnavailable(YotonError, RuntimeError):
    """No server could be reached for a request."""

"""A context with two channels: texts to and from another one, and nothing else."""

from __future__ import annotations

from yoton.channels.publishing import PubChannel
from yoton.channels.subscribing import SubChannel
from yoton.context import Context

_SLOT = "text"


class SimpleSocket(Context):
    """A context that sends and receives texts, for when that is all that is needed.

    Use `bind` at one end and `connect` at the other one, as for any context.

    Parameters
    ----------
    verbose : bool
        See `Context`.
    """

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._outgoing = PubChannel(self, _SLOT)
        self._incoming = SubChannel(self, _SLOT)

    def send(self, text: str) -> None:
        """Send a text; see `PubChannel.send`."""
        self._outgoing.send(text)

    def recv(self, block: bool | float | None = True) -> str:
        """Receive a text; see `SubChannel.recv`."""
        text: str = self._incoming.recv(block)
        return text

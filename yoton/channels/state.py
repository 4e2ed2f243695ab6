"""The state pattern: a value that all contexts of a network share."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, NamedTuple

from yoton.channels.base import BaseChannel
from yoton.exceptions import DecodeError
from yoton.package import Package

logger = logging.getLogger(__name__)

_TIMES = 2**52
_MARKS = 2**12


class Version(NamedTuple):
    """Says which of two states is the newer one, the same in all contexts.

    It travels with the state, as its dest seq; 0 means that the sender knows of no versions, or
    has a peer that does not. It is a hybrid clock: the time of the setter's clock, or just after
    the version that the setter knows, if that is later. So a program that is started anew need
    not know what the one before had set, and clocks that differ do no harm among those that know
    each other's states. When two set the state in the same microsecond, the mark, made of their
    ids, decides.

    Parameters
    ----------
    time : int
        Microseconds since the epoch; 52 bits, which last until 2112. Finer than anybody sets
        a state, so the number does not run ahead of the clock.
    mark : int
        From the id of the context that set it; 12 bits.
    """

    time: int
    mark: int

    @classmethod
    def from_dest_seq(cls, dest_seq: int) -> Version:
        """Take it out of a package."""
        return cls(*divmod(dest_seq, _MARKS))

    def to_dest_seq(self) -> int:
        """Get the number by which it travels."""
        return self.time % _TIMES * _MARKS + self.mark

    def next(self, context_id: int, now: float) -> Version:
        """Get the version of a state that a context sets after this one, at now seconds."""
        return Version(max(self.time + 1, int(now * 1_000_000)), context_id % _MARKS)


class StateChannel(BaseChannel):
    """A state that is the same in all contexts: each can set it, and each can get it.

    When two set it at the same time, one of the two becomes the state everywhere. A context
    that comes later gets the state as well.

    Parameters
    ----------
    context : Context
        The context by which it sends and receives.
    slot_base : str
        Name of the slot.
    message_type : MessageType, optional
        How states become bytes. Default: `TEXT`.
    """

    _kind = "StateChannel"
    _pattern_out = "state"
    _pattern_in = "state"

    def _prepare(self) -> None:
        # Guards what follows.
        self._state_lock = threading.RLock()
        self._data = b""
        # The state itself, to compare with. It is handed out to nobody who could change it.
        self._state: Any = self._message_type.message_from_bytes(b"")
        self._version = Version(0, 0)
        self._last_recv_number = 0

    @property
    def pending(self) -> int:
        """Zero: a state does not wait to be received."""
        return 0

    def recv(self, block: bool | float | None = False) -> Any:
        """Get the state; does not wait, whatever block is.

        Returns
        -------
        message
            The state, or an empty message ("", b"" or None) if it was never set.
        """
        # Whoever has received a message that was sent after a state finds that state here.
        self.packages_delivered()
        return self._message_type.message_from_bytes(self._data)

    def send(self, message: Any) -> None:
        """Set the state. Nothing is sent for an empty message, or one equal to the state.

        Raises
        ------
        ChannelClosed
            The channel is closed. An OSError.
        EncodeError
            The message type cannot carry the message. A ValueError.
        PackageTooLarge
            The message is over the limit of a context. A ValueError.
        """
        data, is_msgpack = self._encode(message)
        if not data or (not self._is_closed and _are_equal(message, self._state)):
            return
        state = self._message_type.message_from_bytes(data)
        with self._state_lock:
            self._version = self._version.next(self._context.id, time.time())
            self._data, self._state = data, state
            dest_seq = self._dest_seq()
        self._send_data(data, dest_seq=dest_seq, is_msgpack=is_msgpack)

    def send_last(self) -> None:
        """Send the state once more, for those who do not have it yet."""
        with self._state_lock:
            state, data, dest_seq = self._state, self._data, self._dest_seq()
        if data:
            self._send(state, dest_seq=dest_seq, may_wait=False)

    def _dest_seq(self) -> int:
        """Get what tells the version, to those who know of versions; the lock is held."""
        return self._version.to_dest_seq() if self._context.neighbours.are_extended else 0

    # What the context calls

    def connection_made(self) -> None:
        """Bring the state to those who came."""
        self.send_last()

    def packages_delivered(self) -> None:
        """Take over the states that came, if they are newer."""
        is_changed = False
        for package, number in self._inbox.take_all():
            try:
                state = self._decode(package)
            except DecodeError as error:
                logger.error("%r: a state that cannot be read was ignored: %s", self, error)
            else:
                is_changed |= self._take_over(state, package, number)
        if is_changed:
            super().packages_delivered()

    def _take_over(self, state: Any, package: Package, recv_number: int) -> bool:
        version = Version.from_dest_seq(package.dest_seq)
        with self._state_lock:
            if package.dest_seq == 0:
                # The sender knows of no versions: the last one wins.
                if recv_number < self._last_recv_number:
                    return False
                version = self._version.next(package.source_id, time.time())
            elif version <= self._version:
                return False
            self._last_recv_number = recv_number
            self._version = version
            self._data, self._state = package.data, state
            return True


def _are_equal(message: Any, state: Any) -> bool:
    try:
        return bool(message == state)
    except Exception:
        # Arrays, for one, do not say whether they are equal.
        return False

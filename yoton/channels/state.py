"""The state pattern: a value that all contexts of a network share."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from yoton.channels.base import BaseChannel
from yoton.exceptions import DecodeError, YotonError
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
    that comes later gets the state as well. Only the newest one is of interest: of several that
    come at once, and of several that wait to leave for a peer that does not keep up, the others
    are left out. Those that have not left are counted as ``"superseded"`` by the connection.

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
        # That of the state that was set here last.
        self._own_version = self._version
        # In place of the inbox: the newest state that came, with its version, and a number. It
        # stays there when it was taken over, as Ctrl-C may come in the middle of that.
        self._arrived: deque[tuple[tuple[Package, Version], int]] = deque(maxlen=1)

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
        # Before anything has changed.
        self._context.check_size(len(data))
        with self._state_lock:
            if self._is_closed:
                raise self._closed_error()
            version = self._version.next(self._context.id, time.time())
            self._version = self._own_version = version
            self._data, self._state = data, state
            dest_seq = self._dest_seq()
        envelope = self._msgpack_envelope if is_msgpack else self._envelope
        self._context.send_package(envelope, data, dest_seq)
        if self._has_newer_own(version):
            # What goes wrong with a state that another thread has set is told there.
            with contextlib.suppress(YotonError):
                self.send_last()
        self._supersede_what_waits()

    def send_last(self) -> None:
        """Send the state once more, for those who do not have it yet."""
        has_to_send = True
        while has_to_send:
            with self._state_lock:
                state, data, version = self._state, self._data, self._version
                dest_seq = self._dest_seq()
            if data:
                self._send(state, dest_seq=dest_seq, may_wait=False)
            has_to_send = self._has_newer_own(version)

    def _has_newer_own(self, version: Version) -> bool:
        """Tell whether another thread has set a state after the one that was just sent.

        Whoever has sent a state looks again: the last one that leaves has to be the newest. Not
        for a state that came meanwhile: where none has a version, that may be an old one, repeated
        for a newcomer, which would win then.
        """
        present = self._version
        return present is not version and present is self._own_version

    def _supersede_what_waits(self) -> None:
        """Leave out what waits for peers that do not keep up, but for the newest state."""
        for outbox in self._context.outboxes():
            if outbox.is_congested:
                outbox.supersede(self._slot_number_out, self._context.id)

    def _dest_seq(self) -> int:
        """Get what tells the version, to those who know of versions; the lock is held."""
        return self._version.to_dest_seq() if self._context.neighbours.are_extended else 0

    # What the context calls

    def connection_made(self) -> None:
        """Bring the state to those who came."""
        self.send_last()

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Note the newest state; the routing lock is held."""
        known, newest = self._version, None
        for (_, version), _ in self._arrived.copy():
            known = max(known, version)
        for single in package.packages():
            version = _version_of(single, known)
            if version > known:
                known, newest = version, (single, version)
        if newest is not None:
            self._arrived.extend(zip((newest,), numbers, strict=False))
        return newest is not None

    def packages_delivered(self) -> None:
        """Take over the state that came, if it is newer."""
        for arrived in self._arrived.copy():
            (package, version), _ = arrived
            if version <= self._version:
                continue
            try:
                state = self._decode(package)
            except DecodeError as error:
                logger.error("%r: a state that cannot be read was ignored: %s", self, error)
                with contextlib.suppress(ValueError):  # another one may have taken its place
                    self._arrived.remove(arrived)
            else:
                if self._take_over(state, package, version):
                    super().packages_delivered()

    def _take_over(self, state: Any, package: Package, version: Version) -> bool:
        with self._state_lock:
            if version <= self._version:
                return False
            self._version = version
            self._data, self._state = package.data, state
            return True


def _version_of(package: Package, known: Version) -> Version:
    """Get the version of a state that came, when one with a known version is there."""
    if package.dest_seq:
        return Version.from_dest_seq(package.dest_seq)
    # The sender knows of no versions: the last one wins.
    return known.next(package.source_id, time.time())


def _are_equal(message: Any, state: Any) -> bool:
    try:
        return bool(message == state)
    except Exception:
        # Arrays, for one, do not say whether they are equal.
        return False

"""The sending side of publish/subscribe: each message goes to all subscribers."""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

from yoton.channels.base import BaseChannel
from yoton.channels.outgoing import OutgoingMark
from yoton.channels.sync import (
    SenderHold,
)
from yoton.clock import FOREVER, Deadline, monotonic
from yoton.connection.busy import this_thread
from yoton.connection.outbox import Outbox
from yoton.exceptions import HighWaterMarkReached
from yoton.marks import Policy, checked_mark
from yoton.package import Envelope
from yoton.waiting import WaitPoint


class PubChannel(BaseChannel):
    """The sending side of publish/subscribe: what it sends, all `SubChannel` at its slot get.

    Parameters
    ----------
    context : Context
        The context by which it sends.
    slot_base : str
        Name of the slot.
    message_type : MessageType, optional
        How messages become bytes. Default: `TEXT`.
    """

    _kind = "PubChannel"
    _pattern_out = "pub-sub"
    _pattern_in = "sub-pub"

    def _prepare(self) -> None:
        # Guards all that follows.
        self._hold_lock = threading.RLock()
        self._hold = SenderHold()
        self._hold_changed = WaitPoint(self._hold_lock)
        self._mark: OutgoingMark | None = None
        self._dropped = 0
        # Whether there may be something to do before a message is sent: one look for all of it.
        self._has_to_attend = False

    @property
    def dropped(self) -> int:
        """The number of messages that were dropped at its high-water mark, for each connection."""
        return self._dropped

    def send(self, message: Any) -> None:
        """Send a message; it is received as one message.

        Waits up to a second while a subscriber in sync mode is full, and up to a second while
        a connection does not keep up; longer if a subscriber, or this channel, has a high-water
        mark with the policy "block". An empty message is not sent.

        Raises
        ------
        ChannelClosed
            The channel is closed. An OSError.
        EncodeError
            The message type cannot carry the message. A ValueError.
        PackageTooLarge
            The message is over the limit of a context. A ValueError.
        HighWaterMarkReached
            The channel has a mark, and the policy "error", or "block" with a timeout that has
            passed. The message was not sent.
        """
        data, is_msgpack = self._encode(message)
        envelope = self._msgpack_envelope if is_msgpack else self._envelope
        if self._has_to_attend:
            if self._mark is not None:
                self._send_at_mark(self._mark, envelope, data)
                return
            self._wait_for_receivers()
        if self._is_closed:
            raise self._closed_error()
        self._context.send_package(envelope, data)

    def set_high_water_mark(
        self,
        messages: int | None = None,
        size: int | None = None,
        policy: str = "drop_old",
        timeout: float | None = None,
    ) -> None:
        """Set how many messages of this channel may wait to leave, and what happens beyond that.

        They wait in front of each connection by itself, as many as its peer does not take. None
        of the policies but "block" makes `send` wait for a slow connection.

        Parameters
        ----------
        messages : int, optional
            How many messages. Default: 1 for "latest", else what the `queue_params` of the
            context say.
        size : int, optional
            How many bytes; a single message may have more. Default: 256 MiB.
        policy : str
            ``"drop_old"``: the oldest of those that wait are dropped. ``"drop_new"``: those that
            were sent last are. ``"latest"``: all but the newest are. ``"error"``: `send` raises
            a HighWaterMarkReached, and has not sent the message to anybody. ``"block"``: it
            waits until there is room.
        timeout : float, optional
            Only for "block": seconds for which it waits at most, for room and for subscribers,
            before it raises a HighWaterMarkReached. Default: no limit.

        Raises
        ------
        ArgumentError
            One of them is something else. A ValueError.
        """
        mark = checked_mark(messages, size, policy, timeout, self._context.queue_limit)
        with self._hold_lock:
            self._mark = OutgoingMark(mark, self._slot_number_out, self._context.id)
            self._look_at_hold()

    def _dropped_stats(self) -> dict[str, int]:
        # What is dropped at its mark is in front of connections, not in the inbox.
        return {**super()._dropped_stats(), "high_water_mark": self._dropped}

    def wait_for_subscribers(self, n: int = 1, timeout: float | None = None) -> bool:
        """Wait until so many contexts with a `SubChannel` at this slot can be reached.

        What is sent after that reaches them. Contexts of Pyzo's yoton, and those that can be
        reached only by way of one, are not known and do not count. Like any wait, it does not
        wait in a signal handler or a finalizer that runs while its thread is reading.

        Parameters
        ----------
        n : int
            How many.
        timeout : float or None
            Seconds to wait at most; None: without limit.

        Returns
        -------
        bool
            False when the time was over before.

        Raises
        ------
        ChannelClosed
            The channel is closed, perhaps meanwhile. An OSError.
        ArgumentError
            An argument is of another kind. A ValueError.
        """
        return self._wait_for_peers(n, timeout)

    def close(self) -> None:
        """Close the channel: it sends nothing more."""
        super().close()
        with self._hold_lock:
            self._hold_changed.wake_all()
        for outbox in self._context.outboxes():
            outbox.wake()

    def _send_at_mark(self, mark: OutgoingMark, envelope: Envelope, data: bytes) -> None:
        """Send a message where there is room, or make room for it."""
        deadline = Deadline(0.0 if mark.policy is Policy.ERROR else mark.timeout)
        self._wait_for_lasting_receivers(deadline)
        is_far = not data or mark.is_far(self._context.outboxes(), len(data))
        if not (is_far or mark.drops):
            self._wait_for_room(mark, len(data), deadline)
        if self._is_closed:
            raise self._closed_error()
        self._context.send_package(envelope, data, may_wait=False)
        if mark.drops and not is_far:
            self._context.flush_burst()
            self._drop_surplus(mark)

    def _drop_surplus(self, mark: OutgoingMark) -> None:
        dropped = sum(mark.trim(outbox) for outbox in self._context.outboxes())
        if dropped:
            with self._hold_lock:
                self._dropped += dropped
            self._tell_of_drops()

    def _wait_for_room(self, mark: OutgoingMark, size: int, deadline: Deadline) -> None:
        """Wait until a message may wait in front of all connections; raise an error if not."""
        # What waits to leave together is to be in the outboxes.
        self._context.flush_burst()
        # A finalizer or a signal handler in the middle of writing would wait for just that.
        if this_thread.is_busy:
            return
        for outbox in self._context.outboxes():
            has_room = functools.partial(self._has_room, mark, outbox, size)
            if not outbox.wait_until(has_room, deadline):
                raise HighWaterMarkReached(f"too much of {self!r} waits to be sent")

    def _has_room(self, mark: OutgoingMark, outbox: Outbox, size: int) -> bool:
        return self._is_closed or mark.has_room(outbox, size)

    def _wait_for_lasting_receivers(self, deadline: Deadline) -> None:
        """Wait for subscribers; raise an error at the deadline, but not for those in sync mode."""
        is_lasting = self._hold.is_lasting
        self._wait_for_receivers(deadline if is_lasting else FOREVER)
        if is_lasting and deadline.passed() and self._hold.is_lasting:
            raise HighWaterMarkReached(f"subscribers hold {self!r} back")

    def _wait_for_receivers(self, deadline: Deadline = FOREVER) -> None:
        if not self._hold.full_receivers:
            return
        self._context.flush_burst()
        # A finalizer or a signal handler in the middle of reading would wait for just that.
        if this_thread.is_busy:
            return
        begin = monotonic()

        def is_over() -> bool:
            now = monotonic()
            return self._is_closed or not self._hold.is_on(now, now - begin)

        with self._hold_lock:
            patience = self._hold.patience
        remaining = deadline.remaining()
        if remaining is not None:
            patience = min(patience, remaining)
        self._hold_changed.wait_for(is_over, Deadline(None if patience == math.inf else patience))
        with self._hold_lock:
            self._look_at_hold()

    def _look_at_hold(self) -> None:
        """Note whether there is something to do before the next message; the lock is held."""
        self._has_to_attend = self._mark is not None or bool(self._hold.full_receivers)

    def packages_delivered(self) -> None:
        """Note what subscribers in sync mode say."""
        with self._hold_lock:  # the lock of the inbox comes second
            self._hold_changed.wake_all()
            for package, _ in self._inbox.take_all():
                self._hold.hear(package.source_id, package.data, monotonic())
            self._look_at_hold()

    def contexts_gone(self, ids: set[int]) -> None:
        """Wait for no subscriber that is gone."""
        with self._hold_lock:
            self._hold_changed.wake_all()
            self._hold.forget(ids)
            self._look_at_hold()

"""The sending side of publish/subscribe: each message goes to all subscribers."""

from __future__ import annotations

import functools
import math
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from yoton.channels.base import BaseChannel
from yoton.channels.outgoing import OutgoingMark
from yoton.channels.sync import SenderHold
from yoton.clock import FOREVER, Deadline, monotonic
from yoton.connection.busy import is_busy
from yoton.connection.outbox import Outbox
from yoton.exceptions import ArgumentError, HighWaterMarkReached
from yoton.marks import DEFAULT_MAX_SIZE, Policy, checked_mark
from yoton.package import Envelope, Package
from yoton.waiting import WaitPoint

#: What one channel may have waiting in the queue in front of a connection: a half, a third ... of
#: what that holds. If it were all, the queue would drop what the mark is there to keep.
QUEUE_PART = 2


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
        # What subscribers said, and nobody has acted on yet: their ids and words.
        self._words: deque[tuple[int, bytes]] = deque()
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
        of the policies but "block" makes `send` wait for a slow connection. A subscriber with
        the policy "block" makes it wait whatever this policy is, but for "error".

        It holds as well for what waits while the context has no connection, not even one that
        waits for a peer. Only "block" does not: nobody waits for a connection that may never be
        made, and what the `queue_params` of the context say holds.

        Parameters
        ----------
        messages : int, optional
            How many messages; at most half of what the `queue_params` of the context say, as the
            queue in front of a connection is for all channels. Default: 1 for "latest", else that.
        size : int, optional
            How many bytes; a single message may have more. At most and by default 128 MiB.
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
        most_messages = max(1, self._context.queue_limit // QUEUE_PART)
        most_size = DEFAULT_MAX_SIZE // QUEUE_PART
        mark = checked_mark(messages, size, policy, timeout, most_messages, most_size)
        if mark.messages > most_messages or mark.size > most_size:
            raise ArgumentError(
                f"a mark in front of connections, whose queues others use as well, is at most"
                f" {most_messages} messages and {most_size} bytes: half of what they hold"
            )
        with self._hold_lock:
            self._hold_changed.wake_all()
            self._mark = OutgoingMark(mark, self._slot_number_out, self._context.id)
            self._look_at_hold()
        # Who waits at the mark before goes on with this one.
        self._wake_outboxes()

    def _dropped_stats(self) -> dict[str, int]:
        # What is dropped at its mark is in front of connections, not in the inbox.
        return {**super()._dropped_stats(), "high_water_mark": self._dropped}

    def wait_for_subscribers(self, n: int = 1, timeout: float | None = None) -> bool:
        """Wait until so many contexts with a `SubChannel` at this slot can be reached.

        What is sent after that reaches them; of one whose line is lost and may come back, which
        counts as well, once there is a line again. Contexts of Pyzo's yoton, and those that can be
        reached only by way of one, are not known and do not count, nor do channels beyond the 500
        that a context announces at most. Like any wait, it does not wait in a signal handler or a
        finalizer that runs while its thread is reading.

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
        self._wake_outboxes()

    def _wake_outboxes(self) -> None:
        for outbox in self._context.outboxes():
            outbox.wake()

    def abandon(self) -> None:
        """See `BaseChannel.abandon`."""
        super().abandon()
        self._hold_lock = threading.RLock()
        self._hold_changed = WaitPoint(self._hold_lock)
        self._hold = SenderHold()

    def _send_at_mark(self, mark: OutgoingMark, envelope: Envelope, data: bytes) -> None:
        """Send a message where there is room, or make room for it."""
        deadline = Deadline(0.0 if mark.policy is Policy.ERROR else mark.timeout)
        self._wait_for_lasting_receivers(deadline)
        is_far = not data or mark.is_far(self._context.outboxes(), len(data))
        if not (is_far or mark.drops):
            self._wait_for_room(mark, len(data), deadline)
        if self._is_closed:
            raise self._closed_error()
        present = self._mark
        if present is not None and present is not mark:
            # It was set while this one was waited for.
            self._send_at_mark(present, envelope, data)
            return
        self._context.send_package(envelope, data, may_wait=False)
        if mark.drops and not is_far:
            self._context.flush_burst()
            self._drop_surplus(mark)

    def _drop_surplus(self, mark: OutgoingMark) -> None:
        for outbox in self._context.outboxes():
            dropped = mark.trim(outbox)
            with self._hold_lock:
                self._dropped += dropped
        self._tell_of_drops()

    def _wait_for_room(self, mark: OutgoingMark, size: int, deadline: Deadline) -> None:
        """Wait until a message may wait in front of all connections; raise an error if not."""
        # What waits to leave together is to be in the outboxes.
        self._context.flush_burst()
        # A finalizer or a signal handler in the middle of writing would wait for just that.
        if is_busy():
            return
        # Nobody is to wait for a first connection: it may be for this very thread to make it.
        waits = mark.policy is Policy.BLOCK
        for outbox in self._context.outboxes(of_connections_only=waits):
            has_room = functools.partial(self._has_room, mark, outbox, size)
            # A finalizer in the middle of a step of the outbox gets False without having waited.
            if not outbox.wait_until(has_room, deadline) and deadline.passed():
                raise HighWaterMarkReached(f"too much of {self!r} waits to be sent")

    def _has_room(self, mark: OutgoingMark, outbox: Outbox, size: int) -> bool:
        return self._is_closed or self._mark is not mark or mark.has_room(outbox, size)

    def _wait_for_lasting_receivers(self, deadline: Deadline) -> None:
        """Wait for subscribers; raise an error at the deadline, but not for those in sync mode."""
        begin = monotonic()
        is_lasting = self._hold.is_lasting
        self._wait_for_receivers(deadline if is_lasting else FOREVER)
        if not (is_lasting and deadline.passed()):
            return
        with self._hold_lock:
            is_held = self._hold.is_lasting_for(monotonic() - begin)
        if is_held:
            raise HighWaterMarkReached(f"subscribers hold {self!r} back")

    def _wait_for_receivers(self, deadline: Deadline = FOREVER) -> None:
        if not self._hold.full_receivers:
            return
        self._context.flush_burst()
        # A finalizer or a signal handler in the middle of reading would wait for just that.
        if is_busy():
            return
        begin, mark = monotonic(), self._mark

        def is_over() -> bool:
            now = monotonic()
            is_for_others = self._is_closed or self._mark is not mark
            return is_for_others or not self._hold.is_on(now, now - begin)

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

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Note what subscribers say; the routing lock is held.

        Not in the inbox, which may be full. It does no harm to note that again, after Ctrl-C.
        """
        self._words.extend((package.source_id, word) for word in package.messages())
        return True

    def packages_delivered(self) -> None:
        """Act on what subscribers say."""
        with self._hold_lock:
            self._hold_changed.wake_all()
            self._hear_words()
            self._look_at_hold()

    def _hear_words(self) -> None:
        while self._words:
            source_id, word = self._words.popleft()
            self._hold.hear(source_id, word, monotonic())

    def peers_have_changed(self, gone: set[int]) -> None:
        """Wait for no subscriber that is closed: its last word may have been lost."""
        if gone:
            self.contexts_gone(gone)
        super().peers_have_changed(gone)

    def contexts_gone(self, ids: set[int]) -> None:
        """Wait for no subscriber that is gone."""
        with self._hold_lock:
            self._hold_changed.wake_all()
            # First, or it would be remembered what they said before.
            self._hear_words()
            self._hold.forget(ids)
            self._look_at_hold()

"""What all channels have in common: slots, a message type, an inbox, and their end."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from yoton.channels.coalescing import CoalescedSignal
from yoton.clock import Deadline
from yoton.connection.busy import is_busy
from yoton.context import Context
from yoton.entry import Endpoint, Peer
from yoton.events import Signal
from yoton.exceptions import ArgumentError, ChannelClosed, EncodeError
from yoton.marks import DEFAULT_MAX_SIZE
from yoton.message_types import MSGPACK_AVAILABLE, TEXT, MessageType, ObjectMessageType
from yoton.package import EVERYONE, Envelope, Package, normal_slot_name
from yoton.queues import BoundedQueue
from yoton.traffic import Books, Flow

logger = logging.getLogger(__name__)


class BaseChannel:
    """Base of the channels.

    Messages that one channel sends are received by the channels at the same slot in all other
    contexts of the network, where message type and pattern fit. All methods may be called from
    any thread. As a context manager a channel closes itself.

    Parameters
    ----------
    context : Context
        The context by which it sends and receives.
    slot_base : str
        Name of the slot. Upper case does not count. The message type and the pattern are
        appended to it.
    message_type : MessageType, optional
        How messages become bytes. Default: `TEXT`.

    Raises
    ------
    ArgumentError
        An argument is of another kind. A ValueError.
    SlotError
        Another channel of the context has the slot, or one with another name and the same
        number. A ValueError.
    """

    _pattern_out = ""
    _pattern_in = ""
    #: What others are told that it is, whatever a subclass of the user's is called.
    _kind = ""

    def __init__(
        self, context: Context, slot_base: str, message_type: MessageType | None = None
    ) -> None:
        if not isinstance(context, Context):
            raise ArgumentError(f"a channel needs a Context, not {context!r}")
        if not isinstance(slot_base, str):
            raise ArgumentError(f"the slot of a channel is a str, not {slot_base!r}")
        if message_type is None:
            message_type = TEXT
        if not isinstance(message_type, MessageType):
            raise ArgumentError(f"a message type is an instance of MessageType: {message_type!r}")
        self._context = context
        self._message_type = message_type
        type_name = message_type.message_type_name()
        self._slot_outgoing = f"{slot_base}.{type_name}.{self._pattern_out}"
        self._slot_incoming = f"{slot_base}.{type_name}.{self._pattern_in}"
        # What came, in the form in which the channel keeps it, and the number of each.
        self._inbox: BoundedQueue[Any] = BoundedQueue(
            context.queue_limit,
            context.queue_overflow,
            DEFAULT_MAX_SIZE,
            self._size_in_inbox,
            itemgetter(1),
        )
        self._is_closed = False
        self._has_logged_drops = False
        # As `dropped` was at the last emission.
        self._dropped_before = 0
        self._received = CoalescedSignal(self._emit_received)
        self._dropped_messages = CoalescedSignal(self._emit_dropped)
        self._gap = CoalescedSignal(self._emit_gap)
        self._peers_changed = CoalescedSignal(self._emit_peers_changed)
        self._messages_lost = 0
        # As many as that were at the last emission.
        self._lost_before = 0
        # A subclass of the user's may have a method of that name, for its requesters.
        self._books = Books(Flow(), Flow(), functools.partial(BaseChannel.stats, self))
        self._prepare()
        self._slot_number_out, slot_number_in = context.register(
            self, self._slot_outgoing, self._slot_incoming, self._books
        )
        self._envelope = Envelope(self._slot_number_out)
        self._msgpack_envelope = Envelope(self._slot_number_out, is_msgpack=True)
        self._endpoint = Endpoint(
            self._kind,
            normal_slot_name(self._slot_outgoing),
            normal_slot_name(self._slot_incoming),
        )
        try:
            context.await_senders(slot_number_in)
            context.announcing.channel_made(self, self._endpoint)
        except BaseException:
            # Ctrl-C: nobody has the channel, and its slot has to be free for another one.
            context.unregister(self)
            raise

    def _size_in_inbox(self, item: Any) -> int:
        """Get the bytes of the message of something in the inbox."""
        return len(item[0].data)

    def _prepare(self) -> None:
        """Make what a subclass needs before packages may arrive."""

    def __repr__(self) -> str:
        state = "closed " if self._is_closed else ""
        return f"<{state}{type(self).__name__} {self._slot_outgoing!r}>"

    def __enter__(self) -> BaseChannel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def message_type(self) -> MessageType:
        """How messages become bytes."""
        return self._message_type

    @property
    def closed(self) -> bool:
        """Whether the channel is closed."""
        return self._is_closed

    @property
    def pending(self) -> int:
        """The number of messages that have come and were not received yet."""
        return len(self._inbox)

    @property
    def dropped(self) -> int:
        """The number of messages that were dropped because too many were waiting."""
        return self._inbox.dropped

    @property
    def dropped_messages(self) -> Signal:
        """Signal that messages were dropped; handlers get the channel and their number.

        That is how many there were since the last emission: any number makes one.
        """
        return self._dropped_messages

    @property
    def received(self) -> Signal:
        """Signal that messages came; handlers get the channel.

        Several messages may make one emission, and they may be received before it is handled.
        """
        return self._received

    @property
    def gap(self) -> Signal:
        """Signal that messages will not arrive; handlers get the channel and their number.

        A line on the way was lost for so long that the sender could not keep all of them, or
        this process follows one that they were sent to. The number is that of all since the last
        emission.
        """
        return self._gap

    @property
    def slot_outgoing(self) -> str:
        """Full name of the slot that it sends on."""
        return self._slot_outgoing

    @property
    def slot_incoming(self) -> str:
        """Full name of the slot that it receives on."""
        return self._slot_incoming

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The contexts at the other end, sorted by id.

        They have a channel that receives on the slot that this one sends on, or sends on the
        one that this one receives on, and there is a way to them, be it over a connection whose
        line is lost and may come back: what is sent waits there. Those of Pyzo's yoton, and
        those that can be reached only by way of one, are not known. A context announces its
        first 500 channels at most, see `yoton.entry.MAX_CHANNELS`.
        """
        return self._context.announcing.peers(self._endpoint)

    @property
    def peers_changed(self) -> Signal:
        """Signal that `peers` has changed; handlers get the channel.

        Several changes may make one emission.
        """
        return self._peers_changed

    def stats(self) -> dict[str, Any]:
        """Get what goes through the channel in numbers, as plain data for JSON.

        What was sent so far leaves first, if it was held back for a moment. After Ctrl-C a count
        may be wrong by one package, which is a message or a bundle of them.

        Returns
        -------
        dict
            ``"kind"``: as ``"PubChannel"``; ``"slot_outgoing"`` and ``"slot_incoming"``.

            ``"in"`` and ``"out"``: what came and what was sent, also what the channels of the
            pattern tell each other, each a dict with ``"messages"`` and
            ``"bytes"``, which are those of the encoded messages. ``"pending"``: a dict with
            ``"messages"``, those that wait to be received, and ``"peak_messages"``, the most that
            did. ``"dropped"``: those that came when too many waited (``"queue_full"``) or the
            channel was closed (``"closed"``), and those of which too many waited for the mark
            that the channel has (``"high_water_mark"``); of a `PubChannel` they waited to leave,
            and count once for each connection. ``"gaps"``: messages that will not come.

            Of a channel for requests also ``"requests"``. They have been made or given to the
            channel, and ``"wait"``, are ``"running"``, are ``"done"``, have ``"failed"``. Those of
            a `ReqChannel` can be ``"cancelled"``; ``"refused"`` were calls that made none, as too
            many waited. Those of a `RepChannel` can be ``"refused"``, as too many waited or it was
            closed.
        """
        self._context.flush_burst()
        return {
            "kind": self._kind,
            "slot_outgoing": self._slot_outgoing,
            "slot_incoming": self._slot_incoming,
            "in": self._books.came.stats(),
            "out": self._books.sent.stats(),
            "pending": self._pending_stats(),
            "dropped": self._dropped_stats(),
            "gaps": self._messages_lost,
            **self._pattern_stats(),
        }

    def _pending_stats(self) -> dict[str, int]:
        return {"messages": len(self._inbox), "peak_messages": self._inbox.peak}

    def _dropped_stats(self) -> dict[str, int]:
        closed, at_mark = self._inbox.dropped_closed, self._inbox.dropped_at_mark
        return {
            "queue_full": self._inbox.dropped - closed - at_mark,
            "high_water_mark": at_mark,
            "closed": closed,
        }

    def _pattern_stats(self) -> dict[str, Any]:
        """Get what a pattern knows besides."""
        return {}

    def _wait_for_peers(self, n: int, timeout: float | None) -> bool:
        """Wait until there are so many peers; see `PubChannel.wait_for_subscribers`."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ArgumentError(f"one waits for a number of peers, not for {n!r}")
        if timeout is not None and not isinstance(timeout, (int, float)):
            raise ArgumentError(f"a timeout is a number of seconds or None, not {timeout!r}")
        announcing = self._context.announcing

        def is_over() -> bool:
            return self._is_closed or len(announcing.peers(self._endpoint)) >= n

        deadline = Deadline(timeout)
        # A finalizer or a signal handler in the middle of reading would wait for just that.
        if is_busy():
            deadline = Deadline(0.0)
        else:
            self._context.lead(is_over, deadline)
        is_there = announcing.wait_for(is_over, deadline)
        if self._is_closed:
            raise ChannelClosed(f"nobody can come to {self!r} any more")
        return is_there

    def close(self) -> None:
        """Close the channel: it sends and gets nothing more.

        What has come can still be received. Who waits for a message gets an empty one.
        """
        self._is_closed = True
        self._context.unregister(self)
        self._inbox.close()

    def _send(
        self, message: Any, dest_id: int = EVERYONE, dest_seq: int = 0, *, may_wait: bool = True
    ) -> None:
        """Encode a message and give it to the context.

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
        self._send_data(data, dest_id, dest_seq, is_msgpack=is_msgpack, may_wait=may_wait)

    def _send_data(
        self,
        data: bytes,
        dest_id: int = EVERYONE,
        dest_seq: int = 0,
        *,
        is_msgpack: bool = False,
        may_wait: bool = True,
    ) -> None:
        if self._is_closed:
            raise self._closed_error()
        envelope = Envelope(self._slot_number_out, dest_id, is_msgpack)
        self._context.send_package(envelope, data, dest_seq, may_wait=may_wait)

    def _closed_error(self) -> ChannelClosed:
        return ChannelClosed(f"cannot send on {self!r}")

    def _encode(self, message: Any) -> tuple[bytes, bool]:
        """Get the bytes of a message, and whether they are an OBJECT in msgpack."""
        message_type = self._message_type
        if not isinstance(message_type, ObjectMessageType):
            return message_type.message_to_bytes(message), False
        if self._context.neighbours.read_msgpack:
            return message_type.message_to_msgpack(message), True
        try:
            return message_type.message_to_bytes(message), False
        except EncodeError:
            # There is nobody yet who could not read msgpack, which carries more.
            if self._context.connection_count or not MSGPACK_AVAILABLE:
                raise
            return message_type.message_to_msgpack(message), True

    def _decode(self, package: Package) -> Any:
        return self._message_type.message_from_bytes(package.data)

    def abandon(self) -> None:
        """Be closed in a forked child, whatever other threads were doing at the fork."""
        self._is_closed = True
        self._inbox.abandon()

    # What the context calls, see yoton.slots.Receiver

    def close_within(self, deadline: Deadline) -> None:
        """Close the channel, which takes no time for most of them."""
        self.close()

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Put packages into the inbox; the routing lock is held."""
        messages = zip(package.packages(), numbers, strict=False)
        self._inbox.put_all(messages, package.size)
        return True

    def packages_delivered(self) -> None:
        """Tell the user that messages came."""
        self._tell_of_drops()
        self._received.announce()

    def act_leading(self) -> bool:
        """Leave it to another thread: False."""
        return False

    def _tell_of_drops(self) -> None:
        """Tell the user of messages that were dropped since the last time."""
        if self.dropped == self._dropped_before:
            return
        if not self._has_logged_drops:
            self._has_logged_drops = True
            logger.warning("%r: does not keep up, messages are dropped", self)
        self._dropped_messages.announce()

    def _emit_received(self) -> None:
        self._received.emit_now(self)

    def _emit_dropped(self) -> None:
        dropped = self.dropped
        count, self._dropped_before = dropped - self._dropped_before, dropped
        if count:
            self._dropped_messages.emit_now(self, count)

    def peers_have_changed(self, gone: set[int]) -> None:
        """Tell the user that others came or went."""
        self._peers_changed.announce()

    def _emit_peers_changed(self) -> None:
        self._peers_changed.emit_now(self)

    def connection_made(self) -> None:
        """Nothing to do for most channels."""

    def contexts_gone(self, ids: set[int]) -> None:
        """Nothing to do for most channels."""

    def messages_lost(self, count: int) -> None:
        """Tell the user."""
        self._messages_lost += count
        self._gap.announce()

    def _emit_gap(self) -> None:
        lost = self._messages_lost
        count, self._lost_before = lost - self._lost_before, lost
        if count:
            self._gap.emit_now(self, count)

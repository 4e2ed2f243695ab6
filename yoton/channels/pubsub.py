"""The publish/subscribe pattern: each message goes to all subscribers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from yoton.channels.base import BaseChannel
from yoton.channels.sync import OK, ReceiverWord, SenderHold
from yoton.clock import FOREVER, Deadline, monotonic
from yoton.exceptions import ArgumentError
from yoton.package import Package
from yoton.waiting import WaitPoint

#: Seconds that a send waits at most while a subscriber in sync mode is full; then it sends all
#: the same, so that one that hangs cannot stop the sender.
HOLD_TIMEOUT = 1.0


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
        # Guards the hold.
        self._hold_lock = threading.RLock()
        self._hold = SenderHold()
        self._hold_changed = WaitPoint(self._hold_lock)

    def send(self, message: Any) -> None:
        """Send a message; it is received as one message.

        Waits up to a second while a subscriber in sync mode is full, and up to a second while
        a connection does not keep up. An empty message is not sent.

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
        if self._hold.full_receivers:
            self._wait_for_receivers()
        if self._is_closed:
            raise self._closed_error()
        self._context.send_package(self._msgpack_envelope if is_msgpack else self._envelope, data)

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

    def _wait_for_receivers(self) -> None:
        self._context.flush_burst()
        self._hold_changed.wait_for(
            lambda: self._is_closed or not self._hold.is_on(monotonic()), Deadline(HOLD_TIMEOUT)
        )

    def packages_delivered(self) -> None:
        """Note what subscribers in sync mode say."""
        with self._hold_lock:  # the lock of the inbox comes second
            self._hold_changed.wake_all()
            for package, _ in self._inbox.take_all():
                self._hold.hear(package.source_id, package.data, monotonic())

    def contexts_gone(self, ids: set[int]) -> None:
        """Wait for no subscriber that is gone."""
        with self._hold_lock:
            self._hold_changed.wake_all()
            self._hold.forget(ids)


class SubChannel(BaseChannel):
    """The receiving side of publish/subscribe: gets what all `PubChannel` at its slot send.

    Iterating over it gives the messages that are pending.

    Parameters
    ----------
    context : Context
        The context by which it receives.
    slot_base : str
        Name of the slot.
    message_type : MessageType, optional
        How bytes become messages. Default: `TEXT`.
    """

    _kind = "SubChannel"
    _pattern_out = "sub-pub"
    _pattern_in = "pub-sub"

    def _prepare(self) -> None:
        # Guards the word.
        self._sync_lock = threading.RLock()
        self._word: ReceiverWord | None = None
        self._sync_changed = WaitPoint(self._sync_lock)
        # Messages with a receive number below this one are selected; see select_sub_channel.
        self._selected_below = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Get the next pending message; StopIteration if there is none."""
        if self._word is not None:
            self._look_at_sync()
        message = self._inbox.take()
        if message is None:
            raise StopIteration
        return self._message_type.message_from_bytes(message[0])

    def next(self) -> Any:
        """Get the next pending message; StopIteration if there is none."""
        return self.__next__()

    def recv(self, block: bool | float | None = True) -> Any:
        """Receive a message, as it was sent.

        Parameters
        ----------
        block : bool, float or None
            True or None: wait until a message comes. False: do not wait. A number: the seconds
            to wait at most.

        Returns
        -------
        message
            An empty one ("", b"" or None) when none came in time, or the channel is closed.

        Raises
        ------
        DecodeError
            What came is no message of this type. A ValueError, for TEXT a UnicodeDecodeError.
        ArgumentError
            block is something else. A ValueError.
        """
        if self._word is not None:
            self._look_at_sync()
        message = self._inbox.take()
        if message is None:
            message = self._wait_for_message(_deadline(block))
        return self._message_type.message_from_bytes(message[0])

    def recv_all(self) -> list[Any]:
        """Receive all pending messages; does not wait, and the list may be empty.

        Raises
        ------
        DecodeError
            One of them is no message of this type. The others stay pending.
        """
        self._look_at_sync()
        return list(self)

    def recv_selected(self) -> list[Any]:
        """Receive the messages that are older than those of the other selected channels.

        Use it on the channel that `select_sub_channel` returned.

        Raises
        ------
        DecodeError
            One of them is no message of this type. The others stay pending.
        """
        limit = self._selected_below
        messages = []
        while message := self._inbox.take_if(lambda message: message[1] < limit):
            messages.append(self._message_type.message_from_bytes(message[0]))
        # Once they are taken: the senders may wait for that, and then nothing comes to tell.
        self._look_at_sync()
        return messages

    def set_sync_mode(self, value: bool) -> None:
        """Set whether channels that send to this one are held back when it cannot keep up.

        Parameters
        ----------
        value : bool
            True: `PubChannel.send` waits, up to a second each time, while more than 32
            messages are pending here.
        """
        with self._sync_lock:
            self._sync_changed.wake_all()
            was_full = self._word is not None and self._word.is_full
            self._word = ReceiverWord() if value else None
        if was_full and not value:
            self._send_data(OK, may_wait=False)

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Put messages into the inbox; the routing lock is held."""
        is_complete = self._inbox.put_all(zip(package.messages(), numbers, strict=False))
        return not is_complete or self._word is not None or self._received.has_handlers

    def packages_delivered(self) -> None:
        """Tell the senders whether to wait, and the user that messages came."""
        self._look_at_sync()
        super().packages_delivered()
        if self._word is not None:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Let the connection wait, as senders may go on until they hear that it is full here."""
        level = self._context.queue_limit // 2
        self._sync_changed.wait_for(
            lambda: len(self._inbox) <= level or self._word is None or self._is_closed,
            Deadline(HOLD_TIMEOUT),
        )

    def _wait_for_message(self, deadline: Deadline) -> tuple[bytes, int]:
        self._context.lead(self._inbox.has_items, deadline)
        return self._inbox.take() or self._inbox.get(deadline) or (b"", 0)

    def close(self) -> None:
        """Close the channel: it gets nothing more; what has come can still be received."""
        super().close()
        with self._sync_lock:
            self._sync_changed.wake_all()

    def _look_at_sync(self) -> None:
        if self._word is None:
            return
        with self._sync_lock:
            self._sync_changed.wake_all()
            word = self._word.look(len(self._inbox), monotonic()) if self._word else None
        if word is not None and not self._is_closed:
            self._send_data(word, may_wait=False)


def select_sub_channel(*channels: SubChannel) -> SubChannel | None:
    """Get the channel whose first pending message is the oldest.

    With `SubChannel.recv_selected` on it, one reads several channels in the order in which
    their messages came.

    Parameters
    ----------
    *channels : SubChannel
        Channels of one context.

    Returns
    -------
    SubChannel or None
        None if no message is pending.

    Raises
    ------
    ArgumentError
        The arguments are no SubChannels of one context. A ValueError.
    """
    if not channels or not all(isinstance(channel, SubChannel) for channel in channels):
        raise ArgumentError(f"select_sub_channel needs SubChannels, not {channels!r}")
    context = channels[0]._context
    if any(channel._context is not context for channel in channels):
        raise ArgumentError(
            "select_sub_channel needs channels of one context: no others have an order"
        )
    for channel in channels:
        channel._look_at_sync()
    # Asked before looking at the channels: what comes while they are looked at is not selected.
    limit = context.next_recv_number()
    firsts = [(first[1], channel) for channel in channels if (first := channel._inbox.peek())]
    firsts.sort(key=lambda pair: pair[0])
    if not firsts:
        return None
    selected = firsts[0][1]
    selected._selected_below = min([limit, *(seq for seq, _ in firsts[1:])])
    return selected


def _deadline(block: bool | float | None) -> Deadline:
    if block is None or block is True:
        return FOREVER
    if not isinstance(block, (int, float)):
        raise ArgumentError(f"block is True, False or a number of seconds, not {block!r}")
    return Deadline(float(block))

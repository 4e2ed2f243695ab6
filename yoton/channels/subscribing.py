"""The receiving side of publish/subscribe, and reading several channels in one order."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from yoton.channels.base import BaseChannel
from yoton.channels.sync import (
    FULL,
    HOLD_TIMEOUT,
    OK,
    REPEAT_INTERVAL,
    ReceiverWord,
    wait_word,
)
from yoton.clock import FOREVER, Deadline, monotonic
from yoton.events.repeating import RepeatedCall
from yoton.exceptions import ArgumentError, HighWaterMarkReached
from yoton.marks import DEFAULT_MAX_COUNT, DEFAULT_MAX_SIZE, HighWaterMark, Policy, checked_mark
from yoton.package import Package
from yoton.queues import Overflow
from yoton.waiting import WaitPoint


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
        # Guards the word and the count.
        self._sync_lock = threading.RLock()
        self._word: ReceiverWord | None = None
        # What it says before "full", with the policy "block".
        self._wait_word: bytes | None = None
        self._raises = False
        # As many as were dropped at the mark when an exception told of it.
        self._dropped_raised = 0
        # Whether there is something to do before a message is received.
        self._has_to_attend = False
        self._sync_changed = WaitPoint(self._sync_lock)
        # What repeats the word, once it has had somebody wait without a limit.
        self._reminding: RepeatedCall | None = None
        # Messages with a receive number below this one are selected; see select_sub_channel.
        self._selected_below = 0

    def _size_in_inbox(self, item: Any) -> int:
        return len(item[0])

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Get the next pending message; StopIteration if there is none."""
        if self._has_to_attend:
            self._raise_for_drops()
        message = self._inbox.take()
        if self._has_to_attend:
            self._look_at_sync()
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
        HighWaterMarkReached
            Messages were dropped, and the policy is "error". It is raised once; what is pending
            stays so.
        """
        if self._has_to_attend:
            self._raise_for_drops()
        message = self._inbox.take()
        if message is None:
            message = self._wait_for_message(_deadline(block))
        if self._has_to_attend:
            # Now that there is room: nobody knows when it is called again.
            self._look_at_sync()
        return self._message_type.message_from_bytes(message[0])

    def recv_all(self) -> list[Any]:
        """Receive all pending messages; does not wait, and the list may be empty.

        Raises
        ------
        DecodeError
            One of them is no message of this type. The others stay pending.
        HighWaterMarkReached
            As for `recv`.
        """
        self._raise_for_drops()
        messages = []
        while message := self._inbox.take():
            messages.append(self._message_type.message_from_bytes(message[0]))
        # Once they are taken: the senders may wait for that, and then nothing comes to tell.
        self._look_at_sync()
        return messages

    def recv_selected(self) -> list[Any]:
        """Receive the messages that are older than those of the other selected channels.

        Use it on the channel that `select_sub_channel` returned.

        Raises
        ------
        DecodeError
            One of them is no message of this type. The others stay pending.
        HighWaterMarkReached
            As for `recv`.
        """
        self._raise_for_drops()
        limit = self._selected_below
        messages = []
        while message := self._inbox.take_if(lambda message: message[1] < limit):
            messages.append(self._message_type.message_from_bytes(message[0]))
        self._look_at_sync()
        return messages

    def set_sync_mode(self, value: bool) -> None:
        """Set whether channels that send to this one are held back when it cannot keep up.

        It takes the place of a high-water mark with the policy "block", and such a mark that
        of sync mode.

        Parameters
        ----------
        value : bool
            True: `PubChannel.send` waits, up to a second each time, while more than 32
            messages are pending here.
        """
        if self._wait_word is not None:
            self._set_default_bounds()
        self._set_word(ReceiverWord() if value else None)

    def set_high_water_mark(
        self,
        messages: int | None = None,
        size: int | None = None,
        policy: str = "drop_old",
        timeout: float | None = None,
    ) -> None:
        """Set how many messages may be pending, and what happens to those beyond that.

        It holds for what comes from now on: when more is pending already, the policies that drop
        what comes do so until enough was received. None of the policies needs an event loop.

        Parameters
        ----------
        messages : int, optional
            How many messages. Default: 1 for "latest", else what the `queue_params` of the
            context say.
        size : int, optional
            How many bytes; a single message may have more. Default: 256 MiB.
        policy : str
            ``"drop_old"``: the oldest are dropped. ``"drop_new"``: those that come are.
            ``"latest"``: all but the newest are. ``"error"``: those that come are, and the next
            `recv` raises a HighWaterMarkReached. ``"block"``: nothing is dropped; every
            `PubChannel.send` to this channel waits from there on until half of it has been
            received, or this context is gone. What was sent before that still comes.
        timeout : float, optional
            Only for "block": seconds for which each message waits at most before it is sent all
            the same. Default: no limit. Publishers of Pyzo's yoton wait a second. Of what does not
            wait, 256 MiB or two million messages find room above the mark.

        Raises
        ------
        ArgumentError
            One of them is something else. A ValueError.
        """
        mark = checked_mark(messages, size, policy, timeout, self._context.queue_limit)
        if mark.policy is Policy.BLOCK:
            self._block(mark)
            return
        drops_new = mark.policy in (Policy.DROP_NEW, Policy.ERROR)
        self._inbox.set_bounds(
            mark.messages,
            Overflow.DROP_NEW if drops_new else Overflow.DROP_OLD,
            mark.size,
            keeps_latest=mark.policy is Policy.LATEST,
            is_mark=True,
        )
        with self._sync_lock:
            self._dropped_raised = self._inbox.dropped_at_mark
            self._raises = mark.policy is Policy.ERROR
        self._set_word(None if self._wait_word is not None else self._word)

    def _block(self, mark: HighWaterMark) -> None:
        # What is on its way comes beyond the mark, however many messages it is. Those who do not
        # wait must not fill the memory all the same, be it with tiny messages.
        max_size = mark.size + DEFAULT_MAX_SIZE
        limit = mark.messages + DEFAULT_MAX_COUNT
        self._inbox.set_bounds(limit, self._context.queue_overflow, max_size)
        self._raises = False
        word = ReceiverWord(mark.messages - 1, (mark.messages + 1) // 2, mark.size)
        self._set_word(word, wait_word(mark.timeout))
        self._look_at_sync()

    def _set_default_bounds(self) -> None:
        context = self._context
        self._inbox.set_bounds(context.queue_limit, context.queue_overflow, DEFAULT_MAX_SIZE)

    def _set_word(self, word: ReceiverWord | None, wait: bytes | None = None) -> None:
        """Have other senders held, or none; those that are held go on first."""
        with self._sync_lock:
            self._sync_changed.wake_all()
            was_full = self._word is not None and self._word.is_full
            is_another = word is not self._word
            self._word, self._wait_word = word, wait
            self._has_to_attend = self._raises or word is not None
        if was_full and is_another:
            self._say(OK)
        if wait is not None:
            self._begin_to_remind()

    def _begin_to_remind(self) -> None:
        """Say again and again whether to wait, from now until the channel is closed.

        The word may be lost on the way, and who waits without a limit would do so for ever; also
        if the word was the last one, that nobody has to wait any more.
        """
        with self._sync_lock:
            if self._reminding is not None:
                return
            reminding = RepeatedCall(functools.partial(_remind_again, weakref.ref(self)))
            self._reminding = reminding
        with contextlib.suppress(RuntimeError):  # an interpreter that ends allows no thread
            reminding.start()

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Put messages into the inbox; the routing lock is held."""
        messages = zip(package.messages(), numbers, strict=False)
        is_complete = self._inbox.put_all(messages, package.size)
        return not is_complete or self._word is not None or self._received.has_handlers

    def packages_delivered(self) -> None:
        """Tell the senders whether to wait, and the user that messages came."""
        self._look_at_sync()
        super().packages_delivered()
        # With the policy "block" the other channels have nothing to wait for.
        if self._word is not None and self._wait_word is None:
            self._wait_for_room()

    def connection_made(self) -> None:
        """Tell those who came whether to wait."""
        self._repeat_word()

    def peers_have_changed(self, gone: set[int]) -> None:
        """Tell those who came whether to wait, and the user that they did."""
        self._repeat_word()
        super().peers_have_changed(gone)

    def _repeat_word(self) -> None:
        with self._sync_lock:
            if self._wait_word is not None and self._word is not None:
                self._word.forget()
        self._remind()

    def _remind(self) -> None:
        """Say whether to wait, to those who may not have heard it."""
        if self._word is not None:
            self._look_at_sync()
        elif self._reminding is not None:
            self._say(OK)

    def _wait_for_room(self) -> None:
        """Let the connection wait, as senders may go on until they hear that it is full here."""
        level = self._context.queue_limit // 2
        self._sync_changed.wait_for(
            lambda: len(self._inbox) <= level or self._word is None or self._is_closed,
            Deadline(HOLD_TIMEOUT),
        )

    def abandon(self) -> None:
        """See `BaseChannel.abandon`."""
        super().abandon()
        self._sync_lock = threading.RLock()
        self._sync_changed = WaitPoint(self._sync_lock)
        self._word = self._wait_word = self._reminding = None
        self._has_to_attend = self._raises = False

    def _wait_for_message(self, deadline: Deadline) -> tuple[bytes, int]:
        self._context.lead(self._inbox.has_items, deadline)
        return self._inbox.take() or self._inbox.get(deadline) or (b"", 0)

    def close(self) -> None:
        """Close the channel: it gets nothing more; what has come can still be received."""
        if not self._is_closed:
            self._set_word(None)
        super().close()

    def _raise_for_drops(self) -> None:
        if not self._raises:
            return
        with self._sync_lock:
            dropped = self._inbox.dropped_at_mark
            count, self._dropped_raised = dropped - self._dropped_raised, dropped
        if count:
            raise HighWaterMarkReached(
                f"{count} messages came to {self!r} beyond its high-water mark", count
            )

    def _look_at_sync(self) -> None:
        """Say what is to be said. Whoever says it looks again: the last word has to be true."""
        said: bytes | None = None
        while self._word is not None or said is not None:
            with self._sync_lock:
                self._sync_changed.wake_all()
                wait, said = self._wait_word, self._next_word(said)
            if said is None:
                return
            if said is FULL and wait is not None:
                self._say(wait)
            self._say(said)

    def _say(self, word: bytes) -> None:
        """Tell the senders, also when the channel has just been closed: they may wait for it."""
        self._context.send_package(self._envelope, word, may_wait=False)

    def _next_word(self, said: bytes | None) -> bytes | None:
        """Note what was said, and get what is to be said; the lock is held."""
        word, now = self._word, monotonic()
        if word is None:
            # The senders were let go before that was said.
            return OK if said is FULL else None
        if said is not None:
            word.said(said, now)
        return word.look(len(self._inbox), now, self._inbox.size_is_over)


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


def _remind_again(channel: weakref.ref[SubChannel]) -> float | None:
    alive = channel()
    if alive is None or alive.closed:
        return None
    alive._remind()
    return REPEAT_INTERVAL


def _deadline(block: bool | float | None) -> Deadline:
    if block is None or block is True:
        return FOREVER
    if not isinstance(block, (int, float)):
        raise ArgumentError(f"block is True, False or a number of seconds, not {block!r}")
    return Deadline(float(block))

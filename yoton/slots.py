"""Which channel of a context sends and receives on which slot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from yoton.clock import Deadline
from yoton.exceptions import SlotError
from yoton.package import Package, normal_slot_name, slot_number
from yoton.traffic import Books, Flow

logger = logging.getLogger(__name__)


class Receiver(Protocol):
    """What a context knows of a channel.

    `deliver` is called with the routing lock held, so it may only note what came; the others
    are called without, in a thread of the connection.
    """

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Note the messages of a package, each with the next of the numbers.

        One call into C does both, and takes a message before its number: so the numbers tell
        whether it was done when Ctrl-C comes. Returns whether `packages_delivered` has to
        follow.
        """

    def packages_delivered(self) -> None:
        """Act on the packages noted since the last call."""

    def act_leading(self) -> bool:
        """Do so in a thread that leads, where Ctrl-C may strike and nothing may wait.

        Returns False if it has to be done in another thread. What was begun may be repeated.
        """

    def connection_made(self) -> None:
        """A context has come into the network."""

    def contexts_gone(self, ids: set[int]) -> None:
        """Some contexts can no longer be reached."""

    def messages_lost(self, count: int) -> None:
        """So many messages were sent to it that will not come."""

    def peers_have_changed(self, gone: set[int]) -> None:
        """Somebody has come to the other end of the channel, or is gone: the ids of those."""

    def close_within(self, deadline: Deadline) -> None:
        """Stop sending and receiving; wait for nothing any more at the deadline."""

    def abandon(self) -> None:
        """Be closed in a forked child, whatever other threads were doing at the fork."""


class Slot:
    """A slot that a channel has: its full name, the channel, and what goes over the slot.

    Besides, what tells all of the counts of the channel.
    """

    # Faster to look at than a tuple with names, and made without the modules of data classes.
    __slots__ = ("flow", "name", "receiver", "stats")

    def __init__(
        self, name: str, receiver: Receiver, flow: Flow, stats: Callable[[], dict[str, Any]]
    ) -> None:
        self.name = name
        self.receiver = receiver
        self.flow = flow
        self.stats = stats


class Slots:
    """The slots of a context, by their numbers.

    Changed with the routing lock held.

    Attributes
    ----------
    sending, receiving : dict of int to Slot
        Those that its channels send on, and receive on.
    """

    def __init__(self) -> None:
        self.sending: dict[int, Slot] = {}
        self.receiving: dict[int, Slot] = {}

    def take(
        self, channel: Receiver, sends_on: str, receives_on: str, books: Books
    ) -> tuple[int, int]:
        """Give a channel its slots; returns the numbers of both.

        Raises
        ------
        SlotError
            Another channel has one of them, or one with another name but the same number.
        """
        out_number, in_number = slot_number(sends_on), slot_number(receives_on)
        _check_free(self.sending, out_number, sends_on)
        _check_free(self.receiving, in_number, receives_on)
        self.sending[out_number] = Slot(sends_on, channel, books.sent, books.stats)
        self.receiving[in_number] = Slot(receives_on, channel, books.came, books.stats)
        return out_number, in_number

    def give_back(self, channel: Receiver) -> None:
        """Take the slots of a channel back."""
        for slots in (self.sending, self.receiving):
            for number in [n for n, slot in slots.items() if slot.receiver is channel]:
                del slots[number]

    def receivers(self) -> list[Receiver]:
        """Get the channels, each once; without the routing lock as well."""
        # Each of the two is copied by one call into C.
        slots = [*self.sending.values(), *self.receiving.values()]
        return list(dict.fromkeys(slot.receiver for slot in slots))

    def tell_of_connection(self) -> None:
        """Tell the channels that a context has come into the network; without the lock."""
        for receiver in self.receivers():
            receiver.connection_made()

    def renew_states(self) -> None:
        """Do the same in a thread that has to live on, whatever a channel raises."""
        for receiver in self.receivers():
            try:
                receiver.connection_made()
            except Exception:
                logger.exception("%r failed to tell its state", receiver)


def _check_free(slots: dict[int, Slot], number: int, name: str) -> None:
    if number not in slots:
        return
    taken = slots[number].name
    if normal_slot_name(taken) == normal_slot_name(name):
        raise SlotError(f"slot {name!r} has a channel in this context already")
    raise SlotError(
        f"slot {name!r} and slot {taken!r}, which has a channel in this context, have the same"
        f" number {number:#x} on the wire and would be mixed up; choose another name"
    )

"""What will not arrive: how many messages of which slots, and the package that passes it on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from yoton.package import EVERYONE, SLOT_LINK, Package, Place
from yoton.record import Record
from yoton.seen import SeenNumbers

#: Slots and destinations for which losses are told apart. All goes into one package, as large as
#: a hello at most: what was told of by halves could not be told again.
MAX_LOSSES = 2000


class Loss(Record):
    """Messages that will not arrive.

    Parameters
    ----------
    slot : int
        Number of their slot; 0 stands for any number of slots.
    dest_id : int
        The context that they were for, or `EVERYONE`.
    messages : int
        How many they are.
    """

    __slots__ = ("dest_id", "messages", "slot")

    def __init__(self, slot: int, dest_id: int, messages: int) -> None:
        self.slot = slot
        self.dest_id = dest_id
        self.messages = messages


class Gap(Record):
    """What is missing in what one end of a connection gets.

    Parameters
    ----------
    place : tuple of int
        The last package that is missing; of what was lost elsewhere, the package that says so.
    losses : sequence of Loss
        What was in it, and in those before it.
    origin : tuple of int or None
        Of what was lost elsewhere, the context that found it out and the number that it gave it:
        in a ring the same may come by two ways, and must not go round for ever.
    """

    __slots__ = ("losses", "origin", "place")

    def __init__(
        self, place: Place, losses: Sequence[Loss], origin: tuple[int, int] | None = None
    ) -> None:
        self.place = place
        self.losses = losses
        self.origin = origin

    @property
    def messages(self) -> int:
        """The number of messages."""
        return sum(loss.messages for loss in self.losses)


class Losses:
    """A sum of losses, which takes no more memory than what can be told.

    Parameters
    ----------
    losses : iterable of Loss
        What it begins with.
    """

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self._messages: dict[tuple[int, int], int] = {}
        for loss in losses:
            self.add(loss)

    def __iter__(self) -> Iterator[Loss]:
        return (Loss(*key, messages) for key, messages in self._messages.items())

    def add(self, loss: Loss) -> None:
        """Add a loss. What is beyond the slots and destinations that can be told is of slot 0."""
        key = loss.slot, loss.dest_id
        if key not in self._messages and len(self._messages) >= MAX_LOSSES:
            key = 0, EVERYONE
        self._messages[key] = self._messages.get(key, 0) + loss.messages

    def clear(self) -> None:
        """Forget them all."""
        self._messages.clear()


class GapPackage(Package):
    """What was lost elsewhere, on its way among the packages that follow it.

    Parameters
    ----------
    data : bytes
        Origin and losses, encoded.
    kind : int
        The source seq by which peers know what it is. Together with a number, in place of the
        id of a context, it makes its place among the packages of a connection.
    losses : sequence of Loss
        What was lost.
    """

    __slots__ = ("losses",)

    _numbers = itertools.count(1)

    def __init__(self, data: bytes, kind: int, losses: Sequence[Loss]) -> None:
        super().__init__(data, SLOT_LINK, next(self._numbers), kind)
        self.losses = losses


class GapOrigins:
    """Numbers the gaps that one context finds out, and knows those that others did.

    Not thread-safe, but for `new`.

    Parameters
    ----------
    own_id : int
        Id of the context.
    """

    def __init__(self, own_id: int) -> None:
        self._own_id = own_id
        self._numbers = itertools.count(1)
        self._seen = SeenNumbers()

    def new(self) -> tuple[int, int]:
        """Get the origin of a gap that was found out here."""
        return self._own_id, next(self._numbers)

    def is_news(self, origin: tuple[int, int]) -> bool:
        """Note the origin of a gap; tells whether it has not come before, and not from here."""
        finder_id, number = origin
        if finder_id == self._own_id or not self._seen.unseen(finder_id, number, number):
            return False
        self._seen.note(finder_id, number, number)
        return True

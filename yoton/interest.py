"""Which slots are wanted behind which line, so that nothing goes where nobody wants it.

At first everything goes everywhere. A node that gets packages of a slot for which it has neither
a channel nor another line *declines* the slot at the end that sent them. When a channel or a line
comes that may want it, the node *wants* it again, and so do all nodes on the way to those who
send; each *confirms* that when the nodes behind it have. So whoever makes a channel can wait
until nothing that is sent from then on passes it by.

A line may be lost and come back. Each end notices at another time, and what it said last may be
lost. So it sends everything again at once: to keep what nobody wants does little harm, and what
the other end wants meanwhile it cannot hear. The other end relies on that no sooner than it has a
confirmation by the new line, from those behind it as well.

A node that declines what came by one line while it gets the same by another one would drop it as
known, so nothing is declined in a network with rings.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable
from typing import Any, TypeAlias

from yoton.package import FIRST_CHANNEL_SLOT
from yoton.record import Record

#: Messages of a slot that come in vain before it is declined: a channel may be about to come.
PATIENCE = 8

#: Wishes of others that wait to be confirmed. A peer that has more is not answered: it gives up
#: after a while, and only then something may pass it by.
MAX_WISHES = 1000

#: Slots that are remembered as declined by others, or as about to be. Beyond that more is sent
#: than has to be. About 300 bytes each.
MAX_SLOTS = 10_000


class Decline(Record):
    """Send nothing on this slot any more."""

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot


class Want(Record):
    """Send everything on these slots again, on all if there are none; and confirm that."""

    __slots__ = ("slots", "token")

    def __init__(self, token: int, slots: tuple[int, ...] = ()) -> None:
        self.token = token
        self.slots = slots


class Confirm(Record):
    """What was wanted with this token is sent from now on, from wherever it comes."""

    __slots__ = ("token",)

    def __init__(self, token: int) -> None:
        self.token = token


Notice: TypeAlias = Decline | Want | Confirm


class Tell(Record):
    """Tell the end of a line something."""

    __slots__ = ("line", "notice")

    def __init__(self, line: Any, notice: Notice) -> None:
        self.line = line
        self.notice = notice


class _Wish(Record):
    """What is wanted and not confirmed yet.

    Parameters
    ----------
    unconfirmed : set
        The token and the line of each `Want` that has to be confirmed for it: its own, and those
        before it, which may be about the same slots.
    asker : Tell or None
        Whom to tell when it is confirmed.
    """

    __slots__ = ("asker", "unconfirmed")

    def __init__(self, unconfirmed: set[tuple[int, Hashable]], asker: Tell | None) -> None:
        self.unconfirmed = unconfirmed
        self.asker = asker


class Interest:
    """Knows what is declined by whom.

    Not thread-safe: the node calls it with its routing lock held. What has to be told to others
    is returned.

    Attributes
    ----------
    declined_by : dict of int to set
        For slots the lines whose other ends have declined them.
    """

    def __init__(self) -> None:
        self.declined_by: dict[int, set[Hashable]] = {}
        # For slots the lines at whose other ends this node has declined them, and for both how
        # many messages have come in vain.
        self._declined_at: dict[int, set[Hashable]] = {}
        self._in_vain: dict[tuple[int, Hashable], int] = {}
        self._wishes: dict[int, _Wish] = {}
        self._tokens = itertools.count(1)

    def came_in_vain(self, slot: int, line: Hashable, count: int = 1) -> list[Tell]:
        """Note that so many messages came which nobody here wants, nor behind another line."""
        if slot < FIRST_CHANNEL_SLOT or line in self._declined_at.get(slot, ()):
            return []
        count += self._in_vain.pop((slot, line), 0)
        if count < PATIENCE:
            if len(self._in_vain) < MAX_SLOTS:
                self._in_vain[slot, line] = count
            return []
        self._declined_at.setdefault(slot, set()).add(line)
        return [Tell(line, Decline(slot))]

    def want(self, slots: Collection[int]) -> tuple[int, list[Tell]]:
        """Take back what was declined of some slots; returns the token for `is_confirmed`."""
        return self._want(slots)

    def want_all(self, new_line: Hashable | None = None) -> tuple[int, list[Tell]]:
        """Take back all that was declined, as a line has come that may want it.

        Parameters
        ----------
        new_line : hashable, optional
            That line, if its other end is to do the same.
        """
        return self._want(tuple(self._declined_at), new_line=new_line)

    def has_declined(self, slot: int) -> bool:
        """Tell whether packages of a slot may pass this node by."""
        return slot in self._declined_at or bool(self._wishes)

    @property
    def is_declining(self) -> bool:
        """Whether there is a slot of which packages may pass this node by."""
        return bool(self._declined_at or self._wishes)

    def is_confirmed(self, token: int) -> bool:
        """Tell whether everything that was wanted is sent."""
        return token not in self._wishes

    def give_up(self, tokens: Iterable[int]) -> None:
        """Have nobody wait any more for the confirmation of some wishes."""
        for token in tokens:
            self._wishes.pop(token, None)

    def heard(self, line: Hashable, notice: Notice) -> list[Tell]:
        """Act on what the other end of a line told."""
        if isinstance(notice, Decline):
            if notice.slot >= FIRST_CHANNEL_SLOT and len(self.declined_by) < MAX_SLOTS:
                self.declined_by.setdefault(notice.slot, set()).add(line)
            return []
        if isinstance(notice, Want):
            self._send_again(line, notice.slots or tuple(self.declined_by))
            if len(self._wishes) >= MAX_WISHES:
                return []
            wanted = notice.slots or tuple(self._declined_at)
            return self._want(wanted, asker=Tell(line, Confirm(notice.token)))[1]
        for wish in self._wishes.values():
            wish.unconfirmed.discard((notice.token, line))
        return self._confirmations()

    def line_lost(self, line: Hashable) -> None:
        """Forget what the other end of a line has declined, as it may want it before it is back.

        What this node has declined there counts until that end has confirmed that it sends it
        again: it may not have noticed yet.
        """
        self._send_again(line, tuple(self.declined_by))

    def line_resumed(self, line: Hashable) -> list[Tell]:
        """Want once more what was wanted of a line that is back, and not confirmed.

        It, or its confirmation, may have been lost. What is still declined there is left to
        `want_all`.
        """
        tokens = {
            token
            for wish in self._wishes.values()
            for token, other in wish.unconfirmed
            if other == line
        }
        return [Tell(line, Want(token)) for token in sorted(tokens)]

    def line_closed(self, line: Hashable) -> list[Tell]:
        """Forget a line."""
        self.line_lost(line)
        _take_out(self._declined_at, line, tuple(self._declined_at))
        for key in [key for key in self._in_vain if key[1] == line]:
            del self._in_vain[key]
        for wish in self._wishes.values():
            wish.unconfirmed.difference_update([key for key in wish.unconfirmed if key[1] == line])
        return self._confirmations()

    def _send_again(self, line: Hashable, slots: Iterable[int]) -> None:
        _take_out(self.declined_by, line, slots)

    def _want(
        self,
        slots: Collection[int],
        *,
        asker: Tell | None = None,
        new_line: Hashable | None = None,
    ) -> tuple[int, list[Tell]]:
        asking_line = None if asker is None else asker.line
        by_line: dict[Hashable, list[int]] = {}
        for slot in slots:
            for line in self._declined_at.get(slot, set()) - {asking_line}:
                by_line.setdefault(line, []).append(slot)
        for line, wanted in by_line.items():
            _take_out(self._declined_at, line, wanted)
        if new_line is not None:
            by_line[new_line] = []
        token = next(self._tokens)
        unconfirmed = {(token, line) for line in by_line}
        for wish in self._wishes.values():
            # Not what the asker has to confirm: it would wait for this node, and this for it.
            unconfirmed.update(key for key in wish.unconfirmed if key[1] != asking_line)
        self._wishes[token] = _Wish(unconfirmed, asker)
        tells = [Tell(line, Want(token, tuple(wanted))) for line, wanted in by_line.items()]
        return token, tells + self._confirmations()

    def _confirmations(self) -> list[Tell]:
        """Take out the wishes that are confirmed, and get whom to tell."""
        tells = []
        for token, wish in list(self._wishes.items()):
            if not wish.unconfirmed:
                del self._wishes[token]
                if wish.asker is not None:
                    tells.append(wish.asker)
        return tells


def _take_out(lines_of: dict[int, set[Hashable]], line: Hashable, slots: Iterable[int]) -> None:
    for slot in slots:
        lines = lines_of.get(slot)
        if lines is not None:
            lines.discard(line)
            if not lines:
                del lines_of[slot]

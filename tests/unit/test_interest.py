"""Interest: what is declined, wanted again and confirmed, in one node and in networks of them."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from yoton import interest as interest_module
from yoton.interest import (
    MAX_SLOTS,
    MAX_WISHES,
    PATIENCE,
    Confirm,
    Decline,
    Interest,
    Notice,
    Tell,
    Want,
)

SLOT, OTHER_SLOT = 100, 101


def declining_interest(*lines: str, slot: int = SLOT) -> Interest:
    """Get the interest of a node that has declined a slot at some lines."""
    interest = Interest()
    for line in lines:
        assert come_in_vain(interest, line, PATIENCE, slot) == [Tell(line, Decline(slot))]
    return interest


def come_in_vain(interest: Interest, line: str, count: int, slot: int = SLOT) -> list[Tell]:
    return [tell for _ in range(count) for tell in interest.came_in_vain(slot, line)]


# Declining


def test_a_slot_is_declined_once_some_packages_came_in_vain() -> None:
    interest = Interest()
    assert come_in_vain(interest, "a", PATIENCE - 1) == []
    assert not interest.has_declined(SLOT)
    assert come_in_vain(interest, "a", 1) == [Tell("a", Decline(SLOT))]
    assert interest.has_declined(SLOT)
    assert not interest.has_declined(OTHER_SLOT)


def test_the_messages_of_a_bundle_count() -> None:
    interest = Interest()
    assert interest.came_in_vain(SLOT, "a", PATIENCE - 1) == []
    assert interest.came_in_vain(SLOT, "a", 2) == [Tell("a", Decline(SLOT))]


def test_it_knows_whether_anything_is_declined() -> None:
    interest = Interest()
    assert not interest.is_declining
    interest = declining_interest("a")
    assert interest.is_declining
    token, _ = interest.want_all()
    interest.heard("a", Confirm(token))
    assert not interest.is_declining


def test_what_was_still_on_its_way_is_not_declined_again() -> None:
    interest = declining_interest("a")
    assert come_in_vain(interest, "a", 2 * PATIENCE) == []


def test_each_line_and_each_slot_counts_by_itself() -> None:
    interest = Interest()
    for line in ("a", "b"):
        for slot in (SLOT, OTHER_SLOT):
            assert come_in_vain(interest, line, PATIENCE - 1, slot) == []
    assert come_in_vain(interest, "b", 1) == [Tell("b", Decline(SLOT))]


def test_what_contexts_say_to_each_other_is_never_declined() -> None:
    interest = Interest()
    assert come_in_vain(interest, "a", 2 * PATIENCE, slot=2) == []
    assert interest.heard("a", Decline(2)) == []
    assert interest.declined_by == {}


def test_it_remembers_so_many_slots_and_no_more() -> None:
    interest = Interest()
    for slot in range(1000, 1000 + 2 * MAX_SLOTS):
        interest.came_in_vain(slot, "a")
        interest.heard("a", Decline(slot))
    assert len(interest.declined_by) == MAX_SLOTS
    assert len(interest._in_vain) <= MAX_SLOTS


# What others decline


def test_what_others_decline_is_known_until_they_want_it_again() -> None:
    interest = Interest()
    for line in ("a", "b"):
        interest.heard(line, Decline(SLOT))
    assert interest.declined_by == {SLOT: {"a", "b"}}
    assert interest.heard("a", Want(7, (SLOT,))) == [Tell("a", Confirm(7))]
    assert interest.declined_by == {SLOT: {"b"}}
    interest.heard("b", Want(8, (OTHER_SLOT,)))
    assert interest.declined_by == {SLOT: {"b"}}


def test_who_wants_no_slot_in_particular_wants_all() -> None:
    interest = Interest()
    for slot in (SLOT, OTHER_SLOT):
        interest.heard("a", Decline(slot))
    interest.heard("a", Want(7))
    assert interest.declined_by == {}


# Wanting


def test_what_was_not_declined_is_confirmed_at_once() -> None:
    interest = declining_interest("a", slot=OTHER_SLOT)
    token, tells = interest.want((SLOT,))
    assert tells == []
    assert interest.is_confirmed(token)


def test_what_was_declined_is_wanted_wherever_it_was() -> None:
    interest = declining_interest("a", "b")
    token, tells = interest.want((SLOT,))
    assert sorted(tells, key=lambda tell: tell.line) == [
        Tell(line, Want(token, (SLOT,))) for line in ("a", "b")
    ]
    for line in ("a", "b"):
        assert not interest.is_confirmed(token)
        assert interest.heard(line, Confirm(token)) == []
    assert interest.is_confirmed(token)
    assert not interest.has_declined(SLOT)


def test_a_new_line_has_all_wanted_that_was_declined() -> None:
    interest = declining_interest("a")
    token, tells = interest.want_all()
    assert tells == [Tell("a", Want(token, (SLOT,)))]
    assert not interest.is_confirmed(token)


def test_the_other_end_of_a_new_line_can_be_told_to_do_the_same() -> None:
    interest = declining_interest("a")
    token, tells = interest.want_all("new")
    assert tells == [Tell("a", Want(token, (SLOT,))), Tell("new", Want(token))]
    interest.heard("a", Confirm(token))
    assert not interest.is_confirmed(token)
    interest.heard("new", Confirm(token))
    assert interest.is_confirmed(token)


def test_a_relay_confirms_when_those_behind_it_have() -> None:
    interest = declining_interest("a", "b")
    tells = interest.heard("c", Want(7, (SLOT,)))
    assert sorted(tell.line for tell in tells) == ["a", "b"]
    (token,) = {tell.notice.token for tell in tells}  # type: ignore[union-attr]
    assert interest.heard("a", Confirm(token)) == []
    assert interest.heard("b", Confirm(token)) == [Tell("c", Confirm(7))]


def test_who_wants_a_slot_is_not_asked_for_it() -> None:
    interest = declining_interest("a")
    assert interest.heard("a", Want(7, (SLOT,))) == [Tell("a", Confirm(7))]
    assert interest.has_declined(SLOT)


def test_a_wish_is_confirmed_after_those_before_it() -> None:
    interest = declining_interest("a")
    first, _ = interest.want((SLOT,))
    assert interest.has_declined(OTHER_SLOT), "or one would not wait for what is under way"
    second, tells = interest.want((SLOT,))
    assert tells == []
    assert interest.heard("c", Want(7, (SLOT,))) == []
    assert not interest.is_confirmed(second)
    assert interest.heard("a", Confirm(first)) == [Tell("c", Confirm(7))]
    assert interest.is_confirmed(second)


def test_two_that_want_the_same_of_each_other_do_not_wait_for_each_other() -> None:
    interest = declining_interest("a")
    token, _ = interest.want((SLOT,))
    assert interest.heard("a", Want(7, (SLOT,))) == [Tell("a", Confirm(7))]
    assert not interest.is_confirmed(token)


def test_a_wish_that_was_given_up_keeps_nobody_waiting() -> None:
    interest = declining_interest("a")
    token, _ = interest.want((SLOT,))
    interest.give_up([token])
    assert not interest.is_declining
    interest.give_up([token])
    later, _ = interest.want((SLOT,))
    assert interest.is_confirmed(later)


def test_it_keeps_so_many_wishes_and_no_more() -> None:
    interest = declining_interest("a")
    interest.want((SLOT,))
    interest.heard("b", Decline(SLOT))
    for token in range(2 * MAX_WISHES):
        assert interest.heard("b", Want(token)) == []
    assert len(interest._wishes) == MAX_WISHES
    assert interest.declined_by == {}, "what it can do it does all the same"


@pytest.mark.parametrize("token", [0, 1, 2**64 - 1])
def test_a_confirmation_that_nobody_waits_for_is_ignored(token: int) -> None:
    assert declining_interest("a").heard("a", Confirm(token)) == []


# The end of a line


def test_a_line_that_ends_is_forgotten() -> None:
    interest = declining_interest("a", "b")
    come_in_vain(interest, "a", 1, OTHER_SLOT)
    come_in_vain(interest, "b", 1, OTHER_SLOT)
    interest.heard("a", Decline(SLOT))
    interest.line_closed("a")
    assert interest.declined_by == {}
    token, tells = interest.want((SLOT,))
    assert tells == [Tell("b", Want(token, (SLOT,)))]
    assert come_in_vain(interest, "a", PATIENCE - 1, OTHER_SLOT) == []
    assert come_in_vain(interest, "b", PATIENCE - 1, OTHER_SLOT) != []


def test_nobody_waits_for_a_line_that_has_ended() -> None:
    interest = declining_interest("a")
    interest.heard("c", Want(7, (SLOT,)))
    assert interest.line_closed("a") == [Tell("c", Confirm(7))]


# Networks


class NetworkMachine(RuleBasedStateMachine):
    """Nodes in a tree, with lines that keep the order and take their time.

    Whoever made a channel and got the confirmation gets all that is sent from then on.
    """

    @initialize(parents=st.lists(st.integers(0, 3), min_size=1, max_size=4))
    def build(self, parents: list[int]) -> None:
        self.patch = pytest.MonkeyPatch()
        # So that more happens in as many steps.
        self.patch.setattr(interest_module, "PATIENCE", 2)
        self.count = len(parents) + 1
        self.interests = [Interest() for _ in range(self.count)]
        self.neighbours: list[set[int]] = [set() for _ in range(self.count)]
        for child, parent in enumerate(parents, 1):
            self.neighbours[child].add(parent % child)
            self.neighbours[parent % child].add(child)
        self.has_channel = [False] * self.count
        self.wishes: dict[int, int] = {}
        self.lines: dict[tuple[int, int], deque[Notice | int]] = {
            (node, other): deque() for node in range(self.count) for other in self.neighbours[node]
        }
        self.sent = 0
        # For each message who has to get it, and who did.
        self.due: dict[int, set[int]] = {}
        self.got: dict[int, set[int]] = {}

    def teardown(self) -> None:
        self.patch.undo()

    def _tell(self, node: int, tells: list[Tell]) -> None:
        for other, notice in ((tell.line, tell.notice) for tell in tells):
            # Notices go before the messages that wait.
            line = self.lines[node, other]
            waiting = [item for item in line if isinstance(item, int)]
            notices = [item for item in line if not isinstance(item, int)]
            line.clear()
            line.extend([*notices, notice, *waiting])

    def _pass_on(self, node: int, message: int, source: int | None) -> None:
        declined_by = self.interests[node].declined_by.get(SLOT, set())
        others = self.neighbours[node] - {source}
        for other in others - declined_by:
            self.lines[node, other].append(message)
        if self.has_channel[node]:
            assert node not in self.got[message], "there is one way in a tree"
            self.got[message].add(node)
        elif source is not None and others <= declined_by:
            self._tell(node, self.interests[node].came_in_vain(SLOT, source))

    @rule(node=st.integers(0, 4), count=st.integers(1, 3))
    def send(self, node: int, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            self.due[self.sent] = {
                other
                for other in range(self.count)
                if self.has_channel[other] and other != node % self.count
                if other not in self.wishes
            }
            self.got[self.sent] = set()
            self._pass_on(node % self.count, self.sent, None)

    @rule(node=st.integers(0, 4))
    def send_until_it_is_declined(self, node: int) -> None:
        for _ in range(self.count):
            self.send(node, 2)
            self.deliver_all()

    @rule(node=st.integers(0, 4))
    def make_channel(self, node: int) -> None:
        node %= self.count
        if not self.has_channel[node]:
            self.has_channel[node] = True
            token, tells = self.interests[node].want((SLOT,))
            self.wishes[node] = token
            self._tell(node, tells)
            self._look_at_wishes()

    @rule(node=st.integers(0, 4))
    def close_channel(self, node: int) -> None:
        node %= self.count
        self.has_channel[node] = False
        self.wishes.pop(node, None)
        for due in self.due.values():
            due.discard(node)

    @precondition(lambda self: any(self.lines.values()))
    @rule(data=st.data())
    def deliver_one(self, data: st.DataObject) -> None:
        self._deliver(data.draw(st.sampled_from([k for k, line in self.lines.items() if line])))

    @rule()
    def deliver_all(self) -> None:
        while busy := [key for key, line in self.lines.items() if line]:
            self._deliver(busy[0])
        assert not self.wishes
        for message, due in self.due.items():
            assert due <= self.got[message]

    def _deliver(self, line: tuple[int, int]) -> None:
        source, node = line
        item = self.lines[line].popleft()
        if isinstance(item, int):
            self._pass_on(node, item, source)
        else:
            self._tell(node, self.interests[node].heard(source, item))
            self._look_at_wishes()

    def _look_at_wishes(self) -> None:
        for node, token in list(self.wishes.items()):
            if self.interests[node].is_confirmed(token):
                del self.wishes[node]


TestNetwork = NetworkMachine.TestCase
TestNetwork.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)

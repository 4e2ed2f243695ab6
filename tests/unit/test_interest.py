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


# The loss of a line


def test_to_a_line_that_is_lost_everything_is_sent_whatever_its_end_had_declined() -> None:
    interest = Interest()
    for line in ("a", "b"):
        interest.heard(line, Decline(SLOT))
    interest.line_lost("a")
    assert interest.declined_by == {SLOT: {"b"}}


def test_what_was_declined_at_a_line_that_is_lost_counts_until_its_end_confirms_otherwise() -> None:
    interest = declining_interest("a")
    interest.line_lost("a")
    assert interest.has_declined(SLOT)
    token, _ = interest.want((SLOT,))
    assert not interest.is_confirmed(token)
    assert interest.line_resumed("a") == [Tell("a", Want(token))]
    assert not interest.is_confirmed(token)
    interest.heard("a", Confirm(token))
    assert interest.is_confirmed(token)


def test_what_is_not_confirmed_is_wanted_again_of_a_line_that_is_back_and_of_no_other() -> None:
    interest = declining_interest("a", "b")
    first, _ = interest.want((SLOT,))
    interest.heard("b", Confirm(first))
    interest.heard("c", Want(7, (SLOT,)))
    second, _ = interest.want_all("new")
    interest.line_lost("a")
    assert interest.line_resumed("b") == []
    # Once, however many wait for it.
    assert interest.line_resumed("a") == [Tell("a", Want(first))]
    assert interest.heard("a", Confirm(first)) == [Tell("c", Confirm(7))]
    assert interest.line_resumed("a") == []
    assert not interest.is_confirmed(second)


# Networks


class NetworkMachine(RuleBasedStateMachine):
    """Nodes in a tree, with lines that keep the order and take their time.

    They may be lost, and come back when both ends have noticed. Messages are sent again then, as
    a session does it. Whoever made a channel and got the confirmation gets all that is sent from
    then on, and so does whoever makes one meanwhile of what is sent by a neighbour that knows that
    there is no line.
    """

    @initialize(parents=st.lists(st.integers(0, 2), min_size=1, max_size=3))
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
        # For each end of a line that is broken what it keeps for the next one; those that have
        # noticed; those of them that may come back; and the nodes that have to ask for all.
        self.kept: dict[tuple[int, int], list[int]] = {}
        self.away: set[tuple[int, int]] = set()
        self.returning: set[tuple[int, int]] = set()
        self.asking: set[int] = set()
        self.sent = 0
        # For each message who has to get it, and who did.
        self.due: dict[int, set[int]] = {}
        self.got: dict[int, set[int]] = {}

    def teardown(self) -> None:
        self.come_to_rest()
        self.patch.undo()

    def _tell(self, node: int, tells: list[Tell]) -> None:
        for other, notice in ((tell.line, tell.notice) for tell in tells):
            if (node, other) in self.kept:
                continue  # it is lost
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
            self.kept.get((node, other), self.lines[node, other]).append(message)
        if self.has_channel[node]:
            assert node not in self.got[message], "there is one way in a tree"
            self.got[message].add(node)
        elif source is not None and others <= declined_by:
            self._tell(node, self.interests[node].came_in_vain(SLOT, source))

    @rule(node=st.integers(0, 3), count=st.integers(1, 3))
    def send(self, node: int, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            self.due[self.sent] = {
                other
                for other in range(self.count)
                if self.has_channel[other] and other != node % self.count
                if other not in self.wishes or (node % self.count, other) in self.away
            }
            self.got[self.sent] = set()
            self._pass_on(node % self.count, self.sent, None)

    @rule(node=st.integers(0, 3))
    def send_until_it_is_declined(self, node: int) -> None:
        for _ in range(self.count):
            self.send(node, 2)
            self.deliver_all()

    @rule(node=st.integers(0, 3))
    def make_channel(self, node: int) -> None:
        node %= self.count
        if not self.has_channel[node]:
            self.has_channel[node] = True
            token, tells = self.interests[node].want((SLOT,))
            self.wishes[node] = token
            self._tell(node, tells)
            self._look_at_wishes()

    @rule(node=st.integers(0, 3))
    def close_channel(self, node: int) -> None:
        node %= self.count
        self.has_channel[node] = False
        self.wishes.pop(node, None)
        for due in self.due.values():
            due.discard(node)

    @precondition(lambda self: self._whole)
    @rule(data=st.data(), source=st.none() | st.integers(0, 3), noticing=st.integers(0, 2))
    def break_line(self, data: st.DataObject, source: int | None, noticing: int) -> None:
        end = data.draw(st.sampled_from(self._whole))
        if source is not None:
            self.send_until_it_is_declined(source)
        self._break_line(end, noticing)

    def _break_line(self, end: tuple[int, int], noticing: int) -> None:
        ends = [end, end[::-1]]
        self.kept.update({end: [] for end in ends})
        for each in ends[:noticing]:
            self._notice_loss(each)

    @property
    def _whole(self) -> list[tuple[int, int]]:
        return sorted(end for end in self.lines if not {end, end[::-1]} & self.kept.keys())

    @precondition(lambda self: self.kept.keys() - self.away)
    @rule(data=st.data())
    def notice_loss(self, data: st.DataObject) -> None:
        self._notice_loss(data.draw(st.sampled_from(sorted(self.kept.keys() - self.away))))

    def _notice_loss(self, end: tuple[int, int]) -> None:
        node, other = end
        # What has come meanwhile was read, the rest is kept at the other end.
        left = self.lines[other, node]
        self.kept[other, node][:0] = [item for item in left if isinstance(item, int)]
        left.clear()
        self.interests[node].line_lost(other)
        self.away.add(end)
        if end[::-1] in self.away:
            self.returning |= {end, end[::-1]}

    @precondition(lambda self: self.returning)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        self._come_back(data.draw(st.sampled_from(sorted(self.returning))))

    def _come_back(self, end: tuple[int, int]) -> None:
        node, other = end
        self.returning.discard(end)
        self.away.discard(end)
        self.lines[end].extend(self.kept.pop(end))
        self._tell(node, self.interests[node].line_resumed(other))
        self.asking.add(node)

    @precondition(lambda self: self.asking)
    @rule()
    def ask_for_all(self) -> None:
        while self.asking:
            node = self.asking.pop()
            self._tell(node, self.interests[node].want_all()[1])
        self._look_at_wishes()

    @precondition(lambda self: self._busy)
    @rule(data=st.data())
    def deliver_one(self, data: st.DataObject) -> None:
        self._deliver(data.draw(st.sampled_from(self._busy)))

    @property
    def _busy(self) -> list[tuple[int, int]]:
        """The lines of which the next thing can be read, by the nodes from which and to which."""
        return [
            (node, other)
            for (node, other), line in self.lines.items()
            if line and (other, node) not in self.away
        ]

    @rule()
    def deliver_all(self) -> None:
        while busy := self._busy:
            self._deliver(busy[0])

    @rule()
    def come_to_rest(self) -> None:
        for end in sorted(self.kept.keys() - self.away):
            self._notice_loss(end)
        for end in sorted(self.returning):
            self._come_back(end)
        self.ask_for_all()
        self.deliver_all()
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


# Minutes, on a machine that is busy with much else.
TestNetwork = pytest.mark.timeout(300)(NetworkMachine.TestCase)
TestNetwork.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("first", [(1, 2), (2, 1)])
def test_a_line_that_is_back_confirms_when_those_behind_it_have(first: tuple[int, int]) -> None:
    network = NetworkMachine()
    network.build([0, 1])
    network.send_until_it_is_declined(0)
    network._break_line((1, 2), 2)
    network.make_channel(2)
    for end in (first, first[::-1]):
        network.send(0, 1)
        network._come_back(end)
    network._look_at_wishes()
    network.send(0, 1)
    assert network.wishes
    network.teardown()

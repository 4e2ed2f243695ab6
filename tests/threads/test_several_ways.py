"""Networks in which two ways lead to the same context, and one of them stands still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import PATIENCE, wait_until

from yoton import OBJECT, Context, PubChannel, ReconnectPolicy, StateChannel, SubChannel
from yoton.connection.faults import Faults, FaultyLines, faulty_lines

DIRECT, TO_RECEIVER, TO_RELAY = "memory://direct", "memory://receiver", "memory://relay"
QUICKLY = ReconnectPolicy(first_delay=0.001, ceiling=0.02)
LIMIT = 100


class Ways:
    """A sender and a receiver, with a way between them that can stand still, and a relay."""

    def __init__(self, lines: FaultyLines) -> None:
        self._lines = lines
        self.sender, self.receiver, self.relay = contexts = [
            Context(queue_params=(LIMIT, "old")) for _ in range(3)
        ]
        self.contexts = contexts
        self.pub = PubChannel(self.sender, "news", OBJECT)
        self.sub = SubChannel(self.receiver, "news", OBJECT)
        self.listener = self.receiver.listen(DIRECT)
        self.direct = self.sender.connect(DIRECT, reconnect=QUICKLY)
        assert self.pub.wait_for_subscribers(timeout=PATIENCE)
        self.pub.send("first")
        assert self.sub.recv(PATIENCE) == "first"

    def stand_still(self) -> None:
        """Have the direct way take nothing for now."""
        self._lines.take_down()
        self.direct.lose_line()
        wait_until(lambda: self.direct.is_reconnecting)

    def go_on(self) -> None:
        """Have the direct way take what has waited."""
        self._lines.bring_up()
        wait_until(lambda: self.direct.is_connected)

    def open_another(self) -> None:
        """Open a way by the relay."""
        self.receiver.listen(TO_RECEIVER)
        self.relay.listen(TO_RELAY)
        self.relay.connect(TO_RECEIVER)
        self.sender.connect(TO_RELAY)


@pytest.fixture
def ways() -> Iterator[Ways]:
    with faulty_lines(DIRECT, Faults()) as lines:
        ways = Ways(lines)
        yield ways
        for context in ways.contexts:
            context.close()


def received_until(last: object, sub: SubChannel) -> list[object]:
    received = []
    while (message := sub.recv(PATIENCE)) != last:
        received.append(message)
    return received


def test_what_comes_late_as_another_way_has_opened_is_told_as_a_gap(ways: Ways) -> None:
    behind = Context()
    late = SubChannel(behind, "news", OBJECT)
    ways.receiver.listen("memory://behind")
    behind.connect("memory://behind")
    assert ways.pub.wait_for_subscribers(2, timeout=PATIENCE)
    ways.stand_still()
    for number in range(10):
        ways.pub.send(number)
    ways.open_another()
    ways.pub.send("by the other way")
    for sub in (ways.sub, late):
        assert sub.recv(PATIENCE) == "by the other way"
    ways.go_on()
    ways.pub.send("end")
    for sub in (ways.sub, late):
        assert received_until("end", sub) == []
        wait_until(lambda sub=sub: sub.stats()["gaps"] == 10)
    behind.close()


def test_what_others_have_not_got_is_late_for_nobody_but_those_who_have(ways: Ways) -> None:
    ways.open_another()
    ways.stand_still()
    for number in range(10):
        ways.pub.send(number)
    ways.pub.send("end")
    assert received_until("end", ways.sub) == list(range(10))
    ways.go_on()
    ways.pub.send("once more")
    assert received_until("once more", ways.sub) == []
    assert ways.sub.stats()["gaps"] == 0


def test_a_state_that_comes_late_is_not_lost(ways: Ways) -> None:
    mood, felt = StateChannel(ways.sender, "mood"), StateChannel(ways.receiver, "mood")
    ways.stand_still()
    mood.send("curious")
    ways.open_another()
    ways.pub.send("by the other way")
    assert received_until("by the other way", ways.sub) == []
    ways.go_on()
    wait_until(lambda: felt.recv() == "curious")
    assert felt.stats()["gaps"] == 0


@pytest.mark.parametrize("has_relay", [True, False], ids=["three in a ring", "two lines"])
def test_a_gap_in_a_ring_is_told_once(ways: Ways, has_relay: bool) -> None:
    if has_relay:
        ways.open_another()
    else:
        ways.receiver.listen(TO_RECEIVER)
        ways.sender.connect(TO_RECEIVER)
    ways.stand_still()
    for number in range(LIMIT + 50):
        ways.pub.send(number)
        assert ways.sub.recv(PATIENCE) == number
    ways.go_on()
    # Those that had no room in front of the line that stood still: they came by the other one,
    # which nobody knows who counts.
    wait_until(lambda: ways.sub.stats()["gaps"] == 50)
    for number in range(5):
        ways.pub.send(number)
        assert ways.sub.recv(PATIENCE) == number
    assert ways.sub.stats()["gaps"] == 50


def test_a_peer_that_follows_is_told_of_no_gap_if_nothing_was_missing(ways: Ways) -> None:
    other_end = ways.listener.connections[0]
    wait_until(lambda: ways.direct.stats()["kept"] == other_end.stats()["kept"] == 0)
    ways.stand_still()
    ways.listener.close()
    follower = Context()
    late = SubChannel(follower, "news", OBJECT)
    follower.listen(DIRECT)
    ways.go_on()
    assert ways.pub.wait_for_subscribers(timeout=PATIENCE)
    ways.pub.send("to the next one")
    assert late.recv(PATIENCE) == "to the next one"
    assert late.stats()["gaps"] == 0
    follower.close()


def test_who_has_only_forgotten_the_session_gets_what_it_has_not_got(ways: Ways) -> None:
    for round_number in range(3):
        ways.stand_still()
        for number in range(10):
            ways.pub.send((round_number, number))
        ways.listener.close()
        ways.listener = ways.receiver.listen(DIRECT)
        ways.go_on()
        ways.pub.send("end")
        expected = [(round_number, number) for number in range(10)]
        assert received_until("end", ways.sub) == expected
    assert ways.sub.stats()["gaps"] == 0

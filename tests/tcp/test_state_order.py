"""A state comes in order with the messages of other channels, and the newest one stays."""

from __future__ import annotations

import itertools

import pytest
from interrupts import is_interrupted
from support import PATIENCE, connect, wait_until

from yoton.channels import StateChannel
from yoton.context import Context
from yoton.exceptions import ChannelClosed, PackageTooLarge
from yoton.package import Bundle, Package, slot_number


def package(text, version=0, source_id=1):
    return Package(text.encode(), 8, source_id, 1, dest_seq=version)


def test_a_state_that_has_come_counts_before_the_channel_was_told(make_context):
    state = StateChannel(make_context(), "slot")
    # As the routing does, which acts on the state only after all packages of a batch are there.
    state.deliver(Package(b"new", slot=8, source_id=1, source_seq=1), iter([1]))
    assert state.recv() == "new"


def test_what_came_before_the_newest_state_takes_no_room_and_is_not_dropped():
    for overflow in ("old", "new"):
        with Context(queue_params=(2, overflow)) as context:
            state = StateChannel(context, "slot")
            versions = [2**62 + number for number in (1, 2, 5, 4)]
            bundle = Bundle(b"abcd", [1] * 4, 8, 1, 4, 0, versions)
            state.deliver(bundle, iter(range(4)))
            state.deliver(package("e", 2**62 + 3, source_id=2), iter([4]))
            assert len(state._arrived) == 1
            assert state.recv() == "c"
            state.deliver(package("f", 2**62 + 3, source_id=2), iter([5]))
            assert state.recv() == "c"
            assert state.dropped == 0


def test_the_last_state_without_a_version_counts(make_context):
    state = StateChannel(make_context(), "slot")
    state.deliver(package("with", 2**62), iter([1]))
    for text in "abc":
        state.deliver(package(text), iter([1]))
    assert state.recv() == "c"


def test_a_state_that_cannot_be_read_keeps_none_away(make_context, caplog):
    state = StateChannel(make_context(), "slot")
    state.deliver(Package(b"\xff", 8, 1, 1, dest_seq=2**62), iter([1]))
    assert (state.recv(), state.recv()) == ("", "")
    assert len(caplog.records) == 1
    state.deliver(package("good", 2**62 - 1), iter([2]))
    assert state.recv() == "good"


def test_an_interrupt_at_any_moment_loses_no_state(make_context):
    context = make_context()
    for moment in itertools.count(1):
        state = StateChannel(context, f"slot {moment}")
        state.deliver(package("new", 2**62), iter([1]))
        was_interrupted = is_interrupted(state.recv, moment)
        assert state.recv() == "new"
        state.close()
        if not was_interrupted:
            break
    assert moment > 10


def test_a_state_of_which_an_error_tells_has_not_changed(make_context):
    small, other = Context(max_data_size=100), make_context()
    with small:
        connect(small, other)
        state, peer = StateChannel(other, "slot"), StateChannel(small, "slot")
        state.send("old")
        with pytest.raises(PackageTooLarge):
            state.send("x" * 101)
        assert state.recv() == "old"
        wait_until(lambda: peer.recv() == "old")
        state.close()
        with pytest.raises(ChannelClosed):
            state.send("new")
        assert state.recv() == "old"


def test_a_state_that_another_thread_sets_meanwhile_is_the_last_to_leave(make_context, monkeypatch):
    context = make_context()
    state = StateChannel(context, "slot")
    sent, send_package = [], context.send_package

    def send_late(envelope, data, *args, **kwargs):
        if not sent:
            sent.append(b"")
            state.send("newer")
        sent.append(data)
        send_package(envelope, data, *args, **kwargs)

    monkeypatch.setattr(context, "send_package", send_late)
    state.send("older")
    assert sent == [b"", b"newer", b"older", b"newer"]
    sent.clear()
    state.send_last()
    assert state.recv() == "newer" and sent[-1] == b"newer"


def test_a_state_without_a_version_that_comes_meanwhile_is_not_repeated(make_context, monkeypatch):
    context = make_context()
    state = StateChannel(context, "slot")
    sent = []

    def send_while_another_comes(envelope, data, *args, **kwargs):
        sent.append(data)
        state.deliver(package("old one, repeated for a newcomer"), iter([1]))
        state.packages_delivered()

    monkeypatch.setattr(context, "send_package", send_while_another_comes)
    state.send("new")
    assert sent == [b"new"]


@pytest.mark.parametrize("overflow", ["old", "new"])
def test_the_newest_state_gets_through_a_relay_with_a_small_queue(make_context, overflow):
    first, last = make_context(), make_context()
    with Context(queue_params=(10, overflow)) as relay:
        connect(first, relay)
        connect(relay, last)
        state, far = StateChannel(first, "slot"), StateChannel(last, "slot")
        assert state._wait_for_peers(1, PATIENCE)
        numbering = first._numbering
        for number in range(200):
            dest_seq = 2**62 + number
            numbering.add(state._envelope, dest_seq, str(number).encode())
        first.flush_burst()
        wait_until(lambda: far.recv() == "199")


def test_states_that_wait_for_a_slow_peer_are_superseded(pair):
    state = StateChannel(pair[0], "slot")
    outbox = pair[0].new_outbox()
    filler = Package(bytes(2**21), slot_number("filler"), pair[0].id, 1)
    pair[0].outboxes = lambda: [outbox]
    for version, text in enumerate("abc", 1):
        outbox.put(Package(text.encode(), state._slot_number_out, pair[0].id, version))
    state.send("not congested")
    assert outbox.count == 3
    outbox.put(filler)
    state.send("congested")
    assert [each.data for each in outbox.packages] == [b"c", filler.data]
    assert outbox.departures.superseded == 2

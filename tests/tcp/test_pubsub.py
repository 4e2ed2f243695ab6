"""Publish/subscribe over TCP: messages, order across channels, sync mode."""

from __future__ import annotations

import threading
import time

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, StateChannel, SubChannel, select_sub_channel
from yoton.channels.sync import FULL_ABOVE
from yoton.events import process_events
from yoton.exceptions import ArgumentError, EncodeError, TextDecodeError
from yoton.message_types import BINARY, OBJECT, TEXT, MessageType


@pytest.mark.parametrize(
    ("message_type", "message"),
    [
        (TEXT, "x"),
        (TEXT, "héllo €\0\n" * 1000),
        (TEXT, "ä" * 10_000_000),
        (BINARY, bytes(range(256)) * 5000),
        (OBJECT, {"a": [1, 2.5, None, True, "x"], "t": ("x", -1), "set": {1, 2}}),
    ],
    ids=["one character", "text", "10 million characters", "binary", "object"],
)
def test_a_message_arrives_as_it_was_sent(pair, message_type, message):
    pub = PubChannel(pair[0], "chat", message_type)
    sub = SubChannel(pair[1], "chat", message_type)
    pub.send(message)
    assert sub.recv(PATIENCE) == message


def test_an_object_that_takes_msgpack_can_be_sent_before_anybody_is_connected(make_context):
    sender, receiver = make_context(), make_context()
    pub, sub = PubChannel(sender, "early", OBJECT), SubChannel(receiver, "early", OBJECT)
    pub.send({1, 2})
    pub.send([1, 2])
    connect(sender, receiver)
    assert [sub.recv(PATIENCE), sub.recv(PATIENCE)] == [{1, 2}, [1, 2]]


def test_an_empty_message_is_not_sent(pair):
    pub, sub = PubChannel(pair[0], "chat"), SubChannel(pair[1], "chat")
    pub.send("")
    pub.send("next")
    assert sub.recv(PATIENCE) == "next"


def test_slots_do_not_depend_on_case_but_on_the_message_type(pair):
    pub = PubChannel(pair[0], "Chat")
    sub, other = SubChannel(pair[1], "CHAT"), SubChannel(pair[1], "chat", BINARY)
    pub.send("hello")
    assert sub.recv(PATIENCE) == "hello"
    assert other.recv(False) == b""
    assert pub.slot_outgoing == "Chat.txt.pub-sub"
    assert pub.slot_incoming == "Chat.txt.sub-pub"


def test_what_the_type_cannot_carry_is_an_error_and_harms_nothing(pair):
    pub, sub = PubChannel(pair[0], "chat"), SubChannel(pair[1], "chat")
    with pytest.raises(EncodeError):
        pub.send(b"bytes")
    with pytest.raises(ValueError, match="str"):
        pub.send(5)
    pub.send("fine")
    assert sub.recv(PATIENCE) == "fine"


def test_bytes_that_are_no_text_are_an_error_at_the_receiver(pair):
    class Raw(MessageType):
        def message_type_name(self):
            return "txt"

        def message_to_bytes(self, message):
            return message

        def message_from_bytes(self, data):
            return data

    pub, sub = PubChannel(pair[0], "chat", Raw()), SubChannel(pair[1], "chat")
    pub.send(b"\xff")
    pub.send(b"fine")
    with pytest.raises(UnicodeDecodeError) as info:
        sub.recv(PATIENCE)
    assert isinstance(info.value, TextDecodeError)
    assert sub.recv(PATIENCE) == "fine"


def test_the_ways_to_receive(pair):
    pub, sub = PubChannel(pair[0], "chat"), SubChannel(pair[1], "chat")
    assert sub.recv(False) == "" and sub.recv(0) == "" and sub.recv(0.01) == ""
    assert sub.recv_all() == [] and list(sub) == []
    for text in "abcdefg":
        pub.send(text)
    wait_until(lambda: sub.pending == 7)
    assert sub.recv() == "a" and sub.recv(True) == "b" and sub.recv(None) == "c"
    assert sub.recv(1) == "d" and sub.next() == "e"
    assert sub.recv_all() == ["f", "g"]
    with pytest.raises(StopIteration):
        next(sub)
    with pytest.raises(ArgumentError):
        sub.recv("soon")


def test_received_is_emitted_through_the_event_loop(pair):
    pub, sub = PubChannel(pair[0], "chat"), SubChannel(pair[1], "chat")
    got = []
    sub.received.bind(lambda channel: got.append((threading.current_thread(), channel)))
    sub.received.bind(lambda channel: got.extend(channel.recv_all()))
    for text in "abc":
        pub.send(text)
    wait_until(lambda: sub.pending == 3)
    wait_until(lambda: process_events() or len(got) >= 4)
    assert got[0] == (threading.current_thread(), sub)
    assert [item for item in got if isinstance(item, str)] == list("abc")


def test_select_keeps_the_order_across_channels(pair):
    pubs = [PubChannel(pair[0], name) for name in "ab"]
    subs = [SubChannel(pair[1], name) for name in "ab"]
    assert select_sub_channel(*subs) is None
    sent = [(index, f"{number}") for number in range(50) for index in ((number // 3) % 2,)]
    for index, text in sent:
        pubs[index].send(text)
    received = []
    while len(received) < len(sent):
        channel = select_sub_channel(*subs)
        if channel is not None:
            received += [(subs.index(channel), text) for text in channel.recv_selected()]
    assert received == sent


def test_select_refuses_what_it_cannot_order(pair):
    with pytest.raises(ArgumentError):
        select_sub_channel()
    with pytest.raises(ArgumentError):
        select_sub_channel(PubChannel(pair[0], "a"))
    with pytest.raises(ArgumentError, match="one context"):
        select_sub_channel(SubChannel(pair[0], "b"), SubChannel(pair[1], "b"))


def test_sync_mode_holds_a_fast_sender_back_without_an_event_loop(pair):
    pub, sub = PubChannel(pair[0], "fast"), SubChannel(pair[1], "fast")
    sub.set_sync_mode(True)
    sent, received = [], []
    is_enough = threading.Event()

    def send_as_fast_as_it_can():
        while not is_enough.is_set():
            if len(sent) - len(received) < 5000:  # an inbox has room for twice as many
                pub.send(str(len(sent)))
                sent.append(str(len(sent)))
            else:
                is_enough.wait(0.001)

    sender = threading.Thread(target=send_as_fast_as_it_can, daemon=True)
    sender.start()
    for _ in range(3):
        wait_until(lambda: pub._hold.is_on(time.monotonic()), "the sender hears that it is full")
        while pub._hold.is_on(time.monotonic()):
            received.append(sub.recv(PATIENCE))
    is_enough.set()
    sender.join(PATIENCE)
    received += [sub.recv(PATIENCE) for _ in range(len(sent) - len(received))]
    assert received == sent


def test_sync_mode_makes_send_wait_a_second_at_most(pair):
    pub, sub = PubChannel(pair[0], "slow"), SubChannel(pair[1], "slow")
    sub.set_sync_mode(True)
    for number in range(FULL_ABOVE + 1):
        pub.send(str(number))
    wait_until(lambda: pub._hold.is_on(time.monotonic()), "the sender hears that it is full")
    started = time.monotonic()
    pub.send("late")
    assert 0.9 < time.monotonic() - started < PATIENCE
    sub.set_sync_mode(False)
    wait_until(lambda: not pub._hold.is_on(time.monotonic()), "the sender hears that it is ok")


def test_a_subscriber_that_is_gone_holds_nobody_back(make_context):
    publisher, subscriber = make_context(), make_context()
    connect(publisher, subscriber)
    pub, sub = PubChannel(publisher, "gone"), SubChannel(subscriber, "gone")
    sub.set_sync_mode(True)
    for number in range(FULL_ABOVE + 1):
        pub.send(str(number))
    wait_until(lambda: pub._hold.is_on(time.monotonic()))
    subscriber.close()
    wait_until(lambda: not pub._hold.is_on(time.monotonic()), "its word is forgotten")


def test_state_is_shared(make_context):
    first, second, third = make_context(), make_context(), make_context()
    connect(first, second)
    states = [StateChannel(context, "state") for context in (first, second)]
    assert [state.recv() for state in states] == ["", ""]
    got = []
    states[1].received.bind(lambda channel: got.append(channel.recv()))
    states[0].send("up")
    wait_until(lambda: states[1].recv() == "up")
    states[1].send("down")
    wait_until(lambda: states[0].recv() == "down")
    wait_until(lambda: process_events() or got)
    connect(second, third)
    late = StateChannel(third, "state")
    states[1].send_last()
    wait_until(lambda: late.recv() == "down", "the late channel gets the state")
    assert states[0].pending == 0


def test_a_late_context_gets_the_state_and_its_own_is_not_overwritten(make_context):
    first, second = make_context(), make_context()
    old, late = StateChannel(first, "old"), StateChannel(second, "old")
    own, other = StateChannel(second, "own"), StateChannel(first, "own")
    old.send("before")
    own.send("newest")
    connect(first, second)
    wait_until(lambda: late.recv() == "before")
    wait_until(lambda: other.recv() == "newest")
    assert own.recv() == "newest"


def test_the_one_that_connects_second_gets_states_too(make_context):
    hub, one, two = make_context(), make_context(), make_context()
    connect(one, hub)
    state_one = StateChannel(one, "s")
    state_one.send("from one")
    state_two = StateChannel(two, "s")
    hub_state = StateChannel(hub, "s")
    wait_until(lambda: hub_state.recv() == "from one" or state_one.send_last())
    connect(two, hub)
    wait_until(lambda: state_two.recv() == "from one", "the hub connects, and brings its state")


def test_states_that_equal_are_not_sent_and_those_handed_out_are_copies(pair):
    here, there = (StateChannel(context, "s", OBJECT) for context in pair)
    here.send([1])
    wait_until(lambda: there.recv() == [1])
    there.recv().append(2)
    assert there.recv() == [1]
    there.send([1, 2])
    wait_until(lambda: here.recv() == [1, 2])
    here.send("")
    assert here.recv() == ""


def test_an_empty_state_is_ignored(pair):
    here, there = (StateChannel(context, "s") for context in pair)
    here.send("on")
    here.send("")
    wait_until(lambda: there.recv() == "on")
    assert here.recv() == "on"

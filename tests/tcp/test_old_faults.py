"""Faults that the yoton inside Pyzo has, and that have no test of their own elsewhere."""

from __future__ import annotations

import os
import resource
import socket

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, StateChannel, SubChannel
from yoton.connection.protocol import OTHER_END_CLOSED
from yoton.events import Event, app, process_events
from yoton.message_types import MessageType
from yoton.package import SLOT_CONTEXT, Envelope


class RawText(MessageType):
    """Sends bytes on the slots of TEXT."""

    def message_type_name(self):
        return "txt"

    def message_to_bytes(self, message):
        return message

    def message_from_bytes(self, data):
        return data


def test_an_event_queue_that_was_full_does_not_silence_a_channel_for_ever(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    got = []
    sub.received.bind(lambda channel: got.extend(channel.recv_all()))
    while app.post(Event(int)):
        pass
    pub.send("while it is full")
    wait_until(lambda: sub.pending)
    process_events()
    assert got == []
    pub.send("after that")
    wait_until(lambda: process_events() or len(got) == 2)
    assert got == ["while it is full", "after that"]


def test_a_state_that_is_no_text_is_ignored_and_harms_nothing(pair):
    raw, state = StateChannel(pair[0], "s", RawText()), StateChannel(pair[1], "s")
    raw.send(b"good")
    wait_until(lambda: state.recv() == "good")
    raw.send(b"\xff\xfe")
    raw.send(b"better")
    wait_until(lambda: state.recv() == "better")


def test_a_context_can_ask_to_have_its_connection_closed(pair):
    asked, asking = pair
    reasons = []
    asked.connections[0].closed.bind(lambda connection, reason: reasons.append(reason))
    asking.send_package(Envelope(SLOT_CONTEXT), b"CLOSE_CONNECTION")
    wait_until(lambda: process_events() or reasons)
    assert reasons == [OTHER_END_CLOSED]
    wait_until(lambda: asking.connection_count == 0)


def test_a_context_message_that_nobody_knows_is_survived(pair):
    pair[0].send_package(Envelope(SLOT_CONTEXT), b"\xffNONSENSE")
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    pub.send("fine")
    assert sub.recv(PATIENCE) == "fine"


@pytest.mark.skipif(not hasattr(os, "dup2"), reason="no descriptors to use up")
def test_descriptors_from_1024_on_work(make_context):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this system allows for no such descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    blockers = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while blockers[-1] < 1100:
            blockers.append(os.dup(blockers[0]))
        binder, connector = make_context(), make_context()
        connect(binder, connector)
        with socket.socket() as probe:
            assert probe.fileno() >= 1024
        pub, sub = PubChannel(binder, "x"), SubChannel(connector, "x")
        pub.send("x" * 10_000_000)
        assert len(sub.recv(PATIENCE)) == 10_000_000
        binder.close()
    finally:
        for blocker in blockers:
            os.close(blocker)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

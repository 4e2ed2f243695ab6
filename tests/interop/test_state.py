"""States shared with the yoton inside Pyzo."""

from __future__ import annotations

import pytest
from interop.peer import Link, Peer, connect, connect_peers, wait_with_events
from support import wait_until

from yoton import BINARY, OBJECT, TEXT, Context, MessageType, StateChannel

STATES: list[tuple[str, MessageType, list[object]]] = [
    ("TEXT", TEXT, ["x", "h\u00e9\u2603" * 50, "Ready"]),
    ("BINARY", BINARY, [b"\0", bytes(range(256)) * 100, b"Ready"]),
    ("OBJECT", OBJECT, [{"a": [1, (2.5, None)]}, [0] * 255, False, "Ready"]),
]


@pytest.mark.parametrize(("name", "message_type", "states"), STATES, ids=[s[0] for s in STATES])
def test_a_state_set_at_one_end_is_that_of_the_other(
    link: Link, name: str, message_type: MessageType, states: list[object]
) -> None:
    ours = StateChannel(link.ours, "status", message_type)
    link.theirs.run(f"state = yoton.StateChannel(context, 'status', yoton.{name})")
    for state in states:
        ours.send(state)
        link.theirs.wait_until("state.recv() == value", value=state)
    for state in states:
        link.theirs.run("state.send(value)", value=state)
        wait_until(lambda state=state: ours.recv() == state)


def test_a_state_of_10_million_characters(link: Link) -> None:
    ours = StateChannel(link.ours, "status")
    link.theirs.run("state = yoton.StateChannel(context, 'status')")
    ours.send("\u00e9x" * 5_000_000)
    link.theirs.wait_until("len(state.recv()) == 10_000_000")
    link.theirs.run("state.send(state.recv() + '!')")
    wait_until(lambda: ours.recv() == "\u00e9x" * 5_000_000 + "!")


def test_before_it_is_set_a_state_is_an_empty_message(link: Link) -> None:
    states = [StateChannel(link.ours, "status", kind).recv() for kind in (TEXT, BINARY, OBJECT)]
    there = link.theirs.run(
        "[yoton.StateChannel(context, 's', t).recv()"
        " for t in (yoton.TEXT, yoton.BINARY, yoton.OBJECT)]"
    )
    assert states == there == ["", b"", None]


def test_the_ends_set_a_state_in_turns_and_the_last_one_wins(link: Link) -> None:
    ours = StateChannel(link.ours, "status")
    link.theirs.run("state = yoton.StateChannel(context, 'status')")
    for i in range(10):
        ours.send(f"ours {i}")
        link.theirs.wait_until("state.recv() == value", value=f"ours {i}")
        link.theirs.run("state.send(value)", value=f"theirs {i}")
        wait_until(lambda i=i: ours.recv() == f"theirs {i}")


def test_of_many_states_in_a_row_the_last_one_stays(link: Link) -> None:
    ours = StateChannel(link.ours, "ours")
    mirror = StateChannel(link.ours, "theirs")
    link.theirs.run("mirror, state = [yoton.StateChannel(context, s) for s in ('ours', 'theirs')]")
    link.theirs.start("for i in range(500): state.send(str(i))")
    for i in range(500):
        ours.send(str(i))
    link.theirs.result()
    link.theirs.wait_until("mirror.recv() == '499'")
    wait_until(lambda: mirror.recv() == "499")


def test_received_is_emitted_at_both_ends(link: Link) -> None:
    ours = StateChannel(link.ours, "status")
    heard = []

    def note(channel: StateChannel) -> None:
        heard.append(channel.recv())

    ours.received.bind(note)
    link.theirs.run(
        """
        state = yoton.StateChannel(context, 'status')
        heard = []
        def note(channel): heard.append(channel.recv())
        state.received.bind(note)
        """
    )
    ours.send("from us")
    link.theirs.wait_until("heard == ['from us']")
    link.theirs.run("state.send('from them')")
    wait_with_events(lambda: heard == ["from them"])


def test_an_empty_state_is_ignored_here(link: Link) -> None:
    ours = StateChannel(link.ours, "status")
    link.theirs.run("state = yoton.StateChannel(context, 'status')")
    ours.send("kept")
    ours.send("")
    ours.send("kept")
    link.theirs.wait_until("state.recv() == 'kept'")
    assert ours.recv() == "kept"


def test_states_set_before_connecting_are_there_afterwards(
    ours: Context, theirs: Peer, binder: str
) -> None:
    here = [StateChannel(ours, slot) for slot in ("ours", "theirs")]
    theirs.run("there = [yoton.StateChannel(context, slot) for slot in ('ours', 'theirs')]")
    here[0].send("early")
    theirs.run("there[1].send('early')")
    connect(ours, theirs, binder)
    wait_until(lambda: here[1].recv() == "early")
    theirs.wait_until("there[0].recv() == 'early'")


TWO_STATES = """
    state = yoton.StateChannel(context, 'status')
    other = yoton.StateChannel(context, 'other')
"""


def test_one_of_theirs_that_connects_later_is_told_the_states(ours: Context) -> None:
    state = StateChannel(ours, "status")
    with Peer() as first, Peer() as late:
        first.run(TWO_STATES)
        late.run(TWO_STATES)
        connect(ours, first, "we bind")
        state.send("long ago")
        first.run("other.send('of the first')")
        connect(ours, late, "we bind")
        late.wait_until("(state.recv(), other.recv()) == ('long ago', 'of the first')")


def test_one_of_ours_that_connects_later_is_told_the_states(ours: Context) -> None:
    state, other = StateChannel(ours, "status"), StateChannel(ours, "other")
    with Peer() as first, Peer() as second:
        first.run(TWO_STATES)
        second.run(TWO_STATES)
        connect_peers(first, second)
        first.run("state.send('long ago')")
        second.run("other.send('of the second')")
        connect(ours, second, "they bind")
        wait_until(lambda: (state.recv(), other.recv()) == ("long ago", "of the second"))

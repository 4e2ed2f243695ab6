"""Channels know who is at their other end, wait for somebody, and contexts know the network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from interrupts import random_interrupts
from support import PATIENCE, connect, have_declined, receive_wanted, run_in_child, wait_until

from yoton import announcing, demand
from yoton.announcing import GATHER_TIME
from yoton.channels import (
    BaseChannel,
    PubChannel,
    RepChannel,
    ReqChannel,
    StateChannel,
    SubChannel,
)
from yoton.clock import Deadline
from yoton.connection.busy import keeps_busy
from yoton.context import Context
from yoton.events import process_events
from yoton.exceptions import ArgumentError, ChannelClosed

T = TypeVar("T")


def peer_ids(channel: BaseChannel) -> list[int]:
    return [peer.id for peer in channel.peers]


def wait_for_peers(channel: BaseChannel, *contexts: Context) -> None:
    """Wait until a channel has just these peers."""
    expected = sorted(context.id for context in contexts)
    wait_until(lambda: peer_ids(channel) == expected, f"peers of {channel!r}")


def known_ids(context: Context) -> set[int]:
    """Get the ids of those who have told of themselves."""
    return {known["id"] for known in context.graph()["contexts"] if known["pid"]}


def wait_until_known(context: Context, *contexts: Context) -> None:
    expected = {context.id, *(other.id for other in contexts)}
    wait_until(lambda: known_ids(context) == expected, f"{context!r} knows all")


@keeps_busy
def while_reading(handler: Callable[[], T]) -> T:
    """Call what a signal handler calls that strikes its thread while that reads."""
    return handler()


# Waiting


def test_a_publisher_waits_for_its_subscriber_and_nothing_is_lost(chain: list[Context]) -> None:
    publishing, _, subscribing = chain
    pub = PubChannel(publishing, "news")
    subs: list[SubChannel] = []
    thread = threading.Thread(target=lambda: subs.append(SubChannel(subscribing, "news")))
    thread.start()
    assert pub.wait_for_subscribers(timeout=PATIENCE)
    pub.send("first")
    thread.join()
    assert subs[0].recv(PATIENCE) == "first"
    assert pub.peers[0].pid == os.getpid()


def test_what_was_declined_reaches_a_subscriber_that_was_waited_for(chain: list[Context]) -> None:
    publishing, relay, subscribing = chain
    pub = PubChannel(publishing, "news")
    subs: list[SubChannel] = []
    for number in range(30):
        have_declined(pub, publishing, relay)
        thread = threading.Thread(target=lambda: subs.append(SubChannel(subscribing, "news")))
        thread.start()
        assert pub.wait_for_subscribers(1, PATIENCE)
        pub.send(str(number))
        thread.join()
        with subs.pop() as sub:
            assert receive_wanted(sub) == str(number)
        wait_for_peers(pub)


def test_what_was_declined_reaches_a_context_that_was_waited_for(
    chain: list[Context], make_context: Callable[[], Context]
) -> None:
    publishing, relay, _ = chain
    pub = PubChannel(publishing, "news")
    for number in range(10):
        have_declined(pub, publishing, relay)
        newcomer = make_context()
        sub = SubChannel(newcomer, "news")
        address = f"127.0.0.1:{relay.bind('127.0.0.1:0').port1}"
        thread = threading.Thread(target=newcomer.connect, args=(address,))
        thread.start()
        assert pub.wait_for_subscribers(1, PATIENCE)
        pub.send(str(number))
        thread.join()
        assert receive_wanted(sub) == str(number)
        newcomer.close()
        wait_for_peers(pub)


def test_a_channel_that_a_handler_makes_while_its_thread_reads_is_announced_in_order(
    chain: list[Context],
) -> None:
    publishing, relay, subscribing = chain
    pub = PubChannel(publishing, "news")
    have_declined(pub, publishing, relay)
    # It does not wait for the confirmation.
    sub = while_reading(lambda: SubChannel(subscribing, "news"))
    assert pub.wait_for_subscribers(1, PATIENCE)
    pub.send("hello")
    assert receive_wanted(sub) == "hello"


def test_a_channel_is_announced_behind_what_takes_back_that_its_slot_was_declined(
    chain: list[Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, relay, subscribing = chain
    pub = PubChannel(publishing, "news")
    have_declined(pub, publishing, relay)
    monkeypatch.setattr(demand, "CONFIRM_TIMEOUT", 0.05)
    connection = subscribing.connections[0]
    assert connection._link is not None
    writer = connection._link._writer
    with writer._turn:  # as if the stream took nothing
        PubChannel(subscribing, "other")
        wait_until(lambda: len(writer._notices) == 1)
        sub = SubChannel(subscribing, "news")
        wait_until(lambda: len(writer._notices) == 3)
    connection.kick()
    assert pub.wait_for_subscribers(1, PATIENCE)
    pub.send("hello")
    assert receive_wanted(sub) == "hello"


def test_several_subscribers_are_waited_for(
    chain: list[Context], make_context: Callable[[], Context]
) -> None:
    pub = PubChannel(chain[0], "news")
    subs = [SubChannel(context, "News") for context in chain[1:]]
    assert pub.wait_for_subscribers(2, PATIENCE)
    assert not pub.wait_for_subscribers(3, 0.05)
    late = make_context()
    subs.append(SubChannel(late, "NEWS"))
    thread = threading.Thread(target=connect, args=(chain[2], late))
    thread.start()
    assert pub.wait_for_subscribers(3, PATIENCE)
    pub.send("all")
    thread.join()
    assert [sub.recv(PATIENCE) for sub in subs] == ["all"] * 3


def test_waiting_ends_in_time(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    # Other types and patterns are other slots.
    SubChannel(chain[2], "other")
    StateChannel(chain[2], "news")
    wait_until(lambda: len(chain[0].graph()["channels"]) == 5)
    before = time.monotonic()
    assert pub.wait_for_subscribers(timeout=0.1) is False
    assert 0.1 <= time.monotonic() - before < PATIENCE / 2
    assert pub.wait_for_subscribers(timeout=0.0) is False
    assert pub.wait_for_subscribers(timeout=-1.0) is False
    assert pub.wait_for_subscribers(0) is True


def test_one_can_wait_before_there_is_a_connection(make_context: Callable[[], Context]) -> None:
    publishing, subscribing = make_context(), make_context()
    pub, sub = PubChannel(publishing, "news"), SubChannel(subscribing, "news")
    timer = threading.Timer(0.05, connect, (publishing, subscribing))
    timer.start()
    assert pub.wait_for_subscribers()
    pub.send("hello")
    timer.join()
    assert sub.recv(PATIENCE) == "hello"


@pytest.mark.parametrize("n", [-1, 1.0, "1", True, None])
def test_one_waits_for_a_number(n: object, make_context: Callable[[], Context]) -> None:
    with pytest.raises(ArgumentError, match="number of peers"):
        PubChannel(make_context(), "news").wait_for_subscribers(n)  # type: ignore[arg-type]


def test_a_timeout_is_a_number(make_context: Callable[[], Context]) -> None:
    with pytest.raises(ArgumentError, match="timeout"):
        ReqChannel(make_context(), "calls").wait_for_repliers(1, "1")  # type: ignore[arg-type]


@pytest.mark.parametrize("close", [PubChannel.close, lambda pub: pub._context.close()])
def test_who_waits_hears_of_the_end_of_the_channel(
    chain: list[Context], close: Callable[[PubChannel], object]
) -> None:
    pub = PubChannel(chain[0], "news")
    timer = threading.Timer(0.05, close, (pub,))
    timer.start()
    with pytest.raises(ChannelClosed, match="news"):
        pub.wait_for_subscribers()
    timer.join()
    with pytest.raises(ChannelClosed):
        pub.wait_for_subscribers(0)


def test_a_handler_does_not_wait_while_its_own_thread_reads(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    assert while_reading(pub.wait_for_subscribers) is False
    with chain[0]._lock:
        assert while_reading(pub.wait_for_subscribers) is False


def test_requesters_wait_for_repliers(chain: list[Context]) -> None:
    req = ReqChannel(chain[0], "calls", default_future_timeout=None)
    assert not req.wait_for_repliers(timeout=0.02)
    with RepChannel(chain[2], "calls") as rep:
        rep.set_mode("thread")
        assert req.wait_for_repliers(1, PATIENCE)
        assert req.echo(1).result(PATIENCE) == (1, hex(chain[2].id))
        assert peer_ids(rep) == [chain[0].id]
    wait_for_peers(req)


def test_ctrl_c_gets_through_the_wait_and_leaves_everything_usable(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    main_thread = threading.get_ident()
    timer = threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        pub.wait_for_subscribers()
    timer.join()
    sub = SubChannel(chain[2], "news")
    assert pub.wait_for_subscribers(1, PATIENCE)
    pub.send("hello")
    assert sub.recv(PATIENCE) == "hello"


def test_ctrl_c_at_any_moment_of_the_wait_leaves_everything_usable(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    with random_interrupts() as interrupts:
        deadline = Deadline(PATIENCE)
        while interrupts.count < 300 and not deadline.passed():
            interrupts.interrupt(lambda: pub.wait_for_subscribers(1, 0.002))
    assert interrupts.count
    sub = SubChannel(chain[2], "news")
    assert pub.wait_for_subscribers(1, PATIENCE)
    pub.send("hello")
    assert sub.recv(PATIENCE) == "hello"
    assert not chain[0].announcing._changed.parked


# Peers


@pytest.mark.parametrize(
    ("kind", "opposite"),
    [
        (PubChannel, SubChannel),
        (SubChannel, PubChannel),
        (ReqChannel, RepChannel),
        (RepChannel, ReqChannel),
        (StateChannel, StateChannel),
    ],
)
def test_a_channel_knows_who_is_at_its_other_end(
    kind: type[BaseChannel], opposite: type[BaseChannel], chain: list[Context]
) -> None:
    with kind(chain[0], "slot") as channel:
        assert channel.peers == ()
        others = [opposite(context, "slot") for context in chain[1:]]
        wait_for_peers(channel, *chain[1:])
        wait_for_peers(others[0], chain[0], *([chain[2]] if kind is StateChannel else []))
        others[0].close()
        wait_for_peers(channel, chain[2])
    assert peer_ids(channel) == [chain[2].id], "it is closed, and they are still there"
    wait_for_peers(others[1])


def test_a_peer_says_who_it_is(make_context: Callable[[], Context]) -> None:
    context = make_context()
    connection = context.bind("localhost:0")
    sub = SubChannel(context, "output")
    code = f"""
import sys, yoton
context = yoton.Context(name="kernel")
pub = yoton.PubChannel(context, "output")
context.connect("localhost:{connection.port1}")
assert pub.wait_for_subscribers(1, {PATIENCE})
pub.send(hex(context.id))
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        context_id = int(sub.recv(PATIENCE), 16)
        wait_until(lambda: sub.peers)
        [peer] = sub.peers
        assert peer.id == context_id
        assert (peer.pid, peer.name, peer.program) == (child.pid, "kernel", "-c")
        assert peer.host == os.uname().nodename
        child.kill()
        child.wait()
        wait_for_peers(sub)


def test_a_channel_that_is_made_later_knows_its_peers_at_once(chain: list[Context]) -> None:
    sub = SubChannel(chain[2], "news")
    wait_until(lambda: "news.txt.pub-sub" in chain[0].graph()["channels"])
    pub = PubChannel(chain[0], "news")
    assert peer_ids(pub) == [chain[2].id]
    wait_for_peers(sub, chain[0])


def test_changes_are_told_in_the_event_loop(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    seen: list[tuple[object, list[int], int]] = []
    pub.peers_changed.bind(
        lambda channel: seen.append((channel, peer_ids(channel), threading.get_ident()))
    )

    def is_told(ids: list[int]) -> bool:
        process_events()
        return bool(seen) and seen[-1] == (pub, ids, threading.get_ident())

    with SubChannel(chain[2], "news"):
        wait_until(lambda: is_told([chain[2].id]))
        SubChannel(chain[1], "other")
        wait_until(lambda: "other.txt.pub-sub" in chain[0].graph()["channels"])
        process_events()
        assert len(seen) == 1
    wait_until(lambda: is_told([]))
    assert len(seen) == 2


def test_many_changes_make_one_emission(pair: tuple[Context, Context]) -> None:
    sub = SubChannel(pair[0], "news")
    told: list[object] = []
    sub.peers_changed.bind(lambda channel: told.append(channel))
    sub.gap.bind(lambda _, lost: told.append(lost))
    for lost in (1, 2, 3):
        sub.peers_have_changed(set())
        sub.messages_lost(lost)
    process_events()
    assert told == [sub, 6]
    sub.messages_lost(4)
    process_events()
    assert told == [sub, 6, 4]
    assert sub.stats()["gaps"] == 10


def test_the_end_of_a_relay_takes_those_behind_it_out_of_reach(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    SubChannel(chain[2], "news")
    wait_for_peers(pub, chain[2])
    chain[1].close()
    wait_for_peers(pub)
    assert known_ids(chain[0]) == {chain[0].id}
    connect(chain[0], chain[2])
    wait_for_peers(pub, chain[2])


def test_a_line_that_breaks_is_one_that_ends(chain: list[Context]) -> None:
    pub = PubChannel(chain[0], "news")
    SubChannel(chain[2], "news")
    for _ in range(3):
        wait_for_peers(pub, chain[2])
        chain[2].connections[0].close_on_problem()
        wait_for_peers(pub)
        connect(chain[1], chain[2])


def test_a_restarted_program_is_another_peer(
    chain: list[Context], make_context: Callable[[], Context]
) -> None:
    pub = PubChannel(chain[0], "news")
    for _ in range(5):
        program = make_context()
        sub = SubChannel(program, "news")
        connect(chain[2], program)
        assert pub.wait_for_subscribers(1, PATIENCE)
        assert peer_ids(pub) == [program.id]
        pub.send("hello")
        assert sub.recv(PATIENCE) == "hello"
        program.close()
        wait_for_peers(pub)


def test_a_context_can_be_used_again(make_context: Callable[[], Context]) -> None:
    publishing, subscribing = make_context(), make_context()
    pub = PubChannel(publishing, "news")
    for _ in range(3):
        connect(publishing, subscribing)
        SubChannel(subscribing, "news")
        wait_for_peers(pub, subscribing)
        subscribing.close()
        wait_for_peers(pub)


def test_in_a_ring_one_way_is_enough(make_context: Callable[[], Context]) -> None:
    ring = [make_context() for _ in range(4)]
    for index in range(4):
        connect(ring[index], ring[index - 1])
    pub, sub = PubChannel(ring[0], "news"), SubChannel(ring[2], "news")
    assert pub.wait_for_subscribers(1, PATIENCE)
    wait_until(lambda: len(ring[0].graph()["connections"]) == 4)
    ring[1].close()
    wait_until_known(ring[0], *ring[2:])
    assert peer_ids(pub) == [ring[2].id]
    pub.send("the other way round")
    assert sub.recv(PATIENCE) == "the other way round"
    ring[3].close()
    wait_for_peers(pub)


# The graph


def test_all_contexts_know_the_same_network(chain: list[Context]) -> None:
    PubChannel(chain[0], "News")
    SubChannel(chain[1], "news")

    class Calculator(RepChannel):
        pass

    Calculator(chain[2], "calls")
    wait_until(lambda: all(len(c.graph()["channels"]) == 4 for c in chain))
    # One may know of a channel and not yet of another one at the same slot, or of a line.
    for part in ("channels", "connections"):
        wait_until(lambda part=part: all(c.graph()[part] == chain[0].graph()[part] for c in chain))
    first, *others = [context.graph() for context in chain]
    assert json.loads(json.dumps(first)) == first
    assert all(other["connections"] == first["connections"] for other in others)
    assert all(other["channels"] == first["channels"] for other in others)
    ids = [context.id for context in chain]
    assert first["connections"] == sorted(sorted(pair) for pair in (ids[:2], ids[1:]))
    assert [c["id"] for c in first["contexts"] if c["is_own"]] == ids[:1]
    assert first["channels"]["news.txt.pub-sub"] == sorted(
        [
            {"context": ids[0], "kind": "PubChannel", "sends": True, "receives": False},
            {"context": ids[1], "kind": "SubChannel", "sends": False, "receives": True},
        ],
        key=lambda channel: channel["context"],
    )
    [calls] = first["channels"]["calls.obj.rep-req"]
    assert calls == {"context": ids[2], "kind": "RepChannel", "sends": True, "receives": False}


def test_a_context_alone_knows_itself(make_context: Callable[[], Context]) -> None:
    context = make_context()
    before = threading.active_count()
    PubChannel(context, "news").close()
    PubChannel(context, "other")
    graph = context.graph()
    assert [known["id"] for known in graph["contexts"]] == [context.id]
    assert graph["connections"] == []
    assert sorted(graph["channels"]) == ["other.txt.pub-sub", "other.txt.sub-pub"]
    assert threading.active_count() == before


def test_fifty_contexts_around_a_relay(make_context: Callable[[], Context]) -> None:
    hub = make_context()
    pub = PubChannel(hub, "news")
    leaves = [make_context() for _ in range(50)]
    subs = []
    for leaf in leaves:
        subs.append(SubChannel(leaf, "news"))
        leaf.connect(f"localhost:{hub.bind('localhost:0').port1}")
    assert pub.wait_for_subscribers(50, PATIENCE)
    pub.send("all")
    assert [sub.recv(PATIENCE) for sub in subs] == ["all"] * 50
    for leaf in leaves:
        wait_until_known(leaf, hub, *leaves)
    for leaf in leaves[:25]:
        leaf.close()
    wait_for_peers(pub, *leaves[25:])


def test_what_joins_costs_is_its_own_entry_for_each(
    make_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, leaf, *others = [make_context() for _ in range(12)]
    for context in (leaf, *others):
        connect(hub, context)
    wait_until_known(leaf, hub, *others)
    heard: list[int] = []
    hear = leaf.announced

    def count(announcement: object, connection: object) -> None:
        heard.append(announcement.entry.peer.id)  # type: ignore[attr-defined]
        hear(announcement, connection)  # type: ignore[arg-type]

    monkeypatch.setattr(leaf, "announced", count)
    newcomer = make_context()
    connect(hub, newcomer)
    wait_until_known(leaf, hub, newcomer, *others)
    assert set(heard) == {hub.id, newcomer.id}
    assert len(heard) <= 4


def test_channels_made_one_after_the_other_are_told_together(
    pair: tuple[Context, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    heard = pair[1].announced
    monkeypatch.setattr(
        pair[1], "announced", lambda entry, line: (told.append(entry), heard(entry, line))
    )
    monkeypatch.setattr(announcing, "GATHER_TIME", 0.2)
    wait_until(lambda: len(pair[0].graph()["connections"]) == 1)
    time.sleep(2 * GATHER_TIME)
    told.clear()
    for number in range(50):
        PubChannel(pair[0], str(number))
    wait_until(lambda: len(pair[1].graph()["channels"]) == 100)
    assert len(told) <= 2


def test_too_many_channels_are_logged(
    pair: tuple[Context, Context],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("yoton.entry.MAX_CHANNELS", 2)
    for number in range(3):
        PubChannel(pair[0], str(number))
    wait_until(lambda: "cannot announce all: 1 are left out" in caplog.text)
    assert len(pair[0].graph()["channels"]) == 6


# Others


def test_a_peer_that_knows_no_directory_is_told_nothing(
    make_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = make_context(), make_context()
    identity = older.own_identity().replaced(tells_directory=False)
    monkeypatch.setattr(older, "own_identity", lambda: identity)
    heard: list[object] = []
    monkeypatch.setattr(older, "announced", lambda *args: heard.append(args))
    pub, sub = PubChannel(newer, "news"), SubChannel(older, "news")
    connect(newer, older)
    pub.send("hello")
    assert sub.recv(PATIENCE) == "hello"
    wait_until(lambda: len(newer.graph()["connections"]) == 1)
    time.sleep(5 * GATHER_TIME)
    assert heard == []


def test_a_peer_that_tells_nonsense_is_let_go(pair: tuple[Context, Context]) -> None:
    reasons: list[str] = []
    pair[1].connections[0].closed.bind(lambda connection, reason: reasons.append(reason))

    class Nonsense:
        def take(self) -> list[bytes]:
            return [b"nonsense"]

    connection = pair[0].connections[0]
    connection.tell_news(Nonsense())  # type: ignore[arg-type]
    connection.kick()
    wait_until(lambda: process_events() or reasons)
    assert reasons[0].startswith("What the peer tells of a context cannot be read")
    wait_until(lambda: known_ids(pair[1]) == {pair[1].id})


def test_a_peer_that_stands_still_keeps_little_waiting(pair: tuple[Context, Context]) -> None:
    connection = pair[0].connections[0]
    pub = PubChannel(pair[0], "news")
    wait_until(lambda: len(pair[1].graph()["channels"]) == 2)
    assert connection._link is not None
    writer = connection._link._writer
    # As if the stream took nothing.
    with writer._turn:
        for number in range(20):
            PubChannel(pair[0], str(number))
            time.sleep(2 * GATHER_TIME)
        assert len(writer._notices) == 1
    connection.kick()
    wait_until(lambda: len(pair[1].graph()["channels"]) == 42)
    assert pub.peers == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_another_context_and_knows_nobody(
    pair: tuple[Context, Context],
) -> None:
    pub, sub = PubChannel(pair[0], "news"), SubChannel(pair[1], "news")
    wait_for_peers(pub, pair[1])

    def look() -> None:
        assert pub.peers == ()
        assert known_ids(pair[0]) == {pair[0].id}
        with pytest.raises(ChannelClosed):
            pub.wait_for_subscribers(1, PATIENCE)

    run_in_child(look)
    assert peer_ids(pub) == [pair[1].id]
    assert sub.peers == tuple(sub.peers)

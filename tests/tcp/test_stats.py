"""Books are kept: what one end counts as sent, the other counts as received."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from proxy import Proxy
from support import PATIENCE, connect, wait_until

from yoton import (
    OBJECT,
    Connection,
    Context,
    PubChannel,
    ReconnectPolicy,
    RepChannel,
    ReqChannel,
    RequestError,
    StateChannel,
    SubChannel,
)
from yoton.connection import heartbeat
from yoton.connection.protocol import Ping
from yoton.connection.threaded import MAX_WAITING_NOTICES

QUICKLY = ReconnectPolicy(first_delay=0.001, ceiling=0.02)
COUNT = 2000

MakeContext = Callable[[], Context]
Pair = tuple[Context, Context]


def only(context: Context) -> Connection:
    [connection] = context.connections
    return connection


def agree(one: Connection, other: Connection) -> bool:
    """Tell whether each has got what the other has sent."""
    first, second = one.stats(), other.stats()
    return bool(first["out"] == second["in"] and first["in"] == second["out"])


def send_and_receive(pub: PubChannel, sub: SubChannel, count: int = COUNT) -> None:
    sender = threading.Thread(target=lambda: [pub.send("x" * (n % 50 + 1)) for n in range(count)])
    sender.start()
    for _ in range(count):
        assert sub.recv(PATIENCE)
    sender.join()


def messages_of(count: int = COUNT) -> dict[str, int]:
    return {"messages": count, "bytes": sum(n % 50 + 1 for n in range(count))}


def test_both_ends_of_a_connection_agree(pair: Pair) -> None:
    one, other = pair
    pub, sub = PubChannel(one, "news"), SubChannel(other, "news")
    back, back_sub = PubChannel(other, "back", OBJECT), SubChannel(one, "back", OBJECT)
    send_and_receive(pub, sub)
    back.send({"big": b"x" * 100_000})
    assert back_sub.recv(PATIENCE)
    wait_until(lambda: agree(only(one), only(other)))
    stats = only(one).stats()
    assert stats["out"]["messages"] >= COUNT
    assert stats["in"]["bytes"] > 100_000
    assert stats["state"] == "connected"
    assert stats["dropped"] == dict.fromkeys(stats["dropped"], 0)
    assert pub.stats()["out"] == sub.stats()["in"] == messages_of()
    assert sub.stats()["out"] == pub.stats()["in"] == {"messages": 0, "bytes": 0}
    assert back.stats()["out"] == back_sub.stats()["in"]


def test_all_is_plain_data(pair: Pair) -> None:
    one, other = pair
    channels = [kind(one, "all") for kind in (PubChannel, SubChannel, StateChannel)]
    channels += [kind(one, "all") for kind in (ReqChannel, RepChannel)]  # type: ignore[operator]
    stats = one.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert set(stats["channels"]) == {channel.slot_outgoing for channel in channels}
    [connection] = stats["connections"]
    assert connection["peer"]["id"] == other.id
    assert stats["id"] == one.id
    assert sum(name.startswith("yoton-receive") for name in stats["threads"]) >= 2


def test_a_relay_counts_what_it_passes_on_at_both_lines(make_context: MakeContext) -> None:
    left, relay, right = (make_context() for _ in range(3))
    connect(relay, left)
    connect(relay, right)
    pub, sub = PubChannel(left, "news"), SubChannel(right, "news")
    assert pub.wait_for_subscribers(1, PATIENCE)
    send_and_receive(pub, sub)
    near, far = relay.connections
    wait_until(lambda: agree(only(left), near) and agree(only(right), far))
    assert sub.stats()["in"] == messages_of()
    total = relay.stats()["total"]
    assert total["in"]["messages"] == near.stats()["in"]["messages"] + far.stats()["in"]["messages"]
    assert relay.stats()["channels"] == {}


@pytest.fixture
def proxied(make_context: MakeContext) -> Iterator[tuple[Context, Context, Proxy, Connection]]:
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0", session_lifetime=PATIENCE)
    proxy = Proxy(listener.port)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    wait_until(lambda: listener.connections)
    yield server, client, proxy, connection
    proxy.close()


def test_cuts_do_not_confuse_the_books(
    proxied: tuple[Context, Context, Proxy, Connection],
) -> None:
    server, client, proxy, connection = proxied
    pub, sub = PubChannel(client, "news"), SubChannel(server, "news")
    is_over = threading.Event()

    def cut() -> None:
        while not is_over.wait(0.02):
            proxy.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for part in range(10):
            for number in range(100):
                pub.send(str(number))
            assert sub.recv(PATIENCE), part
            time.sleep(0.01)
        for _ in range(990):
            assert sub.recv(PATIENCE)
    finally:
        is_over.set()
        cutter.join()
    # One end has the new line a moment before the other.
    wait_until(lambda: any(agree(connection, each) for each in server.connections))
    stats = connection.stats()
    assert stats["reconnections"] > 0
    assert stats["gaps"] == 0
    assert sub.stats()["in"]["messages"] == pub.stats()["out"]["messages"] == 1000
    # Its line may have been cut just now.
    wait_until(lambda: server.connections)
    assert only(server).stats()["reconnections"] > 0


def test_what_is_written_again_is_counted_apart(
    proxied: tuple[Context, Context, Proxy, Connection],
) -> None:
    server, client, proxy, connection = proxied
    pub, sub = PubChannel(client, "news"), SubChannel(server, "news")
    proxy.stall()
    for number in range(10):
        pub.send(str(number))
    wait_until(lambda: connection.stats()["kept"] > 0)
    before = connection.stats()["out"]["messages"]
    proxy.let_nobody_through()
    wait_until(lambda: connection.stats()["state"] == "reconnecting")
    assert connection.stats()["seconds_since"]["in"] >= 0.0
    pub.send("waits")
    assert connection.stats()["pending"]["messages"] == 1
    proxy.let_through()
    proxy.go_on()
    for _ in range(11):
        assert sub.recv(PATIENCE)
    # Besides, the client tells that it has come back.
    wait_until(lambda: connection.stats()["out"]["messages"] == before + 2)
    wait_until(lambda: agree(connection, only(server)))
    stats = connection.stats()
    assert stats["resent"] >= 10
    assert stats["pending"]["peak_messages"] >= 1
    assert stats["reconnections"] == 1


@pytest.mark.parametrize("is_cut", [True, False])
def test_what_a_peer_that_does_not_come_back_may_lack_is_counted(
    make_context: Callable[[], Context], is_cut: bool
) -> None:
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0", session_lifetime=0.05)
    proxy = Proxy(listener.port)
    client.connect(f"localhost:{proxy.port}", reconnect=True)
    wait_until(lambda: listener.connections)
    [accepted] = listener.connections
    pub, sub = PubChannel(server, "news"), SubChannel(client, "news")
    assert pub.wait_for_subscribers(timeout=PATIENCE)
    if is_cut:
        proxy.stall()
    for number in range(10):
        pub.send(str(number))
    accepted.flush()
    if is_cut:
        proxy.let_nobody_through()
    else:
        assert [sub.recv(PATIENCE) for _ in range(10)] == [str(number) for number in range(10)]
        client.close()
    wait_until(lambda: not accepted.is_alive)
    proxy.go_on()
    # What joins the network is a message as well.
    unconfirmed = accepted.stats()["unconfirmed"]
    assert 10 <= unconfirmed <= 12 if is_cut else unconfirmed == 0
    wait_until(lambda: server.stats()["total"]["unconfirmed"] == unconfirmed)
    proxy.close()


def test_what_is_dropped_is_counted_by_its_reason() -> None:
    with Context(queue_params=(10, "old")) as one, Context(queue_params=(10, "new")) as other:
        pub = PubChannel(one, "news")
        connection = one.bind("localhost:0")
        for number in range(25):
            pub.send(str(number))
        stats = connection.stats()
        assert stats["state"] == "waiting"
        assert stats["peer"] is None
        assert stats["round_trip"] is None
        assert stats["seconds_since"] == {"in": None, "out": None}
        assert stats["dropped"]["queue_full"] == 15
        assert stats["pending"]["messages"] == stats["pending"]["peak_messages"] == 10
        sub = SubChannel(other, "news")
        other.connect(f"localhost:{connection.port1}")
        wait_until(lambda: len(sub._inbox) == 10)
        for number in range(5):
            pub.send(str(number))
        wait_until(lambda: sub.stats()["in"]["messages"] == 15)
        stats = sub.stats()
        assert stats["pending"] == {"messages": 10, "peak_messages": 10}
        assert stats["dropped"] == {"queue_full": 5, "high_water_mark": 0, "closed": 0}


def test_what_is_left_when_a_connection_ends_is_dropped() -> None:
    with Context() as context:
        pub = PubChannel(context, "news")
        connection = context.bind("localhost:0")
        for _ in range(3):
            pub.send("nobody comes")
        connection.close()
        stats = connection.stats()
        assert stats["state"] == "closed"
        assert stats["dropped"]["closed"] == 3
        assert stats["pending"]["messages"] == stats["out"]["messages"] == 0
        assert context.stats()["total"]["dropped"]["closed"] == 3
        assert context.stats()["connections"] == []


def test_connections_that_have_ended_stay_in_the_sums(make_context: MakeContext) -> None:
    one, other = make_context(), make_context()
    pub, sub = PubChannel(one, "news"), SubChannel(other, "news")
    for _ in range(3):
        connect(one, other)
        send_and_receive(pub, sub, 100)
        only(other).close()
        wait_until(lambda: not one.stats()["connections"] and not other.stats()["connections"])
    assert pub.stats()["out"] == sub.stats()["in"]
    sent, came = one.stats()["total"], other.stats()["total"]
    assert sent["out"] == came["in"]
    assert sent["out"]["messages"] >= 300


def test_how_requests_end_is_counted(pair: Pair) -> None:
    class Calculator(RepChannel):
        def add(self, one: int, other: int) -> int:
            return one + other

        def fail(self) -> None:
            raise ValueError("no good")

        def stats(self) -> dict[str, Any]:  # a name of the user's
            raise AssertionError

    one, other = pair
    req, rep = ReqChannel(one, "calc"), Calculator(other, "calc")
    waiting = req.add(1, 2)
    assert req.stats()["requests"]["wait"] == 1
    rep.set_mode("thread")
    assert waiting.result(PATIENCE) == 3
    for _ in range(4):
        assert req.add(1, 2).result(PATIENCE) == 3
    with pytest.raises(RequestError):
        req.fail().result(PATIENCE)
    wait_until(lambda: stats_of(rep)["requests"]["running"] == 0)
    expected = {"wait": 0, "running": 0, "done": 5, "failed": 1}
    assert req.stats()["requests"] == {**expected, "cancelled": 0, "refused": 0}
    assert stats_of(rep)["requests"] == {**expected, "refused": 0}
    assert stats_of(rep)["pending"]["peak_messages"] >= 1
    nobody = ReqChannel(one, "nobody")
    nobody.add(1, 2).cancel()
    lost = nobody.add(1, 2)
    nobody.close()
    assert lost.cancelled()
    nothing = dict.fromkeys(expected, 0)
    assert nobody.stats()["requests"] == {**nothing, "cancelled": 2, "refused": 0}


def stats_of(rep: RepChannel) -> dict[str, Any]:
    """Get what the context tells of a channel."""
    channels: dict[str, dict[str, Any]] = rep._context.stats()["channels"]
    return channels[rep.slot_outgoing]


def test_the_round_trip_is_known_soon_and_measured_again(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "UNWATCHED_BEAT_INTERVAL", 0.02)
    one, other = make_context(), make_context()
    connect(one, other)
    ends = [only(one), only(other)]
    wait_until(lambda: all(end.stats()["round_trip"] for end in ends))
    for end in ends:
        trip = end.stats()["round_trip"]
        assert 0.0 < trip["smallest"] <= trip["latest"] < PATIENCE
        assert 0.0 <= trip["age"] < PATIENCE
    # On an idle line: one of the two asks again and again, and the other one answers.
    asked = [end._traffic.round_trip._number for end in ends]
    wait_until(
        lambda: any(
            end._traffic.round_trip._number > before + 3
            for end, before in zip(ends, asked, strict=True)
        )
    )
    assert all(end.stats()["seconds_since"]["in"] < PATIENCE for end in ends)


def test_who_asks_and_does_not_read_gets_no_more_answers(pair: Pair) -> None:
    link = only(pair[0])._link
    assert link is not None
    with link._writer._turn:
        # As if the stream was full.
        for number in range(2 * MAX_WAITING_NOTICES):
            link._echo(Ping(number))
        assert link._writer.notice_count == MAX_WAITING_NOTICES
    link.kick()
    wait_until(lambda: link._writer.notice_count == 0)
    link._echo(Ping(1))
    assert link._writer.notice_count == 0


def test_a_round_trip_takes_as_long_as_the_line(
    proxied: tuple[Context, Context, Proxy, Connection],
) -> None:
    _, _, proxy, connection = proxied
    wait_until(lambda: connection.stats()["round_trip"])
    assert connection.stats()["round_trip"]["smallest"] < PATIENCE
    link = connection._link
    assert link is not None
    proxy.stall()
    link._writer.add_notice(link._ping())
    link.kick()
    time.sleep(0.05)
    proxy.go_on()
    wait_until(lambda: connection.stats()["round_trip"]["latest"] >= 0.05)

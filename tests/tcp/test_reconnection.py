"""Connections that come back, and what goes over them meanwhile."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from proxy import Proxy
from support import PATIENCE, have_declined, run_in_child, wait_until

from yoton import (
    BINARY,
    OBJECT,
    ArgumentError,
    ConnectFailed,
    ConnectionClosed,
    Context,
    FlushTimeout,
    PubChannel,
    ReconnectPolicy,
    RepChannel,
    ReqChannel,
    StateChannel,
    SubChannel,
    demand,
    process_events,
)
from yoton.channels import negotiation
from yoton.connection import joining, returning
from yoton.connection.protocol import OTHER_END_CLOSED
from yoton.exceptions import ConnectionProblem

QUICKLY = ReconnectPolicy(first_delay=0.001, ceiling=0.02)


class Log:
    """What a connection tells of itself."""

    def __init__(self, connection):
        self.entries = []
        connection.reconnecting.bind(lambda _, reason: self.note("reconnecting", reason))
        connection.reconnected.bind(lambda _, is_resumed: self.note("reconnected", is_resumed))
        connection.closed.bind(lambda _, reason: self.note("closed", reason))
        connection.gap.bind(lambda _, count: self.note("gap", count))
        self._connection = connection

    def note(self, what, with_what):
        self.entries.append((what, with_what))

    def of(self, what):
        process_events()
        return [value for kind, value in self.entries if kind == what]


@pytest.fixture
def proxied(make_context):
    """A server and a client that are connected by way of a proxy."""
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0", session_lifetime=PATIENCE)
    proxy = Proxy(listener.port)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    wait_until(lambda: listener.connections)
    yield server, client, listener, proxy, connection
    proxy.close()


def start_server(state, port=0):
    """Start a process that listens, and tells its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port), state],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, int(process.stdout.readline())


SERVER = """
import sys
import time
import yoton

class Calculator(yoton.RepChannel):
    def add(self, one, other):
        return one + other
    def wait(self):
        time.sleep(100)

context = yoton.Context()
Calculator(context, "calc").set_mode("thread")
state = yoton.StateChannel(context, "status")
echo_in, echo_out = yoton.SubChannel(context, "there"), yoton.PubChannel(context, "back")
state.send("started with " + " ".join(sys.argv[2:]))
listener = context.listen("localhost:" + sys.argv[1], max_tries=1)
print(listener.port, flush=True)
while True:
    echo_out.send(echo_in.recv())
"""


def test_everything_arrives_once_and_in_order_however_often_the_line_is_cut(proxied):
    server, client, _, proxy, connection = proxied
    log, count = Log(connection), 4000
    channels = [(PubChannel(a, "news"), SubChannel(b, "news")) for a, b in [(server, client)]]
    channels += [(PubChannel(client, "olds"), SubChannel(server, "olds"))]
    received = [[], []]

    def send(pub):
        for number in range(count):
            pub.send(str(number))
            if number % 50 == 0:
                time.sleep(0.005)

    def receive(sub, target):
        target.extend(sub.recv(PATIENCE) for _ in range(count))

    threads = [threading.Thread(target=send, args=[pub]) for pub, _ in channels]
    threads += [
        threading.Thread(target=receive, args=[sub, target])
        for (_, sub), target in zip(channels, received, strict=True)
    ]
    for thread in threads:
        thread.start()
    chance = random.Random(7)
    cuts = 0
    while any(thread.is_alive() for thread in threads[:2]):
        time.sleep(chance.uniform(0.0, 0.05))
        proxy.cut()
        cuts += 1
    for thread in threads:
        thread.join(PATIENCE)
    expected = [str(number) for number in range(count)]
    assert received == [expected, expected]
    assert cuts > 3
    wait_until(lambda: len(log.of("reconnected")) >= 3)
    assert log.of("gap") == []
    assert all(log.of("reconnected"))
    wait_until(lambda: server.connection_count == 1)  # the last cut may have been just now


def test_what_is_sent_without_a_line_waits(proxied):
    server, client, listener, proxy, connection = proxied
    there, back = SubChannel(server, "there"), SubChannel(client, "back")
    log = Log(connection)
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting)
    wait_until(lambda: not listener.connections)
    assert connection.is_alive
    assert not connection.is_connected
    assert client.connection_count == 0
    assert connection in client.connections_all
    pub = PubChannel(client, "there")
    started = time.monotonic()
    for number in range(200):
        pub.send(str(number))
    assert time.monotonic() - started < 1.0  # no send waited for room
    PubChannel(server, "back").send("from the server")
    proxy.let_through()
    assert [there.recv(PATIENCE) for _ in range(200)] == [str(n) for n in range(200)]
    assert back.recv(PATIENCE) == "from the server"
    wait_until(lambda: log.of("reconnected") == [True])
    [reason] = log.of("reconnecting")
    # By which of them depends on whether something was on its way.
    assert reason == "Other end dropped the connection." or reason.startswith("Socket error: ")


def test_both_ends_keep_their_connection(proxied):
    _, _, listener, proxy, connection = proxied
    [accepted] = listener.connections
    log = Log(accepted)
    proxy.cut()
    wait_until(lambda: log.of("reconnected") == [True])
    wait_until(lambda: listener.connections == (accepted,))
    assert connection.id2 == accepted.id1


def test_a_line_that_stalls_is_not_lost(proxied):
    server, client, _, proxy, connection = proxied
    pub, sub = PubChannel(client, "news"), SubChannel(server, "news")
    proxy.stall()
    pub.send("patience")
    assert sub.recv(0.2) == ""
    assert connection.is_connected
    proxy.go_on()
    assert sub.recv(PATIENCE) == "patience"


def test_the_end_that_still_holds_the_old_line_lets_go_of_it(proxied):
    server, client, listener, proxy, connection = proxied
    pub, sub = PubChannel(server, "news"), SubChannel(client, "news")
    [accepted] = listener.connections
    proxy.stall()  # the server hears nothing of the end of the line
    connection._link.lose_line()
    wait_until(lambda: connection.is_reconnecting)
    pub.send("by the new one")
    assert accepted.is_connected
    proxy.leave_stalled()
    assert sub.recv(PATIENCE) == "by the new one"


def test_calls_go_on_after_a_cut(proxied):
    server, client, _, proxy, _ = proxied
    is_begun, may_go_on = threading.Event(), threading.Event()

    class Slow(RepChannel):
        def work(self):
            is_begun.set()
            assert may_go_on.wait(PATIENCE)
            return "done"

    Slow(server, "slow").set_mode("thread")
    future = ReqChannel(client, "slow").work()
    assert is_begun.wait(PATIENCE)
    proxy.cut()
    may_go_on.set()
    assert future.result(PATIENCE) == "done"


class Counting(RepChannel):
    """A replier that tells when it is called, and has to be let go on."""

    def _prepare(self):
        super()._prepare()
        self.is_called, self.may_go_on = threading.Event(), threading.Event()

    def work(self):
        self.is_called.set()
        assert self.may_go_on.wait(PATIENCE)
        return "done"


@pytest.mark.parametrize("what", ["request", "reply"])
def test_a_call_ends_though_its_request_or_its_reply_was_lost(proxied, monkeypatch, what):
    monkeypatch.setattr(negotiation, "CHECK_INTERVAL", 0.2)
    monkeypatch.setattr(negotiation, "QUICK_REPLY", PATIENCE)
    server, client, listener, proxy, connection = proxied
    replier = Counting(server, "work")
    replier.set_mode("thread")
    req = ReqChannel(client, "work")
    req.wait_for_repliers(timeout=PATIENCE)
    if what == "reply":
        future = req.work()
        assert replier.is_called.wait(PATIENCE)
        ending = listener.connections[0]
    else:
        replier.may_go_on.set()
        assert req.work().result(PATIENCE) == "done"  # so that the next one is given at once
        replier.is_called.clear()
        ending = connection
    proxy.stall()
    ending._session._kept_size = 1  # all but the last message is lost with the line
    if what == "reply":
        replier.may_go_on.set()
        wait_until(lambda: replier.stats()["requests"]["done"])
    else:
        future = req.work()
        wait_until(future.running)
    filler = PubChannel(server if what == "reply" else client, "filler")
    for _ in range(3):
        filler.send("something")
    proxy.cut()
    proxy.go_on()
    with pytest.raises(ConnectionClosed, match="does not have it"):
        future.result(PATIENCE)
    assert replier.is_called.is_set() is (what == "reply")


def test_a_call_that_takes_long_is_not_taken_for_lost(proxied, monkeypatch):
    monkeypatch.setattr(negotiation, "CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(negotiation, "RETRY_INTERVAL", 0.01)
    server, client, _, _, connection = proxied
    replier = Counting(server, "work")
    replier.set_mode("thread")
    req = ReqChannel(client, "work")
    running, waiting = req.work(), req.echo(1)
    assert replier.is_called.wait(PATIENCE)
    before = connection.stats()["out"]["messages"]
    wait_until(lambda: connection.stats()["out"]["messages"] > before + 5)
    replier.may_go_on.set()
    assert running.result(PATIENCE) == "done"
    assert waiting.result(PATIENCE)[0] == 1


def test_states_are_up_to_date_after_a_cut(proxied):
    server, client, _, proxy, connection = proxied
    theirs, ours = StateChannel(server, "status"), StateChannel(client, "status")
    theirs.send("one")
    wait_until(lambda: ours.recv() == "one")
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting)
    theirs.send("two")
    theirs.send("three")
    proxy.let_through()
    wait_until(lambda: ours.recv() == "three")


@pytest.mark.parametrize("whose", ["server", "client"])
def test_a_state_is_up_to_date_after_a_cut_though_it_found_no_room(make_context, whose):
    small = {"queue_params": (50, "old")}
    server, client = make_context(**small), make_context(**small)
    listener = server.listen("localhost:0", session_lifetime=PATIENCE)
    proxy = Proxy(listener.port)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    sender, receiver = (server, client) if whose == "server" else (client, server)
    theirs, ours = StateChannel(sender, "status"), StateChannel(receiver, "status")
    PubChannel(sender, "news")
    theirs.send("one")
    wait_until(lambda: ours.recv() == "one")
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting and not listener.connections)
    theirs.send("two")
    news = PubChannel(sender, "other news")
    for number in range(100):
        news.send(str(number))
    proxy.let_through()
    wait_until(lambda: ours.recv() == "two")
    proxy.close()


def test_a_slot_that_was_declined_is_wanted_after_a_cut(proxied):
    server, client, _, proxy, connection = proxied
    pub = PubChannel(server, "news")
    for _ in range(50):
        pub.send("in vain")
    proxy.cut()
    wait_until(lambda: connection.is_reconnecting or connection.is_connected)
    sub = SubChannel(client, "news")
    wait_until(lambda: pub.send("wanted") or sub.recv(False) == "wanted")


@pytest.mark.parametrize("end", ["that listens", "that connects"])
def test_what_is_sent_without_a_line_waits_though_nobody_wanted_it_before(
    proxied, monkeypatch, end
):
    contexts = proxied[:2] if end == "that listens" else proxied[1::-1]
    pub, sub = publish_in_vain_and_be_wanted(contexts, proxied[3], monkeypatch)
    pub.send("meanwhile")
    proxied[3].let_through()
    assert sub.recv(PATIENCE) == "meanwhile"


@pytest.mark.parametrize("end", ["that listens", "that connects"])
def test_what_is_sent_while_the_line_comes_back_reaches_who_has_made_a_channel(
    proxied, monkeypatch, end
):
    contexts = proxied[:2] if end == "that listens" else proxied[1::-1]
    pub, sub = publish_in_vain_and_be_wanted(contexts, proxied[3], monkeypatch)
    resumed = contexts[0].connection_resumed

    def send_and_resume(*args):
        pub.send("meanwhile")
        resumed(*args)

    monkeypatch.setattr(contexts[0], "connection_resumed", send_and_resume)
    proxied[3].let_through()
    assert sub.recv(PATIENCE) == "meanwhile"


def publish_in_vain_and_be_wanted(contexts, proxy, monkeypatch):
    """Publish by one context, and have the other one want it when there is no line any more."""
    # It waits in vain, as nobody confirms what it wants.
    monkeypatch.setattr(demand, "CONFIRM_TIMEOUT", 0.01)
    pub = PubChannel(contexts[0], "news")
    have_declined(pub, contexts[0])
    # What came for nobody is not to be sent again, over the next line.
    [end] = contexts[0].connections_all
    wait_until(lambda: end.stats()["kept"] == 0)
    proxy.let_nobody_through()
    ends = [*contexts[0].connections_all, *contexts[1].connections_all]
    wait_until(lambda: all(end.is_reconnecting for end in ends))
    return pub, SubChannel(contexts[1], "news")


# What cannot be kept


def test_what_could_not_be_kept_is_told_to_connections_and_channels(proxied):
    server, client, listener, proxy, connection = proxied
    [accepted] = listener.connections
    count, size = 200, 2000
    pub, sub = PubChannel(server, "news", OBJECT), SubChannel(client, "news", OBJECT)
    accepted._session._kept_size = 10_000
    log, told = Log(connection), []
    sub.gap.bind(lambda channel, lost: told.append((channel, lost)))
    received = []

    def receive():
        while not received or received[-1] != "end":
            received.append(sub.recv(PATIENCE))
            if received[-1] != "end":
                received[-1] = received[-1][0]

    thread = threading.Thread(target=receive)
    thread.start()
    proxy.stall()  # so that more is on its way than is kept
    for number in range(count):
        pub.send([number, "x" * size])
        if number % 20 == 19:
            proxy.cut()
            proxy.go_on()
            wait_until(lambda: connection.is_connected and accepted.is_connected)
            proxy.stall()
    proxy.go_on()
    pub.send("end")
    thread.join(PATIENCE)
    numbers = received[:-1]
    assert numbers == sorted(set(numbers))
    wait_until(lambda: process_events() or sum(lost for _, lost in told) + len(numbers) == count)
    assert sum(log.of("gap")) == sum(lost for _, lost in told) == count - len(numbers)
    assert {channel for channel, _ in told} == {sub}


@pytest.mark.parametrize("policy", ["old", "new"])
def test_what_found_no_room_while_the_line_was_away_is_told_as_a_gap(make_context, policy):
    source, relay, end = make_context(queue_params=(100, policy)), make_context(), make_context()
    listener = source.listen("localhost:0")
    proxy = Proxy(listener.port)
    connection = relay.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    behind = relay.listen("localhost:0")
    end.connect(f"localhost:{behind.port}")
    pub, subs = PubChannel(source, "news"), [SubChannel(each, "news") for each in (relay, end)]
    assert pub.wait_for_subscribers(2, PATIENCE)
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting and not listener.connections)
    for number in range(250):
        pub.send(str(number))
    # Or the end of a burst would come only when there is a line again, and room.
    source.flush_burst()
    proxy.let_through()
    for sub in subs:
        wait_until(lambda sub=sub: sub.pending + sub.stats()["gaps"] == 250)
        assert sub.pending <= 100
    assert source.stats()["total"]["dropped"]["queue_full"] >= 150
    proxy.close()


def test_a_gap_is_told_behind_a_relay(make_context):
    source, relay, end = make_context(), make_context(), make_context()
    listener = source.listen("localhost:0")
    proxy = Proxy(listener.port)
    connection = relay.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    behind = relay.listen("localhost:0")
    end.connect(f"localhost:{behind.port}")
    pub, sub = PubChannel(source, "news"), SubChannel(end, "news")
    wait_until(lambda: listener.connections)
    [accepted] = listener.connections
    told = []
    sub.gap.bind(lambda _, lost: told.append(lost))
    pub.send("first")
    assert sub.recv(PATIENCE) == "first"
    # More than the session keeps, none of which arrives.
    session = accepted._session
    proxy.stall()
    session._kept_size = 1
    for number in range(20):
        pub.send(str(number))
        source.flush()
    wait_until(lambda: session.kept_count == 1)
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting and accepted.is_reconnecting)
    proxy.go_on()
    proxy.let_through()
    received = []
    wait_until(lambda: received.extend(sub.recv_all()) or "19" in received)
    wait_until(lambda: process_events() or sum(told) + len(received) == 20)
    proxy.close()


# Peers that go away


def test_a_server_that_is_killed_and_started_anew(make_context):
    server, port = start_server("first")
    client = make_context()
    connection = client.connect(f"localhost:{port}", 10.0, reconnect=QUICKLY)
    log = Log(connection)
    calc, state = ReqChannel(client, "calc"), StateChannel(client, "status")
    assert calc.add(1, 2).result(PATIENCE) == 3
    running = calc.wait()
    wait_until(running.running)
    wait_until(lambda: state.recv() == "started with first")
    server.kill()
    server.communicate()
    with pytest.raises(ConnectionProblem):
        running.result(PATIENCE)
    waiting = calc.add(3, 4)
    server, _ = start_server("second", port)
    assert waiting.result(PATIENCE) == 7
    wait_until(lambda: state.recv() == "started with second")
    pub, sub = PubChannel(client, "there"), SubChannel(client, "back")
    pub.send("again")
    assert sub.recv(PATIENCE) == "again"
    wait_until(lambda: log.of("reconnected") == [False])
    server.kill()
    server.communicate()


def test_a_server_that_says_goodbye_may_come_back(make_context):
    server = make_context()
    listener = server.listen("localhost:0")
    port = listener.port
    client = make_context()
    connection = client.connect(f"localhost:{port}", reconnect=QUICKLY)
    log = Log(connection)
    pub = PubChannel(client, "news")
    server.close()
    wait_until(lambda: connection.is_reconnecting)
    pub.send("for the next one")
    successor = make_context()
    sub = SubChannel(successor, "news")
    successor.listen(f"localhost:{port}")
    assert sub.recv(PATIENCE) == "for the next one"
    wait_until(lambda: log.of("reconnected") == [False])
    assert log.of("reconnecting") == ["Closed from other end."]
    assert connection.id2 == successor.id


def test_what_is_sent_during_a_goodbye_goes_to_the_next_though_nobody_wanted_it_before(
    make_context, monkeypatch
):
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0")
    connection = client.connect(f"localhost:{listener.port}", reconnect=QUICKLY)
    pub = PubChannel(client, "news")
    have_declined(pub, client)
    closing = client.line_closing

    def close_and_send(line):
        closing(line)
        pub.send("for the next one")
        client.flush_burst()

    monkeypatch.setattr(client, "line_closing", close_and_send)
    server.close()
    wait_until(lambda: connection.is_reconnecting)
    successor = make_context()
    sub = SubChannel(successor, "news")
    successor.listen(f"localhost:{listener.port}")
    assert sub.recv(PATIENCE) == "for the next one"


@pytest.mark.parametrize(
    ("address", "size"),
    [
        pytest.param("memory://goodbye", 2**20, id="more than there is room for"),
        pytest.param("localhost:0", 2**15, id="the system takes it all"),
    ],
)
def test_what_a_server_did_not_take_before_its_goodbye_goes_to_the_next_or_is_told(
    make_context, monkeypatch, address, size
):
    count = 6
    server, client = make_context(), make_context()
    listener = server.listen(address)
    address = address.replace(":0", f":{listener.port}")
    connection = client.connect(address, reconnect=QUICKLY)
    pub, sub = PubChannel(client, "news", BINARY), SubChannel(server, "news", BINARY)
    assert pub.wait_for_subscribers(timeout=PATIENCE)
    may_go_on = threading.Event()
    deliver = server.arrivals.deliver

    def deliver_late(packages, connection):
        may_go_on.wait(PATIENCE)
        deliver(packages, connection)

    monkeypatch.setattr(server.arrivals, "deliver", deliver_late)
    for number in range(count):
        pub.send(number.to_bytes(4, "big") + bytes(size))
    log = Log(connection)
    server.close(timeout=0.5)
    wait_until(lambda: log.of("reconnecting") == [OTHER_END_CLOSED])
    # Only now, or it may take all just in time, and say so.
    may_go_on.set()
    follower = make_context()
    late = SubChannel(follower, "news", BINARY)
    follower.listen(address)
    pub.send(b"last")
    received, messages = [], [message[:4] for message in sub.recv_all()]
    while (message := late.recv(PATIENCE)) != b"last":
        received.append(message[:4])
    assert received == sorted(set(received))
    assert not set(received) & set(messages)
    assert late.stats()["gaps"] + len(received) == count
    stats = connection.stats()
    assert stats["unconfirmed"] == stats["dropped"]["closed"] == 0


def test_a_bound_peer_that_is_bound_anew(make_context):
    client = make_context()
    first = make_context()
    bound = first.bind("localhost:0")
    port = bound.port1
    connection = client.connect(f"localhost:{port}", reconnect=QUICKLY)
    pub = PubChannel(client, "news")
    wait_until(lambda: bound.is_connected)
    bound.close_on_problem()
    wait_until(lambda: connection.is_reconnecting)
    sub = SubChannel(first, "news")
    first.bind(f"localhost:{port}")
    wait_until(lambda: connection.is_connected)
    pub.send("once more")
    assert sub.recv(PATIENCE) == "once more"


def test_a_client_that_goes_on_too_late_begins_anew(make_context):
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0", session_lifetime=0.05)
    proxy = Proxy(listener.port)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=QUICKLY)
    wait_until(lambda: listener.connections)
    [accepted] = listener.connections
    log, accepted_log = Log(connection), Log(accepted)
    proxy.let_nobody_through()
    wait_until(lambda: accepted_log.of("closed"))
    assert accepted_log.of("closed") == ["The line was lost, and the peer did not come back."]
    proxy.let_through()
    wait_until(lambda: log.of("reconnected") == [False])
    wait_until(lambda: listener.connections)
    assert listener.connections != (accepted,)
    pub, sub = PubChannel(server, "news"), SubChannel(client, "news")
    wait_until(lambda: pub.send("new") or sub.recv(False) == "new")
    proxy.close()


def test_those_who_wait_for_a_client_that_was_killed_hear_of_it_at_once(make_context):
    server = make_context()
    listener = server.listen("localhost:0")
    program = """
import sys, time, yoton
class Slow(yoton.RepChannel):
    def wait(self):
        time.sleep(100)
context = yoton.Context()
Slow(context, "slow").set_mode("thread")
context.connect("localhost:" + sys.argv[1], 10.0, reconnect=True)
time.sleep(100)
"""
    client = subprocess.Popen([sys.executable, "-c", program, str(listener.port)])
    future = ReqChannel(server, "slow").wait()
    wait_until(future.running)
    client.send_signal(signal.SIGKILL)
    client.wait()
    started = time.monotonic()
    with pytest.raises(ConnectionProblem):
        future.result(PATIENCE)
    assert time.monotonic() - started < PATIENCE / 2


def test_those_who_wait_for_a_peer_out_of_reach_hear_of_it_in_the_end(proxied, monkeypatch):
    monkeypatch.setattr("yoton.connection.joining.SESSION_LIFETIME", 0.2)
    server, client, _, proxy, connection = proxied

    class Slow(RepChannel):
        def wait(self):
            may_end.wait(PATIENCE)

    may_end = threading.Event()
    Slow(server, "slow").set_mode("thread")
    future = ReqChannel(client, "slow").wait()
    wait_until(future.running)
    proxy.let_nobody_through()
    with pytest.raises(ConnectionProblem):
        future.result(PATIENCE)
    assert connection.is_reconnecting
    may_end.set()


def test_those_who_wait_for_a_client_out_of_reach_hear_of_it_and_it_may_come_back(
    proxied, monkeypatch
):
    monkeypatch.setattr("yoton.connection.joining.SESSION_LIFETIME", 0.2)
    server, client, listener, proxy, _ = proxied
    [accepted] = listener.connections

    class Slow(RepChannel):
        def wait(self):
            may_end.wait(PATIENCE)
            return "done"

    may_end = threading.Event()
    Slow(client, "slow").set_mode("thread")
    calls = ReqChannel(server, "slow")
    future = calls.wait()
    wait_until(future.running)
    proxy.let_nobody_through()
    with pytest.raises(ConnectionProblem):
        future.result(PATIENCE)
    assert accepted.is_reconnecting
    pub, sub = PubChannel(server, "news"), SubChannel(client, "news")
    pub.send("meanwhile")
    may_end.set()
    proxy.let_through()
    assert sub.recv(PATIENCE) == "meanwhile"
    assert listener.connections == (accepted,)
    assert calls.wait().result(PATIENCE) == "done"


def test_who_is_told_to_be_gone_comes_back_only_after_that(proxied, monkeypatch):
    server, _, listener, proxy, connection = proxied
    [accepted] = listener.connections
    is_telling, may_go_on = threading.Event(), threading.Event()
    told = []
    ended, resumed = server.connection_ended, server.connection_resumed

    def tell_of_end(which):
        is_telling.set()
        assert may_go_on.wait(PATIENCE)
        ended(which)
        told.append("gone")

    def tell_of_return(*args):
        resumed(*args)
        told.append("back")

    monkeypatch.setattr(server, "connection_ended", tell_of_end)
    monkeypatch.setattr(server, "connection_resumed", tell_of_return)
    proxy.let_nobody_through()
    wait_until(lambda: accepted.is_reconnecting)
    for_long = returning.SESSION_LIFETIME + 1.0
    telling = threading.Thread(target=accepted._tried_in_vain, args=[for_long])
    telling.start()
    assert is_telling.wait(PATIENCE)
    proxy.let_through()
    wait_until(lambda: accepted._status_changed.parked)
    may_go_on.set()
    telling.join(PATIENCE)
    wait_until(lambda: connection.is_connected and accepted.is_connected)
    wait_until(lambda: "back" in told)
    assert told == ["gone", "back"]
    accepted._tried_in_vain(for_long)
    assert told == ["gone", "back"]


# Tries


def test_a_try_that_fails_for_whatever_reason_is_followed_by_another(proxied, monkeypatch, caplog):
    server, client, _, proxy, _ = proxied
    pub, sub = PubChannel(client, "news"), SubChannel(server, "news")
    shake_hands, failures = joining.shake_hands, iter([ArithmeticError("out of numbers")])

    def fail_first(*args):
        for failure in failures:
            raise failure
        return shake_hands(*args)

    monkeypatch.setattr(joining, "shake_hands", fail_first)
    proxy.cut()
    pub.send("all the same")
    assert sub.recv(PATIENCE) == "all the same"
    assert "out of numbers" in caplog.text


def test_a_peer_that_accepts_too_little_is_let_go_and_the_next_one_found(make_context, caplog):
    first, client, last = (make_context() for _ in range(3))
    port = first.listen("localhost:0").port
    connection = client.connect(f"localhost:{port}", reconnect=QUICKLY)
    first.close()
    with Context(max_data_size=5) as tiny:
        tiny.listen(f"localhost:{port}")
        wait_until(lambda: "cannot join the network" in caplog.text)
    last.listen(f"localhost:{port}")
    wait_until(lambda: connection.is_connected and connection.id2 == last.id)
    pub, sub = PubChannel(client, "news"), SubChannel(last, "news")
    wait_until(lambda: pub.send("new") or sub.recv(False) == "new")


@pytest.mark.parametrize("does_last", [False, True])
def test_the_delays_begin_anew_when_a_line_has_lasted(make_context, monkeypatch, does_last):
    monkeypatch.setattr(returning, "LASTING_TIME", 0.0 if does_last else PATIENCE)
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0")
    policy = ReconnectPolicy(first_delay=0.0, factor=1000.0, ceiling=2 * PATIENCE, jitter=0.0)
    connection = client.connect(f"localhost:{listener.port}", reconnect=policy)
    log = Log(connection)
    for times in (1, 2):
        wait_until(lambda: listener.connections)
        listener.connections[0].close()
        wait_until(lambda times=times: len(log.of("reconnecting")) == times)
        if times == 1 or does_last:
            wait_until(lambda times=times: len(log.of("reconnected")) == times)
    if not does_last:
        time.sleep(0.2)  # it would be back by then
        assert connection.is_reconnecting


# The end


def test_giving_up(make_context):
    server, client = make_context(), make_context()
    proxy = Proxy(server.listen("localhost:0").port)
    policy = QUICKLY.replaced(give_up_after=0.1)
    connection = client.connect(f"localhost:{proxy.port}", reconnect=policy)
    log = Log(connection)
    proxy.let_nobody_through()
    wait_until(lambda: log.of("closed"))
    assert log.of("closed")[0].startswith("Could not reconnect: ")
    assert not connection.is_alive
    assert client.connections_all == []
    proxy.close()


def test_giving_up_comes_in_time_though_the_next_try_would_be_later(make_context):
    server, client = make_context(), make_context()
    listener = server.listen("localhost:0")
    policy = ReconnectPolicy(10 * PATIENCE, ceiling=10 * PATIENCE, jitter=0.0, give_up_after=0.1)
    connection = client.connect(f"localhost:{listener.port}", reconnect=policy)
    log = Log(connection)
    server.close()
    wait_until(lambda: log.of("closed"))
    assert log.of("closed")[0].startswith("Could not reconnect: ")


@pytest.mark.parametrize("how", ["connection", "context", "problem"])
def test_closing_without_a_line(proxied, how):
    _, client, _, proxy, connection = proxied
    log = Log(connection)
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting)
    started = time.monotonic()
    if how == "connection":
        connection.close("enough")
    elif how == "context":
        client.close()
    else:
        connection.close_on_problem("enough")
    assert time.monotonic() - started < 1.0
    wait_until(lambda: log.of("closed"))
    assert log.of("closed") == ["Closed by the context." if how == "context" else "enough"]
    proxy.let_through()
    time.sleep(0.1)
    assert not connection.is_alive


def test_closing_with_a_line_does_not_bring_it_back(proxied):
    _, _, listener, _, connection = proxied
    log = Log(connection)
    connection.close()
    wait_until(lambda: log.of("closed"))
    assert log.entries == [("closed", "Closed on command.")]
    wait_until(lambda: not listener.connections)


def test_a_closed_listener_gives_up_those_without_a_line(proxied):
    _, _, listener, proxy, _ = proxied
    [accepted] = listener.connections
    proxy.let_nobody_through()
    wait_until(lambda: accepted.is_reconnecting)
    listener.close()
    assert not accepted.is_alive


def test_a_flush_without_a_line_waits_for_one(proxied):
    _, client, _, proxy, connection = proxied
    pub = PubChannel(client, "news")
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting)
    pub.send("later")
    with pytest.raises(FlushTimeout):
        client.flush(0.05)
    proxy.let_through()
    client.flush(PATIENCE)


def test_a_flush_does_not_wait_for_a_peer_out_of_reach_for_which_nothing_waits(proxied):
    server, _, listener, proxy, connection = proxied
    [accepted] = listener.connections
    proxy.let_nobody_through()
    wait_until(lambda: connection.is_reconnecting and accepted.is_reconnecting)
    server.flush(0.0)
    connection.flush(PATIENCE)
    PubChannel(server, "news").send("for when it is back")
    with pytest.raises(FlushTimeout):
        accepted.flush(0.05)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(2**24, id="the line"),
        pytest.param(
            2**18,
            id="the system at its other end",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells"),
        ),
    ],
)
def test_a_flush_waits_for_what_was_not_taken_before_the_line_was_lost(proxied, size):
    server, client, _, proxy, connection = proxied
    pub, sub = PubChannel(client, "news", BINARY), SubChannel(server, "news", BINARY)
    proxy.stall()
    pub.send(bytes(size))
    wait_until(lambda: not connection.outbox.packages)
    proxy.let_nobody_through()
    proxy.go_on()
    wait_until(lambda: connection.is_reconnecting)
    with pytest.raises(FlushTimeout):
        client.flush(0.05)
    proxy.let_through()
    client.flush(PATIENCE)
    assert len(sub.recv(PATIENCE)) == size


def test_the_first_time_has_to_succeed(make_context):
    with pytest.raises(ConnectFailed):
        make_context().connect("localhost:1", 0.05, reconnect=True)


def test_a_policy_that_makes_no_sense_is_refused(make_context):
    with pytest.raises(ArgumentError):
        make_context().connect("localhost:1", reconnect=ReconnectPolicy(factor=0.0))


@pytest.mark.parametrize("timeout", [None, "1", True, math.nan, math.inf, 1e12])
def test_a_timeout_that_cannot_be_waited_for_is_refused(make_context, timeout):
    with pytest.raises(ArgumentError, match="timeout is a number of seconds"):
        make_context().connect("localhost:1", timeout)


def test_the_longest_timeout_can_be_waited_for(make_context):
    listening = make_context().listen("localhost:0")
    make_context().connect(f"localhost:{listening.port}", joining.MAX_TIMEOUT)


@pytest.mark.parametrize("reconnect", [1, "yes", None])
def test_whether_to_reconnect_is_a_bool_or_a_policy(make_context, reconnect):
    with pytest.raises(ArgumentError, match="a bool or a ReconnectPolicy"):
        make_context().connect("localhost:1", reconnect=reconnect)


def test_a_forked_child_does_not_reconnect(proxied):
    server, client, _, proxy, connection = proxied
    pub, sub = PubChannel(client, "news"), SubChannel(server, "news")
    proxy.cut()

    def look():
        assert not connection.is_alive
        assert client.connection_count == 0

    run_in_child(look)
    pub.send("from the parent")
    assert sub.recv(PATIENCE) == "from the parent"


def test_the_end_of_a_program_without_a_line(make_context):
    program = """
import sys, time, yoton
context = yoton.Context()
connection = context.connect("localhost:" + sys.argv[1], 10.0, reconnect=True)
pub = yoton.PubChannel(context, "news")
print("connected", flush=True)
sys.stdin.readline()
while not connection.is_reconnecting:
    time.sleep(0.01)
pub.send("never")
"""
    proxy = Proxy(make_context().listen("localhost:0").port)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(proxy.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "connected\n"
    proxy.let_nobody_through()
    process.communicate("go\n", timeout=PATIENCE)
    assert process.returncode == 0
    proxy.close()


def test_thousands_of_cuts_leave_no_threads_behind(proxied):
    server, client, _, proxy, connection = proxied
    pub, sub = PubChannel(client, "news"), SubChannel(server, "news")
    before = threading.active_count()
    for number in range(100):
        proxy.cut()
        pub.send(str(number))
        assert sub.recv(PATIENCE) == str(number)
    wait_until(lambda: connection.is_connected)
    wait_until(lambda: threading.active_count() <= before + 4)


def test_a_process_is_watched():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watch = returning.ProcessWatch(process.pid)
    assert not watch.has_ended
    process.communicate(b"\n")
    assert watch.has_ended
    assert not returning.ProcessWatch(process.pid).has_ended  # never seen
    assert not returning.ProcessWatch(0).has_ended
    for claimed in (2**31, 2**64, -1):
        assert not returning.ProcessWatch(claimed).has_ended

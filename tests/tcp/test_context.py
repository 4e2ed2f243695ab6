"""Contexts: connecting, routing between several, order, limits."""

from __future__ import annotations

import socket
import threading

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.context import Context
from yoton.events import process_events
from yoton.exceptions import (
    AddressError,
    ArgumentError,
    BindFailed,
    ConnectFailed,
    FlushTimeout,
    PackageTooLarge,
    SlotError,
)
from yoton.message_types import BINARY


def test_properties_before_and_after_connecting(make_context):
    binder, connector = make_context(), make_context()
    hosting = binder.bind("localhost:0", name="host")

    assert hosting.is_waiting and hosting.is_alive and not hosting.is_connected
    assert hosting.hostname1 == "127.0.0.1" and hosting.port1 > 0
    assert (hosting.hostname2, hosting.port2, hosting.id2, hosting.pid2) == ("", 0, 0, 0)
    assert binder.connections == [] and binder.connections_all == [hosting]

    connected = connector.connect(f"localhost:{hosting.port1}", name="guest")
    wait_until(lambda: hosting.is_connected)

    assert not hosting.is_waiting
    assert hosting.port1 == connected.port2 and hosting.port2 == connected.port1
    assert hosting.id1 == binder.id == connected.id2
    assert connected.id1 == connector.id == hosting.id2
    assert hosting.pid1 == hosting.pid2 == connected.pid2
    assert binder.connection_count == connector.connection_count == 1
    assert binder.connections["host"] is hosting
    assert connector.connections_all["guest"] is connected
    with pytest.raises(KeyError, match="nobody"):
        binder.connections["nobody"]


def test_bind_goes_on_to_a_free_port(make_context):
    taken = make_context().bind("localhost:0").port1
    tried = make_context().bind(f"localhost:{taken}", max_tries=20).port1
    assert tried > taken


def test_bind_to_a_taken_port_says_so(make_context):
    taken = make_context().bind("localhost:0").port1
    with pytest.raises(BindFailed, match=str(taken)) as info:
        make_context().bind(f"localhost:{taken}")
    assert isinstance(info.value, OSError) and info.value.errno


def test_bind_gives_up_after_max_tries(make_context):
    with pytest.raises(BindFailed, match="any of the 2 ports tried, starting with 80"):
        make_context().bind("203.0.113.1:80", max_tries=2)


def test_the_port_can_be_bound_again_while_the_first_connection_lives(make_context):
    binder = make_context()
    port = binder.bind("localhost:0").port1
    for _ in range(3):
        make_context().connect(f"localhost:{port}")
        wait_until(lambda: all(c.is_connected for c in binder.connections_all))
        binder.bind(f"localhost:{port}")
    assert binder.connection_count == 3


def test_connect_waits_for_somebody_to_bind(make_context):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    connections = []
    thread = threading.Thread(
        target=lambda: connections.append(
            make_context().connect(f"localhost:{port}", timeout=PATIENCE)
        )
    )
    thread.start()
    make_context().bind(f"localhost:{port}")
    thread.join(PATIENCE)
    assert connections and connections[0].is_connected


def test_connect_to_nobody_fails_with_the_address(make_context):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConnectFailed, match=f"Cannot connect to 127.0.0.1 on {port}"):
        make_context().connect(f"localhost:{port}", timeout=0.1)


def test_a_context_cannot_connect_to_itself(make_context):
    context = make_context()
    port = context.bind("localhost:0").port1
    with pytest.raises(ConnectFailed, match="cannot connect to self"):
        context.connect(f"localhost:{port}")
    assert context.connections_all[0].is_waiting


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":80", "localhost:70000", 5])
def test_what_is_no_address_is_refused(make_context, address):
    with pytest.raises(AddressError, match="expected"):
        make_context().bind(address)
    with pytest.raises(ValueError, match="expected"):
        make_context().connect(address)


def test_ipv6_in_brackets(make_context):
    binder, connector = make_context(), make_context()
    try:
        connection = binder.bind("tcp://[::1]:0")
    except BindFailed:
        pytest.skip("this machine has no IPv6 loopback")
    connector.connect(f"[::1]:{connection.port1}")
    wait_until(lambda: connection.is_connected)
    assert connection.hostname2 == "::1"


@pytest.mark.parametrize("params", [(0, "old"), (10, "newest"), (True, "new"), ("10", "old")])
def test_bad_queue_params_are_refused(params):
    with pytest.raises(ArgumentError):
        Context(queue_params=params)


def test_what_was_sent_before_connecting_goes_to_the_first_connection(make_context):
    binder, connector = make_context(), make_context()
    pub, sub = PubChannel(connector, "early"), SubChannel(binder, "early")
    for number in range(5):
        pub.send(f"message {number}")
    connect(binder, connector)
    assert [sub.recv(PATIENCE) for _ in range(5)] == [f"message {number}" for number in range(5)]


def test_what_was_sent_while_waiting_goes_to_the_peer(make_context):
    binder, connector = make_context(), make_context()
    pub, sub = PubChannel(binder, "early"), SubChannel(connector, "early")
    connection = binder.bind("localhost:0")
    pub.send("while waiting")
    connector.connect(f"localhost:{connection.port1}")
    assert sub.recv(PATIENCE) == "while waiting"


def test_messages_pass_through_a_relay_once(make_context):
    left, relay, right = make_context(), make_context(), make_context()
    connect(relay, left)
    connect(relay, right)
    pub, sub = PubChannel(left, "far"), SubChannel(right, "far")
    for number in range(100):
        pub.send(str(number))
    assert [sub.recv(PATIENCE) for _ in range(100)] == [str(number) for number in range(100)]
    assert sub.recv(0.05) == ""


def test_a_ring_delivers_once_and_not_to_the_sender(make_context):
    ring = [make_context() for _ in range(3)]
    for index, context in enumerate(ring):
        connect(context, ring[(index + 1) % 3])
    pub = PubChannel(ring[0], "round")
    subs = [SubChannel(context, "round") for context in ring]
    for number in range(50):
        pub.send(str(number))
    expected = [str(number) for number in range(50)]
    for sub in subs[1:]:
        assert [sub.recv(PATIENCE) for _ in range(50)] == expected
        assert sub.recv(0.05) == ""
    assert subs[0].recv_all() == []


def test_many_threads_send_and_all_arrives_in_order_per_thread(make_context):
    sender, receiver = make_context(), make_context()
    connect(sender, receiver)
    pubs = [PubChannel(sender, f"slot {number % 2}") for number in range(2)]
    subs = [SubChannel(receiver, f"slot {number}") for number in range(2)]

    def send(thread_number: int) -> None:
        for number in range(1000):
            pubs[thread_number % 2].send(f"{thread_number} {number}")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    received: dict[str, list[int]] = {str(number): [] for number in range(4)}
    for _ in range(2000):
        for sub in subs:
            thread_number, number = sub.recv(PATIENCE).split()
            received[thread_number].append(int(number))
    assert all(numbers == list(range(1000)) for numbers in received.values())


def test_two_ends_send_50_mib_to_each_other_at_once(pair):
    message = bytes(2**20)
    channels = [(PubChannel(c, "bulk", BINARY), SubChannel(c, "bulk", BINARY)) for c in pair]

    def send(pub: PubChannel) -> None:
        for _ in range(50):
            pub.send(message)

    threads = [threading.Thread(target=send, args=(pub,)) for pub, _ in channels]
    for thread in threads:
        thread.start()
    for _ in range(50):
        for _, sub in channels:
            assert sub.recv(PATIENCE) == message
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_flush_waits_for_the_packages_to_leave(pair):
    sender, receiver = pair
    pub = PubChannel(sender, "flush", BINARY)
    sub = SubChannel(receiver, "flush", BINARY)
    pub.send(bytes(10 * 2**20))
    sender.flush(PATIENCE)
    assert len(sub.recv(PATIENCE)) == 10 * 2**20


def test_flush_of_a_waiting_connection_times_out(make_context):
    context = make_context()
    context.bind("localhost:0")
    context.flush(0.05)
    PubChannel(context, "flush").send("nobody is there")
    with pytest.raises(FlushTimeout):
        context.flush(0.05)


def test_a_message_over_the_limit_of_the_peer_is_refused(make_context):
    small = Context(max_data_size=1000)
    large = make_context()
    connect(small, large)
    pub, sub = PubChannel(large, "size"), SubChannel(small, "size")
    with pytest.raises(PackageTooLarge, match="1001 bytes, at most 1000"):
        pub.send("x" * 1001)
    pub.send("x" * 1000)
    assert sub.recv(PATIENCE) == "x" * 1000
    small.close()


def test_slots_are_taken_once_and_collisions_are_told(make_context):
    context = make_context()
    PubChannel(context, "Chat")
    with pytest.raises(SlotError, match=r"chat\.txt"):
        PubChannel(context, "chat")
    SubChannel(context, "chat")
    PubChannel(context, "az")
    with pytest.raises(SlotError, match=r"iq\.txt\.pub-sub.*az\.txt\.pub-sub"):
        PubChannel(context, "iq")


def test_a_closed_channel_gives_its_slot_back(make_context):
    context = make_context()
    PubChannel(context, "slot").close()
    PubChannel(context, "slot")


def test_any_attribute_can_be_set(make_context):
    context = make_context()
    context.my_channel = 5
    assert context.my_channel == 5


def test_a_closed_context_can_be_used_again(make_context):
    binder, connector = make_context(), make_context()
    for round_number in range(3):
        connect(binder, connector)
        pub, sub = PubChannel(binder, "again"), SubChannel(connector, "again")
        pub.send(str(round_number))
        assert sub.recv(PATIENCE) == str(round_number)
        binder.close()
        connector.close()
        assert pub.closed and sub.closed
        assert binder.connection_count == 0


def test_with_closes_contexts_connections_and_channels(make_context):
    other = make_context()
    with Context() as context, PubChannel(context, "with") as pub:
        connection = context.bind("localhost:0")
        other.connect(f"localhost:{connection.port1}")
    assert pub.closed and not connection.is_alive
    with other.bind("localhost:0") as waiting:
        assert waiting.is_waiting
    assert not waiting.is_alive


def test_the_queue_drops_by_its_params_and_counts(make_context):
    sender, receiver = make_context(), Context(queue_params=(10, "new"))
    connect(sender, receiver)
    pub, sub = PubChannel(sender, "few"), SubChannel(receiver, "few")
    last = SubChannel(receiver, "last")
    for number in range(30):
        pub.send(str(number))
    PubChannel(sender, "last").send("all sent")
    assert last.recv(PATIENCE) == "all sent"
    assert sub.recv_all() == [str(number) for number in range(10)]
    assert sub.dropped == 20
    receiver.close()


def test_threads_end_with_the_context(make_context):
    before = set(threading.enumerate())
    binder, connector = Context(), Context()
    connect(binder, connector)
    binder.bind("localhost:0")
    threads = set(threading.enumerate()) - before
    assert len(threads) >= 5
    binder.close()
    connector.close()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), "all threads end")
    process_events()

"""High-water marks with real contexts: each policy, relays, slow and fast subscribers."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
from manual_scheduler import ManualScheduler
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, StateChannel, SubChannel, coalescing, subscribing
from yoton.channels.coalescing import RETRY_INTERVAL
from yoton.channels.sync import FULL, OK, WAIT
from yoton.connection.outbox import CONGESTION_COUNT
from yoton.context import Context
from yoton.events import app, process_events
from yoton.exceptions import ArgumentError, HighWaterMarkReached
from yoton.marks import MESSAGE_OVERHEAD
from yoton.message_types import BINARY
from yoton.package import Bundle, Package, slot_number


def texts(numbers):
    return [str(number) for number in numbers]


def send(pub, count):
    for number in range(count):
        pub.send(str(number))


def start_sending(pub, count):
    sender = threading.Thread(target=send, args=(pub, count), daemon=True)
    sender.start()
    return sender


@pytest.fixture
def chain(make_context):
    """Get a publisher and a subscriber with a relay between them."""
    contexts = [make_context() for _ in range(3)]
    connect(contexts[0], contexts[1])
    connect(contexts[1], contexts[2])
    return contexts[0], contexts[2]


@pytest.fixture(params=["direct", "by way of a relay"])
def ends(request):
    return request.getfixturevalue("pair" if request.param == "direct" else "chain")


# At the subscriber


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_old", range(17, 20)), ("drop_new", range(3)), ("latest", [19])],
)
def test_what_a_subscriber_has_no_room_for_is_dropped_and_counted(ends, policy, kept):
    pub, sub = PubChannel(ends[0], "x"), SubChannel(ends[1], "x")
    end = SubChannel(ends[1], "end")
    sub.set_high_water_mark(1 if policy == "latest" else 3, policy=policy)
    send(pub, 20)
    PubChannel(ends[0], "end").send("end")
    assert end.recv(PATIENCE) == "end"
    assert sub.recv_all() == texts(kept)
    assert sub.dropped == 20 - len(kept)
    assert sub.stats()["dropped"] == {
        "queue_full": 0,
        "high_water_mark": sub.dropped,
        "closed": 0,
    }


def test_a_mark_in_bytes(pair):
    pub, sub = PubChannel(pair[0], "x", BINARY), SubChannel(pair[1], "x", BINARY)
    sub.set_high_water_mark(size=2500)
    for number in range(10):
        pub.send(bytes([number]) * 1000)
    wait_until(lambda: sub.dropped == 8)
    assert [message[0] for message in sub.recv_all()] == [8, 9]


def test_an_error_is_raised_once_and_loses_nothing_that_is_pending(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(2, policy="error")
    ways = (sub.recv, sub.recv_all, sub.next, sub.recv_selected)
    for turn, receive in enumerate(ways, 1):
        send(pub, 5)
        wait_until(lambda turn=turn: sub.dropped == 3 * turn)
        with pytest.raises(HighWaterMarkReached) as info:
            receive()
        assert info.value.dropped == 3
        assert sub.recv_all() == ["0", "1"]
    assert sub.dropped == 12


@pytest.mark.parametrize("policy", ["drop_new", "error"])
def test_a_mark_that_drops_what_comes_spares_what_was_pending_before(pair, policy):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    send(pub, 10)
    wait_until(lambda: sub.pending == 10)
    sub.set_high_water_mark(2, policy=policy)
    send(pub, 3)
    wait_until(lambda: sub.dropped == 3)
    if policy == "error":
        with pytest.raises(HighWaterMarkReached) as info:
            sub.recv()
        assert info.value.dropped == 3
    assert sub.recv_all() == texts(range(10))


def test_one_emission_tells_of_many_drops(pair, caplog):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(10)
    told = []
    sub.dropped_messages.bind(lambda channel, count: told.append((channel, count)))
    send(pub, 500)
    wait_until(lambda: sub.dropped == 490)
    wait_until(lambda: process_events() or sum(count for _, count in told) == 490)
    assert len(told) <= 2 and told[0][0] is sub
    send(pub, 5)
    wait_until(lambda: process_events() or sum(count for _, count in told) == 495)
    assert [record.message for record in caplog.records if "dropped" in record.message] == [
        f"{sub!r}: does not keep up, messages are dropped"
    ]


def test_drops_are_told_though_the_event_queue_was_full(pair, monkeypatch):
    scheduler = ManualScheduler()
    monkeypatch.setattr(coalescing, "scheduler", scheduler)
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(1)
    told = []
    sub.dropped_messages.bind(lambda _, count: told.append(count))
    monkeypatch.setattr(app, "post", lambda event: False)
    for count in (1, 2):
        send(pub, 2)
        wait_until(lambda count=count: sub.stats()["in"]["messages"] == 2 * count)
        # It may act on them only later.
        sub.packages_delivered()
        scheduler.advance(RETRY_INTERVAL)
    assert scheduler._agenda.next_due() == scheduler.now() + RETRY_INTERVAL
    monkeypatch.delattr(app, "post")
    scheduler.advance(RETRY_INTERVAL)
    process_events()
    assert told == [3]
    assert scheduler._agenda.next_due() is None


def test_nothing_is_told_later_by_an_interpreter_that_ends(make_context, monkeypatch):
    scheduler = ManualScheduler()
    monkeypatch.setattr(coalescing, "scheduler", scheduler)
    sub = SubChannel(make_context(), "x")
    told = []
    sub.received.bind(told.append)
    monkeypatch.setattr(app, "post", lambda event: False)

    def start_no_thread(call):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(scheduler, "_start_thread", start_no_thread)
    sub.packages_delivered()
    monkeypatch.undo()
    sub.packages_delivered()
    process_events()
    assert told == [sub]


def test_a_closed_subscriber_still_tells_what_was_dropped_at_its_mark(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(2, policy="error")
    send(pub, 5)
    wait_until(lambda: sub.dropped == 3)
    sub.close()
    # What comes after that is no matter of the mark.
    sub.deliver(Package(b"late", 8, 1, 1), itertools.count())
    with pytest.raises(HighWaterMarkReached) as info:
        sub.recv()
    assert info.value.dropped == 3
    assert [sub.recv(), sub.recv(), sub.recv()] == ["0", "1", ""]


def test_a_subscriber_that_blocks_loses_nothing_and_needs_no_event_loop(ends):
    pub, sub = PubChannel(ends[0], "x"), SubChannel(ends[1], "x")
    sub.set_high_water_mark(20, policy="block")
    is_enough, sent = threading.Event(), []

    def send_on():
        # However long it takes until the word comes that it has to wait.
        for number in itertools.takewhile(lambda _: not is_enough.is_set(), itertools.count()):
            pub.send(str(number))
            sent.append(number)

    sender = threading.Thread(target=send_on, daemon=True)
    sender.start()
    wait_until(lambda: pub._hold.is_lasting)
    pending = -1
    while pending != sub.pending:
        # In sync mode, the publisher would go on after a second.
        pending = sub.pending
        time.sleep(1.2)
    assert pending >= 20
    is_enough.set()
    received = [sub.recv(PATIENCE) for _ in range(pending)]
    sender.join(PATIENCE)
    assert not sender.is_alive()
    received += [sub.recv(PATIENCE) for _ in sent[len(received) :]]
    assert received == texts(sent)
    assert sub.dropped == 0


def test_a_subscriber_blocks_by_bytes_as_well(pair):
    pub, sub = PubChannel(pair[0], "x", BINARY), SubChannel(pair[1], "x", BINARY)
    sub.set_high_water_mark(size=2**20, policy="block")
    message = bytes(2**16)
    sender = threading.Thread(target=lambda: [pub.send(message) for _ in range(1000)], daemon=True)
    sender.start()
    most = 0
    for _ in range(1000):
        assert sub.recv(PATIENCE) == message
        most = max(most, sub.pending)
    sender.join(PATIENCE)
    assert most < 500
    assert sub.dropped == 0


def test_messages_wait_for_a_subscriber_as_long_as_it_says(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(2, policy="block", timeout=0.3)
    send(pub, 2)
    wait_until(lambda: pub._hold.is_lasting)
    begin = time.monotonic()
    pub.send("late")
    assert 0.25 < time.monotonic() - begin < PATIENCE
    wait_until(lambda: sub.pending == 3)


def test_tiny_messages_that_do_not_wait_are_bounded_in_number(make_context, monkeypatch):
    monkeypatch.setattr(subscribing, "DEFAULT_MAX_COUNT", 50)
    sub = SubChannel(make_context(), "x")
    sub.set_high_water_mark(10, policy="block", timeout=0)
    sub.deliver(Bundle(b"x" * 100, [1] * 100, 8, 1, 100), itertools.count())
    assert (sub.pending, sub.dropped) == (60, 40)
    assert sub.stats()["dropped"]["queue_full"] == 40


def test_a_small_message_takes_about_as_much_memory_as_is_said(make_context):
    sub = SubChannel(make_context(), "x", BINARY)
    count = 2**12
    tracemalloc.start()
    sub.deliver(Bundle(bytes(2 * count), [2] * count, 8, 1, count), itertools.count(10**6))
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert size < 1.3 * MESSAGE_OVERHEAD


@pytest.mark.parametrize("way", ["context", "channel", "policy", "sync mode"])
def test_a_subscriber_that_no_longer_blocks_frees_the_publisher(ends, way):
    pub, sub = PubChannel(ends[0], "x"), SubChannel(ends[1], "x")
    sub.set_high_water_mark(5, policy="block")
    is_over = threading.Event()

    def send_on():
        while not is_over.is_set():
            pub.send("x")

    sender = threading.Thread(target=send_on, daemon=True)
    sender.start()
    wait_until(lambda: pub._hold_changed.parked)
    is_over.set()
    assert sender.is_alive()
    if way == "context":
        ends[1].close()
    elif way == "channel":
        sub.close()
    elif way == "policy":
        sub.set_high_water_mark(5)
    else:
        sub.set_sync_mode(False)
    sender.join(PATIENCE)
    assert not sender.is_alive()


def test_threads_that_wait_for_one_message_each_leave_no_publisher_waiting(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(1, policy="block")
    receivers = [threading.Thread(target=sub.recv, args=(PATIENCE,)) for _ in range(20)]
    for receiver in receivers:
        receiver.start()
    sender = start_sending(pub, len(receivers))
    for receiver in receivers:
        receiver.join(PATIENCE)
    sender.join(PATIENCE)
    assert not sender.is_alive()
    wait_until(lambda: not pub._hold.full_receivers)


def test_a_subscriber_for_which_nobody_is_to_wait_raises_no_error(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(1, policy="block", timeout=0)
    pub.set_high_water_mark(policy="error")
    pub.send("fills it")
    wait_until(lambda: pub._hold.is_lasting)
    send(pub, 5)
    wait_until(lambda: sub.pending == 6)


def test_words_of_subscribers_find_room_however_small_the_queues_are():
    with Context(queue_params=(1, "new")) as one, Context() as other:
        connect(one, other)
        pub = PubChannel(one, "x")
        slot = slot_number(pub.slot_incoming)
        words = [
            Package(word, slot, other.id, 2**32 + number)
            for number, word in enumerate([FULL, WAIT, FULL, OK])
        ]
        for begin, end in [(0, 3), (3, 4)]:
            one.arrivals.deliver(words[begin:end], one.connections[0])
            one.arrivals.act(one.connections[0])
            assert pub._hold.is_lasting is (end == 3)
        one.arrivals.deliver([Package(WAIT, slot, other.id, 2**33)], one.connections[0])
        pub.contexts_gone({other.id})
        one.arrivals.act(one.connections[0])
        assert not pub._hold.full_receivers


def hold(pub, sub):
    """Have a subscriber hold a publisher, and get the thread that waits."""
    assert pub.wait_for_subscribers(timeout=PATIENCE)
    sub.set_high_water_mark(2, policy="block")
    # No more than that, or this thread would wait itself, if the word comes quickly.
    send(pub, 2)
    wait_until(lambda: pub._hold.is_lasting)
    return start_sending(pub, 1)


def test_nobody_waits_for_a_subscriber_that_is_gone_from_a_ring(ring):
    pub, sub = PubChannel(ring[0], "x"), SubChannel(ring[1], "x")
    sender = hold(pub, sub)
    ring[1].connections[0].close_on_problem()
    sender.join(PATIENCE)
    assert not sender.is_alive()


@pytest.mark.parametrize("how", ["closed", "of another policy"])
def test_nobody_waits_for_a_subscriber_whose_last_word_was_lost(pair, monkeypatch, how):
    monkeypatch.setattr("yoton.channels.subscribing.REPEAT_INTERVAL", 0.05)
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sender = hold(pub, sub)
    with monkeypatch.context() as patch:
        patch.setattr(sub, "_say", lambda word: None)
        if how == "closed":
            sub.close()
        else:
            sub.set_high_water_mark(5)
    sender.join(PATIENCE)
    assert not sender.is_alive()


def test_who_comes_later_is_held_as_well(make_context):
    hub, first, second = make_context(), make_context(), make_context()
    connect(hub, first)
    sub, pub = SubChannel(hub, "x"), PubChannel(first, "x")
    sub.set_high_water_mark(5, policy="block")
    send(pub, 5)
    wait_until(lambda: pub._hold.is_lasting)
    connect(hub, second)
    late = PubChannel(second, "x")
    wait_until(lambda: late._hold.is_lasting)


def test_a_slow_subscriber_that_drops_stalls_no_fast_one(make_context):
    publisher, slow, fast = make_context(), make_context(), make_context()
    connect(publisher, slow)
    connect(publisher, fast)
    pub, slow_sub, fast_sub = (
        PubChannel(publisher, "x"),
        SubChannel(slow, "x"),
        SubChannel(fast, "x"),
    )
    slow_sub.set_high_water_mark(10)
    sender = start_sending(pub, 3000)
    begin = time.monotonic()
    assert [fast_sub.recv(PATIENCE) for _ in range(3000)] == texts(range(3000))
    assert time.monotonic() - begin < 5
    sender.join(PATIENCE)
    wait_until(lambda: slow_sub.dropped + slow_sub.pending == 3000)
    assert slow_sub.pending == 10


def test_a_thread_that_is_held_can_be_freed_by_closing_its_channel(pair):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    sub.set_high_water_mark(5, policy="block")
    send(pub, 5)
    wait_until(lambda: pub._hold.is_lasting)
    errors = []

    def send_one():
        try:
            pub.send("never")
        except OSError as error:
            errors.append(error)

    sender = threading.Thread(target=send_one, daemon=True)
    sender.start()
    wait_until(lambda: pub._hold_changed.parked)
    pub.close()
    sender.join(PATIENCE)
    assert len(errors) == 1


# Without a connection


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("drop_old", range(17, 20)),
        ("drop_new", range(3)),
        ("latest", range(18, 20)),
        ("error", range(3)),
        ("block", range(20)),
    ],
)
def test_a_mark_holds_while_there_is_no_connection(make_context, policy, kept, is_first):
    publisher, subscriber = make_context(), make_context()
    pub, sub = PubChannel(publisher, "x"), SubChannel(subscriber, "x")
    end = SubChannel(subscriber, "end")
    if not is_first:
        connect(make_context(), publisher)
        publisher.connections[0].close()
        wait_until(lambda: not publisher.neighbours.connections)
    pub.set_high_water_mark(3, policy=policy)
    refused = 0
    for number in range(20):
        try:
            pub.send(str(number))
        except HighWaterMarkReached:
            refused += 1
    assert pub.dropped + refused + len(kept) == 20
    PubChannel(publisher, "end").send("end")
    connect(subscriber, publisher)
    assert end.recv(PATIENCE) == "end"
    assert sub.recv_all() == texts(kept)


def test_who_blocks_goes_on_when_the_only_connection_ends(make_context):
    context = make_context()
    waiting = context.bind("localhost:0")
    pub = PubChannel(context, "x")
    pub.set_high_water_mark(1, policy="block")
    sender = start_sending(pub, 5)
    wait_until(lambda: waiting.outbox._changed.parked)
    waiting.close()
    sender.join(PATIENCE)
    assert not sender.is_alive()


def test_a_state_is_kept_for_a_first_connection(make_context):
    first, second = make_context(), make_context()
    state = StateChannel(first, "state")
    for number in range(199):
        state.send(str(number))
    first.flush_burst()
    state.send("199")
    # What waits there is the newest, once there is so much that senders would wait for a peer.
    assert first.stats()["startup_queue"]["messages"] <= CONGESTION_COUNT
    other = StateChannel(second, "state")
    connect(second, first)
    wait_until(lambda: other.recv() == "199")


# Memory

FLOOD = """
import pathlib, re, sys, threading, yoton
contexts = publisher, relay, subscriber = [yoton.Context() for _ in range(3)]
publisher.connect(f"localhost:{relay.bind('localhost:0').port1}")
subscriber.connect(f"localhost:{relay.bind('localhost:0').port1}")
pub = yoton.PubChannel(publisher, "x", yoton.BINARY)
sub = yoton.SubChannel(subscriber, "x", yoton.BINARY)
sub.set_high_water_mark(size=2**23, policy=sys.argv[1])
pub.set_high_water_mark(size=2**23, policy="block")
message, count, received = bytes(2**20), 600, 0
sender = threading.Thread(target=lambda: [pub.send(message) for _ in range(count)])
sender.start()
while received + sub.dropped < count:
    if sys.argv[1] == "block" or received < 20 or not sender.is_alive():
        received += bool(sub.recv(0.1))
    else:
        sender.join(0.01)
sender.join()
assert received + sub.dropped == count, (received, sub.dropped)
assert not sum(c.dropped for context in contexts for c in context.connections)
# Not that of getrusage, which begins with what the process that started this one had.
status = pathlib.Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
for context in contexts:
    context.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")
@pytest.mark.parametrize("policy", ["block", "drop_old"])
def test_a_flood_takes_a_bounded_amount_of_memory_everywhere(policy):
    command = [sys.executable, "-c", FLOOD, policy]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # All three contexts are in it; 600 MiB were sent.
    assert int(done.stdout) < 150


# At the publisher


@pytest.fixture
def stuck(make_context):
    """Get a publisher whose line takes nothing for now, and what has it go on."""
    publisher, subscriber = make_context(), make_context()
    connection = publisher.bind("localhost:0")
    go_on = threading.Event()
    deliver = subscriber.arrivals.deliver

    def deliver_late(packages, connection):
        go_on.wait(PATIENCE)
        deliver(packages, connection)

    subscriber.arrivals.deliver = deliver_late
    subscriber.connect(f"localhost:{connection.port1}")
    wait_until(lambda: connection.is_connected)
    filler = PubChannel(publisher, "filler", BINARY)
    filler.set_high_water_mark(10, policy="error")
    with pytest.raises(HighWaterMarkReached):
        while True:
            filler.send(bytes(2**20))
    yield publisher, subscriber, go_on
    go_on.set()


def test_a_mark_leaves_room_for_others_in_the_queue(pair):
    pub = PubChannel(pair[0], "x")
    for arguments in ({"messages": 5001}, {"size": 2**27 + 1}):
        with pytest.raises(ArgumentError, match="at most 5000 messages and 134217728 bytes"):
            pub.set_high_water_mark(**arguments)
    pub.set_high_water_mark(5000, 2**27)


@pytest.mark.parametrize("policy", ["drop_old", "latest"])
def test_who_blocks_goes_on_with_another_policy(stuck, policy):
    publisher, _, _ = stuck
    pub = PubChannel(publisher, "x")
    pub.set_high_water_mark(2, policy="block")
    sender = start_sending(pub, 10)
    wait_until(lambda: any(outbox._changed.parked for outbox in publisher.outboxes()))
    pub.set_high_water_mark(2, policy=policy)
    sender.join(PATIENCE)
    assert not sender.is_alive()
    assert pub.dropped == 10 - (2 if policy == "drop_old" else pub._mark._mark.messages)


def test_a_policy_of_defaults_keeps_its_word(stuck):
    publisher, _, _ = stuck
    pub = PubChannel(publisher, "x")
    pub.set_high_water_mark(policy="drop_new")
    send(pub, 6000)
    assert pub.dropped == 1000
    assert publisher.connections[0].dropped == 1000


def received(sub, end):
    assert end.recv(PATIENCE) == "end"
    return sub.recv_all()


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_old", range(17, 20)), ("drop_new", range(3)), ("latest", [19])],
)
def test_what_waits_at_a_publisher_beyond_its_mark_is_dropped_and_counted(stuck, policy, kept):
    publisher, subscriber, go_on = stuck
    pub, sub = PubChannel(publisher, "x"), SubChannel(subscriber, "x")
    ending, end = PubChannel(publisher, "end"), SubChannel(subscriber, "end")
    told = []
    pub.dropped_messages.bind(lambda channel, count: told.append(count))
    ending.set_high_water_mark(5)
    pub.set_high_water_mark(1 if policy == "latest" else 3, policy=policy)
    begin = time.monotonic()
    send(pub, 20)
    ending.send("end")
    publisher.flush_burst()
    assert time.monotonic() - begin < 0.9
    go_on.set()
    assert received(sub, end) == texts(kept)
    assert pub.dropped == 20 - len(kept)
    assert pub.stats()["dropped"]["high_water_mark"] == pub.dropped
    assert publisher.stats()["total"]["dropped"]["high_water_mark"] == pub.dropped
    wait_until(lambda: process_events() or told)
    assert sum(told) == pub.dropped


@pytest.mark.parametrize("policy", ["block", "drop_old"])
def test_far_below_its_mark_a_publisher_sends_in_bursts(pair, policy):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    pub.set_high_water_mark(policy=policy)
    pair[0].begin_burst()
    # As many as fit everywhere: the inbox of a subscriber without a mark drops what is beyond.
    sender = start_sending(pub, 4_000)
    assert [sub.recv(PATIENCE) for _ in range(4_000)] == texts(range(4_000))
    sender.join(PATIENCE)
    out = pair[0].stats()["total"]["out"]
    assert out["packages"] < out["messages"]
    assert pub.dropped == 0


def test_a_mark_in_bytes_at_a_publisher(stuck):
    publisher, subscriber, go_on = stuck
    pub, sub = PubChannel(publisher, "x"), SubChannel(subscriber, "x")
    ending, end = PubChannel(publisher, "end"), SubChannel(subscriber, "end")
    ending.set_high_water_mark(5)
    pub.set_high_water_mark(size=250)
    for letter in "abcde":
        pub.send(letter * 100)
    ending.send("end")
    go_on.set()
    assert received(sub, end) == ["d" * 100, "e" * 100]
    assert pub.dropped == 3


def test_a_publisher_raises_an_error_and_has_not_sent_the_message(stuck):
    publisher, subscriber, go_on = stuck
    pub, sub = PubChannel(publisher, "x"), SubChannel(subscriber, "x")
    pub.set_high_water_mark(3, policy="error")
    send(pub, 3)
    with pytest.raises(HighWaterMarkReached):
        pub.send("never")
    go_on.set()
    assert [sub.recv(PATIENCE) for _ in range(3)] == texts(range(3))
    pub.send("later")
    assert sub.recv(PATIENCE) == "later"
    assert pub.dropped == 0


def test_a_publisher_blocks_until_there_is_room_or_its_timeout_is_over(stuck):
    publisher, subscriber, go_on = stuck
    pub, sub = PubChannel(publisher, "x"), SubChannel(subscriber, "x")
    pub.set_high_water_mark(3, policy="block", timeout=0.2)
    send(pub, 3)
    with pytest.raises(HighWaterMarkReached):
        pub.send("never")
    pub.set_high_water_mark(3, policy="block")
    sender = threading.Thread(target=pub.send, args=("3",), daemon=True)
    sender.start()
    sender.join(0.2)
    assert sender.is_alive()
    go_on.set()
    assert [sub.recv(PATIENCE) for _ in range(4)] == texts(range(4))
    sender.join(PATIENCE)
    assert not sender.is_alive()


def test_a_finalizer_that_cannot_wait_sends_unless_there_is_a_timeout_that_has_passed(stuck):
    publisher, _, _ = stuck
    pub, outbox = PubChannel(publisher, "x"), publisher.outboxes()[0]
    pub.set_high_water_mark(1, policy="block")
    # Else what is sent may wait for a moment before it gets there.
    wait_until(lambda: not publisher._burst.is_on)
    pub.send("0")
    with outbox._lock:  # as in the middle of one of its steps
        pub.send("1")
        assert outbox.waiting(pub._slot_number_out, publisher.id)[-1].data == b"1"
        pub.set_high_water_mark(1, policy="block", timeout=0.0)
        with pytest.raises(HighWaterMarkReached):
            pub.send("never")


def test_a_publisher_that_is_closed_while_it_blocks_does_not_wait_on(stuck):
    publisher, _, _ = stuck
    pub = PubChannel(publisher, "x")
    pub.set_high_water_mark(1, policy="block")
    pub.send("0")
    errors = []

    def send_one():
        try:
            pub.send("never")
        except OSError as error:
            errors.append(error)

    sender = threading.Thread(target=send_one, daemon=True)
    sender.start()
    wait_until(lambda: publisher.outboxes()[0]._changed.parked)
    pub.close()
    sender.join(PATIENCE)
    assert len(errors) == 1


@pytest.mark.parametrize("policy", ["block", "error"])
def test_a_subscriber_that_blocks_meets_the_policy_of_the_publisher(pair, policy):
    pub, sub = PubChannel(pair[0], "x"), SubChannel(pair[1], "x")
    pub.set_high_water_mark(100, policy=policy, timeout=0.1 if policy == "block" else None)
    sub.set_high_water_mark(2, policy="block")
    send(pub, 2)
    wait_until(lambda: pub._hold.is_lasting)
    with pytest.raises(HighWaterMarkReached):
        pub.send("never")
    assert sub.recv_all() == texts(range(2))


def test_a_slow_line_stalls_no_other_subscriber(stuck, make_context):
    publisher, _, _ = stuck
    fast = make_context()
    connect(publisher, fast)
    pub, fast_sub = PubChannel(publisher, "x"), SubChannel(fast, "x")
    pub.set_high_water_mark(500)
    begin = time.monotonic()
    for number in range(2000):
        pub.send(str(number))
        if number % 100 == 99:
            wait_until(lambda number=number: fast_sub.pending == number + 1)
    assert time.monotonic() - begin < 5
    # What has come may just be leaving the outbox of the other one.
    wait_until(lambda: pub.dropped == 1500)

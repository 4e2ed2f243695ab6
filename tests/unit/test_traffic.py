"""Counts of what passes, without what passes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton import Context, PubChannel
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import contexts_gone_package
from yoton.connection.traffic import RoundTrip, Traffic
from yoton.package import Bundle, Package
from yoton.queues import BoundedQueue, Overflow
from yoton.traffic import Departures, PackageFlow, add_up

#: CPython keeps the attributes of an object where it finds them quickly if they are fewer.
MAX_ATTRIBUTES = 30


def package(size: int = 3) -> Package:
    return Package(b"x" * size, 8, 1, 1)


def bundle(*sizes: int) -> Bundle:
    return Bundle(b"x" * sum(sizes), sizes, 8, 1, len(sizes))


def test_a_flow_counts_packages_messages_and_bytes() -> None:
    flow = PackageFlow()
    flow.add_all([package(3), bundle(1, 2, 5)])
    assert flow.stats() == {"packages": 2, "messages": 4, "bytes": 11}
    flow.take_back(bundle(1, 2, 5))
    assert flow.stats() == {"packages": 1, "messages": 1, "bytes": 3}


def test_what_is_discarded_was_not_sent() -> None:
    departures = Departures()
    departures.sent.add_all([package(), bundle(1, 2)])
    assert departures.discard([bundle(1, 2)]) == 2
    assert departures.closed == departures.dropped == 2
    assert departures.sent.stats() == {"packages": 1, "messages": 1, "bytes": 3}


def test_what_the_link_itself_tells_is_no_message_that_is_lost() -> None:
    departures = Departures()
    gone = contexts_gone_package([1, 2])
    departures.sent.add_all([gone])
    assert departures.discard([gone]) == 0
    assert departures.closed == departures.dropped == 0
    assert departures.sent.packages == 0


def test_what_a_peer_cannot_read_was_not_sent() -> None:
    traffic = Traffic()
    traffic.departures.sent.add_all([package(), package(), package()])
    traffic.refuse_large(package())
    traffic.refuse_unreadable(package())
    totals = traffic.totals(resent=5)
    assert totals["out"]["messages"] == 1
    assert totals["dropped"] == {
        "queue_full": 0,
        "high_water_mark": 0,
        "superseded": 0,
        "closed": 0,
        "too_large": 1,
        "not_encodable": 1,
    }
    assert totals["resent"] == 5


def test_numbers_are_added_up_one_by_one() -> None:
    parts = [{"a": 1, "b": {"c": 2}}, {"a": 10, "b": {"c": 20}}, {"a": 100, "b": {"c": 200}}]
    assert add_up(parts) == {"a": 111, "b": {"c": 222}}
    assert add_up([]) == {}


# Round trips


def test_nothing_is_known_before_the_first_answer() -> None:
    trip = RoundTrip()
    trip.ask(1.0)
    assert trip.stats(9.0) is None


def test_the_latest_and_the_smallest_round_trip_are_known() -> None:
    trip = RoundTrip()
    for asked, answered in [(1.0, 1.5), (2.0, 2.25), (3.0, 4.0)]:
        trip.answered(trip.ask(asked), answered)
    assert trip.stats(6.0) == {"latest": 1.0, "smallest": 0.25, "age": 2.0}


def test_an_answer_counts_once_and_only_to_the_last_question() -> None:
    trip = RoundTrip()
    first, second = trip.ask(1.0), trip.ask(2.0)
    trip.answered(first, 2.5)
    assert trip.stats(9.0) is None
    trip.answered(second, 3.0)
    trip.answered(second, 5.0)
    trip.answered(77, 6.0)
    assert trip.stats(3.0) == {"latest": 1.0, "smallest": 1.0, "age": 0.0}


# Queues

PUTS_AND_TAKES = st.lists(
    st.one_of(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.none()), max_size=40
)


@given(PUTS_AND_TAKES, st.integers(1, 10), st.sampled_from(Overflow))
def test_an_outbox_loses_count_of_nothing(
    steps: list[list[int] | None], limit: int, overflow: Overflow
) -> None:
    outbox = Outbox(limit, overflow)
    put = put_bytes = peak = peak_bytes = 0
    for sizes in steps:
        if sizes is None:
            outbox.move(type(outbox.packages)(), 2, 10)
        else:
            outbox.put(bundle(*sizes) if len(sizes) > 1 else package(sizes[0]))
            put, put_bytes = put + len(sizes), put_bytes + sum(sizes)
        stats = outbox.stats()
        peak, peak_bytes = max(peak, stats["messages"]), max(peak_bytes, stats["bytes"])
        sent = outbox.departures.sent
        assert sent.messages + outbox.dropped + stats["messages"] == put
        assert sent.bytes + stats["bytes"] <= put_bytes
        if not outbox.dropped:
            assert sent.bytes + stats["bytes"] == put_bytes
            assert stats["peak_messages"] == peak
            assert stats["peak_bytes"] == peak_bytes
        assert peak <= stats["peak_messages"] <= limit
        assert peak_bytes <= stats["peak_bytes"]
    left = outbox.stats()["messages"]
    assert outbox.discard_all() == left
    assert outbox.departures.sent.messages + outbox.dropped == put


def test_an_outbox_that_follows_another_counts_on() -> None:
    first = Outbox(1, Overflow.DROP_NEW)
    first.put(package())
    first.put(package())
    second = Outbox(1, Overflow.DROP_NEW, departures=first.departures)
    assert second.dropped == 1
    second.close()
    second.put(package())
    assert (second.departures.queue_full, second.departures.closed) == (1, 1)


@pytest.mark.parametrize("overflow", Overflow)
def test_a_queue_knows_its_peak_and_why_it_dropped(overflow: Overflow) -> None:
    queue: BoundedQueue[int] = BoundedQueue(4, overflow)
    queue.put_all([1, 2, 3])
    queue.take()
    queue.put(4)
    assert queue.peak == 3
    queue.put_all([5, 6, 7])
    assert (queue.peak, queue.dropped, queue.dropped_closed) == (4, 2, 0)
    queue.close()
    queue.put_all([8, 9])
    assert (queue.peak, queue.dropped, queue.dropped_closed) == (4, 4, 2)


# A context without connections


def test_what_waits_for_the_first_connection_is_told() -> None:
    with Context(queue_params=(3, "old"), name="alone") as context:
        pub = PubChannel(context, "news")
        for _ in range(5):
            pub.send("four")
        stats = context.stats()
        assert stats["name"] == "alone"
        assert stats["connections"] == []
        assert stats["startup_queue"] == {
            "messages": 3,
            "bytes": 12,
            "peak_messages": 3,
            "peak_bytes": 12,
            "dropped": 2,
        }
        assert stats["channels"]["news.txt.pub-sub"]["out"] == {"messages": 5, "bytes": 20}
        assert stats["total"]["out"] == {"packages": 0, "messages": 0, "bytes": 0}
        assert json.loads(json.dumps(stats)) == stats


def test_what_is_held_back_when_a_channel_closes_is_counted() -> None:
    with Context() as context:
        pub = PubChannel(context, "news")
        context._burst.is_on = True
        pub.send("four")
        pub.close()
        assert pub.stats()["out"] == {"messages": 1, "bytes": 4}


def test_a_context_has_not_too_many_attributes_to_be_quick() -> None:
    with Context() as context:
        assert len(vars(context)) < MAX_ATTRIBUTES


def test_a_context_that_has_sent_nothing_has_nothing_that_waits() -> None:
    with Context() as context:
        assert set(context.stats()["startup_queue"].values()) == {0}
        assert context._startup_queue is None

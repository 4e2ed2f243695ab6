"""A package is not sent where nobody behind the connection wants it, and none is lost by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import PATIENCE, connect, wait_until

from yoton.channels import PubChannel, RepChannel, ReqChannel, SubChannel
from yoton.context import Context


@pytest.fixture
def chain(make_context: Callable[[], Context]) -> list[Context]:
    """A publisher, a relay, a subscriber."""
    contexts = [make_context() for _ in range(3)]
    connect(contexts[0], contexts[1])
    connect(contexts[1], contexts[2])
    return contexts


def have_declined(pub: PubChannel, *contexts: Context) -> None:
    """Send what nobody wants until all of some contexts send it no more."""
    slot = pub._slot_number_out

    def is_declined() -> bool:
        pub.send("in vain")
        return all(slot in context._interest.declined_by for context in contexts)

    wait_until(is_declined)


def declined(*contexts: Context) -> list[int]:
    return [slot for context in contexts for slot in context._interest.declined_by]


def test_a_relay_passes_on_nothing_that_nobody_behind_it_wants(chain: list[Context]) -> None:
    publishing, relay, _ = chain
    have_declined(PubChannel(publishing, "news"), relay)


def test_a_publisher_sends_nothing_that_nobody_wants(chain: list[Context]) -> None:
    publishing, relay, subscribing = chain
    pub, wanted_pub = PubChannel(publishing, "news"), PubChannel(publishing, "wanted")
    wanted = SubChannel(subscribing, "wanted")
    have_declined(pub, publishing, relay)
    before = publishing.connections[0]._outbox
    for _ in range(100):
        pub.send("in vain")
    assert before.count == 0
    wanted_pub.send("last")
    assert wanted.recv(PATIENCE) == "last"
    assert declined(publishing, relay) == 2 * [pub._slot_number_out]


def test_a_subscriber_that_comes_misses_nothing_that_is_sent_after_that(
    chain: list[Context],
) -> None:
    publishing, relay, subscribing = chain
    pub = PubChannel(publishing, "news")
    for number in range(30):
        have_declined(pub, publishing, relay)
        with SubChannel(subscribing, "news") as sub:
            pub.send(str(number))
            assert sub.recv(PATIENCE) == str(number)


def test_a_context_that_comes_misses_nothing_that_is_sent_after_that(
    chain: list[Context], make_context: Callable[[], Context]
) -> None:
    publishing, relay, _ = chain
    pub = PubChannel(publishing, "news")
    for number in range(10):
        have_declined(pub, publishing, relay)
        newcomer = make_context()
        sub = SubChannel(newcomer, "news")
        connection = relay.bind("127.0.0.1:0")
        newcomer.connect(f"127.0.0.1:{connection.port1}")
        pub.send(str(number))
        assert sub.recv(PATIENCE) == str(number)
        newcomer.close()


def test_a_publisher_that_comes_by_the_relay_is_heard(chain: list[Context]) -> None:
    publishing, relay, subscribing = chain
    have_declined(PubChannel(publishing, "news"), publishing, relay)
    sub = SubChannel(subscribing, "news")
    PubChannel(relay, "news").send("from the relay")
    assert sub.recv(PATIENCE) == "from the relay"


def test_nobody_waits_for_a_peer_that_is_gone(chain: list[Context]) -> None:
    publishing, relay, _ = chain
    have_declined(PubChannel(publishing, "news"), publishing)
    publishing.close()
    wait_until(lambda: relay.connection_count == 1)
    sub = SubChannel(relay, "news")
    assert relay._interest.is_confirmed(1)
    assert sub.recv(False) == ""


def test_requests_find_a_replier_that_comes_after_they_were_made(chain: list[Context]) -> None:
    requesting, relay, replying = chain
    req = ReqChannel(requesting, "calls")
    future = req.echo("hello")
    slot = req._slot_number_out
    # Asked again twice a second, it is declined after a while.
    have_asked = [req.echo(number) for number in range(20)]
    wait_until(lambda: slot in requesting._interest.declined_by)
    with RepChannel(replying, "calls") as rep:
        rep.set_mode("thread")
        assert future.result(PATIENCE) == ("hello", hex(replying.id))
        assert [other.result(PATIENCE)[0] for other in have_asked] == list(range(20))
    assert relay.connection_count == 2


@pytest.fixture
def ring(make_context: Callable[[], Context]) -> Iterator[list[Context]]:
    contexts = [make_context() for _ in range(3)]
    for index in range(3):
        connect(contexts[index], contexts[index - 1])
    wait_until(lambda: any(context._router.has_ring for context in contexts))
    yield contexts


def test_in_a_ring_everything_goes_both_ways(ring: list[Context]) -> None:
    pub, sub = PubChannel(ring[0], "news"), SubChannel(ring[1], "news")
    other = PubChannel(ring[0], "other")
    for number in range(100):
        other.send("in vain")
        pub.send(str(number))
    assert [sub.recv(PATIENCE) for _ in range(100)] == list(map(str, range(100)))
    for context in ring:
        assert context._router.has_ring is False or not context._interest._declined_at

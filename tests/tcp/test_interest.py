"""A package is not sent where nobody behind the connection wants it, and none is lost by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import PATIENCE, connect, have_declined, receive_wanted, wait_until

from yoton import demand
from yoton.channels import (
    BaseChannel,
    PubChannel,
    RepChannel,
    ReqChannel,
    StateChannel,
    SubChannel,
)
from yoton.clock import Deadline
from yoton.context import Context
from yoton.demand import CONFIRM_TIMEOUT


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
            assert receive_wanted(sub) == str(number)


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
        assert receive_wanted(sub) == str(number)
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


def test_who_waits_hears_when_a_peer_behind_the_relay_is_gone(
    chain: list[Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, relay, subscribing = chain
    pub = PubChannel(publishing, "news")
    have_declined(pub, publishing, relay)
    # As if the publisher stood still: it confirms nothing.
    monkeypatch.setattr(publishing, "heard", lambda notice, connection: None)
    token = subscribing._demand._ask_for(subscribing._interest.want, (pub._slot_number_out,))
    wait_until(lambda: relay._interest._wishes)
    assert not subscribing._interest.is_confirmed(token[0])
    publishing.connections[0].close_on_problem()
    deadline = Deadline(CONFIRM_TIMEOUT / 2)
    wait_until(lambda: subscribing._interest.is_confirmed(token[0]) or deadline.passed())
    assert subscribing._interest.is_confirmed(token[0])


def test_a_peer_that_stands_still_is_waited_for_once(
    chain: list[Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, relay, _ = chain
    have_declined(PubChannel(publishing, "news"), publishing)
    monkeypatch.setattr(publishing, "heard", lambda notice, connection: None)
    # Time enough for the thread of the scheduler to ask, also on a loaded machine.
    monkeypatch.setattr(demand, "CONFIRM_TIMEOUT", 0.5)
    SubChannel(relay, "news")
    assert not relay._interest.is_declining


@pytest.mark.parametrize("kind", [SubChannel, PubChannel, ReqChannel, RepChannel, StateChannel])
def test_a_channel_is_complete_when_it_waits_and_frees_its_slot_on_ctrl_c(
    kind: type[BaseChannel], chain: list[Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = chain[0]

    def interrupt(slot: int) -> None:
        channel = context._slots.receiving[slot].receiver
        assert isinstance(channel, BaseChannel)
        assert channel._envelope.slot == channel._slot_number_out
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(context, "await_senders", interrupt)
        with pytest.raises(KeyboardInterrupt):
            kind(context, "news")
    kind(context, "news").close()


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

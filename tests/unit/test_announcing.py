"""What a context announces, and when: with a scheduler whose time the test moves, and no lines."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from manual_scheduler import ManualScheduler

from yoton import announcing as announcing_module
from yoton.announcing import (
    GATHER_TIME,
    GONE_AFTER,
    LARGE_NETWORK,
    MAX_REST,
    RELAYS_ON_THE_WAY,
    REST_TIME,
    UNTOLD_AFTER,
    Announcing,
)
from yoton.connection.protocol import Identity
from yoton.directory import News
from yoton.entry import Endpoint, Entry, Peer, announcement_of, read_announcement
from yoton.routing import Router

PUB = Endpoint("PubChannel", "chat.txt.pub-sub", "chat.txt.sub-pub")
SUB = Endpoint("SubChannel", "chat.txt.sub-pub", "chat.txt.pub-sub")

OWN_ID, PEER_ID, OTHER_ID = 1, 2, 3
PEER = Identity(PEER_ID, 20, tells_directory=True)


class Line:
    """Takes the place of a connection; keeps what is told over it."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.kicks = 0

    def tell_news(self, news: News) -> None:
        self.news.append(news)

    def kick(self) -> None:
        self.kicks += 1

    def take(self) -> list[Entry]:
        """Get what was told since the last call."""
        told, self.news = self.news, []
        return [read_announcement(data).entry for news in told for data in news.take()]


class Channel:
    def __init__(self) -> None:
        self.changes = 0
        self.gone: list[set[int]] = []

    def peers_have_changed(self, gone: set[int]) -> None:
        self.changes += 1
        self.gone.append(gone)


class Node:
    """A context's announcing, with a line to a peer that is open."""

    def __init__(self, scheduler: ManualScheduler) -> None:
        self.scheduler = scheduler
        # Those who were told to be gone, each time.
        self.gone: list[set[int]] = []
        self.router = Router(OWN_ID)
        self.announcing = Announcing(
            threading.RLock(), OWN_ID, "node", self.router, self.gone.append
        )
        self.line = Line()
        self.version = 0
        self.open_line(self.line)
        scheduler.advance(2 * GATHER_TIME)
        self.line.take()

    def open_line(self, line: Line, peer: Identity = PEER) -> None:
        self.router.line_opened(peer.id, line)
        self.announcing.line_opened(line, peer)  # type: ignore[arg-type]

    def close_line(self, line: Line) -> None:
        self.announcing.line_closed(line)  # type: ignore[arg-type]

    def hear(self, *endpoints: Endpoint, neighbours: tuple[int, ...] = (OWN_ID,)) -> None:
        """Have the peer tell that it has these channels, and these neighbours."""
        self.version += 1
        entry = Entry(Peer(PEER_ID, 20, "", "", ""), self.version, endpoints, frozenset(neighbours))
        self.announcing.heard(self.line, announcement_of(entry))  # type: ignore[arg-type]

    def hear_other(self) -> None:
        """Have somebody behind the peer tell of itself."""
        entry = Entry(Peer(OTHER_ID, 30, "", "", ""), 1, (), frozenset((PEER_ID,)))
        self.announcing.heard(self.line, announcement_of(entry))  # type: ignore[arg-type]

    def meet_other(self, line: Line) -> None:
        """Have something of somebody come over a line to whom no line led before."""
        self.router.line_opened(OTHER_ID, line)
        self.announcing.newcomers_heard({OTHER_ID})

    def settle(self) -> None:
        self.scheduler.advance(GATHER_TIME)

    def told_endpoints(self) -> list[tuple[Endpoint, ...]]:
        return [entry.endpoints for entry in self.line.take()]


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> ManualScheduler:
    manual = ManualScheduler()
    monkeypatch.setattr(announcing_module, "scheduler", manual)
    return manual


@pytest.fixture
def node(scheduler: ManualScheduler) -> Node:
    return Node(scheduler)


def test_a_channel_is_told_a_moment_after_it_was_made(node: Node) -> None:
    node.announcing.channel_made(Channel(), PUB)
    assert node.line.news == []
    node.settle()
    assert node.told_endpoints() == [(PUB,)]
    assert node.line.kicks == 2


def test_changes_that_follow_each_other_are_told_together(node: Node) -> None:
    for number in range(10):
        node.announcing.channel_made(Channel(), PUB.replaced(sends_on=str(number)))
        node.scheduler.advance(GATHER_TIME / 20)
    node.settle()
    assert [len(endpoints) for endpoints in node.told_endpoints()] == [10]


@pytest.mark.parametrize(
    "count, rest",
    [
        (2, GATHER_TIME),
        (20, 20**2 * REST_TIME),
        (100, 100 * LARGE_NETWORK * REST_TIME),
        (500, MAX_REST),
    ],
)
def test_the_larger_the_network_the_longer_changes_gather(
    node: Node, count: int, rest: float
) -> None:
    others = range(3, count + 1)
    for i in (PEER_ID, *others):
        neighbours = (OWN_ID, *others) if i == PEER_ID else (PEER_ID,)
        entry = Entry(Peer(i, 20, "", "", ""), 1, (), frozenset(neighbours))
        node.announcing.heard(node.line, announcement_of(entry))  # type: ignore[arg-type]
    node.settle()
    node.scheduler.advance(len(others))
    times: list[float] = []
    began, duration = node.scheduler.time, max(0.2, 6 * rest)
    while node.scheduler.time < began + duration:
        node.announcing.channel_made(Channel(), PUB)
        node.scheduler.advance(GATHER_TIME)
        if node.line.take():
            times.append(node.scheduler.time - began)
    assert times[:2] == pytest.approx([GATHER_TIME, GATHER_TIME + rest], abs=GATHER_TIME)
    assert len(times) == pytest.approx(duration / rest, rel=0.1)


def test_no_change_is_left_untold_whenever_it_comes(node: Node) -> None:
    for step in range(30):
        node.announcing.channel_made(Channel(), PUB)
        node.scheduler.advance(GATHER_TIME * step / 10)
    node.settle()
    assert len(node.told_endpoints()[-1]) == 30


def test_a_channel_is_told_behind_what_was_scheduled_before_it(node: Node) -> None:
    node.announcing.channel_made(Channel(), PUB)
    node.scheduler.advance(0.0)
    # The thread of the scheduler comes late: what it settles now must not tell of the channel
    # that is made meanwhile, before its slot was wanted again.
    node.scheduler.time += 2 * GATHER_TIME
    told_before = []
    node.scheduler.call_at(node.scheduler.now(), lambda: told_before.extend(node.told_endpoints()))
    node.announcing.channel_made(Channel(), SUB)
    node.scheduler.make_due_calls()
    node.settle()
    assert told_before == [(PUB,)]
    assert node.told_endpoints() == [(PUB, SUB)]


def test_a_line_is_told_behind_what_was_scheduled_before_it(node: Node) -> None:
    node.announcing.channel_made(Channel(), PUB)
    node.scheduler.advance(0.0)
    node.scheduler.time += 2 * GATHER_TIME
    told_before: list[Entry] = []
    node.scheduler.call_at(node.scheduler.now(), lambda: told_before.extend(node.line.take()))
    other = Line()
    node.open_line(other, PEER.replaced(id=3))
    node.scheduler.make_due_calls()
    node.settle()
    assert [entry.neighbours for entry in told_before] == [{PEER_ID}]
    assert [entry.neighbours for entry in node.line.take()] == [{PEER_ID, 3}]
    assert [entry.neighbours for entry in other.take()] == [{PEER_ID, 3}]


def test_a_channel_that_is_closed_at_once_is_told_to_nobody(node: Node) -> None:
    channel = Channel()
    node.announcing.channel_made(channel, PUB)
    node.announcing.channel_closed(channel)
    node.announcing.channel_closed(channel)
    node.settle()
    assert node.line.take() == []


def test_a_line_that_is_closed_at_once_is_told_to_nobody(node: Node) -> None:
    other = Line()
    node.open_line(other)
    node.close_line(other)
    node.close_line(other)
    node.settle()
    assert node.line.take() == other.take() == []


def test_a_peer_that_does_not_listen_is_told_nothing(node: Node) -> None:
    other = Line()
    node.open_line(other, Identity(3, 30))
    node.settle()
    assert other.news == []
    assert [entry.neighbours for entry in node.line.take()] == [{PEER_ID, 3}]


def test_a_channel_hears_of_its_peers_and_of_nothing_else(node: Node) -> None:
    pub, other = Channel(), Channel()
    node.announcing.channel_made(pub, PUB)
    node.announcing.channel_made(other, SUB)
    node.hear(SUB)
    node.settle()
    assert [peer.id for peer in node.announcing.peers(PUB)] == [PEER_ID]
    node.hear(SUB, SUB)
    node.settle()
    node.close_line(node.line)
    assert [peer.id for peer in node.announcing.peers(PUB)] == [PEER_ID]
    node.settle()
    assert node.announcing.peers(PUB) == ()
    assert (pub.changes, other.changes) == (2, 0)
    assert pub.gone == [set(), {PEER_ID}]


def test_who_stays_out_of_reach_is_gone(node: Node) -> None:
    node.hear(SUB, neighbours=(OWN_ID, OTHER_ID))
    node.hear_other()
    node.meet_other(node.line)
    node.settle()
    node.hear(SUB)
    node.settle()
    node.scheduler.advance(GONE_AFTER - 0.01)
    assert node.gone == []
    node.scheduler.advance(GONE_AFTER / 4 + 0.01)
    assert node.gone == [{OTHER_ID}]
    assert node.router.lines_to(OTHER_ID) == set()
    node.scheduler.advance(10 * UNTOLD_AFTER)
    assert node.gone == [{OTHER_ID}]
    assert node.scheduler._agenda.next_due() is None


def test_in_a_large_network_who_is_out_of_reach_has_time_to_be_told_of(node: Node) -> None:
    others = range(OTHER_ID + 1, 501)
    for i in others:
        entry = Entry(Peer(i, 20, "", "", ""), 1, (), frozenset((PEER_ID,)))
        node.announcing.heard(node.line, announcement_of(entry))  # type: ignore[arg-type]
    node.hear(neighbours=(OWN_ID, OTHER_ID, *others))
    node.hear_other()
    node.meet_other(node.line)
    node.settle()
    node.scheduler.advance(UNTOLD_AFTER)
    node.hear(neighbours=(OWN_ID, *others))
    node.settle()
    wait = RELAYS_ON_THE_WAY * MAX_REST
    node.scheduler.advance(wait - 0.01)
    assert node.gone == []
    node.scheduler.advance(wait / 4 + 0.01)
    assert node.gone == [{OTHER_ID}]


def test_who_comes_into_reach_again_in_time_is_not_gone(node: Node) -> None:
    node.hear_other()
    node.meet_other(node.line)
    for _ in range(3):
        node.hear(neighbours=(OWN_ID, OTHER_ID))
        node.settle()
        node.scheduler.advance(GONE_AFTER / 4)
        node.hear()
        node.settle()
        node.scheduler.advance(GONE_AFTER / 2)
    node.hear(neighbours=(OWN_ID, OTHER_ID))
    node.settle()
    node.scheduler.advance(10 * UNTOLD_AFTER)
    assert node.gone == []


def test_nobody_looks_for_those_in_reach(node: Node) -> None:
    node.meet_other(node.line)
    node.hear_other()
    node.hear(neighbours=(OWN_ID, OTHER_ID))
    assert node.scheduler._agenda.next_due() is not None
    node.settle()
    assert node.scheduler._agenda.next_due() is None
    node.meet_other(node.line)
    assert node.scheduler._agenda.next_due() is None


def test_somebody_heard_that_nobody_tells_of_is_gone(node: Node) -> None:
    node.hear()
    node.meet_other(node.line)
    node.scheduler.advance(UNTOLD_AFTER - 0.01)
    assert node.gone == []
    node.scheduler.advance(UNTOLD_AFTER / 4 + 0.01)
    assert node.gone == [{OTHER_ID}]
    # One that is heard once more, or again, is looked for once more.
    node.meet_other(node.line)
    node.scheduler.advance(1.25 * UNTOLD_AFTER)
    assert node.gone == 2 * [{OTHER_ID}]


def test_a_neighbour_that_closes_before_it_tells_of_itself_is_gone_from_a_ring(node: Node) -> None:
    line = Line()
    node.hear()
    node.open_line(line, Identity(OTHER_ID, 30, tells_directory=True))
    node.router.line_opened(OTHER_ID, node.line)
    assert node.router.line_closed(line) == set()
    node.close_line(line)
    node.scheduler.advance(1.25 * UNTOLD_AFTER)
    assert node.gone == [{OTHER_ID}]


def test_a_neighbour_that_tells_nothing_of_itself_is_not_gone(node: Node) -> None:
    node.open_line(Line(), Identity(OTHER_ID, 30, tells_directory=True))
    node.scheduler.advance(10 * UNTOLD_AFTER)
    assert node.gone == []


@pytest.mark.parametrize("is_known", [False, True])
def test_who_may_be_behind_somebody_that_tells_nothing_of_others_is_not_gone(
    node: Node, is_known: bool
) -> None:
    silent = Line()
    node.hear()
    if is_known:
        node.hear_other()
    node.open_line(silent, Identity(30, 30))
    node.meet_other(silent)
    node.scheduler.advance(10 * UNTOLD_AFTER)
    assert node.gone == []
    # When that one goes, another line may lead there.
    node.router.line_opened(OTHER_ID, node.line)
    node.router.line_closed(silent)
    node.close_line(silent)
    node.scheduler.advance(2 * GONE_AFTER)
    assert node.gone == [{OTHER_ID}]


def test_peers_that_a_channel_finds_are_no_change(node: Node) -> None:
    node.hear(SUB)
    node.settle()
    pub = Channel()
    node.announcing.channel_made(pub, PUB)
    node.settle()
    assert pub.changes == 0


def test_peers_that_come_while_a_channel_is_made_are_a_change(node: Node) -> None:
    pub = Channel()
    node.hear(SUB)
    node.announcing.channel_made(pub, PUB)
    node.settle()
    assert pub.changes == 1


def test_what_is_no_news_changes_nothing(node: Node) -> None:
    node.hear(SUB)
    node.scheduler.advance(1.25 * UNTOLD_AFTER)
    node.version -= 1
    node.hear()
    assert node.scheduler._agenda.next_due() is None


def test_without_a_line_nothing_is_scheduled(scheduler: ManualScheduler) -> None:
    announcing = Announcing(threading.RLock(), OWN_ID, "alone", Router(OWN_ID), lambda gone: None)
    channel, other = Channel(), Channel()
    announcing.channel_made(channel, PUB)
    announcing.channel_made(other, SUB)
    announcing.channel_closed(other)
    assert scheduler._agenda.next_due() is None
    assert list(announcing.graph()["channels"]) == [PUB.sends_on, PUB.receives_on]
    line = Line()
    announcing.line_opened(line, PEER)  # type: ignore[arg-type]
    scheduler.advance(GATHER_TIME)
    [entry] = line.take()
    assert entry.endpoints == (PUB,)


def test_where_no_thread_can_be_started_all_is_told_at_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(due: float, func: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(node.scheduler, "call_at", refuse)
    for count in (1, 2, 3):
        node.announcing.channel_made(Channel(), PUB)
        assert node.told_endpoints() == [count * (PUB,)]


def test_who_waits_looks_again_when_something_has_changed(node: Node) -> None:
    ticket = threading.Lock()
    ticket.acquire()
    node.announcing._changed.parked.append(ticket)
    node.hear(SUB)
    node.settle()
    assert not ticket.locked()


@pytest.mark.parametrize("are_there", [True, False])
def test_where_python_is_embedded_there_may_be_no_arguments(
    monkeypatch: pytest.MonkeyPatch, are_there: bool
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    if not are_there:
        monkeypatch.delattr(sys, "argv")
    announcing = Announcing(threading.RLock(), OWN_ID, "", Router(OWN_ID), lambda gone: None)
    [context] = announcing.graph()["contexts"]
    assert context["program"] == os.path.basename(sys.executable)

"""What is kept of a session, and what becomes of it when the line is lost."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from interrupts import is_interrupted

from yoton.connection import session as session_module
from yoton.connection.session import (
    ACKNOWLEDGED_COUNT,
    ACKNOWLEDGED_SIZE,
    DEFAULT_KEPT_SIZE,
    Session,
)
from yoton.gaps import Gap, GapPackage, Loss
from yoton.package import BEGINNING, EVERYONE, SLOT_LINK, Bundle, Package
from yoton.routing import DROP, Router

SLOT = 8
NO_GAP = Gap(BEGINNING, [])


def package(seq: int, size: int = 1, source_id: int = 1, slot: int = SLOT) -> Package:
    return Package(bytes(size), slot, source_id, seq)


def bundle(last_seq: int, count: int) -> Bundle:
    return Bundle(bytes(count), [1] * count, SLOT, 1, last_seq)


def session_with(*packages: Package, kept_size: int = DEFAULT_KEPT_SIZE) -> Session:
    session = Session(kept_size=kept_size)
    for each in packages:
        session.keep(each)
    return session


class CutLines(RuleBasedStateMachine):
    """One direction of a session, over lines that are cut again and again."""

    @initialize(kept_size=st.sampled_from([1, 1000, 3000, DEFAULT_KEPT_SIZE]))
    def make(self, kept_size: int) -> None:
        self.sender = Session(kept_size=kept_size)
        self.receiver = Session(self.sender.token)
        self.router = Router(own_id=99)
        self.next_seq = {1: 1, 2: 1}
        self.sent: list[Package] = []
        # What waits at the writer, what is on the line, and acknowledgements on it.
        self.waiting: deque[Package] = deque()
        self.line: deque[Package] = deque()
        self.acknowledgements: deque[tuple[int, int]] = deque()
        self.delivered: list[tuple[int, int]] = []
        self.lost = 0
        self.has_line = True

    @rule(
        source_id=st.sampled_from([1, 2]),
        sizes=st.lists(st.integers(1, 800), min_size=1, max_size=100),
        is_bundle=st.booleans(),
    )
    def send(self, source_id: int, sizes: list[int], is_bundle: bool) -> None:
        first = self.next_seq[source_id]
        self.next_seq[source_id] += len(sizes)
        if is_bundle:
            last = first + len(sizes) - 1
            packages = [Bundle(bytes(sum(sizes)), sizes, SLOT, source_id, last)]
        else:
            packages = [package(first + i, size, source_id) for i, size in enumerate(sizes)]
        self.sent += packages
        self.waiting += packages

    @precondition(lambda self: self.has_line)
    @rule(count=st.integers(1, 150))
    def write(self, count: int) -> None:
        for _ in range(min(count, len(self.waiting))):
            self.sender.keep(self.waiting[0])
            self.line.append(self.waiting.popleft())

    @rule(count=st.integers(1, 150), is_acknowledged=st.booleans())
    def deliver(self, count: int, is_acknowledged: bool) -> None:
        packages = [self.line.popleft() for _ in range(min(count, len(self.line)))]
        for each in packages:
            for news in self.router.parts(each):
                verdict = self.router.decide(news)
                assert not verdict.is_late, "there is one line"
                if verdict is not DROP:
                    self.delivered += [(p.source_id, p.source_seq) for p in news.packages()]
                self.router.remember(news, "line")
        if packages and (self.receiver.note_received(packages) or is_acknowledged):
            assert self.receiver.take_unacknowledged()
            self.acknowledgements.append(self.receiver.received)

    @rule()
    def deliver_acknowledgements(self) -> None:
        while self.acknowledgements:
            self.sender.acknowledged(self.acknowledgements.popleft())

    @rule(
        kept_acknowledgements=st.integers(0, 2), taken=st.integers(0, 10), is_gap_told=st.booleans()
    )
    def cut(self, kept_acknowledgements: int, taken: int, is_gap_told: bool) -> None:
        while len(self.acknowledgements) > kept_acknowledgements:
            self.acknowledgements.pop()
        self.deliver_acknowledgements()
        self.line.clear()
        if self.has_line:
            # What the writer had taken from the outbox.
            for _ in range(min(taken, len(self.waiting))):
                self.sender.keep(self.waiting.popleft())
        packages, gap = self.sender.resume(self.receiver.received)
        # Else this line is cut before anything comes by it.
        self.has_line = is_gap_told
        if is_gap_told:
            self.receiver.note_gap(gap)
            self.lost += gap.messages
            self.waiting.extendleft(reversed(packages))
        else:
            for each in packages:
                self.sender.keep(each)

    @invariant()
    def everything_comes_once_and_in_order(self) -> None:
        for source_id in self.next_seq:
            seqs = [seq for source, seq in self.delivered if source == source_id]
            assert seqs == sorted(set(seqs))

    @invariant()
    def no_more_is_kept_than_there_is_room_for(self) -> None:
        sizes = [len(kept.package.data) for kept in self.sender._kept]
        assert len(sizes) <= 1 or sum(sizes) <= self.sender._kept_size

    def teardown(self) -> None:
        if not hasattr(self, "sender"):
            return
        self.cut(0, 0, True)
        self.write(10**6)
        self.deliver(10**6, False)
        sent = sum(each.count for each in self.sent)
        assert len(self.delivered) + self.lost == sent


TestCutLines = CutLines.TestCase


def test_what_the_peer_has_is_kept_no_longer() -> None:
    session = session_with(package(1), package(2), package(3))
    session.acknowledged((1, 2))
    assert session.kept_count == 1
    assert session.resume((1, 2)) == ([package(3)], NO_GAP)


def test_what_is_behind_the_last_one_is_written_again() -> None:
    session = session_with(package(1), bundle(3, 2), package(4))
    assert session.resume((1, 1)) == ([bundle(3, 2), package(4)], NO_GAP)
    assert session.resent == 3


def test_all_is_written_again_if_nothing_came() -> None:
    session = session_with(package(1), package(2))
    assert session.resume(BEGINNING) == ([package(1), package(2)], NO_GAP)


def test_a_place_that_was_never_sent_is_no_place() -> None:
    session = session_with(package(1))
    session.acknowledged((7, 7))
    assert session.kept_count == 1


def test_what_is_kept_twice_is_one() -> None:
    session = session_with(package(1), package(1), package(2), package(2))
    session.acknowledged((1, 1))
    assert session.kept_count == 2
    assert session.restart() == Gap((1, 2), [Loss(SLOT, EVERYONE, 1)])


def test_what_is_kept_twice_where_there_is_room_for_one_is_not_missing_as_well() -> None:
    large = package(1, size=500)
    session = session_with(large, large, kept_size=1)
    assert session.resume(BEGINNING) == ([large], NO_GAP)


def test_what_could_not_be_kept_is_counted_by_slot_and_destination() -> None:
    here = Package(b"x", SLOT, 1, 3, dest_id=5)
    session = session_with(package(1), package(2, slot=9), here, bundle(6, 3), kept_size=1)
    losses = [Loss(SLOT, EVERYONE, 1), Loss(9, EVERYONE, 1), Loss(SLOT, 5, 1)]
    assert session.resume(BEGINNING) == ([bundle(6, 3)], Gap((1, 3), losses))


def test_a_gap_is_told_again_until_it_is_known() -> None:
    session = session_with(package(1), package(2), package(3), kept_size=1)
    gap = Gap((1, 2), [Loss(SLOT, EVERYONE, 2)])
    assert session.resume(BEGINNING) == ([package(3)], gap)
    assert session.resume(BEGINNING) == ([], gap)
    peer = Session()
    peer.note_gap(gap)
    assert session.resume(peer.received) == ([], NO_GAP)
    peer.note_gap(NO_GAP)
    assert peer.received == (1, 2)


def elsewhere(*losses: Loss) -> GapPackage:
    return GapPackage(b"losses", 10, losses)


def heard_of(gap: GapPackage) -> Gap:
    return Gap((gap.source_id, gap.source_seq), gap.losses, origin=(7, 1))


def test_a_gap_that_is_passed_on_has_its_place_among_the_packages() -> None:
    first, second = (elsewhere(Loss(SLOT, EVERYONE, messages)) for messages in (2, 3))
    session = session_with(package(1), first, package(2), second)
    peer = Session()
    peer.note_received([package(1)])
    assert session.resume(peer.received)[0] == [first, package(2), second]
    session = session_with(package(1), first, package(2), second)
    peer.note_gap(heard_of(first))
    assert session.resume(peer.received)[0] == [package(2), second]
    session = session_with(package(1), first, package(2), second)
    assert peer.note_gap(heard_of(second))
    assert session.resume(peer.received) == ([], NO_GAP)
    assert not peer.note_gap(heard_of(second))  # written twice


def test_a_gap_that_is_passed_on_and_not_kept_is_in_the_next_one() -> None:
    news = elsewhere(Loss(SLOT, EVERYONE, 2), Loss(9, 5, 3))
    session = session_with(package(1), news, news, package(2), kept_size=1)
    losses = [Loss(SLOT, EVERYONE, 3), Loss(9, 5, 3)]
    place = news.source_id, news.source_seq
    assert session.resume(BEGINNING) == ([package(2)], Gap(place, losses))
    session.acknowledged((1, 1))
    assert session.resume((1, 1)) == ([], Gap(place, [Loss(SLOT, EVERYONE, 2), Loss(9, 5, 3)]))
    assert session.resume(place) == ([], NO_GAP)


def test_losses_that_are_passed_on_take_no_more_memory_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "MAX_REMEMBERED", 3)
    news = elsewhere(*(Loss(slot, EVERYONE, 1) for slot in range(10)))
    session = session_with(news, package(1), kept_size=1)
    assert len(session._remembered) == 3
    _, gap = session.resume(BEGINNING)
    assert gap.messages == 10


def test_what_came_all_the_same_is_not_missing() -> None:
    session = session_with(*map(package, range(1, 6)), kept_size=1)
    gap = Gap((1, 4), [Loss(SLOT, EVERYONE, 1)])
    assert session.resume((1, 3)) == ([package(5)], gap)


def test_an_acknowledgement_of_what_is_no_longer_kept_counts() -> None:
    session = session_with(*map(package, range(1, 6)), kept_size=1)
    session.acknowledged((1, 4))
    assert session.resume((1, 4)) == ([package(5)], NO_GAP)


def test_another_peer_is_told_what_the_one_before_may_not_have_got() -> None:
    session = session_with(package(1), package(2), bundle(5, 3), kept_size=400)
    session.note_received([package(7, source_id=2)])
    assert session.restart() == Gap((1, 5), [Loss(SLOT, EVERYONE, 5)])
    assert session.received == BEGINNING
    assert session.resume((1, 5)) == ([], NO_GAP)


def test_what_the_link_itself_tells_is_no_lost_message_and_is_told_all_the_same() -> None:
    news = Package(bytes(8), SLOT_LINK, 0, 3)
    session = session_with(package(1), news, package(2), package(3), kept_size=1)
    gap = Gap((1, 2), [Loss(SLOT, EVERYONE, 2)])
    assert session.resume(BEGINNING) == ([news, package(3)], gap)
    session = session_with(package(1), news, package(2), package(3), kept_size=1)
    session.acknowledged((1, 3))
    assert session.resume((1, 3)) == ([], NO_GAP)
    # Another process knows of nobody who could be gone.
    assert session_with(package(1), news).restart() == Gap((1, 1), [Loss(SLOT, EVERYONE, 1)])


def test_a_gap_has_its_size_however_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_REMEMBERED", 3)
    session = session_with(*map(package, (*range(1, 4), 3, *range(4, 11))), kept_size=1)
    gap = Gap((1, 9), [Loss(SLOT, EVERYONE, 9)])
    assert session.resume(BEGINNING) == ([package(10)], gap)
    assert session.resume((1, 9)) == ([], NO_GAP)


def test_one_package_is_kept_however_large_it_is() -> None:
    session = session_with(package(1, size=5000), kept_size=1000)
    assert session.kept_count == 1


def test_the_peer_hears_of_many_packages_or_many_bytes() -> None:
    session = Session()
    assert not session.take_unacknowledged()
    for begin in (1, 1001):
        told = [session.note_received([package(begin + n)]) for n in range(ACKNOWLEDGED_COUNT)]
        assert told == [*[False] * (ACKNOWLEDGED_COUNT - 1), True]
        assert session.take_unacknowledged()
        assert not session.take_unacknowledged()
    assert session.note_received([package(2001, size=ACKNOWLEDGED_SIZE)])
    assert session.take_unacknowledged()
    assert not session.note_received([package(2002)])
    assert session.take_unacknowledged()


def test_sessions_have_names_that_nobody_guesses() -> None:
    tokens = {Session().token for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 32 for token in tokens)


def test_an_interrupt_while_keeping_loses_nothing() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        session = session_with(package(1), package(2), kept_size=600)
        is_over = not is_interrupted(lambda session=session: session.keep(package(3)), moment)
        session.keep(package(3))  # as the writer does
        packages, gap = session.resume(BEGINNING)
        kept = list(dict.fromkeys(each.source_seq for each in packages))
        assert kept == list(range(4 - len(kept), 4))
        assert gap.messages + len(kept) == 3
    assert moment > 3


def test_more_is_kept_than_a_line_holds() -> None:
    # The buffers of both ends of a TCP connection on Linux, at their largest: 4 and 6 MiB.
    assert session_module.DEFAULT_KEPT_SIZE > 10 * 2**20

from __future__ import annotations

import weakref
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton import seen
from yoton.package import EVERYONE, Bundle, Package
from yoton.routing import (
    DELIVER,
    DELIVER_AND_FORWARD,
    DROP,
    FORWARD,
    LATE,
    LATE_FOR_ALL,
    LATE_FOR_OTHERS,
    Router,
    Verdict,
)

OWN = 1
ALICE, BOB, CAROL = 11, 12, 13
FOR_ALL = DELIVER_AND_FORWARD


@pytest.fixture
def router() -> Router:
    return Router(OWN)


def package(source_id: int, source_seq: int, dest_id: int = EVERYONE) -> Package:
    return Package(b"data", 8, source_id, source_seq, dest_id)


def arrive(router: Router, package: Package, line: Hashable) -> Verdict:
    """Do what a node does with a package that comes by a line."""
    verdict = router.decide(package)
    router.remember(package, line)
    return verdict


# Where to


def test_a_package_for_everyone_is_delivered_and_forwarded(router: Router) -> None:
    assert arrive(router, package(ALICE, 1), "line") == FOR_ALL


def test_a_package_for_this_context_goes_no_further(router: Router) -> None:
    assert arrive(router, package(ALICE, 1, OWN), "line") == DELIVER


def test_a_package_for_another_context_is_only_passed_on(router: Router) -> None:
    assert arrive(router, package(ALICE, 1, BOB), "line") == FORWARD


def test_a_package_of_this_context_that_comes_back_is_dropped(router: Router) -> None:
    for dest_id in (EVERYONE, OWN, BOB):
        assert arrive(router, package(OWN, 1, dest_id), "line") == DROP
    assert router.line_closed("line") == set()


# Once


def test_a_package_that_came_before_is_dropped(router: Router) -> None:
    for seq in (1, 4, 5):
        assert arrive(router, package(ALICE, seq), "one line") == FOR_ALL
    for seq in (5, 4, 1):
        assert arrive(router, package(ALICE, seq), "other line") == DROP


def test_what_comes_behind_what_was_sent_after_it_is_late(router: Router) -> None:
    arrive(router, package(ALICE, 2), "line")
    arrive(router, package(ALICE, 9), "other line")
    for seq, dest_id, verdict in (
        (1, EVERYONE, LATE_FOR_ALL),
        (3, EVERYONE, LATE_FOR_ALL),
        (8, OWN, LATE),
        (5, BOB, LATE_FOR_OTHERS),
    ):
        late = package(ALICE, seq, dest_id)
        assert router.decide(late) == arrive(router, late, "line") == verdict
        assert arrive(router, late, "other line") == DROP
    assert arrive(router, package(ALICE, 10), "line") == FOR_ALL


def test_asking_twice_changes_nothing_and_neither_does_remembering_twice(router: Router) -> None:
    assert router.decide(package(ALICE, 5)) == router.decide(package(ALICE, 5)) == FOR_ALL
    for _ in range(2):
        router.remember(package(ALICE, 5), "line")
    assert router.decide(package(ALICE, 5)) == DROP
    assert router.decide(package(ALICE, 6)) == FOR_ALL
    assert router.line_closed("line") == {ALICE}


def test_gaps_in_the_numbers_are_fine(router: Router) -> None:
    for seq in (1, 7, 2**64 - 1):
        assert arrive(router, package(ALICE, seq), "line") == FOR_ALL


def test_each_source_has_its_own_numbers(router: Router) -> None:
    assert arrive(router, package(ALICE, 5), "line") == FOR_ALL
    assert arrive(router, package(BOB, 1), "line") == FOR_ALL


def test_a_package_with_the_number_zero_is_dropped_and_not_remembered(router: Router) -> None:
    assert arrive(router, package(ALICE, 0), "line") == DROP
    assert not router.source_gone(ALICE, "line")


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(0, 9), st.integers(1, 3))))
def test_what_is_delivered_has_growing_numbers_and_each_number_gets_through_once(
    arrivals: list[tuple[int, int, int]],
) -> None:
    router = Router(OWN)
    seen: dict[int, set[int]] = {ALICE: {0}, BOB: {0}}
    for source_id, seq, line in arrivals:
        verdict = arrive(router, package(source_id, seq), line)
        if seq in seen[source_id]:
            assert verdict == DROP
        else:
            assert verdict == (FOR_ALL if seq > max(seen[source_id]) else LATE_FOR_ALL)
        seen[source_id].add(seq)


# Bundles


def bundle(source_id: int, first_seq: int, last_seq: int) -> Bundle:
    count = last_seq - first_seq + 1
    # Each message says its number.
    data = bytes(seq % 256 for seq in range(first_seq, last_seq + 1))
    return Bundle(data, [1] * count, 8, source_id, last_seq)


def test_a_bundle_of_news_is_left_as_it_is(router: Router) -> None:
    arrive(router, package(ALICE, 5), "line")
    arrive(router, package(BOB, 50), "line")
    for news in (bundle(ALICE, 6, 9), bundle(ALICE, 8, 9), bundle(CAROL, 1, 9)):
        [part] = router.parts(news)
        assert part is news


def test_what_came_before_is_taken_out_of_a_bundle(router: Router) -> None:
    arrive(router, bundle(ALICE, 1, 5), "line")
    assert router.parts(bundle(ALICE, 5, 7)) == [bundle(ALICE, 6, 7)]
    assert router.parts(bundle(ALICE, 1, 6)) == [bundle(ALICE, 6, 6)]


def test_what_is_late_in_a_bundle_is_parted_from_what_is_not(router: Router) -> None:
    for seq in (3, 6):
        arrive(router, package(ALICE, seq), "line")
    parts = router.parts(bundle(ALICE, 2, 9))
    assert parts == [bundle(ALICE, 2, 2), bundle(ALICE, 4, 5), bundle(ALICE, 7, 9)]
    assert [arrive(router, part, "line") for part in parts] == [
        LATE_FOR_ALL,
        LATE_FOR_ALL,
        FOR_ALL,
    ]
    assert router.parts(bundle(ALICE, 1, 9)) == [bundle(ALICE, 1, 1)]


def test_a_bundle_without_news_is_left_as_it_is_and_dropped(router: Router) -> None:
    arrive(router, bundle(ALICE, 1, 5), "line")
    for old in (bundle(ALICE, 3, 5), bundle(ALICE, 1, 4), bundle(ALICE, 5, 5)):
        [part] = router.parts(old)
        assert part is old
        assert arrive(router, old, "line") == DROP


def test_a_bundle_that_claims_numbers_below_the_first_loses_those_messages(router: Router) -> None:
    claim = Bundle(b"abcde", [1] * 5, 8, ALICE, 2)
    [part] = router.parts(claim)
    assert [single.source_seq for single in part.packages()] == [1, 2]
    assert arrive(router, Bundle(b"abcde", [1] * 5, 8, ALICE, 0), "line") == DROP


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.booleans()), max_size=12))
def test_each_message_gets_through_once_however_it_is_bundled(
    arrivals: list[tuple[int, int, bool]],
) -> None:
    router = Router(OWN)
    seen = {0}
    for first_seq, count, is_bundle in arrivals:
        last_seq = first_seq + count - 1
        arrival: Package = package(ALICE, last_seq)
        parts = [arrival]
        if is_bundle and first_seq:
            arrival = bundle(ALICE, first_seq, last_seq)
            parts = list(router.parts(arrival))
        got = []
        for part in parts:
            verdict = arrive(router, part, "line")
            numbers = [single.source_seq for single in part.packages()]
            if verdict != DROP:
                assert verdict.is_late == (numbers[0] < max(seen)) == (numbers[-1] < max(seen))
                got += numbers
            seen.update(numbers)
        assert got == [n for n in (p.source_seq for p in arrival.packages()) if n in got]
        assert len(got) == len(set(got))


# Who is behind which line


def test_a_peer_is_gone_with_its_only_line(router: Router) -> None:
    router.line_opened(ALICE, "line")
    assert router.line_closed("line") == {ALICE}
    assert router.line_closed("line") == set()


def test_a_peer_with_a_second_line_stays(router: Router) -> None:
    router.line_opened(ALICE, "line")
    router.line_opened(ALICE, "other line")
    assert router.line_closed("line") == set()
    assert router.line_closed("other line") == {ALICE}


def test_all_that_were_heard_over_a_line_are_gone_with_it(router: Router) -> None:
    router.line_opened(ALICE, "line")
    arrive(router, package(ALICE, 1), "line")
    arrive(router, package(BOB, 1), "line")
    arrive(router, package(CAROL, 1), "other line")
    assert router.line_closed("line") == {ALICE, BOB}


def test_a_package_that_came_before_still_shows_another_way(router: Router) -> None:
    arrive(router, package(ALICE, 1), "line")
    arrive(router, package(ALICE, 1), "other line")
    assert router.line_closed("line") == set()


def test_a_context_that_a_peer_reports_gone_is_gone_unless_another_line_leads_to_it(
    router: Router,
) -> None:
    arrive(router, package(ALICE, 1), "line")
    arrive(router, package(ALICE, 1), "other line")
    assert not router.source_gone(ALICE, "line")
    assert not router.source_gone(ALICE, "unknown line")
    assert router.source_gone(ALICE, "other line")
    assert not router.source_gone(ALICE, "other line")
    assert not router.source_gone(BOB, "line")


def test_a_context_to_which_no_line_leads_any_more_is_forgotten(router: Router) -> None:
    arrive(router, package(ALICE, 1), "line")
    arrive(router, package(ALICE, 1), "other line")
    arrive(router, package(BOB, 1), "line")
    assert router.has_ring
    assert router.lines_to(ALICE) == {"line", "other line"}
    router.forget(ALICE)
    router.forget(CAROL)
    assert router.lines_to(ALICE) == router.lines_to(CAROL) == set()
    assert not router.has_ring
    assert router.line_closed("line") == {BOB}
    assert arrive(router, package(ALICE, 1), "line") == DROP


def test_a_line_that_is_closed_is_kept_by_nobody(router: Router) -> None:
    class Line:
        pass

    line = Line()
    closed = weakref.ref(line)
    router.line_opened(BOB, line)
    for seq in (1, 2):
        router.remember(package(ALICE, seq), line)
        router.remember(package(ALICE, seq), "other line")
    router.line_closed(line)
    del line
    assert closed() is None
    assert router.lines_to(ALICE) == {"other line"}


def test_who_was_heard_over_no_line_before_is_new(router: Router) -> None:
    router.line_opened(BOB, "line")
    for number in (1, 2):
        arrive(router, package(ALICE, number), "line")
        arrive(router, package(ALICE, number), "other line")
        arrive(router, package(BOB, number), "line")
    assert router.newcomers == {ALICE}
    router.newcomers = set()
    router.forget(ALICE)
    arrive(router, package(ALICE, 2), "line")
    assert router.newcomers == {ALICE}


def test_a_context_that_comes_back_goes_on_with_its_numbers(router: Router) -> None:
    arrive(router, package(ALICE, 5), "line")
    assert router.line_closed("line") == {ALICE}
    assert arrive(router, package(ALICE, 5), "new line") == DROP
    assert arrive(router, package(ALICE, 6), "new line") == FOR_ALL
    assert router.line_closed("new line") == {ALICE}


# Limits


def test_sources_are_forgotten_that_were_silent_longest(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "MANY_SOURCES", 1)
    monkeypatch.setattr(seen, "MAX_SOURCES", 2)
    arrive(router, package(ALICE, 5), "line")
    arrive(router, package(BOB, 5), "line")
    arrive(router, package(ALICE, 6), "line")
    arrive(router, package(CAROL, 5), "line")
    assert arrive(router, package(ALICE, 6), "line") == DROP
    assert arrive(router, package(CAROL, 5), "line") == DROP
    assert arrive(router, package(BOB, 5), "line") == FOR_ALL


def test_invented_sources_take_a_bounded_amount_of_memory(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "MANY_SOURCES", 1)
    monkeypatch.setattr(seen, "MAX_SOURCES", 3)
    for source_id in range(100, 200):
        arrive(router, package(source_id, 1), "line")
        arrive(router, package(source_id, 0), "line")
    assert len(router.line_closed("line")) == 3

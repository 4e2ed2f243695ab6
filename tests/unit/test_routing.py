from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoton import routing
from yoton.package import EVERYONE, Package
from yoton.routing import Router, Verdict

OWN = 1
ALICE, BOB, CAROL = 11, 12, 13
FOR_ALL = Verdict.DELIVER | Verdict.FORWARD


@pytest.fixture
def router() -> Router:
    return Router(OWN)


def package(source_id: int, source_seq: int, dest_id: int = EVERYONE) -> Package:
    return Package(b"data", 8, source_id, source_seq, dest_id)


# Where to


def test_a_package_for_everyone_is_delivered_and_forwarded(router: Router) -> None:
    assert router.decide(package(ALICE, 1), "line") == FOR_ALL


def test_a_package_for_this_context_goes_no_further(router: Router) -> None:
    assert router.decide(package(ALICE, 1, OWN), "line") == Verdict.DELIVER


def test_a_package_for_another_context_is_only_passed_on(router: Router) -> None:
    assert router.decide(package(ALICE, 1, BOB), "line") == Verdict.FORWARD


def test_a_package_of_this_context_that_comes_back_is_dropped(router: Router) -> None:
    for dest_id in (EVERYONE, OWN, BOB):
        assert router.decide(package(OWN, 1, dest_id), "line") == Verdict.DROP


# Once


def test_a_package_that_came_before_is_dropped(router: Router) -> None:
    assert router.decide(package(ALICE, 5), "one line") == FOR_ALL
    for seq in (5, 4, 1):
        assert router.decide(package(ALICE, seq), "other line") == Verdict.DROP


def test_gaps_in_the_numbers_are_fine(router: Router) -> None:
    for seq in (1, 7, 2**64 - 1):
        assert router.decide(package(ALICE, seq), "line") == FOR_ALL


def test_each_source_has_its_own_numbers(router: Router) -> None:
    assert router.decide(package(ALICE, 5), "line") == FOR_ALL
    assert router.decide(package(BOB, 1), "line") == FOR_ALL


def test_a_package_with_the_number_zero_is_dropped_and_not_remembered(router: Router) -> None:
    assert router.decide(package(ALICE, 0), "line") == Verdict.DROP
    assert not router.source_gone(ALICE, "line")


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(0, 9), st.integers(1, 3))))
def test_what_gets_through_has_growing_numbers_per_source(
    arrivals: list[tuple[int, int, int]],
) -> None:
    router = Router(OWN)
    let_through: dict[int, list[int]] = {ALICE: [0], BOB: [0]}
    for source_id, seq, line in arrivals:
        verdict = router.decide(package(source_id, seq), line)
        is_news = seq > let_through[source_id][-1]
        assert verdict == (FOR_ALL if is_news else Verdict.DROP)
        if is_news:
            let_through[source_id].append(seq)


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
    router.decide(package(ALICE, 1), "line")
    router.decide(package(BOB, 1), "line")
    router.decide(package(CAROL, 1), "other line")
    assert router.line_closed("line") == {ALICE, BOB}


def test_a_package_that_came_before_still_shows_another_way(router: Router) -> None:
    router.decide(package(ALICE, 1), "line")
    router.decide(package(ALICE, 1), "other line")
    assert router.line_closed("line") == set()


def test_a_context_that_a_peer_reports_gone_is_gone_unless_another_line_leads_to_it(
    router: Router,
) -> None:
    router.decide(package(ALICE, 1), "line")
    router.decide(package(ALICE, 1), "other line")
    assert not router.source_gone(ALICE, "line")
    assert not router.source_gone(ALICE, "unknown line")
    assert router.source_gone(ALICE, "other line")
    assert not router.source_gone(ALICE, "other line")
    assert not router.source_gone(BOB, "line")


def test_a_context_that_comes_back_goes_on_with_its_numbers(router: Router) -> None:
    router.decide(package(ALICE, 5), "line")
    assert router.line_closed("line") == {ALICE}
    assert router.decide(package(ALICE, 5), "new line") == Verdict.DROP
    assert router.decide(package(ALICE, 6), "new line") == FOR_ALL
    assert router.line_closed("new line") == {ALICE}


# Limits


def test_sources_are_forgotten_that_were_silent_longest(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MAX_SOURCES", 2)
    router.decide(package(ALICE, 5), "line")
    router.decide(package(BOB, 5), "line")
    router.decide(package(ALICE, 6), "line")
    router.decide(package(CAROL, 5), "line")
    assert router.decide(package(ALICE, 6), "line") == Verdict.DROP
    assert router.decide(package(CAROL, 5), "line") == Verdict.DROP
    assert router.decide(package(BOB, 5), "line") == FOR_ALL


def test_invented_sources_take_a_bounded_amount_of_memory(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MAX_SOURCES", 3)
    for source_id in range(100, 200):
        router.decide(package(source_id, 1), "line")
        router.decide(package(source_id, 0), "line")
    assert len(router.line_closed("line")) == 3

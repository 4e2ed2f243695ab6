from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yoton.gaps import MAX_LOSSES, Gap, GapOrigins, GapPackage, Loss, Losses
from yoton.package import EVERYONE

KIND = 10


def test_losses_are_summed_up_by_slot_and_destination() -> None:
    losses = Losses([Loss(8, EVERYONE, 2), Loss(9, EVERYONE, 1), Loss(8, 7, 1)])
    losses.add(Loss(8, EVERYONE, 3))
    assert list(losses) == [Loss(8, EVERYONE, 5), Loss(9, EVERYONE, 1), Loss(8, 7, 1)]
    losses.clear()
    assert list(losses) == []


@given(st.lists(st.integers(0, 2 * MAX_LOSSES), max_size=50), st.integers(0, MAX_LOSSES))
def test_no_loss_is_left_out_however_many_slots_there_are(slots: list[int], begin: int) -> None:
    losses = Losses(Loss(slot, EVERYONE, 1) for slot in range(1, begin + 1))
    for slot in slots:
        losses.add(Loss(slot, EVERYONE, 1))
    assert Gap((1, 1), list(losses)).messages == begin + len(slots)
    assert len(list(losses)) <= MAX_LOSSES + 1


def test_what_is_beyond_what_can_be_told_is_of_no_slot() -> None:
    losses = Losses(Loss(slot, EVERYONE, 2) for slot in range(8, MAX_LOSSES + 18))
    losses.add(Loss(8, EVERYONE, 1))
    first, *_, last = losses
    assert first == Loss(8, EVERYONE, 3)
    assert last == Loss(0, EVERYONE, 20)


def test_each_gap_that_is_passed_on_has_a_place_of_its_own() -> None:
    packages = [GapPackage(b"x", KIND, []) for _ in range(3)]
    assert len({(each.source_id, each.source_seq) for each in packages}) == 3


def test_a_gap_is_news_once_and_never_where_it_was_found() -> None:
    alice, bob = GapOrigins(1), GapOrigins(2)
    first, second, third = (alice.new() for _ in range(3))
    assert len({first, second, third, bob.new()}) == 4
    # They may come by ways of different length.
    for origin in (second, third, first):
        assert bob.is_news(origin)
        assert not bob.is_news(origin)
        assert not alice.is_news(origin)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import is_interrupted

from yoton import seen
from yoton.seen import SeenNumbers

ALICE, BOB = 11, 12


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    """Get the ranges that numbers make up."""
    begins = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n for n in numbers if n + 1 not in numbers)
    return list(zip(begins, ends, strict=True))


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 8)), max_size=20))
def test_it_knows_which_numbers_have_come(ranges: list[tuple[int, int]]) -> None:
    numbers = SeenNumbers()
    come: set[int] = set()
    for first, count in ranges:
        last = first + count - 1
        for _ in range(2):  # to repeat it does no harm
            assert numbers.note(ALICE, first, last) is None
        come.update(range(first, last + 1))
        assert numbers.highest[ALICE] == max(come)
        missing = set(range(1, max(come))) - come
        assert {n for n in range(1, 50) if numbers.is_missing(ALICE, n)} == missing
    everything = numbers.unseen(ALICE, 1, 50)
    assert {n for begin, end in everything for n in range(begin, end + 1)} == (
        set(range(1, 51)) - come
    )
    # What is late and what is not are told apart.
    highest = numbers.highest.get(ALICE, 0)
    assert all(end <= highest or begin > highest for begin, end in everything)
    assert numbers.unseen(BOB, 3, 5) == [(3, 5)]


def test_of_many_holes_the_lowest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MAX_HOLES", 3)
    numbers = SeenNumbers()
    for number in range(2, 12, 2):
        numbers.note(ALICE, number, number)
    assert [n for n in range(1, 11) if numbers.is_missing(ALICE, n)] == [5, 7, 9]


def test_with_a_source_its_holes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MANY_SOURCES", 1)
    monkeypatch.setattr(seen, "MAX_SOURCES", 1)
    numbers = SeenNumbers()
    numbers.note(ALICE, 5, 5)
    assert numbers.note(BOB, 1, 1) == ALICE
    assert ALICE not in numbers.highest
    assert not numbers.is_missing(ALICE, 3)


def test_an_interrupt_at_any_moment_leaves_it_to_be_noted_once_more() -> None:
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        numbers = SeenNumbers()
        numbers.note(ALICE, 2, 2)
        is_over = not is_interrupted(lambda n=numbers: n.note(ALICE, 5, 6), moment)
        numbers.note(ALICE, 5, 6)
        assert numbers.unseen(ALICE, 1, 8) == [(1, 1), (3, 4), (7, 8)]
    assert moment > 1

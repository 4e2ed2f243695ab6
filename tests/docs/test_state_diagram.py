"""The picture of the states shows what the table of the protocol says."""

from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import pytest

from yoton.connection.protocol import TRANSITIONS, Input, State

EXTENSIONS = Path(__file__).parents[2] / "docs" / "_ext"


@pytest.fixture
def state_diagram(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    return importlib.import_module("state_diagram")


def words_of(picture: str) -> str:
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture)).replace("&#x27;", "'")


def test_every_state_and_its_meaning_is_shown(state_diagram: types.ModuleType) -> None:
    words = words_of(state_diagram.draw())
    for state in State:
        assert f"{state.name} {state.value}" in words


def test_every_input_is_shown(state_diagram: types.ModuleType) -> None:
    words = words_of(state_diagram.draw())
    for cause in Input:
        assert cause.value in words


def test_there_is_one_arrow_for_each_pair_of_states_that_follow_each_other(
    state_diagram: types.ModuleType,
) -> None:
    pairs = {(state, target) for state, ways in TRANSITIONS.items() for target in ways.values()}
    assert state_diagram.draw().count("marker-end") == len(pairs)


def test_the_arrows_come_from_the_table(state_diagram: types.ModuleType) -> None:
    table = {State.OPEN: {Input.CLOSE_SENT: State.CLOSED}}
    picture = state_diagram.draw(table)
    assert picture.count("marker-end") == 1
    assert Input.CLOSE_SENT.value in words_of(picture)
    assert Input.CLOSE_RECEIVED.value not in words_of(picture)


def test_a_state_without_a_place_is_an_error(
    state_diagram: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(state_diagram.PLACES, State.HELLO)
    with pytest.raises(state_diagram.MissingPlace, match="HELLO"):
        state_diagram.draw()

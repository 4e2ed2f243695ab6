"""The states of a link as a picture.

Where the states stand and how some arrows are bent is decided here; which states and arrows
there are, and what is written on them, comes from the table that the protocol itself goes by.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from drawing import Box, Picture, Point, label_place, points_between

from yoton.connection.protocol import TRANSITIONS, Input, State

Table = Mapping[State, Mapping[Input, State]]

_WIDTH, _HEIGHT = 1040, 680
_BOX_WIDTH, _BOX_HEIGHT = 190, 66
_LABEL_WIDTH = 22  # characters

#: The middle of the box of each state.
PLACES = {
    State.HANDSHAKE: Point(215, 40),
    State.HELLO: Point(545, 40),
    State.RESUMING: Point(720, 200),
    State.OPEN: Point(380, 250),
    State.CLOSING: Point(206, 420),
    State.PEER_CLOSING: Point(554, 420),
    State.CLOSED: Point(380, 640),
}

#: Where an arrow goes that is not straight: the corners between the two states.
BENDS = {
    (State.HANDSHAKE, State.CLOSED): [Point(66, 40), Point(66, 640)],
    (State.HELLO, State.CLOSED): [Point(970, 40), Point(970, 640)],
    (State.RESUMING, State.CLOSED): [Point(832, 200), Point(832, 640)],
}

#: What nobody wishes for. Arrows for nothing else are faint.
_FAULTS = {Input.END_OF_STREAM, Input.VIOLATION}


class MissingPlace(Exception):
    """A state has no place in the picture."""


def draw(table: Table = TRANSITIONS) -> str:
    """Draw a table of transitions.

    Raises
    ------
    MissingPlace
        There is a state that is not in `PLACES`.
    """
    boxes = {state: _box(state) for state in State}
    picture = Picture("states", _WIDTH, _HEIGHT, "The states of a link and what changes them")
    arrows = {
        (state, target): [cause for cause in changes if changes[cause] is target]
        for state, changes in table.items()
        for target in changes.values()
    }
    for (state, target), causes in arrows.items():
        points = points_between(boxes[state], boxes[target], BENDS.get((state, target), []))
        picture.arrow(points, "faint" if _FAULTS.issuperset(causes) else "arrow")
        lines = _label(causes)
        picture.label(label_place(points, len(lines)), lines)
    for box in boxes.values():
        picture.box(box)
    return picture.svg()


def _box(state: State) -> Box:
    if state not in PLACES:
        raise MissingPlace(f"{state} has no place in the picture of the states, see PLACES")
    x, y = PLACES[state]
    lines = (state.name, *textwrap.wrap(state.value, 30))
    left, top = x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2
    return Box(left, top, _BOX_WIDTH, _BOX_HEIGHT, lines)


def _label(causes: list[Input]) -> list[str]:
    lines: list[str] = []
    for cause in causes:
        text = cause.value if cause is causes[-1] else f"{cause.value};"
        lines += textwrap.wrap(text, _LABEL_WIDTH)
    return lines

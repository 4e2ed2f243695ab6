"""The way of a package through three contexts, each connected to the two others."""

from __future__ import annotations

from drawing import Box, Picture, Point, points_between

_WIDTH, _HEIGHT = 760, 304
_LEFT = {"A": 4, "B": 280, "C": 556}
_AREA_WIDTH, _BOX_WIDTH = 200, 176
_CHANNEL_TOP, _CONTEXT_TOP = 44, 150


def draw() -> str:
    """Draw it."""
    picture = Picture(
        "way",
        _WIDTH,
        _HEIGHT,
        "A package goes from context A to B and C, and from each of these to the other one,"
        " which drops it",
    )
    contexts = {}
    for name, left in _LEFT.items():
        is_source = name == "A"
        picture.area(Box(left, 12, _AREA_WIDTH, 238, (f"Context {name}",)))
        channel = _box(left, _CHANNEL_TOP, "PubChannel" if is_source else "SubChannel", "slot chat")
        lines = ("makes A's number 7",) if is_source else ("A's 7 is above 6:", "deliver, pass on")
        contexts[name] = _box(left, _CONTEXT_TOP, "Routing", *lines)
        start, end = (channel, contexts[name]) if is_source else (contexts[name], channel)
        picture.arrow(points_between(start, end))
        picture.box(channel)
        picture.box(contexts[name])
    a, b, c = contexts.values()

    picture.arrow([a.at(1, 0.5), b.at(0, 0.5)])
    picture.label(_between(a, b, a.at(0, 0.5).y - 13), ["A's 7"])
    bottom = _HEIGHT - 16
    picture.arrow(
        [a.at(0.5, 1), Point(a.middle.x, bottom), Point(c.middle.x, bottom), c.at(0.5, 1)]
    )
    picture.label(Point(b.middle.x, bottom), ["A's 7"])
    picture.arrow([b.at(1, 0.35), c.at(0, 0.35)], "faint")
    picture.arrow([c.at(0, 0.65), b.at(1, 0.65)], "faint")
    picture.label(_between(b, c, b.at(0, 0.35).y - 22), ["A's 7 again:", "dropped"])
    picture.label(_between(b, c, b.at(0, 0.65).y + 22), ["A's 7 again:", "dropped"])
    return picture.svg()


def _box(left: float, top: float, *lines: str) -> Box:
    return Box(left + (_AREA_WIDTH - _BOX_WIDTH) / 2, top, _BOX_WIDTH, 70, lines)


def _between(first: Box, second: Box, y: float) -> Point:
    return Point((first.at(1, 0).x + second.left) / 2, y)

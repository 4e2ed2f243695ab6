"""Pictures made of boxes, arrows and texts, as SVG that takes its colours from the page."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

LINE_HEIGHT = 17
#: From the middle of a line of text down to its base line.
_BASE_LINE = 4.5
#: Somewhat more than the width of a character on average.
_CHARACTER_WIDTH = 6.4
_HEAD_SIZE = 8


class Point(NamedTuple):
    """A place in a picture, from its left and its top."""

    x: float
    y: float


class Box(NamedTuple):
    """A rectangle with some lines of text in its middle.

    The first line is its name. The lock, if there is one, guards what is in it.
    """

    left: float
    top: float
    width: float
    height: float
    lines: tuple[str, ...]
    lock: str = ""

    @property
    def middle(self) -> Point:
        """The point in the middle of it."""
        return self.at(0.5, 0.5)

    def at(self, across: float, down: float) -> Point:
        """Get a point of it, by fractions of its width and height."""
        return Point(self.left + across * self.width, self.top + down * self.height)

    def border_towards(self, target: Point) -> Point:
        """Get the point of the border on the straight line from the middle to target."""
        dx, dy = target.x - self.middle.x, target.y - self.middle.y
        scale = max(abs(dx) / (self.width / 2), abs(dy) / (self.height / 2))
        if scale <= 1:
            raise ValueError(f"{target} lies in the box {self.lines[0]!r}")
        return Point(self.middle.x + dx / scale, self.middle.y + dy / scale)


class Picture:
    """A picture in the making; what is added later lies above what was added before.

    Parameters
    ----------
    name : str
        An identifier, unique among the pictures of a page.
    width, height : float
        Its size. About one unit becomes one pixel.
    description : str
        What it shows, for those who do not see it.
    """

    def __init__(self, name: str, width: float, height: float, description: str) -> None:
        self._name = name
        self._width = width
        self._height = height
        self._description = description
        self._elements: list[str] = []

    def area(self, box: Box) -> None:
        """Add a large box with its name at its top left, to put other things into."""
        self._rect(box, "area", radius=10)
        self.text(Point(box.left + 10, box.top + 19), box.lines, "area-name", anchor="start")

    def box(self, box: Box) -> None:
        """Add a box."""
        self._rect(box, "box", radius=6)
        name, *details = box.lines
        locks = [box.lock] if box.lock else []
        x, y = _first_line(box.middle, [name, *details, *locks])
        self.text(Point(x, y), [name], "name")
        self.text(Point(x, y + LINE_HEIGHT), details, "detail")
        self.text(Point(x, y + LINE_HEIGHT * (1 + len(details))), locks, "lock")

    def arrow(self, points: Sequence[Point], kind: str = "arrow") -> None:
        """Add an arrow along some points."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        self._elements.append(
            f'<path class="{kind}" d="{path}" marker-end="url(#{self._name}-{kind}-head)"/>'
        )

    def label(self, middle: Point, lines: Sequence[str]) -> None:
        """Add lines of text that cover what is beneath them."""
        width = max(map(len, lines)) * _CHARACTER_WIDTH
        height = len(lines) * LINE_HEIGHT
        left, top = middle.x - width / 2, middle.y - height / 2
        self._rect(Box(left, top, width, height, ()), "label", radius=4)
        self.text(_first_line(middle, lines), lines)

    def text(
        self, at: Point, lines: Sequence[str], kind: str = "label", anchor: str = "middle"
    ) -> None:
        """Add lines of text; at is on the base line of the first one."""
        for index, line in enumerate(lines):
            self._elements.append(
                f'<text class="{kind}" x="{at.x:g}" y="{at.y + index * LINE_HEIGHT:g}"'
                f' text-anchor="{anchor}">{html.escape(line)}</text>'
            )

    def svg(self) -> str:
        """Get the picture as an SVG element for a page of HTML."""
        heads = "".join(self._head(kind) for kind in ("arrow", "faint"))
        return (
            f'<svg class="picture" role="img" viewBox="0 0 {self._width:g} {self._height:g}"'
            f' style="max-width: {self._width:g}px" xmlns="http://www.w3.org/2000/svg">'
            f"<title>{html.escape(self._description)}</title>"
            f"<defs>{heads}</defs>{''.join(self._elements)}</svg>"
        )

    def _rect(self, box: Box, kind: str, radius: float) -> None:
        self._elements.append(
            f'<rect class="{kind}" x="{box.left:g}" y="{box.top:g}"'
            f' width="{box.width:g}" height="{box.height:g}" rx="{radius:g}"/>'
        )

    def _head(self, kind: str) -> str:
        return (
            f'<marker id="{self._name}-{kind}-head" class="{kind}-head" viewBox="0 0 10 10"'
            f' refX="9" refY="5" markerWidth="{_HEAD_SIZE}" markerHeight="{_HEAD_SIZE}"'
            ' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 L10 5 L0 10 z"/></marker>'
        )


def _first_line(middle: Point, lines: Sequence[str]) -> Point:
    """Get where the base line of the first of some lines around a point is."""
    return Point(middle.x, middle.y - (len(lines) - 1) * LINE_HEIGHT / 2 + _BASE_LINE)


def points_between(source: Box, target: Box, bends: Sequence[Point] = ()) -> list[Point]:
    """Get the points of an arrow from the border of a box to that of another one."""
    start = source.border_towards(bends[0] if bends else target.middle)
    end = target.border_towards(bends[-1] if bends else source.middle)
    return [start, *bends, end]


def label_place(points: Sequence[Point], line_count: int) -> Point:
    """Get where to write on an arrow: on the middle of its longest piece, or above a level one."""
    start, end = max(itertools.pairwise(points), key=lambda piece: math.dist(*piece))
    above = line_count * LINE_HEIGHT / 2 + 4 if start.y == end.y else 0
    return Point((start.x + end.x) / 2, (start.y + end.y) / 2 - above)

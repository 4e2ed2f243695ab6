"""Records: equal by their values, copied with other ones, and readable."""

from __future__ import annotations

import pytest

from yoton.record import Record


class Point(Record):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int = 0) -> None:
        self.x = x
        self.y = y


class Vector(Record):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y


def test_records_with_equal_values_are_equal():
    assert Point(1, 2) == Point(1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1, 2) != Point(1, 3)


def test_records_of_different_classes_are_not_equal():
    assert Point(1, 2) != Vector(1, 2)
    assert Point(1, 2) != (1, 2)


def test_a_copy_has_other_values_and_leaves_the_first_one_alone():
    point = Point(1, 2)
    assert point.replaced(y=3) == Point(1, 3)
    assert point == Point(1, 2)


def test_a_copy_has_no_values_that_its_class_does_not_know():
    with pytest.raises(AttributeError):
        Point(1).replaced(z=3)


def test_a_record_shows_its_values():
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"

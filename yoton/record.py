"""Records: named values that belong together.

The standard library has named tuples and data classes for this. Making a class of either kind
takes twenty times as long as making a plain one, at each import, and there are dozens here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    # The first such variable whose bound is a name takes half a millisecond to make.
    T = TypeVar("T", bound="Record")


class Record:
    """Base of classes with nothing but the values that their `__slots__` name.

    Two of them are equal if they are of the same class and all their values are equal.
    """

    __slots__: tuple[str, ...] = ()

    def replaced(self: T, **changes: object) -> T:
        """Get a copy that has some other values."""
        copy = object.__new__(type(self))
        values = {name: getattr(self, name) for name in self.__slots__}
        for name, value in (values | changes).items():
            setattr(copy, name, value)
        return copy

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({values})"

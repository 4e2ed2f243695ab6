"""Which methods of a replier a peer may call.

Names come from strangers, so they are looked up in a table and nowhere else. The table holds
the functions that the user wrote for the purpose: public methods of the classes that were
derived from the replier's class.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias, TypeVar

from yoton.exceptions import ArgumentError

#: A method as it stands in its class.
Method: TypeAlias = "types.FunctionType | staticmethod[..., Any] | classmethod[Any, ..., Any]"

MethodT = TypeVar("MethodT")

#: Stands among the attributes of a function that carries the decorator.
_MARK = "_is_exported_by_yoton"


def export(method: MethodT) -> MethodT:
    """Decorate a method of a RepChannel so that requests can call it.

    Without it, requests can call all public methods of the class. As soon as one method of the
    class or of those it is derived from carries it, they can call only those that do. One that
    overrides another method has to carry it itself.

    Raises
    ------
    ArgumentError
        What is decorated is no method. A ValueError.
    """
    function = _function_of(method)
    if function is None:
        raise ArgumentError(f"export is for methods, not for {method!r}")
    function.__dict__[_MARK] = True
    return method


def exported_methods(cls: type, base: type) -> dict[str, Method]:
    """Get the methods that requests can call, by name.

    Parameters
    ----------
    cls : type
        The user's class.
    base : type
        What it is derived from. The methods of this one that carry the decorator can be called
        in any case; its other names are taken, whatever the user's class makes of them.
    """
    built_in = {name for name, value in vars(base).items() if _is_marked(value)}
    methods = dict(_public_methods(cls, base, built_in))
    marked = {name for name, method in methods.items() if _is_marked(method)} - built_in
    if not marked:
        return methods
    return {name: method for name, method in methods.items() if name in marked | built_in}


def _public_methods(
    cls: type, base: type, built_in: Collection[str]
) -> Iterator[tuple[str, Method]]:
    seen: set[str] = set()
    for owner in cls.__mro__:
        for name, value in vars(owner).items():
            # The first class that has a name decides what it is.
            is_first = name not in seen
            seen.add(name)
            is_open = name in built_in or (owner is not base and not hasattr(base, name))
            is_public = is_open and not name.startswith("_")
            # Bases that are no repliers were not written for the purpose.
            if is_first and is_public and issubclass(owner, base) and _function_of(value):
                yield name, value


def _function_of(value: object) -> types.FunctionType | None:
    """Get the function that a method was written as; None if it is something else."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    return value if isinstance(value, types.FunctionType) else None


def _is_marked(value: object) -> bool:
    function = _function_of(value)
    return function is not None and _MARK in vars(function)

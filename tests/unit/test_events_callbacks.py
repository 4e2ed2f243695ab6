from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from yoton.events.callbacks import Callback, callable_name


class Plain:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def handle(self, *args: object) -> None:
        self.calls.append(args)


class EqualToAll(Plain):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    __slots__ = ("calls",)

    def __init__(self, calls: list[object]) -> None:
        self.calls = calls

    def handle(self, *args: object) -> None:
        self.calls.append(args)


@dataclass
class Recorder:
    calls: list[object]

    def __call__(self, *args: object) -> None:
        self.calls.append(args)


def module_function() -> None:
    pass


def test_a_method_does_not_keep_its_object_alive() -> None:
    plain = Plain()
    callback = Callback(plain.handle)
    callback(1)
    assert plain.calls == [(1,)]
    gone = weakref.ref(plain)
    del plain
    assert gone() is None
    assert callback.target() is None
    callback(2)


@pytest.mark.parametrize(
    "new_callable",
    [
        lambda calls: lambda *args: calls.append(args),
        lambda calls: functools.partial(Recorder.__call__, Recorder(calls)),
        lambda calls: Recorder(calls),
        lambda calls: Slotted(calls).handle,
    ],
    ids=["function", "partial", "callable object", "method of an object without weak references"],
)
def test_other_callables_are_kept(
    new_callable: Callable[[list[object]], Callable[..., object]],
) -> None:
    calls: list[object] = []
    callback = Callback(new_callable(calls))
    callback(1, 2)
    assert calls == [(1, 2)]


def test_the_object_of_a_builtin_method_is_kept() -> None:
    callback = Callback([1, 2].append)
    callback(3)
    target = callback.target()
    assert isinstance(target, types.BuiltinMethodType)
    assert target.__self__ == [1, 2, 3]


def test_a_method_keeps_a_function_that_nobody_else_holds() -> None:
    plain = Plain()
    callback = Callback(types.MethodType(lambda self, *args: self.handle("made", *args), plain))
    callback(1)
    assert plain.calls == [("made", 1)]


def test_a_method_is_recognised_by_its_object_and_function() -> None:
    plain = Plain()
    callback = Callback(plain.handle)
    assert callback.refers_to(plain.handle)
    assert not callback.refers_to(Plain().handle)
    assert not callback.refers_to(plain.__init__)


def test_methods_of_equal_objects_differ() -> None:
    one, two = EqualToAll(), EqualToAll()
    assert Callback(one.handle).refers_to(one.handle)
    assert not Callback(one.handle).refers_to(two.handle)
    items: list[object] = []
    assert Callback(items.append).refers_to(items.append)
    assert not Callback(items.append).refers_to([].append)


def test_equal_callable_objects_differ() -> None:
    recorder = Recorder([])
    assert Callback(recorder).refers_to(recorder)
    assert not Callback(recorder).refers_to(Recorder([]))


def test_a_dead_callback_refers_to_nothing() -> None:
    plain = Plain()
    callback = Callback(plain.handle)
    del plain
    assert not callback.refers_to(Plain().handle)


def test_a_released_callback_holds_and_does_nothing() -> None:
    recorder = Recorder([])
    callback = Callback(recorder)
    callback.release()
    callback(1)
    assert callback.target() is None
    assert recorder.calls == []


def test_only_callables_are_accepted() -> None:
    with pytest.raises(ValueError, match="a handler has to be callable, 3 is not"):
        Callback(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (module_function, f"{__name__}.module_function"),
        (functools.partial(functools.partial(module_function)), f"{__name__}.module_function"),
        (Plain().handle, f"{__name__}.Plain.handle"),
        (Recorder([]), f"{__name__}.Recorder"),
        ([].append, "list.append"),
        (print, "builtins.print"),
        (Callback(module_function), f"{__name__}.module_function"),
    ],
)
def test_names_say_where_a_callable_is_from(func: Callable[..., object], name: str) -> None:
    assert callable_name(func) == name

"""Which methods a peer may call, by name."""

from __future__ import annotations

import functools

import pytest

from yoton.channels.exporting import export, exported_methods
from yoton.exceptions import ArgumentError


class Root:
    """Stands for BaseChannel."""

    def close(self):
        """Not for peers."""


class Base(Root):
    """Stands for RepChannel."""

    def set_mode(self):
        """Not for peers."""

    def _handle(self):
        """Not for anybody."""

    @export
    def echo(self):
        return "built in"


def names(cls: type) -> set[str]:
    return set(exported_methods(cls, Base))


def test_public_functions_of_the_subclass_can_be_called():
    class Channel(Base):
        def plain(self):
            """Can be called."""

        @staticmethod
        def static():
            """Can be called."""

        @classmethod
        def of_class(cls):
            """Can be called."""

        async def asynchronous(self):
            """Can be called; what it returns will not be a reply, and that is said."""

    assert names(Channel) == {"plain", "static", "of_class", "asynchronous", "echo"}


def test_the_methods_are_found_as_they_stand_in_the_class():
    class Channel(Base):
        def plain(self):
            return self

        @staticmethod
        def static():
            return "static"

        @classmethod
        def of_class(cls):
            return cls

    channel = Channel()
    methods = exported_methods(Channel, Base)

    def call(name: str) -> object:
        return methods[name].__get__(channel, Channel)()

    assert call("plain") is channel
    assert call("static") == "static"
    assert call("of_class") is Channel
    assert call("echo") == "built in"


def test_what_is_no_public_function_cannot_be_called():
    class Callable:
        def __call__(self):
            """An attribute that could be called."""

    class Channel(Base):
        def _underscore(self):
            """Private."""

        def __dunder__(self):
            """Private."""

        @property
        def value(self):
            """Reading it would run it."""

        @functools.lru_cache  # noqa: B019
        def cached(self):
            """No function."""

        builtin = len
        partial = functools.partial(print, 1)
        instance = Callable()
        nested = Callable
        static_type = staticmethod(dict)
        text = "text"

    assert names(Channel) == {"echo"}


@pytest.mark.parametrize(
    "name", ["", "plain.__globals__", "plain.__self__", "__class__", "close", "set_mode", "_handle"]
)
def test_no_other_name_is_found(name):
    class Channel(Base):
        def plain(self):
            """Can be called."""

    assert name not in exported_methods(Channel, Base)


def test_names_of_the_base_are_taken_also_when_the_subclass_overrides_them():
    class Channel(Base):
        def close(self):
            """As Root has it."""

        def set_mode(self):
            """As Base has it."""

    assert names(Channel) == {"echo"}


def test_methods_of_intermediate_classes_can_be_called():
    class Parent(Base):
        def inherited(self):
            """Can be called."""

    class Channel(Parent):
        def own(self):
            """Can be called."""

    assert names(Channel) == {"inherited", "own", "echo"}


def test_methods_of_classes_that_are_no_repliers_cannot_be_called():
    class Mixin:
        def helper(self):
            """Not written for peers."""

    class Channel(Base, Mixin):
        def own(self):
            """Can be called."""

    assert names(Channel) == {"own", "echo"}


def test_the_first_class_that_has_a_name_decides():
    class Parent(Base):
        def hidden(self):
            """Hidden by an attribute."""

        def mixed_in(self):
            """Hidden by a mix-in."""

        def overridden(self):
            return "parent"

    class Mixin:
        def mixed_in(self):
            """Not written for peers."""

    class Channel(Mixin, Parent):
        hidden = None

        def overridden(self):
            return "child"

    methods = exported_methods(Channel, Base)
    assert set(methods) == {"overridden", "echo"}
    assert methods["overridden"].__get__(None, Channel)(None) == "child"


def test_attributes_of_the_instance_change_nothing():
    class Channel(Base):
        def plain(self):
            """Can be called."""

    channel = Channel()
    channel.added = lambda: None
    assert names(type(channel)) == {"plain", "echo"}


def test_where_a_method_is_exported_only_such_methods_can_be_called():
    class Channel(Base):
        @export
        def exported(self):
            """Can be called."""

        @export
        @staticmethod
        def outside():
            """Can be called."""

        @classmethod
        @export
        def inside(cls):
            """Can be called."""

        def helper(self):
            """Can no longer be called."""

    assert names(Channel) == {"exported", "outside", "inside", "echo"}


def test_an_export_in_a_class_between_counts_for_all():
    class Parent(Base):
        @export
        def exported(self):
            """Can be called."""

        @export
        def overridden(self):
            """Is overridden."""

    class Channel(Parent):
        def overridden(self):
            """Does not carry the decorator itself."""

        def helper(self):
            """Does not either."""

    assert names(Channel) == {"exported", "echo"}


def test_an_export_of_a_base_name_has_no_effect():
    class Channel(Base):
        @export
        def close(self):
            """Still not for peers."""

        def plain(self):
            """Can be called."""

    assert names(Channel) == {"plain", "echo"}


def test_the_built_in_method_can_be_overridden_and_taken_away():
    class Override(Base):
        def echo(self):
            return "own"

        @export
        def other(self):
            """Can be called."""

    class Without(Base):
        echo = None

    assert names(Override) == {"echo", "other"}
    assert exported_methods(Override, Base)["echo"].__get__(None, Override)(None) == "own"
    assert names(Without) == set()


def test_the_base_itself_has_the_built_in_method_only():
    assert names(Base) == {"echo"}


@pytest.mark.parametrize("thing", [None, 5, "name", len, property(), dict, staticmethod(dict)])
def test_only_methods_can_be_exported(thing):
    with pytest.raises(ArgumentError):
        export(thing)


def test_a_decorator_on_top_keeps_the_export():
    def decorator(function):
        @functools.wraps(function)
        def wrapper(self):
            return function(self)

        return wrapper

    class Channel(Base):
        @decorator
        @export
        def exported(self):
            """Can be called."""

        def helper(self):
            """Cannot be called."""

    assert names(Channel) == {"exported", "echo"}

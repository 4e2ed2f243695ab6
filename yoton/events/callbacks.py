"""References to the callables that users hand over as handlers."""

from __future__ import annotations

import contextlib
import functools
import types
import weakref
from collections.abc import Callable

# Each look-up of such a callable, as in items.append, makes a new object: these are compared
# by what they are bound to. Other callables are the same only if they are the same object.
_METHOD_TYPES = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)


def callable_name(func: Callable[..., object]) -> str:
    """Get the name under which a callable appears in log messages."""
    if isinstance(func, Callback):
        return func.name
    while isinstance(func, functools.partial):
        func = func.func
    named = func if hasattr(func, "__qualname__") else type(func)
    module = getattr(named, "__module__", None)
    return f"{module}.{named.__qualname__}" if module else named.__qualname__


class Callback:
    """A callable that does not keep the object alive whose method it is.

    Bound methods are held weakly; all other callables (functions, lambdas, partials, methods
    of built-in objects) strongly, and so are methods of objects that cannot be referred to
    weakly, which are those of classes with ``__slots__`` that lack ``__weakref__``.

    Parameters
    ----------
    func : callable
        What to refer to.

    Raises
    ------
    ValueError
        func is not callable.
    """

    __slots__ = ("_func", "_owner", "name")

    def __init__(self, func: Callable[..., object]) -> None:
        if not callable(func):
            raise ValueError(f"a handler has to be callable, {func!r} is not")
        self.name = callable_name(func)
        self._func: Callable[..., object] | None = func
        self._owner: weakref.ref[object] | None = None
        if isinstance(func, types.MethodType):
            with contextlib.suppress(TypeError):
                self._owner = weakref.ref(func.__self__)
                self._func = func.__func__

    def target(self) -> Callable[..., object] | None:
        """Get the callable, None if its object is gone or it was released."""
        func = self._func
        if func is None or self._owner is None:
            return func
        owner = self._owner()
        return None if owner is None else types.MethodType(func, owner)

    def refers_to(self, func: Callable[..., object]) -> bool:
        """Tell whether this is a reference to func."""
        target = self.target()
        return target is func or (isinstance(target, _METHOD_TYPES) and target == func)

    def release(self) -> None:
        """Let go of the callable, for good: calls do nothing from now on."""
        self._func = None

    def __call__(self, *args: object, **kwargs: object) -> None:
        """Call the callable if it is still there."""
        target = self.target()
        if target is not None:
            target(*args, **kwargs)

"""Signals: what happened, told to those who want to know."""

from __future__ import annotations

import builtins
import logging
import os
import threading
from collections.abc import Callable

from yoton.events.callbacks import Callback
from yoton.events.queue import Event, app

logger = logging.getLogger(__name__)


class Signal:
    """Something that happens now and then, and the handlers to call when it does.

    A handler that is a bound method does not keep its object alive: when the object is gone,
    so is the handler. Every method may be called from any thread; none of them waits.
    """

    __slots__ = ("__weakref__", "_callbacks", "_own_lock")

    def __init__(self) -> None:
        # Made when it is needed: each channel and connection has several signals, to most of
        # which nobody ever binds a handler.
        self._own_lock: threading.RLock | None = None
        # Replaced, never changed, so that emitting needs no lock. Those whose object is gone
        # stay, and do nothing, until it is replaced.
        self._callbacks: tuple[Callback, ...] = ()

    def bind(self, func: Callable[..., object]) -> None:
        """Add a handler.

        Parameters
        ----------
        func : callable
            What to call, with the arguments of the signal. Bound methods are held weakly,
            functions and other callables strongly. Handlers are called in the order in which
            they were bound; binding one again changes nothing and logs a warning.

        Raises
        ------
        ValueError
            func is not callable.
        """
        callback = Callback(func)
        with self._lock:
            is_new = not any(other.refers_to(func) for other in self._callbacks)
            if is_new:
                self._callbacks = (*self._living_callbacks(), callback)
        if not is_new:
            logger.warning("handler %s is already bound to %r", callback.name, self)

    def unbind(self, func: Callable[..., object] | None = None) -> None:
        """Take a handler off; emissions that are still in the event queue do not reach it.

        Parameters
        ----------
        func : callable, optional
            The handler. Default: all of them. One that is not bound is no error.
        """
        with self._lock:
            for callback in self._callbacks:
                if func is None or callback.refers_to(func):
                    callback.release()
            self._callbacks = self._living_callbacks()

    def emit(self, *args: object, **kwargs: object) -> None:
        """Have the event loop call the handlers: one event for each is put in its queue."""
        for callback in self._callbacks:
            if callback.target() is not None:
                app.post(Event(callback, *args, **kwargs))

    def emit_now(self, *args: object, **kwargs: object) -> None:
        """Call the handlers at once, in this thread.

        Should be done in the thread of the event loop only, where handlers expect to be. An
        error in a handler is logged and the next handler follows.
        """
        for callback in self._callbacks:
            Event(callback, *args, **kwargs).dispatch()

    @property
    def _lock(self) -> threading.RLock:
        """Guards the replacing of the handlers.

        Reentrant: a finalizer may unbind a handler while its own thread is in here.
        """
        if self._own_lock is None:
            lock = threading.RLock()
            with _making_lock:
                if self._own_lock is None:
                    self._own_lock = lock
        return self._own_lock

    @property
    def has_handlers(self) -> bool:
        """Whether somebody may want to know: a handler is bound."""
        return bool(self._callbacks)

    @property
    def type(self) -> builtins.type[Signal]:
        """The class of this signal."""
        return builtins.type(self)

    def _living_callbacks(self) -> tuple[Callback, ...]:
        return tuple(callback for callback in self._callbacks if callback.target() is not None)


# Held for one assignment. Reentrant, as a handler of the system's signals may come in between.
_making_lock = threading.RLock()


def _renew_making_lock() -> None:
    """Have one that is not held by a thread that is not there any more."""
    global _making_lock
    _making_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_making_lock)

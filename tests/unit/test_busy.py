"""Whether a thread is in the middle of reading or writing, as its stack tells."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from yoton.connection.busy import is_busy, is_in_the_middle_of, keeps_busy

T = TypeVar("T")


class Scribe:
    @keeps_busy
    def write(self, meanwhile: Callable[[], T]) -> T:
        return meanwhile()


class Asking:
    """A finalizer that asks."""

    def __init__(self, answers: list[bool]) -> None:
        self._answers = answers

    def __del__(self) -> None:
        self._answers.append(is_busy())


def test_a_thread_is_busy_in_the_middle_of_a_call_and_no_longer() -> None:
    assert not is_busy()
    assert Scribe().write(is_busy)
    assert not is_busy()


def test_a_thread_is_busy_however_deep_below_it_asks() -> None:
    def deeper(calls: int) -> bool:
        return deeper(calls - 1) if calls else is_busy()

    assert Scribe().write(lambda: deeper(100))


def test_a_finalizer_in_the_middle_of_it_is_told_so() -> None:
    answers: list[bool] = []
    Asking(answers)
    held = [Asking(answers)]
    Scribe().write(held.clear)
    assert answers == [False, True]


def test_another_thread_is_not_busy_meanwhile() -> None:
    answers: list[bool] = []

    def ask_elsewhere() -> None:
        thread = threading.Thread(target=lambda: answers.append(is_busy()))
        thread.start()
        thread.join()

    Scribe().write(ask_elsewhere)
    assert answers == [False]


def test_a_thread_is_in_the_middle_of_the_method_of_that_very_object() -> None:
    scribe, other = Scribe(), Scribe()
    assert not is_in_the_middle_of(Scribe.write, scribe)
    assert scribe.write(lambda: is_in_the_middle_of(Scribe.write, scribe))
    assert not scribe.write(lambda: is_in_the_middle_of(Scribe.write, other))
    # Also of one that was called in the middle of another one's.
    assert scribe.write(lambda: other.write(lambda: is_in_the_middle_of(Scribe.write, scribe)))


def test_what_a_call_in_the_middle_of_it_ends_with_changes_nothing() -> None:
    def fail() -> None:
        raise LookupError

    scribe = Scribe()
    try:
        scribe.write(fail)
    except LookupError:
        assert not is_busy()
    assert scribe.write(is_busy)


def test_code_that_has_no_hash_is_found_as_well() -> None:
    # As tools make it that rewrite code.
    def ask() -> bool:
        return is_busy()

    ask.__code__ = ask.__code__.replace(co_consts=(*ask.__code__.co_consts, []))
    assert not ask()
    assert Scribe().write(ask)

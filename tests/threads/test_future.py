"""The future: states, waits, callbacks, and what else works with futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import math
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable

import pytest
from support import PATIENCE, wait_until

from yoton.channels.future import Future
from yoton.clock import Deadline
from yoton.events import app, process_events
from yoton.exceptions import ArgumentError


class FakeAsker:
    """A channel with one request, which waits until begin() or the end."""

    def __init__(self) -> None:
        self.is_waiting = True
        self.timeouts: list[float | None] = []
        self.future = Future(self, 1)

    def begin(self) -> None:
        self.is_waiting = False
        self.future._begin()

    def _withdraw(self, request_id: int) -> bool:
        was_waiting, self.is_waiting = self.is_waiting, False
        return was_waiting

    def _is_running(self, request_id: int) -> bool:
        return False

    def _lead(self, is_satisfied: Callable[[], bool], deadline: Deadline) -> None:
        pass

    def _set_timeout(self, request_id: int, timeout: float | None) -> None:
        self.timeouts.append(timeout)


def test_it_has_all_that_futures_of_concurrent_futures_have() -> None:
    # It sets them by itself, to be made quickly.
    assert vars(concurrent.futures.Future()).keys() <= vars(FakeAsker().future).keys()


@pytest.fixture
def asker():
    process_events()
    yield FakeAsker()
    process_events()


@contextlib.contextmanager
def soon(func, *args):
    """Have func called by another thread, a moment after the block has begun to wait."""
    timer = threading.Timer(0.05, func, args)
    timer.start()
    yield
    timer.join()


# States


def test_a_future_waits_then_runs_then_is_done(asker):
    future = asker.future
    assert (future.running(), future.done()) == (False, False)
    asker.begin()
    assert (future.running(), future.done()) == (True, False)
    future.set_result(7)
    assert (future.running(), future.done(), future.cancelled()) == (False, True, False)
    assert future.result() == 7
    assert future.exception() is None


def test_an_error_is_raised_by_result(asker):
    error = ValueError("bad")
    asker.begin()
    asker.future.set_exception(error)
    assert asker.future.exception() is error
    with pytest.raises(ValueError, match="bad"):
        asker.future.result()


def test_a_waiting_future_can_be_cancelled(asker):
    assert asker.future.cancel() is True
    assert asker.future.cancelled()
    assert not asker.is_waiting
    assert asker.future.cancel() is True
    with pytest.raises(concurrent.futures.CancelledError):
        asker.future.result()


def test_a_running_future_cannot_be_cancelled(asker):
    asker.begin()
    assert asker.future.cancel() is False
    assert asker.future.running()
    asker.future.set_result(7)
    assert asker.future.cancel() is False
    assert asker.future.result() == 7


def test_who_cancels_while_another_thread_does_hears_that_it_is_cancelled():
    class Overtaken(FakeAsker):
        def _withdraw(self, request_id: int) -> bool:
            was_waiting = super()._withdraw(request_id)
            if was_waiting:
                answers.append(self.future.cancel())
            return was_waiting

    answers: list[bool] = []
    assert Overtaken().future.cancel() is True
    assert answers == [True]


def test_a_future_whose_result_was_set_by_hand_is_left_alone(asker):
    asker.future.set_result(7)
    asker.begin()
    assert asker.future.result() == 7
    assert asker.future.cancel() is False


def test_attributes_may_be_set(asker):
    asker.future.note = "mine"
    assert asker.future.note == "mine"


# Waits


def test_result_waits_until_it_is_there(asker):
    with soon(asker.future.set_result, 7):
        assert asker.future.result(PATIENCE) == 7


def test_exception_waits_until_it_is_there(asker):
    error = ValueError("bad")
    with soon(asker.future.set_exception, error):
        assert asker.future.exception(PATIENCE) is error


def test_a_wait_ends_at_its_timeout(asker):
    with pytest.raises(concurrent.futures.TimeoutError):
        asker.future.result(0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        asker.future.exception(0)


def test_a_wait_ends_when_it_is_cancelled(asker):
    with soon(asker.future.cancel), pytest.raises(concurrent.futures.CancelledError):
        asker.future.result(PATIENCE)


def test_result_or_cancel_gives_the_result(asker):
    with soon(asker.future.set_result, 7):
        assert asker.future.result_or_cancel(PATIENCE) == 7


def test_result_or_cancel_cancels_what_waits(asker):
    assert asker.future.result_or_cancel(0.01) is None
    assert asker.future.cancelled()


def test_result_or_cancel_gives_up_what_runs(asker):
    asker.begin()
    assert asker.future.result_or_cancel(0.01) is None
    assert asker.future.running()


def test_a_wait_burns_no_time(asker):
    before = time.process_time()
    with pytest.raises(concurrent.futures.TimeoutError):
        asker.future.result(0.3)
    assert time.process_time() - before < 0.1


INTERRUPTED = """
    import os, signal, threading
    from yoton.channels.future import Future

    # A process that was started in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class Asker:
        def _lead(self, is_satisfied, deadline):
            pass

    future = Future(Asker(), 1)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        future.result(20)
    except KeyboardInterrupt:
        future.set_result(7)
        print(future.result(1))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGINT between threads")
def test_an_interrupt_gets_through_a_wait_and_leaves_no_lock_held():
    script = [sys.executable, "-c", textwrap.dedent(INTERRUPTED)]
    result = subprocess.run(script, capture_output=True, text=True, timeout=PATIENCE)
    assert (result.stdout, result.stderr) == ("7\n", "")


# The timeout


@pytest.mark.parametrize("timeout", [None, 0.5, 3, math.inf])
def test_the_auto_cancel_timeout_is_handed_on(asker, timeout):
    asker.future.set_auto_cancel_timeout(timeout)
    assert asker.timeouts == [timeout]


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "1", (), b""])
def test_what_is_no_timeout_is_refused(asker, timeout):
    with pytest.raises(ArgumentError, match="seconds"):
        asker.future.set_auto_cancel_timeout(timeout)
    assert asker.timeouts == []


# Callbacks


def test_callbacks_come_through_the_event_loop_in_order_with_the_future(asker):
    calls = []
    asker.future.add_done_callback(lambda future: calls.append((1, future)))
    asker.future.add_done_callback(lambda future: calls.append((2, future)))
    asker.future.set_result(7)
    asker.future.add_done_callback(lambda future: calls.append((3, future)))
    assert calls == []
    process_events()
    assert calls == [(1, asker.future), (2, asker.future), (3, asker.future)]
    process_events()
    assert len(calls) == 3


@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
def test_each_end_calls_the_callbacks(asker, end):
    calls = []
    asker.future.add_done_callback(calls.append)
    arguments = {"set_result": (7,), "set_exception": (KeyError(),), "cancel": ()}
    getattr(asker.future, end)(*arguments[end])
    process_events()
    assert calls == [asker.future]


def test_an_error_in_a_callback_is_logged_and_the_next_follows(asker, caplog):
    calls = []
    asker.future.add_done_callback(lambda future: 1 / 0)
    asker.future.add_done_callback(calls.append)
    asker.future.set_result(7)
    with caplog.at_level(logging.ERROR):
        process_events()
    assert "ZeroDivisionError" in caplog.text
    assert calls == [asker.future]


def test_callbacks_keep_their_order_when_one_is_added_during_the_end():
    """The one added last may be posted first, but it is not called first."""
    for _ in range(200):
        calls: list[int] = []
        asker = FakeAsker()
        asker.future.add_done_callback(lambda future, calls=calls: calls.append(1))
        thread = threading.Thread(target=asker.future.set_result, args=(7,))
        thread.start()
        asker.future.add_done_callback(lambda future, calls=calls: calls.append(2))
        thread.join()
        process_events()
        assert calls == [1, 2]


def test_what_is_not_callable_is_refused_as_a_callback(asker):
    with pytest.raises(ArgumentError, match="callable"):
        asker.future.add_done_callback(None)


def test_a_callback_lives_until_it_was_called(asker):
    class Owner:
        calls = 0

        def handle(self, future):
            Owner.calls += 1

    owner = Owner()
    alive = weakref.ref(owner)
    asker.future.add_done_callback(owner.handle)
    del owner
    gc.collect()
    asker.future.set_result(7)
    process_events()
    assert Owner.calls == 1
    gc.collect()
    assert alive() is None


# concurrent.futures and asyncio


@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
def test_concurrent_futures_wait_sees_each_end(asker, end):
    arguments = {"set_result": (7,), "set_exception": (KeyError(),), "cancel": ()}
    with soon(getattr(asker.future, end), *arguments[end]):
        done, not_done = concurrent.futures.wait([asker.future], PATIENCE)
    assert (done, not_done) == ({asker.future}, set())
    assert concurrent.futures.wait([asker.future], 0).done == {asker.future}


def test_concurrent_futures_as_completed_gives_them_as_they_end():
    askers = [FakeAsker() for _ in range(3)]
    futures = [asker.future for asker in askers]
    futures[2].set_result(2)
    completed = concurrent.futures.as_completed(futures, PATIENCE)
    assert next(completed) is futures[2]
    futures[0].cancel()
    assert next(completed) is futures[0]
    with soon(futures[1].set_result, 1):
        assert next(completed) is futures[1]


def test_asyncio_gets_the_result_though_nobody_processes_events(asker):
    async def main():
        with soon(asker.future.set_result, 7):
            return await asyncio.wait_for(asyncio.wrap_future(asker.future), PATIENCE)

    assert asyncio.run(main()) == 7
    assert not app._events


def test_asyncio_gets_what_is_done_already(asker):
    asker.future.set_result(7)

    async def main():
        return await asyncio.wait_for(asyncio.wrap_future(asker.future), PATIENCE)

    assert asyncio.run(main()) == 7


def test_asyncio_gets_an_error(asker):
    async def main():
        with soon(asker.future.set_exception, KeyError("x")):
            await asyncio.wait_for(asyncio.wrap_future(asker.future), PATIENCE)

    with pytest.raises(KeyError):
        asyncio.run(main())


def test_asyncio_hears_of_a_cancellation(asker):
    async def main():
        with soon(asker.future.cancel), pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.wrap_future(asker.future), PATIENCE)

    asyncio.run(main())


def test_asyncio_cancels_the_request(asker):
    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(asker.future), 0.01)

    asyncio.run(main())
    wait_until(asker.future.cancelled, "cancelled")
    assert not asker.is_waiting


def test_other_callbacks_of_a_future_in_asyncio_wait_for_the_event_loop(asker):
    calls = []

    async def main():
        asker.future.add_done_callback(calls.append)
        with soon(asker.future.set_result, 7):
            await asyncio.wait_for(asyncio.wrap_future(asker.future), PATIENCE)

    asyncio.run(main())
    assert calls == []
    process_events()
    assert calls == [asker.future]

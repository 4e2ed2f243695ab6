from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manual_scheduler import ManualScheduler

from yoton.clock import Deadline
from yoton.events import queue as queue_module
from yoton.events.queue import MAX_QUEUED_EVENTS, Event, EventQueue


def raise_error(error: BaseException) -> None:
    raise error


@pytest.fixture
def queue() -> EventQueue:
    return EventQueue()


@pytest.fixture
def calls() -> list[object]:
    return []


@pytest.fixture
def manual_scheduler(monkeypatch: pytest.MonkeyPatch) -> ManualScheduler:
    scheduler = ManualScheduler()
    monkeypatch.setattr(queue_module, "scheduler", scheduler)
    return scheduler


# Events


def test_an_event_calls_with_its_arguments() -> None:
    calls: list[object] = []
    Event(lambda *args, **kwargs: calls.append((args, kwargs)), 1, 2, key=3).dispatch()
    assert calls == [((1, 2), {"key": 3})]


def test_an_event_calls_once_and_lets_go() -> None:
    class Widget:
        def handle(self) -> None:
            calls.append("called")

    calls: list[object] = []
    widget = Widget()
    gone = weakref.ref(widget)
    event = Event(widget.handle)
    event.dispatch()
    del widget
    assert gone() is None
    event.dispatch()
    assert calls == ["called"]


def test_an_error_in_a_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Event(raise_error, KeyError("lost")).dispatch()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"error in the event handler {__name__}.raise_error"
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


# Order


def test_events_are_processed_in_the_order_posted(queue: EventQueue, calls: list[object]) -> None:
    for number in range(5):
        assert queue.post(Event(calls.append, number))
    queue.process_events()
    queue.process_events()
    assert calls == [0, 1, 2, 3, 4]


def test_the_first_event_is_the_one_posted_to_the_front(
    queue: EventQueue, calls: list[object]
) -> None:
    queue.post(Event(calls.append, "posted"))
    queue.post(Event(calls.append, "front"), first=True)
    queue.post(Event(calls.append, "later front"), first=True)
    queue.process_events()
    assert calls == ["later front", "front", "posted"]


def test_events_that_come_meanwhile_are_left_for_the_next_time(
    queue: EventQueue, calls: list[object]
) -> None:
    def post_itself() -> None:
        calls.append("called")
        queue.call_later(post_itself)

    queue.call_later(post_itself)
    queue.process_events()
    assert calls == ["called"]
    queue.process_events()
    assert calls == ["called", "called"]


def test_a_handler_may_process_events(queue: EventQueue, calls: list[object]) -> None:
    def nest() -> None:
        calls.append("begin")
        queue.process_events()
        calls.append("end")

    queue.call_later(nest)
    queue.call_later(calls.append, 0, "other")
    queue.process_events()
    assert calls == ["begin", "other", "end"]


# Errors


def test_an_error_does_not_keep_the_next_event(
    queue: EventQueue, calls: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    queue.call_later(raise_error, 0, ValueError("expected"))
    queue.call_later(calls.append, 0, "next")
    queue.process_events()
    assert calls == ["next"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through_and_leaves_the_rest(
    queue: EventQueue, calls: list[object], error: type[BaseException]
) -> None:
    queue.call_later(raise_error, 0, error())
    queue.call_later(calls.append, 0, "rest")
    with pytest.raises(error):
        queue.process_events()
    assert calls == []
    queue.process_events()
    assert calls == ["rest"]


# Limits


def fill(queue: EventQueue) -> None:
    while queue.post(Event(int)):
        pass


def test_a_full_queue_drops_counts_and_says_so_once(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MAX_QUEUED_EVENTS):
        assert queue.post(Event(int))
    assert queue.dropped == 0
    assert not caplog.records
    for first in (False, True):
        assert not queue.post(Event(int), first)
    assert queue.dropped == 2
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "until its 10000 events are processed" in record.getMessage()


def test_a_full_queue_says_so_again_after_it_was_empty(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    fill(queue)
    queue.process_events()
    fill(queue)
    assert queue.dropped == 2
    assert len(caplog.records) == 2


def test_a_full_queue_says_so_once_while_it_does_not_run_empty(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.call_later(raise_error, 0, KeyboardInterrupt())
    fill(queue)
    with pytest.raises(KeyboardInterrupt):
        queue.process_events()
    fill(queue)
    assert queue.dropped == 2
    assert len(caplog.records) == 1


# Waiting, as far as nothing has to be waited for


@pytest.mark.parametrize("block", [False, 0, 0.0, -1, True, 3, 2.5, float("inf")])
def test_nothing_is_waited_for_when_there_are_events(
    queue: EventQueue, calls: list[object], block: bool | float
) -> None:
    queue.call_later(calls.append, 0, "called")
    queue.process_events(block)
    assert calls == ["called"]


@pytest.mark.parametrize("block", [False, 0, 0.0, -1])
def test_an_empty_queue_may_be_processed(queue: EventQueue, block: float) -> None:
    queue.process_events(block)


@pytest.mark.parametrize("block", ["1", None, float("nan"), 1j])
def test_a_block_that_is_no_time_is_refused(
    queue: EventQueue, calls: list[object], block: object
) -> None:
    queue.call_later(calls.append, 0, "kept")
    with pytest.raises(ValueError, match="expected True, False or a number of seconds"):
        queue.process_events(block)  # type: ignore[arg-type]
    queue.process_events()
    assert calls == ["kept"]


def test_an_event_that_comes_right_before_the_wait_is_not_missed(
    queue: EventQueue, calls: list[object]
) -> None:
    class PostsWhenAsked(Deadline):
        def remaining(self) -> float | None:
            queue.call_later(calls.append, 0, "called")
            return super().remaining()

    queue._process(PostsWhenAsked(60.0), lambda: False)
    assert "called" in calls


# Later


def test_call_later_puts_a_call_at_the_end_or_the_front(
    queue: EventQueue, calls: list[object]
) -> None:
    queue.call_later(lambda *args, **kwargs: calls.append((args, kwargs)), 0, 1, key=2)
    queue.call_later(calls.append, -1, "front")
    queue.process_events()
    assert calls == ["front", ((1,), {"key": 2})]


def test_call_later_waits(
    queue: EventQueue, calls: list[object], manual_scheduler: ManualScheduler
) -> None:
    queue.call_later(calls.append, 2.0, "second")
    queue.call_later(calls.append, 1, "first")
    manual_scheduler.advance(0.9)
    queue.process_events()
    assert calls == []
    manual_scheduler.advance(1.2)
    queue.process_events()
    assert calls == ["first", "second"]


@pytest.mark.parametrize(
    ("func", "timeout"), [(None, 0), (3, 1), (int, "1"), (int, None), (int, float("nan"))]
)
def test_call_later_refuses_what_it_cannot_do(
    queue: EventQueue, func: Callable[[], object], timeout: float
) -> None:
    with pytest.raises(ValueError, match=r"needs a callable|expected a number of seconds"):
        queue.call_later(func, timeout)


# The loop


def test_the_loop_ends_after_the_handler_that_stops_it(
    queue: EventQueue, calls: list[object]
) -> None:
    def stop() -> None:
        queue.stop_event_loop()
        calls.append("stopped")

    queue.call_later(stop)
    queue.call_later(calls.append, 0, "left")
    queue.start_event_loop()
    assert calls == ["stopped"]
    queue.process_events()
    assert calls == ["stopped", "left"]


def test_the_loop_goes_on_with_events_that_its_handlers_post(
    queue: EventQueue, calls: list[object]
) -> None:
    def count_down(number: int) -> None:
        calls.append(number)
        if number > 0:
            queue.call_later(count_down, 0, number - 1)
        else:
            queue.stop_event_loop()

    queue.call_later(count_down, 0, 3)
    queue.start_event_loop()
    assert calls == [3, 2, 1, 0]


def test_a_stop_ends_loops_that_are_nested(queue: EventQueue, calls: list[object]) -> None:
    def nest() -> None:
        queue.start_event_loop()
        calls.append("inner ended")

    queue.call_later(nest)
    queue.call_later(queue.stop_event_loop)
    queue.start_event_loop()
    assert calls == ["inner ended"]


def test_a_stop_without_a_loop_does_nothing(queue: EventQueue, calls: list[object]) -> None:
    queue.stop_event_loop()
    queue.call_later(calls.append, 0, "called")
    queue.call_later(queue.stop_event_loop)
    queue.start_event_loop()
    assert calls == ["called"]


def test_a_stop_does_not_end_process_events(queue: EventQueue, calls: list[object]) -> None:
    queue.call_later(queue.stop_event_loop)
    queue.call_later(calls.append, 0, "called")
    queue.process_events()
    assert calls == ["called"]


def test_an_interrupt_ends_the_loop(queue: EventQueue) -> None:
    queue.call_later(raise_error, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        queue.start_event_loop()


# Reentrancy: what a signal handler or a finalizer does while its thread holds the lock


def test_the_queue_can_be_used_by_a_thread_that_is_inside(
    queue: EventQueue, calls: list[object]
) -> None:
    with queue._lock:
        queue.post(Event(calls.append, "called"))
        queue.stop_event_loop()
        queue.process_events()
    assert calls == ["called"]


# Embedding


class Host:
    """Another event loop: notes that it was asked to process events, and does when run."""

    def __init__(self, queue: EventQueue) -> None:
        self.queue = queue
        self.requests = 0

    def request(self) -> None:
        self.requests += 1

    def run(self) -> None:
        while self.requests:
            self.requests -= 1
            self.queue.process_events()


@pytest.fixture
def host(queue: EventQueue) -> Host:
    host = Host(queue)
    queue.embed_event_loop(host.request)
    return host


def test_the_callback_is_called_once_until_events_are_processed(
    queue: EventQueue, host: Host
) -> None:
    assert host.requests == 0
    queue.call_later(int)
    queue.call_later(int)
    assert host.requests == 1
    host.run()
    assert host.requests == 0
    queue.call_later(int)
    assert host.requests == 1


def test_the_callback_is_called_at_once_if_events_wait(queue: EventQueue) -> None:
    queue.call_later(int)
    host = Host(queue)
    queue.embed_event_loop(host.request)
    assert host.requests == 1


def test_a_new_callback_is_told_what_the_old_one_was(queue: EventQueue, host: Host) -> None:
    queue.call_later(int)
    other = Host(queue)
    queue.embed_event_loop(other.request)
    assert (host.requests, other.requests) == (1, 1)


def test_an_event_posted_by_a_handler_leads_to_one_call(queue: EventQueue, host: Host) -> None:
    def post_two() -> None:
        queue.call_later(int)
        queue.call_later(int)

    queue.call_later(post_two)
    host.requests = 0
    queue.process_events()
    assert host.requests == 1


def test_events_left_by_an_interrupt_lead_to_a_call(
    queue: EventQueue, host: Host, calls: list[object]
) -> None:
    queue.call_later(raise_error, 0, KeyboardInterrupt())
    queue.call_later(calls.append, 0, "left")
    with pytest.raises(KeyboardInterrupt):
        host.run()
    host.run()
    assert calls == ["left"]


def test_events_left_by_a_stop_lead_to_a_call(queue: EventQueue, host: Host) -> None:
    queue.call_later(queue.stop_event_loop)
    queue.call_later(int)
    host.requests = 0
    queue.start_event_loop()
    assert host.requests == 1


def test_none_ends_the_embedding(queue: EventQueue, host: Host) -> None:
    queue.embed_event_loop(None)
    queue.call_later(int)
    assert host.requests == 0


def test_an_error_in_the_callback_is_logged_and_the_next_event_tries_again(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.embed_event_loop(lambda: raise_error(OSError("no loop")))
    assert queue.post(Event(int))
    assert queue.post(Event(int))
    assert [record.getMessage() for record in caplog.records] == [
        "error in the callback of embed_event_loop"
    ] * 2


def test_an_interrupt_in_the_callback_goes_through_and_the_next_event_tries_again(
    queue: EventQueue,
) -> None:
    queue.embed_event_loop(lambda: raise_error(KeyboardInterrupt()))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            queue.post(Event(int))


def test_a_callback_may_process_the_events_itself(queue: EventQueue, calls: list[object]) -> None:
    queue.embed_event_loop(queue.process_events)
    queue.call_later(queue.call_later, 0, calls.append, 0, "from a handler")
    assert calls == ["from a handler"]


def test_only_a_callable_or_none_can_embed(queue: EventQueue) -> None:
    with pytest.raises(ValueError, match="needs a callable or None, not 3"):
        queue.embed_event_loop(3)  # type: ignore[arg-type]


_steps = st.lists(
    st.sampled_from(["post", "post poster", "post interrupter", "post stopper", "run", "loop"]),
    max_size=30,
)


@given(steps=_steps)
def test_the_host_is_always_asked_when_events_wait(steps: list[str]) -> None:
    queue = EventQueue()
    host = Host(queue)
    queue.embed_event_loop(host.request)
    posted: list[int] = []
    called: list[int] = []

    def post(then: Callable[[], object] = int) -> None:
        number = len(posted)
        posted.append(number)
        queue.call_later(lambda: (called.append(number), then()))

    for step in steps:
        if step == "post":
            post()
        elif step == "post poster":
            post(post)
        elif step == "post interrupter":
            post(lambda: raise_error(KeyboardInterrupt()))
        elif step == "post stopper":
            post(queue.stop_event_loop)
        else:
            if step == "loop":
                queue.call_later(queue.stop_event_loop)
            with contextlib.suppress(KeyboardInterrupt):
                host.run() if step == "run" else queue.start_event_loop()
        assert host.requests or not queue._events
    while host.requests:
        with contextlib.suppress(KeyboardInterrupt):
            host.run()
    assert called == posted

"""The thread of the scheduler, and what is driven by it."""

from __future__ import annotations

import random
import threading
import time
import weakref

import pytest
from support import PATIENCE, wait_until

from yoton.events import scheduler as scheduler_module
from yoton.events.queue import EventQueue, app
from yoton.events.scheduler import Scheduler, logger
from yoton.events.timers import Timer

FAR_OFF = 1000.0


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


def scheduler_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "yoton-scheduler"]


@pytest.fixture(autouse=True)
def ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "LINGER_SECONDS", 0.02)
    wait_until(lambda: not scheduler_threads())


def is_parked(scheduler: Scheduler) -> bool:
    return 0 < scheduler._parked_until < float("inf")


def test_the_thread_starts_on_demand_and_ends_by_itself(scheduler: Scheduler) -> None:
    threads: list[threading.Thread] = []
    for started in (1, 2):
        scheduler.call_after(0.0, lambda: threads.append(threading.current_thread()))
        wait_until(lambda started=started: len(threads) == started)
        threads[-1].join(PATIENCE)
        assert not threads[-1].is_alive()
    assert threads[0] is not threads[1]
    assert all(thread.name == "yoton-scheduler" and thread.daemon for thread in threads)


def test_the_thread_ends_when_the_last_call_is_cancelled(scheduler: Scheduler) -> None:
    call = scheduler.call_after(FAR_OFF, int)
    wait_until(lambda: is_parked(scheduler))
    [thread] = scheduler_threads()
    call.cancel()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_an_earlier_call_wakes_the_thread(scheduler: Scheduler) -> None:
    called = threading.Event()
    far_off = scheduler.call_after(FAR_OFF, int)
    wait_until(lambda: is_parked(scheduler))
    scheduler.call_after(0.01, called.set)
    assert called.wait(PATIENCE)
    assert len(scheduler_threads()) == 1
    far_off.cancel()


def test_the_thread_lets_go_of_a_call_that_was_made(scheduler: Scheduler) -> None:
    class Widget:
        def handle(self) -> None:
            pass

    far_off = scheduler.call_after(FAR_OFF, int)
    widget = Widget()
    gone = weakref.ref(widget)
    scheduler.call_after(0.0, widget.handle)
    del widget
    wait_until(lambda: gone() is None)
    far_off.cancel()


def test_calls_are_made_not_too_early(scheduler: Scheduler) -> None:
    made: list[tuple[float, float]] = []
    delays = [random.uniform(0.0, 0.1) for _ in range(50)]
    for delay in delays:
        due = scheduler.now() + delay
        scheduler.call_at(due, lambda due=due: made.append((due, scheduler.now())))
    wait_until(lambda: len(made) == len(delays))
    assert [due for due, _ in made] == sorted(due for due, _ in made)
    assert all(now >= due for due, now in made)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_error_is_logged_and_does_not_end_the_thread(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    called = threading.Event()

    def fail() -> None:
        raise error

    scheduler.call_after(0.0, fail)
    scheduler.call_after(0.01, called.set)
    assert called.wait(PATIENCE)
    [record] = [record for record in caplog.records if record.name == logger.name]
    assert "fail" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is error


def test_many_threads_schedule_and_cancel(scheduler: Scheduler) -> None:
    made: list[tuple[int, int]] = []

    def schedule(thread: int) -> None:
        for number in range(200):
            scheduler.call_after(FAR_OFF, int).cancel()
            scheduler.call_after(
                random.uniform(0.0, 0.05), lambda number=number: made.append((thread, number))
            )

    threads = [threading.Thread(target=schedule, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    wait_until(lambda: len(made) == 800)
    assert len(set(made)) == 800
    wait_until(lambda: not scheduler_threads())


def test_a_call_is_taken_back_if_no_thread_can_be_started(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            scheduler.call_after(0.0, int)
    assert scheduler._agenda.next_due() is None
    called = threading.Event()
    scheduler.call_after(0.0, called.set)
    assert called.wait(PATIENCE)


def test_a_burst_of_first_calls_ends_with_one_thread(scheduler: Scheduler) -> None:
    calls = [scheduler.call_after(FAR_OFF, int) for _ in range(100)]
    wait_until(lambda: len(scheduler_threads()) == 1)
    for call in calls:
        call.cancel()
    wait_until(lambda: not scheduler_threads())


def test_call_later_posts_when_its_time_has_come() -> None:
    queue = EventQueue()
    called: list[threading.Thread] = []
    begin = time.monotonic()
    queue.call_later(lambda: called.append(threading.current_thread()), 0.02)
    queue.process_events(PATIENCE)
    assert called == [threading.current_thread()]
    assert time.monotonic() - begin >= 0.02


def test_a_timer_runs_a_loop() -> None:
    """A timer of the real clock, from its start to the stop by its handler."""
    from_loop: list[threading.Thread] = []

    def handle() -> None:
        from_loop.append(threading.current_thread())
        if len(from_loop) == 3:
            app.stop_event_loop()

    with Timer(0.01, oneshot=False) as timer:
        timer.bind(handle)
        timer.start()
        app.start_event_loop()
    assert from_loop == [threading.current_thread()] * 3


def test_a_timer_keeps_itself_alive_while_it_runs() -> None:
    called: list[int] = []

    def start_a_timer() -> None:
        timer = Timer(0.02)
        timer.bind(lambda: called.append(1))
        timer.start()

    start_a_timer()
    app.process_events(PATIENCE)
    assert called == [1]

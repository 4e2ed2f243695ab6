"""The event queue between threads: waiting, waking, stopping, interrupts, embedding."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support import PATIENCE, wait_until

from yoton.events.queue import Event, EventQueue

THREADS = 4
EVENTS_PER_THREAD = 1000


@pytest.fixture
def queue() -> EventQueue:
    return EventQueue()


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Start a function in a thread, which has to end before the test does."""
    threads: list[threading.Thread] = []

    def start_thread(func: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=func, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield start_thread
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def is_waited_for(queue: EventQueue) -> bool:
    return bool(queue._waiters)


def test_a_posted_event_wakes_the_thread_that_waits(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    names: list[str] = []
    waiting = start(lambda: queue.process_events(True))
    wait_until(lambda: is_waited_for(queue))
    queue.call_later(lambda: names.append(threading.current_thread().name))
    waiting.join(PATIENCE)
    assert names == [waiting.name]


def test_a_wait_ends_in_time(queue: EventQueue) -> None:
    begin = time.monotonic()
    queue.process_events(0.05)
    assert 0.045 <= time.monotonic() - begin < PATIENCE
    assert not is_waited_for(queue)


def test_a_wait_costs_nothing(queue: EventQueue) -> None:
    begin = time.thread_time()
    queue.process_events(0.5)
    assert time.thread_time() - begin < 0.01


def test_all_threads_that_wait_look_at_an_event(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    taken: list[int] = []
    for _ in range(2):
        start(lambda: queue.process_events(True))
    wait_until(lambda: len(queue._waiters) == 2)
    queue.call_later(taken.append, 0, 1)
    queue.call_later(taken.append, 0, 2)
    wait_until(lambda: len(taken) == 2)
    queue.call_later(int)


@contextlib.contextmanager
def signal_while_waiting(
    queue: EventQueue, number: signal.Signals, handler: Callable[..., object]
) -> Iterator[None]:
    """Handle a signal that the main thread gets as soon as it waits for an event."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def send() -> None:
        wait_until(lambda: is_waited_for(queue))
        signal.pthread_kill(main_thread, number)

    previous = signal.signal(number, handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join(PATIENCE)
        signal.signal(number, previous)


def test_ctrl_c_ends_a_wait_at_once(queue: EventQueue) -> None:
    interrupts = signal_while_waiting(queue, signal.SIGINT, signal.default_int_handler)
    with interrupts, pytest.raises(KeyboardInterrupt):
        queue.process_events(True)
    assert queue.post(Event(int))
    queue.process_events()


def test_a_signal_handler_may_stop_the_loop(queue: EventQueue) -> None:
    with signal_while_waiting(queue, signal.SIGUSR1, lambda *_: queue.stop_event_loop()):
        queue.start_event_loop()


def test_signals_at_any_moment_do_no_harm(queue: EventQueue) -> None:
    """The signal handler posts while the main thread posts, waits and processes."""
    posted_by_signals = 0
    handled = [0]

    def count() -> None:
        handled[0] += 1

    def on_signal(*_: object) -> None:
        nonlocal posted_by_signals
        if queue.post(Event(count)):
            posted_by_signals += 1

    previous = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0002)
    posted = 0
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            posted += queue.post(Event(count))
            queue.process_events(0.001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    queue.process_events()
    assert posted_by_signals > 0
    assert handled[0] == posted + posted_by_signals


def test_another_thread_stops_the_loop(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    loop = start(queue.start_event_loop)
    wait_until(lambda: is_waited_for(queue))
    queue.stop_event_loop()
    loop.join(PATIENCE)
    assert not loop.is_alive()


def post_numbers(
    queue: EventQueue,
    handle: Callable[[int, int], object],
    start: Callable[[Callable[[], object]], threading.Thread],
) -> None:
    """Post numbers from several threads at once."""

    def post_from(thread: int) -> None:
        for number in range(EVENTS_PER_THREAD):
            assert queue.post(Event(handle, thread, number))

    for thread in range(THREADS):
        start(lambda thread=thread: post_from(thread))


def test_each_thread_s_events_come_all_and_in_order(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    handled: dict[int, list[int]] = {thread: [] for thread in range(THREADS)}
    post_numbers(queue, lambda thread, number: handled[thread].append(number), start)
    deadline = time.monotonic() + PATIENCE
    while sum(map(len, handled.values())) < THREADS * EVENTS_PER_THREAD:
        assert time.monotonic() < deadline
        queue.process_events(0.1)
    assert handled == {thread: list(range(EVENTS_PER_THREAD)) for thread in range(THREADS)}


def test_several_threads_may_process_the_events(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    handled: list[tuple[int, int]] = []
    for _ in range(2):
        start(queue.start_event_loop)
    wait_until(lambda: len(queue._waiters) == 2)
    post_numbers(queue, lambda thread, number: handled.append((thread, number)), start)
    wait_until(lambda: len(handled) == THREADS * EVENTS_PER_THREAD)
    queue.stop_event_loop()
    assert len(set(handled)) == len(handled)


def test_an_embedding_host_gets_all_events(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """The host sleeps until the callback was called, and processes once for each call."""
    requests = threading.Semaphore(0)
    handled: list[tuple[int, int]] = []
    queue.embed_event_loop(requests.release)
    post_numbers(queue, lambda thread, number: handled.append((thread, number)), start)
    while len(handled) < THREADS * EVENTS_PER_THREAD:
        assert requests.acquire(timeout=PATIENCE)
        queue.process_events()
    assert len(set(handled)) == len(handled)


def test_the_callback_is_called_outside_all_locks(
    queue: EventQueue, start: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """Another thread can use the queue while the callback runs."""
    passed: list[bool] = []

    def wait_for_another_thread() -> None:
        other = start(lambda: queue.post(Event(int)))
        other.join(PATIENCE)
        passed.append(not other.is_alive())

    queue.embed_event_loop(wait_for_another_thread)
    queue.call_later(int)
    assert passed == [True]


def test_waiting_for_events_ends_however_short_the_time_is(queue):
    for _ in range(20_000):
        queue.process_events(1e-6)

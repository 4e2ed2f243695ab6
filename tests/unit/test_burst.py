from __future__ import annotations

import pytest
from manual_scheduler import ManualScheduler

from yoton import burst as burst_module
from yoton.burst import MAX_AGE, MAX_DELAY, MAX_FLUSH_TIME, QUICK_COUNT, QUICK_INTERVAL, Burst

QUICK = QUICK_INTERVAL / 2
SLOW = QUICK_INTERVAL * 2


class Sender:
    """A burst, and how often it has flushed."""

    def __init__(self, scheduler: ManualScheduler) -> None:
        self.scheduler = scheduler
        self.burst = Burst(self.flush)
        self.flushes = 0
        self.flush_time = 0.0
        self.is_flushing = False

    def flush(self) -> None:
        # Or what is added from now on would be held back, and nobody would look after it.
        assert not self.burst.is_on or self.is_flushing
        self.flushes += 1

    def send(self, count: int, interval: float = QUICK) -> None:
        """Flush a number of times, and have that much time pass before each."""
        for _ in range(count):
            self.scheduler.advance(interval)
            self.burst.sending()
            if self.flush_time:
                self.is_flushing = True
                self.scheduler.advance(self.flush_time)
                self.is_flushing = False
            self.burst.flushed()

    def begin(self) -> None:
        self.send(1, SLOW)
        self.send(QUICK_COUNT)
        self.scheduler.make_due_calls()
        assert self.burst.is_on


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    scheduler = ManualScheduler()
    monkeypatch.setattr(burst_module, "scheduler", scheduler)
    monkeypatch.setattr(burst_module, "monotonic", scheduler.now)
    return Sender(scheduler)


def test_it_does_not_matter_how_long_a_flush_takes(sender: Sender) -> None:
    sender.flush_time = 10 * MAX_DELAY
    sender.begin()


def test_a_flush_that_never_ended_does_not_make_it_last_for_ever(sender: Sender) -> None:
    sender.begin()
    sender.scheduler.advance(QUICK)
    sender.burst.sending()  # and Ctrl-C
    sender.is_flushing = True
    sender.scheduler.advance(MAX_FLUSH_TIME / 2)
    assert sender.burst.is_on
    assert sender.flushes > 0, "nothing has to wait for that"
    sender.scheduler.advance(MAX_FLUSH_TIME)
    assert not sender.burst.is_on


# While it lasts


def test_what_was_held_back_for_long_is_late(sender: Sender) -> None:
    sender.burst.sending()
    sender.burst.flushed()
    sender.scheduler.advance(MAX_AGE * 0.99)
    assert not sender.burst.is_late()
    sender.scheduler.advance(MAX_AGE * 0.02)
    assert sender.burst.is_late()
    sender.burst.sending()
    sender.burst.flushed()
    assert not sender.burst.is_late()


# The beginning


def test_a_burst_begins_also_when_two_threads_count_at_once(sender: Sender) -> None:
    sender.send(1, SLOW)
    sender.burst._quick_count = QUICK_COUNT  # as one left it that was just about to look
    sender.send(1)
    sender.scheduler.make_due_calls()
    assert sender.burst.is_on


def test_there_is_no_burst_at_first(sender: Sender) -> None:
    assert not sender.burst.is_on


def test_flushes_that_follow_each_other_quickly_begin_a_burst(sender: Sender) -> None:
    sender.send(1, SLOW)
    sender.send(QUICK_COUNT - 1)
    sender.scheduler.make_due_calls()
    assert not sender.burst.is_on
    sender.send(1)
    assert not sender.burst.is_on, "only the scheduler's thread begins it"
    sender.scheduler.make_due_calls()
    assert sender.burst.is_on


def test_flushes_with_pauses_between_them_never_begin_one(sender: Sender) -> None:
    sender.send(10 * QUICK_COUNT, SLOW)
    sender.scheduler.advance(1.0)
    assert not sender.burst.is_on
    assert sender.flushes == 0


def test_a_pause_has_the_counting_begin_anew(sender: Sender) -> None:
    for _ in range(5):
        sender.send(1, SLOW)
        sender.send(QUICK_COUNT - 1)
    sender.scheduler.make_due_calls()
    assert not sender.burst.is_on


def test_pings_never_begin_one_however_quick_the_answers_are(sender: Sender) -> None:
    for _ in range(10 * QUICK_COUNT):
        sender.send(1)
        sender.burst.answer_is_awaited()
    sender.scheduler.advance(1.0)
    assert not sender.burst.is_on
    assert sender.flushes == 0


def test_flushes_before_the_scheduler_comes_begin_it_once(sender: Sender) -> None:
    # Calls that come due are made late: a thread does not run just when it should.
    for _ in range(3 * QUICK_COUNT):
        sender.scheduler.time += QUICK
        sender.burst.sending()
        sender.burst.flushed()
    sender.scheduler.make_due_calls()
    assert sender.burst.is_on
    sender.scheduler.advance(3 * MAX_DELAY)
    assert not sender.burst.is_on
    assert sender.flushes == 1


def test_two_that_want_to_begin_it_have_it_looked_after_once(sender: Sender) -> None:
    for _ in range(2):
        sender.scheduler.time += SLOW
        sender.burst.sending()
        sender.burst.flushed()
        for _ in range(QUICK_COUNT):
            sender.scheduler.time += QUICK
            sender.burst.sending()
            sender.burst.flushed()
    sender.scheduler.make_due_calls()
    assert sender.burst.is_on
    sender.scheduler.advance(3 * MAX_DELAY)
    assert sender.flushes == 1
    assert sender.scheduler._agenda.next_due() is None


def test_an_interpreter_that_ends_and_allows_no_thread_has_no_burst(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call_at(due: float, func: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(sender.scheduler, "call_at", call_at)
    sender.send(3 * QUICK_COUNT)
    assert not sender.burst.is_on


# The end


def test_a_pause_ends_it_and_flushes_what_was_held_back(sender: Sender) -> None:
    sender.begin()
    sender.scheduler.advance(0.9 * MAX_DELAY)
    assert sender.burst.is_on
    assert sender.flushes == 0
    sender.scheduler.advance(0.2 * MAX_DELAY)
    assert not sender.burst.is_on
    assert sender.flushes == 1


def test_it_goes_on_while_there_are_flushes(sender: Sender) -> None:
    sender.begin()
    for _ in range(100):
        sender.send(1, 0.9 * MAX_DELAY)
        assert sender.burst.is_on
    assert sender.flushes == 0
    sender.scheduler.advance(2 * MAX_DELAY)
    assert not sender.burst.is_on
    assert sender.flushes == 1


def test_nothing_is_left_to_be_looked_after_when_it_is_over(sender: Sender) -> None:
    sender.begin()
    sender.scheduler.advance(1.0)
    assert sender.flushes == 1
    assert sender.scheduler._agenda.next_due() is None


def test_another_begins_as_the_first_one_did(sender: Sender) -> None:
    sender.begin()
    sender.scheduler.advance(2 * MAX_DELAY)
    sender.send(QUICK_COUNT - 1)
    sender.scheduler.make_due_calls()
    assert not sender.burst.is_on
    sender.begin()


def test_waiting_for_an_answer_does_not_end_it(sender: Sender) -> None:
    sender.begin()
    sender.burst.answer_is_awaited()
    assert sender.burst.is_on

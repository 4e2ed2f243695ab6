from __future__ import annotations

import gc

import pytest

from yoton.events import signals as signals_module
from yoton.events.queue import EventQueue
from yoton.events.signals import Signal


class Receiver:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def handle(self, *args: object) -> None:
        self.calls.append(args)


def raise_key_error(*args: object) -> None:
    raise KeyError("expected")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> EventQueue:
    queue = EventQueue()
    monkeypatch.setattr(signals_module, "app", queue)
    return queue


@pytest.fixture
def calls() -> list[object]:
    return []


def test_handlers_are_called_by_the_event_loop_in_the_order_bound(
    queue: EventQueue, calls: list[object]
) -> None:
    signal = Signal()
    signal.bind(lambda *args, **kwargs: calls.append(("first", args, kwargs)))
    signal.bind(lambda *args, **kwargs: calls.append(("second", args, kwargs)))
    signal.emit(1, key=2)
    assert calls == []
    queue.process_events()
    assert calls == [("first", (1,), {"key": 2}), ("second", (1,), {"key": 2})]


def test_emit_now_calls_at_once(queue: EventQueue, calls: list[object]) -> None:
    signal = Signal()
    signal.bind(lambda *args, **kwargs: calls.append((args, kwargs)))
    signal.emit_now(1, key=2)
    assert calls == [((1,), {"key": 2})]
    queue.process_events()
    assert len(calls) == 1


@pytest.mark.parametrize("how", ["emit", "emit_now"])
def test_an_error_in_a_handler_is_logged_and_the_next_is_called(
    queue: EventQueue, calls: list[object], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    signal = Signal()
    signal.bind(raise_key_error)
    signal.bind(calls.append)
    getattr(signal, how)("argument")
    queue.process_events()
    assert calls == ["argument"]
    [record] = caplog.records
    assert "raise_key_error" in record.getMessage()
    assert record.exc_info is not None


def test_an_interrupt_in_a_handler_leaves_the_other_handlers_in_the_queue(
    queue: EventQueue, calls: list[object]
) -> None:
    def interrupt(argument: object) -> None:
        raise KeyboardInterrupt

    signal = Signal()
    signal.bind(interrupt)
    signal.bind(calls.append)
    signal.emit("argument")
    with pytest.raises(KeyboardInterrupt):
        queue.process_events()
    queue.process_events()
    assert calls == ["argument"]


def test_binding_a_handler_again_warns_and_changes_nothing(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    signal = Signal()
    signal.bind(receiver.handle)
    signal.bind(receiver.handle)
    [record] = caplog.records
    assert "Receiver.handle is already bound to <" in record.getMessage()
    signal.emit_now()
    assert receiver.calls == [()]


def test_only_callables_can_be_bound(queue: EventQueue) -> None:
    with pytest.raises(ValueError, match="has to be callable"):
        Signal().bind("handler")  # type: ignore[arg-type]


def test_an_unbound_handler_is_not_called(queue: EventQueue, calls: list[object]) -> None:
    receiver = Receiver()
    signal = Signal()
    signal.bind(calls.append)
    signal.bind(receiver.handle)
    signal.unbind(receiver.handle)
    signal.emit_now(1)
    signal.unbind(receiver.handle)
    assert (calls, receiver.calls) == ([1], [])


def test_unbind_without_argument_unbinds_all(queue: EventQueue, calls: list[object]) -> None:
    receiver = Receiver()
    signal = Signal()
    signal.bind(calls.append)
    signal.bind(receiver.handle)
    signal.unbind()
    signal.emit_now(1)
    assert (calls, receiver.calls) == ([], [])


def test_a_handler_unbound_between_emission_and_dispatch_is_not_called(
    queue: EventQueue, calls: list[object]
) -> None:
    signal = Signal()
    signal.bind(calls.append)
    signal.emit("old")
    signal.unbind(calls.append)
    signal.bind(calls.append)
    signal.emit("new")
    queue.process_events()
    assert calls == ["new"]


def test_a_handler_unbound_by_another_during_emit_now_is_not_called(calls: list[object]) -> None:
    signal = Signal()
    signal.bind(lambda: signal.unbind(receiver.handle))
    receiver = Receiver()
    signal.bind(receiver.handle)
    signal.emit_now()
    assert receiver.calls == []


def test_a_handler_whose_object_died_between_emission_and_dispatch_is_not_called(
    queue: EventQueue,
) -> None:
    receiver = Receiver()
    calls = receiver.calls
    signal = Signal()
    signal.bind(receiver.handle)
    signal.emit()
    del receiver
    queue.process_events()
    assert calls == []


def test_a_handler_whose_object_is_gone_takes_no_place_in_the_queue(queue: EventQueue) -> None:
    requests: list[object] = []
    queue.embed_event_loop(lambda: requests.append("request"))
    signal = Signal()
    signal.bind(Receiver().handle)
    signal.emit()
    signal.emit_now()
    assert requests == []


def test_handlers_whose_objects_are_gone_do_not_pile_up() -> None:
    signal = Signal()
    for _ in range(100):
        signal.bind(Receiver().handle)
    assert len(signal._callbacks) == 1
    signal.unbind(print)
    assert len(signal._callbacks) == 0


class UnbindsWhenFinalized:
    """Is part of a cycle, so that it dies when the garbage collector runs."""

    def __init__(self, signal: Signal) -> None:
        self.myself = self
        self.signal = signal
        signal.bind(self.handle)

    def handle(self) -> None:
        pass

    def __del__(self) -> None:
        self.signal.unbind(self.handle)


def test_a_finalizer_may_unbind_while_its_thread_is_inside() -> None:
    signal = Signal()
    UnbindsWhenFinalized(signal)
    with signal._lock:
        gc.collect()
    assert signal._callbacks == ()


def test_the_type_is_the_class() -> None:
    class Special(Signal):
        pass

    assert Signal().type is Signal
    assert Special().type is Special

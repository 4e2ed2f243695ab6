"""Requests and replies between contexts over TCP."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from manual_scheduler import ManualScheduler
from support import PATIENCE, connect, wait_until

from yoton import announcing
from yoton.channels import (
    PubChannel,
    RepChannel,
    ReqChannel,
    SubChannel,
    negotiating,
    replier_status,
    replying,
    requesting,
    runners,
)
from yoton.channels.exporting import export
from yoton.channels.negotiation import (
    ASK,
    CONTROL_SEQ,
    LEAVE,
    MAX_GIVEN,
    OFFER,
    SETTLE,
    Requester,
)
from yoton.clock import Deadline
from yoton.context import Context
from yoton.events import app, call_later, process_events
from yoton.exceptions import (
    ArgumentError,
    ChannelClosed,
    ConnectionClosed,
    DecodeError,
    EncodeError,
    HighWaterMarkReached,
    PackageTooLarge,
    RequestError,
)
from yoton.message_types import OBJECT
from yoton.package import EVERYONE, Envelope, Package, slot_number
from yoton.traffic import Books, Flow


class Calculator(RepChannel):
    """A replier with methods of all kinds, and gates to hold the handling of a request."""

    def __init__(self, context: Context, slot_base: str = "calc") -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.handled = 0
        super().__init__(context, slot_base)

    def add(self, a, b):
        self.handled += 1
        return a + b

    def join(self, *args, **kwargs):
        return args, kwargs

    def pass_gate(self):
        self.entered.release()
        assert self.gate.acquire(timeout=PATIENCE)
        return "passed"

    def thread_name(self):
        return threading.current_thread().name

    def look_up(self):
        return {}["missing"]

    def refuse(self):
        raise ValueError("refused")

    def give_unsendable(self):
        return [1, object()]

    def give_text(self, length):
        return "x" * length

    def turn_off(self):
        self.set_mode("off")
        return self._run_mode

    def leave(self):
        raise SystemExit(3)

    def interrupt(self):
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _no_events_left() -> Iterator[None]:
    process_events()
    yield
    process_events()


class Peer:
    """One side of request/reply that does just what the test says, package by package."""

    def __init__(self, context: Context, sends: str, receives: str) -> None:
        self._context = context
        self._arrived: list[Package] = []
        self._packages: list[Package] = []
        books = Books(Flow(), Flow(), dict)
        self._slot, _ = context.register(self, f"calc.obj.{sends}", f"calc.obj.{receives}", books)

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        self._arrived.append(package)
        next(numbers)
        return True

    def packages_delivered(self) -> None:
        while self._arrived:
            self._packages.append(self._arrived.pop(0))

    def connection_made(self) -> None:
        pass

    def contexts_gone(self, ids: set[int]) -> None:
        pass

    def close(self) -> None:
        self._context.unregister(self)

    def close_within(self, deadline: Deadline) -> None:
        self.close()

    def send(self, data: bytes, dest_id: int, dest_seq: int) -> None:
        self._context.send_package(Envelope(self._slot, dest_id), data, dest_seq)

    def expect(self) -> tuple[bytes, int, int]:
        """Wait for the next package: data, dest id, dest seq."""
        wait_until(lambda: self._packages, "a package came")
        package = self._packages.pop(0)
        return package.data, package.dest_id, package.dest_seq

    def has_more(self) -> bool:
        return bool(self._packages)


@pytest.fixture
def pair(pair: tuple[Context, Context]) -> tuple[Context, Context]:
    """Two contexts that both know of the connection, so that nothing is asked again for it."""
    here, there = Peer(pair[0], "here", "there"), Peer(pair[1], "there", "here")
    there.send(b"behind the news", EVERYONE, 0)
    here.expect()
    here.close()
    there.close()
    return pair


@pytest.fixture
def scheduler(monkeypatch) -> ManualScheduler:
    """Time that stands still unless the test moves it, for the timers of the negotiation."""
    scheduler = ManualScheduler()
    monkeypatch.setattr(negotiating, "scheduler", scheduler)
    monkeypatch.setattr(requesting, "scheduler", scheduler)
    monkeypatch.setattr(replying, "scheduler", scheduler)
    return scheduler


@pytest.fixture
def req(pair) -> ReqChannel:
    return ReqChannel(pair[0], "calc")


@pytest.fixture
def rep(pair) -> Calculator:
    channel = Calculator(pair[1])
    channel.set_mode("thread")
    return channel


def peer_replier(context: Context) -> Peer:
    return Peer(context, "rep-req", "req-rep")


def peer_requester(context: Context) -> Peer:
    return Peer(context, "req-rep", "rep-req")


@contextlib.contextmanager
def event_loop() -> Iterator[threading.Thread]:
    """Process events in another thread."""
    thread = threading.Thread(target=app.start_event_loop, name="event loop", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        while thread.is_alive():
            app.stop_event_loop()
            thread.join(0.01)


# Calls


def test_a_call_gets_its_result(req, rep):
    assert req.add(3, 4).result(PATIENCE) == 7


def test_arguments_come_as_they_were_given(req, rep):
    result = req.join(1, "two", [3], name=4).result(PATIENCE)
    assert result == ((1, "two", [3]), {"name": 4})


def test_echo_tells_who_replied(req, rep, pair):
    assert req.echo("hello").result(PATIENCE) == ("hello", hex(pair[1].id))
    assert req.echo("hello", sleep=0.01).result(PATIENCE)[0] == "hello"


def test_none_is_a_result(req, pair):
    class Silent(RepChannel):
        def nothing(self):
            """Returns None."""

    Silent(pair[1], "calc").set_mode("thread")
    assert req.nothing().result(PATIENCE) is None


def test_names_with_an_underscore_are_attributes_that_are_not_there(req):
    for name in ("_add", "__add", "__wrapped__"):
        with pytest.raises(AttributeError, match=name):
            getattr(req, name)


def test_arguments_that_cannot_be_sent_are_an_error_at_once(req, pair):
    peer = peer_replier(pair[1])
    with pytest.raises(EncodeError):
        req.add(object())
    with pytest.raises(EncodeError):
        req.add(key=object())
    req.add(1)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)


def test_many_requests_at_a_time_all_get_their_results(req, rep):
    futures = [req.add(number, 1) for number in range(1000)]
    assert [future.result(PATIENCE) for future in futures] == list(range(1, 1001))


def test_many_threads_can_call_at_the_same_time(req, rep):
    def call(thread: int) -> list[int]:
        return [req.add(thread, number).result(PATIENCE) for number in range(50)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert results == [[thread + number for number in range(50)] for thread in range(8)]


def test_requests_of_one_thread_are_handled_in_order(req, pair):
    class Recorder(RepChannel):
        seen: list[int] = []  # noqa: RUF012

        def note(self, number):
            self.seen.append(number)

    Recorder(pair[1], "calc").set_mode("thread")
    for future in [req.note(number) for number in range(100)]:
        future.result(PATIENCE)
    assert Recorder.seen == list(range(100))


def test_a_handler_can_make_requests_of_its_own(make_context):
    contexts = [make_context() for _ in range(3)]
    connect(contexts[0], contexts[1])
    connect(contexts[1], contexts[2])

    class Middle(RepChannel):
        inner = ReqChannel(contexts[1], "inner")

        def add(self, a, b):
            return self.inner.add(a, b).result(PATIENCE)

    Middle(contexts[1], "calc").set_mode("thread")
    Calculator(contexts[2], "inner").set_mode("thread")
    assert ReqChannel(contexts[0], "calc").add(3, 4).result(PATIENCE) == 7


def test_the_thread_that_runs_the_event_loop_can_wait_for_a_result(req, rep):
    results = []
    call_later(lambda: results.append(req.add(3, 4).result(PATIENCE)))
    process_events()
    assert results == [7]


def test_small_queues_lose_no_part_of_a_negotiation():
    with Context(queue_params=(1, "old")) as tight:
        req = ReqChannel(tight, "calc")
        futures = [req.add(number, 1) for number in range(5)]
        for request_id in range(1, 6):
            req.deliver(
                Package(OFFER, 0, 77, request_id, tight.id, CONTROL_SEQ + request_id),
                itertools.count(),
            )
        req.packages_delivered()
        assert all(future.running() for future in futures)


def test_a_context_does_not_reply_to_itself(make_context):
    context = make_context()
    Calculator(context).set_mode("thread")
    future = ReqChannel(context, "calc", 0.2).add(3, 4)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)


# On the wire


def test_the_packages_of_a_requester(req, pair):
    peer = peer_replier(pair[1])
    future = req.add(3, 4)
    assert peer.expect() == (b"req?", EVERYONE, 2**63 + 1)
    peer.send(b"req!", pair[0].id, 2**63 + 1)
    data, dest_id, dest_seq = peer.expect()
    assert OBJECT.message_from_bytes(data) == ("add", (3, 4), {})
    assert (dest_id, dest_seq) == (pair[1].id, 1)
    assert peer.expect() == (b"req-", EVERYONE, 2**63 + 1)
    assert future.running()
    peer.send(b"req!", pair[0].id, 2**63 + 1)
    peer.send(OBJECT.message_to_bytes(7), pair[0].id, 1)
    assert future.result(PATIENCE) == 7
    assert not peer.has_more()


def test_the_packages_of_a_replier(rep, pair):
    peer = peer_requester(pair[0])
    peer.send(b"req?", EVERYONE, 2**63 + 5)
    assert peer.expect() == (b"req!", pair[0].id, 2**63 + 5)
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 5)
    peer.send(b"req-", EVERYONE, 2**63 + 5)
    assert peer.expect() == (OBJECT.message_to_bytes(7), pair[0].id, 5)


def test_a_question_that_leaves_after_the_settlement_is_settled_again(req, pair, monkeypatch):
    """Or repliers would wait for the answer to an offer that nobody wants any more."""
    peer = peer_replier(pair[1])
    future = req.add(3, 4)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)
    send_control = ReqChannel._send_control

    def send_late(self, control):
        if control.text == ASK:
            wait_until(future.running)
        send_control(self, control)

    monkeypatch.setattr(ReqChannel, "_send_control", send_late)
    asking = threading.Thread(target=req.connection_made)
    asking.start()
    peer.send(OFFER, pair[0].id, CONTROL_SEQ + 1)
    asking.join()
    texts = [peer.expect()[0] for _ in range(4)]
    assert texts.count(SETTLE) == 2
    assert SETTLE in texts[texts.index(ASK) :]
    assert not peer.has_more()


def test_a_request_is_given_in_an_encoding_that_all_can_read(req, pair, monkeypatch):
    peer = peer_replier(pair[1])
    readable, unreadable = req.join([1, 2]), req.join({1, 2})
    monkeypatch.setattr(pair[0].neighbours, "read_msgpack", False)
    for request_id in (1, 2):
        peer.send(OFFER, pair[0].id, CONTROL_SEQ + request_id)
    wait_until(readable.running)
    packages = [peer.expect() for _ in range(5)]
    assert (OBJECT.message_to_bytes(("join", ([1, 2],), {})), pair[1].id, 1) in packages
    assert isinstance(unreadable.exception(PATIENCE), EncodeError)


def test_a_request_that_was_not_offered_is_carried_out(rep, pair):
    peer = peer_requester(pair[0])
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 5)
    assert peer.expect() == (OBJECT.message_to_bytes(7), pair[0].id, 5)


@pytest.mark.parametrize("encode", [OBJECT.message_to_bytes, OBJECT.message_to_msgpack])
def test_the_reply_is_in_the_encoding_of_the_request(rep, pair, encode):
    peer = peer_requester(pair[0])
    peer.send(encode(("add", ("a", "b"), {})), pair[1].id, 5)
    assert peer.expect()[0] == encode("ab")


@pytest.mark.parametrize(
    "message",
    [
        None,
        "add",
        ["add", (1, 2), {}],
        ("add", (1, 2)),
        ("add", [1, 2], {}),
        ("add", (1, 2), []),
        (5, (1, 2), {}),
        ("add", (1, 2), {5: 6}),
    ],
)
def test_a_malformed_request_gets_an_error(rep, pair, message, caplog):
    peer = peer_requester(pair[0])
    peer.send(OBJECT.message_to_bytes(message), pair[1].id, 5)
    reply = OBJECT.message_from_bytes(peer.expect()[0])
    assert reply[0] == "yoton_ERROR_HANDLING_REQUEST"
    assert "a request is a tuple" in reply[1]
    assert rep.handled == 0


@pytest.mark.parametrize("data", [b"t", b"\xc1", b"\xff" * 10, b"t\x03s\x05add"])
def test_a_request_that_cannot_be_read_gets_an_error(rep, pair, data):
    peer = peer_requester(pair[0])
    peer.send(data, pair[1].id, 5)
    assert OBJECT.message_from_bytes(peer.expect()[0])[0] == "yoton_ERROR_HANDLING_REQUEST"


def test_a_reply_that_cannot_be_read_is_an_error_of_its_future_alone(req, pair):
    peer = peer_replier(pair[1])
    broken, whole = req.add(1, 2), req.add(3, 4)
    for request_id in (1, 2):
        peer.send(OFFER, pair[0].id, CONTROL_SEQ + request_id)
    peer.send(b"s\x05abc", pair[0].id, 1)
    peer.send(OBJECT.message_to_bytes(7), pair[0].id, 2)
    assert whole.result(PATIENCE) == 7
    with pytest.raises(DecodeError):
        broken.result(PATIENCE)


def test_a_reply_of_another_context_is_no_reply(req, pair, make_context):
    stranger = make_context()
    connect(pair[0], stranger)
    replier, impostor = peer_replier(pair[1]), peer_replier(stranger)
    future = req.add(3, 4)
    replier.send(OFFER, pair[0].id, CONTROL_SEQ + 1)
    wait_until(future.running)
    impostor.send(OBJECT.message_to_bytes("wrong"), pair[0].id, 1)
    impostor.send(OFFER, pair[0].id, CONTROL_SEQ + 1)
    # What comes behind it on the same way shows that it has come.
    second = req.add(5, 6)
    impostor.send(OFFER, pair[0].id, CONTROL_SEQ + 2)
    wait_until(second.running)
    assert not future.done()
    replier.send(OBJECT.message_to_bytes(7), pair[0].id, 1)
    assert future.result(PATIENCE) == 7


# Before there is a replier


def test_a_request_waits_for_the_first_connection(make_context):
    requesting, replying = make_context(), make_context()
    future = ReqChannel(requesting, "calc").add(3, 4)
    Calculator(replying).set_mode("thread")
    connect(requesting, replying)
    assert future.result(PATIENCE) == 7


def test_a_request_waits_for_a_replier_that_comes_late(req, pair):
    future = req.add(3, 4)
    time.sleep(0.1)
    assert not future.running()
    Calculator(pair[1]).set_mode("thread")
    assert future.result(PATIENCE) == 7


@pytest.mark.parametrize("who_connects", ["requester", "replier"])
def test_a_context_that_comes_late_is_asked_at_once(
    req, pair, make_context, scheduler, who_connects
):
    future = req.add(3, 4)
    late = make_context()
    Calculator(late).set_mode("thread")
    if who_connects == "requester":
        connect(late, pair[0])
    else:
        connect(pair[0], late)
    assert future.result(PATIENCE) == 7


def test_the_question_is_repeated(req, pair):
    peer = peer_replier(pair[1])
    begin = time.monotonic()
    req.add(3, 4)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)
    assert time.monotonic() - begin >= 0.4


def test_without_a_connection_questions_do_not_pile_up(make_context, scheduler):
    requesting, replying = make_context(), make_context()
    future = ReqChannel(requesting, "calc").add(3, 4)
    scheduler.advance(5.0)
    peer = peer_replier(replying)
    connect(requesting, replying)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)
    assert future.cancel()
    # One asked on, from the start; one more because they were connected.
    while (package := peer.expect()) != (SETTLE, EVERYONE, CONTROL_SEQ + 1):
        assert package == (ASK, EVERYONE, CONTROL_SEQ + 1)
        assert not peer.has_more() or peer._packages[0].data == SETTLE


# Cancelling, timeouts, closing


def test_a_waiting_request_can_be_cancelled(req, pair):
    peer = peer_replier(pair[1])
    future = req.add(3, 4)
    assert future.cancel()
    assert future.cancelled()
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)
    assert peer.expect() == (SETTLE, EVERYONE, CONTROL_SEQ + 1)
    peer.send(OFFER, pair[0].id, CONTROL_SEQ + 1)
    req.add(5, 6)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 2)


def test_a_running_request_cannot_be_cancelled(req, rep):
    future = req.pass_gate()
    assert rep.entered.acquire(timeout=PATIENCE)
    wait_until(future.running)
    assert not future.cancel()
    rep.gate.release()
    assert future.result(PATIENCE) == "passed"


def test_a_waiting_request_is_cancelled_at_its_timeout(pair):
    peer = peer_replier(pair[1])
    future = ReqChannel(pair[0], "calc", default_future_timeout=0.05).add(3, 4)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(PATIENCE)
    assert peer.expect() == (ASK, EVERYONE, CONTROL_SEQ + 1)
    assert peer.expect() == (SETTLE, EVERYONE, CONTROL_SEQ + 1)


def test_the_timeout_of_a_future_can_be_set(scheduler, req):
    shortened, endless, other = req.add(1, 2), req.add(3, 4), req.add(5, 6)
    shortened.set_auto_cancel_timeout(0.1)
    endless.set_auto_cancel_timeout(None)
    scheduler.advance(0.09)
    assert not shortened.done()
    scheduler.advance(0.01)
    assert shortened.cancelled()
    scheduler.advance(9.8)
    assert not other.done()
    scheduler.advance(0.2)
    assert other.cancelled()
    assert not endless.done()


def test_a_running_request_is_not_cancelled_at_its_timeout(pair, rep):
    future = ReqChannel(pair[0], "calc", default_future_timeout=PATIENCE).pass_gate()
    wait_until(future.running)
    future.set_auto_cancel_timeout(0.01)
    time.sleep(0.1)
    rep.gate.release()
    assert future.result(PATIENCE) == "passed"


def test_a_finalizer_may_cancel_while_its_thread_makes_a_request(req, monkeypatch):
    waiting = req.add(1, 2)
    ask = Requester.ask

    def interrupted_ask(self, *args, **kwargs):
        assert waiting.cancel()
        return ask(self, *args, **kwargs)

    monkeypatch.setattr(Requester, "ask", interrupted_ask)
    req.add(3, 4)
    assert waiting.cancelled()


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "10"])
def test_what_is_no_timeout_is_refused(make_context, timeout):
    with pytest.raises(ArgumentError):
        ReqChannel(make_context(), "calc", timeout)


def test_timers_exist_only_while_there_are_requests(scheduler, req, pair):
    peer = peer_replier(pair[1])
    first, second = req.add(1, 2), req.add(3, 4)
    assert scheduler._agenda.next_due() is not None
    peer.send(OFFER, pair[0].id, CONTROL_SEQ + 1)
    wait_until(first.running)
    second.cancel()
    assert scheduler._agenda.next_due() is not None
    req.close()
    assert scheduler._agenda.next_due() is None


def test_closing_the_channel_ends_its_futures(scheduler, req, pair):
    peer = peer_replier(pair[1])
    running, waiting = req.add(1, 2), req.add(3, 4)
    peer.send(OFFER, pair[0].id, CONTROL_SEQ + 1)
    wait_until(running.running)
    req.close()
    req.close()
    assert scheduler._agenda.next_due() is None
    assert waiting.cancelled()
    with pytest.raises(ConnectionClosed, match="channel was closed"):
        running.result(0)
    sent = []
    while not sent or sent[-1] != (SETTLE, EVERYONE, CONTROL_SEQ + 2):
        sent.append(peer.expect())
    assert not waiting.running()


def test_closing_the_context_ends_the_futures(make_context):
    requesting, replying = make_context(), make_context()
    connect(requesting, replying)
    req, rep = ReqChannel(requesting, "calc"), Calculator(replying)
    rep.set_mode("thread")
    running = req.pass_gate()
    assert rep.entered.acquire(timeout=PATIENCE)
    waiting = req.add(3, 4)
    requesting.close()
    with pytest.raises(ConnectionClosed):
        running.result(0)
    assert waiting.cancelled()
    rep.gate.release()


def test_a_closed_channel_takes_no_requests(req):
    req.close()
    with pytest.raises(ChannelClosed, match="add"):
        req.add(3, 4)


def test_requests_fail_at_once_when_the_context_of_the_replier_is_closed(req, rep, pair):
    future = req.pass_gate()
    assert rep.entered.acquire(timeout=PATIENCE)
    closing = threading.Thread(target=pair[1].close)
    closing.start()
    with pytest.raises(ConnectionClosed, match="gone"):
        future.result(PATIENCE)
    rep.gate.release()
    closing.join()


# Modes


@pytest.mark.parametrize(
    ("mode", "number"),
    [(0, 0), (1, 1), (2, 2), ("off", 0), ("event", 1), ("thread", 2), ("OFF", 0), ("Thread", 2)],
)
def test_modes_have_numbers_and_names(make_context, mode, number):
    rep = Calculator(make_context())
    rep.set_mode("event")
    rep.set_mode(mode)
    assert rep._run_mode == number


@pytest.mark.parametrize("mode", [3, -1, "", "threads", None, 1.5, [], b"off"])
def test_what_is_no_mode_is_refused(make_context, mode):
    rep = Calculator(make_context())
    with pytest.raises(ArgumentError, match="thread"):
        rep.set_mode(mode)
    assert rep._run_mode == 0


def worker_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("yoton-replier")]


def test_a_thread_handles_requests_in_mode_thread(req, pair):
    rep = Calculator(pair[1])
    assert worker_threads() == []
    rep.set_mode("thread")
    (thread,) = worker_threads()
    assert thread.daemon
    rep.set_mode("thread")
    assert worker_threads() == [thread]
    assert req.thread_name().result(PATIENCE) == thread.name == "yoton-replier calc.obj.req-rep"
    rep.set_mode("off")
    assert worker_threads() == []


@pytest.mark.parametrize("end", ["close", "context"])
def test_closing_ends_the_thread(rep, pair, end):
    assert len(worker_threads()) == 1
    (rep if end == "close" else pair[1]).close()
    assert worker_threads() == []


def test_the_event_loop_handles_requests_in_mode_event(req, pair):
    rep = Calculator(pair[1])
    rep.set_mode("event")
    with event_loop() as thread:
        assert req.thread_name().result(PATIENCE) == thread.name
    assert worker_threads() == []


def test_mode_event_handles_one_request_per_event(pair):
    rep, peer = Calculator(pair[1]), peer_requester(pair[0])
    rep.set_mode("event")
    for request_id in range(1, 4):
        peer.send(OBJECT.message_to_bytes(("add", (1, 2), {})), pair[1].id, request_id)
    wait_until(lambda: rep.pending == 3)
    for count in (1, 2, 3):
        process_events()
        assert (rep.handled, rep.pending) == (count, 3 - count)


def test_what_ctrl_c_kept_from_the_thread_is_handled_with_the_next(pair, monkeypatch):
    post = runners.ThreadRunner.post

    def interrupted_post(runner, func):
        monkeypatch.setattr(runners.ThreadRunner, "post", post)
        raise KeyboardInterrupt

    rep, peer = Calculator(pair[1]), peer_requester(pair[0])
    rep.set_mode("event")
    peer.send(OBJECT.message_to_bytes(("add", (1, 2), {})), pair[1].id, 1)
    wait_until(lambda: rep.pending == 1)
    monkeypatch.setattr(runners.ThreadRunner, "post", interrupted_post)
    with pytest.raises(KeyboardInterrupt):
        rep.set_mode("thread")
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 2)
    wait_until(lambda: (rep.handled, rep.pending) == (2, 0))


def test_mode_event_offers_nothing_while_nobody_processes_events(req, pair):
    rep = Calculator(pair[1])
    rep.set_mode("event")
    future = req.add(3, 4)
    time.sleep(0.1)
    assert not future.running()
    with event_loop():
        assert future.result(PATIENCE) == 7


def test_a_full_event_queue_does_not_stop_the_replier(req, pair, monkeypatch):
    rep = Calculator(pair[1])
    rep.set_mode("event")
    posts = []
    monkeypatch.setattr(app, "post", lambda event: bool(posts.append(event)))
    future = req.add(3, 4)
    wait_until(lambda: posts, "the replier wanted to be called")
    monkeypatch.undo()
    with event_loop():
        assert future.result(PATIENCE) == 7


def test_requests_wait_in_mode_off(rep, pair):
    rep.set_mode("off")
    peer = peer_requester(pair[0])
    peer.send(ASK, EVERYONE, CONTROL_SEQ + 1)
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 5)
    wait_until(lambda: rep.pending == 1)
    assert rep.handled == 0
    assert not peer.has_more()
    rep.set_mode("thread")
    assert peer.expect() == (OBJECT.message_to_bytes(7), pair[0].id, 5)
    assert peer.expect() == (OFFER, pair[0].id, CONTROL_SEQ + 1)


def test_requests_that_wait_are_kept_when_the_mode_changes(req, rep):
    first = req.pass_gate()
    assert rep.entered.acquire(timeout=PATIENCE)
    second = req.add(3, 4)
    threading.Timer(0.05, rep.gate.release).start()
    rep.set_mode("event")
    assert first.result(PATIENCE) == "passed"
    with event_loop():
        assert second.result(PATIENCE) == 7


def test_requests_that_the_event_loop_left_are_handled_by_the_thread(pair):
    rep, peer = Calculator(pair[1]), peer_requester(pair[0])
    rep.set_mode("event")
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 1)
    wait_until(lambda: rep.pending == 1)
    rep.set_mode("thread")
    assert peer.expect() == (OBJECT.message_to_bytes(7), pair[0].id, 1)
    process_events()
    assert rep.handled == 1


def test_mode_off_leaves_requests_that_were_for_the_event_loop(pair):
    rep, peer = Calculator(pair[1]), peer_requester(pair[0])
    rep.set_mode("event")
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 1)
    wait_until(lambda: rep.pending == 1)
    rep.set_mode("off")
    process_events()
    assert (rep.handled, rep.pending) == (0, 1)


def test_a_method_can_turn_its_own_replier_off(req, rep):
    begin = time.monotonic()
    assert req.turn_off().result(PATIENCE) == 0
    assert time.monotonic() - begin < 0.5
    wait_until(lambda: worker_threads() == [])


def test_pending_requests_can_be_handled_in_the_calling_thread(req, pair):
    rep = Calculator(pair[1])
    future = req.thread_name()
    results = []

    def handle_until_done():
        rep._process_events_local()
        return future.done()

    wait_until(handle_until_done)
    assert future.result() == threading.current_thread().name
    assert results == []


def test_a_closed_replier_handles_nothing_any_more(rep):
    rep.close()
    with pytest.raises(ChannelClosed):
        rep.set_mode("thread")
    rep.set_mode("off")
    assert worker_threads() == []


def test_closing_the_replier_refuses_what_waits_and_finishes_what_has_begun(rep, pair):
    peer = peer_requester(pair[0])
    peer.send(OBJECT.message_to_bytes(("pass_gate", (), {})), pair[1].id, 1)
    peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, 2)
    assert rep.entered.acquire(timeout=PATIENCE)
    wait_until(lambda: rep.pending == 1)
    threading.Timer(0.05, rep.gate.release).start()
    rep.close()
    data, _, request_id = peer.expect()
    assert request_id == 2
    assert "closed" in OBJECT.message_from_bytes(data)[1]
    assert peer.expect() == (OBJECT.message_to_bytes("passed"), pair[0].id, 1)
    assert rep.handled == 0


def test_a_request_on_its_way_to_a_replier_that_is_closed_is_lost(req, rep, monkeypatch):
    give = ReqChannel._give

    def give_late(self, action):
        rep.close()
        give(self, action)

    monkeypatch.setattr(ReqChannel, "_give", give_late)
    error = req.add(3, 4).exception(PATIENCE)
    assert isinstance(error, ConnectionClosed)
    assert "was closed" in str(error)
    assert rep.handled == 0


def test_pyzos_yoton_is_not_told_that_a_replier_leaves(rep, pair, monkeypatch):
    monkeypatch.setattr(pair[1].neighbours, "are_extended", False)
    peer = peer_requester(pair[0])
    peer.send(ASK, EVERYONE, CONTROL_SEQ + 1)
    assert peer.expect() == (OFFER, pair[0].id, CONTROL_SEQ + 1)
    behind, sub = PubChannel(pair[1], "behind"), SubChannel(pair[0], "behind")
    rep.close()
    behind.send("it")
    assert sub.recv(PATIENCE) == "it"
    assert not peer.has_more()


def test_a_request_that_comes_while_the_replier_is_closed_is_refused(rep, pair):
    peer = peer_requester(pair[0])
    rep.close()
    rep.deliver(Package(b"t", 0, pair[0].id, 1, pair[1].id, 5), itertools.count())
    rep.packages_delivered()
    assert peer.expect() == (LEAVE, EVERYONE, CONTROL_SEQ)
    data, _, request_id = peer.expect()
    assert request_id == 5
    assert "closed" in OBJECT.message_from_bytes(data)[1]


@pytest.mark.parametrize("mode", ["thread", "event"])
def test_a_method_that_closes_its_channel_is_replied_to(req, pair, mode):
    class Ending(RepChannel):
        def end(self):
            self.close()
            return "closed"

    Ending(pair[1], "calc").set_mode(mode)
    with event_loop():
        assert req.end().result(PATIENCE) == "closed"
    wait_until(lambda: worker_threads() == [])


def test_requests_beyond_the_limit_are_refused(pair):
    rep, peer = Calculator(pair[1]), peer_requester(pair[0])
    for request_id in range(1, MAX_GIVEN + 2):
        peer.send(OBJECT.message_to_bytes(("add", (3, 4), {})), pair[1].id, request_id)
    data, _, request_id = peer.expect()
    assert request_id == MAX_GIVEN + 1
    assert "too many requests" in OBJECT.message_from_bytes(data)[1]
    assert rep.pending == MAX_GIVEN


def test_a_request_for_which_there_is_no_room_is_not_made(req, pair):
    req.set_high_water_mark(2)
    waiting = [req.add(number, 1) for number in range(2)]
    with pytest.raises(HighWaterMarkReached, match="cannot request 'add': too many requests"):
        req.add(2, 1)
    assert req.stats()["requests"]["wait"] == 2
    assert req.stats()["requests"]["refused"] == 1
    Calculator(pair[1], "calc").set_mode("thread")
    assert [future.result(PATIENCE) for future in waiting] == [1, 2]
    assert req.add(2, 1).result(PATIENCE) == 3


def test_requests_that_wait_are_limited_in_bytes(req):
    req.set_high_water_mark(size=2**16)
    req.echo(bytes(2**20))
    with pytest.raises(HighWaterMarkReached):
        req.echo(b"")


@pytest.mark.parametrize("way", ["replier", "cancel", "timeout", "mark", "close"])
def test_a_request_blocks_until_there_is_room(req, pair, way):
    req.set_high_water_mark(1, policy="block")
    first = req.add(1, 1)
    results = []

    def request():
        try:
            results.append(req.add(3, 4))
        except ChannelClosed as error:
            results.append(error)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    wait_until(lambda: req._room_made.parked)
    assert results == []
    if way == "replier":
        Calculator(pair[1], "calc").set_mode("thread")
    elif way == "cancel":
        assert first.cancel()
    elif way == "timeout":
        first.set_auto_cancel_timeout(0.001)
    elif way == "mark":
        req.set_high_water_mark(2, policy="block")
    else:
        req.close()
    thread.join(PATIENCE)
    assert len(results) == 1
    assert isinstance(results[0], ChannelClosed) is (way == "close")
    if way == "replier":
        assert results[0].result(PATIENCE) == 7


def test_a_request_that_blocks_for_too_long_is_not_made(req):
    req.set_high_water_mark(1, policy="block", timeout=0.05)
    req.add(1, 1)
    with pytest.raises(HighWaterMarkReached):
        req.add(3, 4)


def test_a_finalizer_that_cannot_wait_makes_its_request(req):
    req.set_high_water_mark(1, policy="block")
    req.add(1, 1)
    with req._lock:  # as in the middle of one of its steps
        req.add(2, 1)
    assert req.stats()["requests"]["wait"] == 2


@pytest.mark.parametrize("policy", ["drop_old", "drop_new", "latest"])
def test_requests_are_not_dropped(req, policy):
    with pytest.raises(ArgumentError, match="'error' or 'block'"):
        req.set_high_water_mark(1, policy=policy)


# Errors in methods


def error_of(future) -> RequestError:
    error = future.exception(PATIENCE)
    assert isinstance(error, RequestError)
    return error


def test_an_error_in_a_method_is_an_error_at_the_requester(req, rep):
    error = error_of(req.look_up())
    line = Calculator.look_up.__code__.co_firstlineno + 1
    assert str(error) == f"'missing'\nline {line} of {__file__}."
    assert error.remote_type == "KeyError"
    assert 'return {}["missing"]' in error.remote_traceback


def test_an_error_in_a_method_is_logged_and_not_printed(req, rep, caplog, capfd):
    with caplog.at_level(logging.ERROR):
        error_of(req.refuse())
        wait_until(lambda: "ValueError: refused" in caplog.text)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["subtract", "handled", "set_mode", "close", "gate", "add.__call__"]
)
def test_what_is_no_method_for_requests_is_not_implemented(req, rep, name):
    error = error_of(req._request(name))
    assert str(error).startswith(f"Method {name!r} not implemented.")


def test_an_endless_name_is_not_repeated_as_a_whole(req, rep):
    assert len(str(error_of(req._request("x" * 10**6)))) < 1000


def test_wrong_arguments_are_an_error_at_the_requester(req, rep):
    error = error_of(req.add(1))
    assert error.remote_type == "TypeError"
    assert "add()" in str(error)


def test_a_result_that_cannot_be_sent_is_an_error_that_says_why(req, rep):
    error = error_of(req.give_unsendable())
    assert error.remote_type == "EncodeError"
    assert str(error).startswith("the result cannot be sent: ")
    assert "object" in str(error)
    assert "[1]" in str(error)


def test_a_result_that_is_too_large_is_an_error_that_says_so(make_context):
    with Context(max_data_size=10_000) as small:
        connect(small, requesting := make_context())
        Calculator(small).set_mode("thread")
        req = ReqChannel(requesting, "calc")
        assert error_of(req.give_text(20_000)).remote_type == "PackageTooLarge"
        assert req.give_text(5).result(PATIENCE) == "xxxxx"


def test_an_error_that_is_too_large_is_told_in_short(make_context):
    with Context(max_data_size=350) as small:
        connect(small, requesting := make_context())
        Calculator(small).set_mode("thread")
        req = ReqChannel(requesting, "calc")
        assert "350" in str(error_of(req.look_up()))


def test_arguments_that_are_too_large_for_the_replier_are_an_error(make_context):
    requesting = make_context()
    with Context(max_data_size=1000) as small:
        req = ReqChannel(requesting, "calc")
        future = req.add("x" * 2000, "")
        Calculator(small).set_mode("thread")
        connect(small, requesting)
        assert isinstance(future.exception(PATIENCE), PackageTooLarge)
        assert req.add(3, 4).result(PATIENCE) == 7


@pytest.mark.parametrize("name", ["leave", "interrupt"])
def test_nothing_that_a_method_raises_ends_the_thread(req, rep, name):
    error = error_of(req._request(name))
    assert error.remote_type == {"leave": "SystemExit", "interrupt": "KeyboardInterrupt"}[name]
    assert req.add(3, 4).result(PATIENCE) == 7
    assert len(worker_threads()) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("leave", SystemExit), ("interrupt", KeyboardInterrupt)]
)
def test_an_exit_gets_through_the_event_loop_after_the_reply(req, pair, name, kind):
    rep = Calculator(pair[1])
    rep.set_mode("event")
    future = req._request(name)

    def process_until_it_comes():
        with pytest.raises(kind):
            while True:
                process_events(PATIENCE)
        return True

    assert process_until_it_comes()
    assert error_of(future).remote_type == kind.__name__
    again = req.add(3, 4)
    with event_loop():
        assert again.result(PATIENCE) == 7


def test_exported_methods_can_be_called_and_no_others(req, pair):
    class Careful(RepChannel):
        @export
        def offered(self):
            return self.hidden()

        def hidden(self):
            return "fine"

    Careful(pair[1], "calc").set_mode("thread")
    assert req.offered().result(PATIENCE) == "fine"
    assert req.echo(1).result(PATIENCE)[0] == 1
    assert "not implemented" in str(error_of(req.hidden()))


# Several


def test_busy_repliers_get_nothing_while_another_one_is_free(make_context):
    requesting = make_context()
    req = ReqChannel(requesting, "calc")
    reps = []
    for _ in range(3):
        context = make_context()
        connect(requesting, context)
        reps.append(Calculator(context))
        reps[-1].set_mode("thread")
    held = [req.pass_gate() for _ in range(2)]
    wait_until(lambda: all(future.running() for future in held))
    (free,) = [rep for rep in reps if not rep.entered.acquire(timeout=0.05)]
    for _ in range(20):
        assert req.add(3, 4).result(PATIENCE) == 7
    assert free.handled == 20
    last = req.pass_gate()
    assert free.entered.acquire(timeout=PATIENCE)
    waiting = req.add(3, 4)
    time.sleep(0.05)
    assert not waiting.running()
    reps[0].gate.release()
    reps[1].gate.release()
    reps[2].gate.release()
    assert waiting.result(PATIENCE) == 7
    assert [future.result(PATIENCE) for future in [*held, last]] == ["passed"] * 3


def test_requesters_that_go_away_are_offered_nothing(rep, pair, make_context, scheduler):
    leaving = make_context()
    connect(pair[1], leaving)
    left, stayed = peer_requester(leaving), peer_requester(pair[0])
    left.send(ASK, EVERYONE, CONTROL_SEQ + 1)
    assert left.expect() == (OFFER, leaving.id, CONTROL_SEQ + 1)
    left.send(ASK, EVERYONE, CONTROL_SEQ + 2)
    leaving.flush()
    stayed.send(ASK, EVERYONE, CONTROL_SEQ + 1)
    leaving.close()
    assert stayed.expect() == (OFFER, pair[0].id, CONTROL_SEQ + 1)


@pytest.mark.parametrize("mode", ["thread", "event"])
def test_an_offer_that_is_not_answered_ends(pair, make_context, scheduler, mode):
    Calculator(pair[1]).set_mode(mode)
    silent, other = peer_requester(pair[0]), peer_requester(context := make_context())
    connect(pair[1], context)
    with event_loop():
        silent.send(ASK, EVERYONE, CONTROL_SEQ + 1)
        assert silent.expect() == (OFFER, pair[0].id, CONTROL_SEQ + 1)
        other.send(ASK, EVERYONE, CONTROL_SEQ + 1)
        wait_until(lambda: scheduler._agenda.next_due() is not None)
        assert not other.has_more()
        scheduler.advance(10.0)
        assert other.expect() == (OFFER, context.id, CONTROL_SEQ + 1)


# Ends of processes

REPLIER = """
    import sys, time
    from yoton.channels import RepChannel
    from yoton.context import Context

    class Sleeper(RepChannel):
        def sleep(self):
            print("asleep", flush=True)
            time.sleep(60)

    context = Context()
    Sleeper(context, "calc").set_mode("thread")
    context.connect("localhost:" + sys.argv[1], 10.0)
    sys.stdin.read()
"""

INTERRUPTED = """
    import signal, sys
    from yoton.channels import ReqChannel
    from yoton.context import Context

    # A process that was started in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    context = Context()
    req = ReqChannel(context, "calc")
    context.connect("localhost:" + sys.argv[1], 10.0)
    future = req.pass_gate()
    try:
        print("waiting", flush=True)
        future.result()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(future.result(20), req.add(3, 4).result(20), flush=True)
"""


@contextlib.contextmanager
def child(script: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_request_fails_at_once_when_the_process_of_its_replier_is_killed(make_context):
    context = make_context()
    req = ReqChannel(context, "calc")
    with child(REPLIER, context.bind("localhost:0").port1) as process:
        future = req.sleep()
        assert process.stdout.readline() == "asleep\n"
        process.kill()
        begin = time.monotonic()
        with pytest.raises(ConnectionClosed):
            future.result(PATIENCE)
        assert time.monotonic() - begin < 1.0


def test_a_request_fails_when_its_replier_is_gone_from_a_ring(ring):
    rep = Calculator(ring[1])
    rep.set_mode("thread")
    future = ReqChannel(ring[0], "calc").pass_gate()
    assert rep.entered.acquire(timeout=PATIENCE)
    ring[1].connections[0].close_on_problem()
    with pytest.raises(ConnectionClosed):
        future.result(PATIENCE)
    rep.gate.release()


def test_a_request_fails_when_its_replier_is_gone_from_a_ring_that_was_not_told_of_it(
    ring, make_context, monkeypatch
):
    monkeypatch.setattr(announcing, "GATHER_TIME", 0.2)
    monkeypatch.setattr(announcing, "UNTOLD_AFTER", 0.4)
    latecomer = make_context()
    connect(ring[1], latecomer)
    test_a_request_fails_when_its_replier_is_gone_from_a_ring((ring[0], latecomer))


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGINT between processes")
def test_an_interrupt_gets_through_result_and_harms_nothing(make_context):
    context = make_context()
    rep = Calculator(context)
    rep.set_mode("thread")
    with child(INTERRUPTED, context.bind("localhost:0").port1) as process:
        assert process.stdout.readline() == "waiting\n"
        assert rep.entered.acquire(timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        rep.gate.release()
        assert process.stdout.readline() == "passed 7\n"


# How repliers are


def test_requesters_hear_that_a_replier_is_busy_and_that_it_no_longer_is(pair, monkeypatch):
    monkeypatch.setattr(replier_status, "BUSY_AFTER", 0.02)
    rep = Calculator(pair[1])
    rep.set_mode("thread")
    told = []
    requesters = [ReqChannel(pair[0], "calc"), ReqChannel(pair[0], "other")]
    for req in requesters:
        req.replier_changed.bind(lambda channel, status: told.append((channel, status)))
    assert requesters[0].wait_for_repliers(timeout=PATIENCE)
    future = requesters[0].pass_gate()
    wait_until(lambda: process_events() or len(told) == 1)
    rep.gate.release()
    assert future.result(PATIENCE) == "passed"
    wait_until(lambda: process_events() or len(told) == 2)
    assert [channel for channel, _ in told] == [requesters[0]] * 2
    busy, free = (status for _, status in told)
    assert (busy.method, busy.is_busy, busy.peer.id) == ("pass_gate", True, pair[1].id)
    assert busy.seconds >= 0.02
    assert not free.is_busy


def test_requesters_hear_each_time_that_a_replier_is_busy(pair, monkeypatch):
    monkeypatch.setattr(replier_status, "BUSY_AFTER", 0.02)
    rep = Calculator(pair[1])
    rep.set_mode("thread")
    req = ReqChannel(pair[0], "calc")
    told = []
    req.replier_changed.bind(lambda channel, status: told.append(status.is_busy))
    assert req.wait_for_repliers(timeout=PATIENCE)
    for count in (1, 3):
        assert req.add(count, 1).result(PATIENCE) == count + 1
        future = req.pass_gate()
        wait_until(lambda n=count: process_events() or len(told) == n)
        rep.gate.release()
        assert future.result(PATIENCE) == "passed"
        wait_until(lambda n=count: process_events() or len(told) == n + 1)
    assert told == [True, False, True, False]


def test_what_goes_to_somebody_else_or_in_another_encoding_has_another_envelope(req, monkeypatch):
    envelopes = []
    monkeypatch.setattr(
        type(req._context),
        "send_package",
        lambda _, envelope, *args, **kw: envelopes.append(envelope),
    )
    for dest_id, is_msgpack in [(7, True), (7, True), (7, False), (8, False), (8, True)]:
        req._send_to(dest_id, 1, b"data", is_msgpack, may_wait=False)
    assert [(e.dest_id, e.is_msgpack) for e in envelopes] == [
        (7, True),
        (7, True),
        (7, False),
        (8, False),
        (8, True),
    ]
    assert envelopes[0] is envelopes[1]
    monkeypatch.undo()


def test_nobody_hears_of_methods_that_are_quick(pair, monkeypatch):
    rep = Calculator(pair[1])
    rep.set_mode("thread")
    req = ReqChannel(pair[0], "calc")
    told = []
    req.replier_changed.bind(lambda channel, status: told.append(status))
    for number in range(100):
        assert req.add(number, 1).result(PATIENCE) == number + 1
    process_events()
    assert told == []


# Memory


def test_nothing_keeps_a_future_that_is_done(req, rep, pair):
    futures = [req.add(3, 4), req.look_up()]
    for future in futures:
        future.exception(PATIENCE)
    cancelled = ReqChannel(pair[0], "nobody").add(3, 4)
    cancelled.cancel()
    alive = [weakref.ref(future) for future in [*futures, cancelled]]
    del futures, future, cancelled
    wait_until(lambda: gc.collect() >= 0 and not any(ref() for ref in alive))


def test_nothing_keeps_channels_that_are_closed(make_context):
    requesting, replying = make_context(), make_context()
    connect(requesting, replying)
    req, rep = ReqChannel(requesting, "calc"), Calculator(replying)
    rep.set_mode("thread")
    assert req.add(3, 4).result(PATIENCE) == 7
    left = req.pass_gate()
    assert rep.entered.acquire(timeout=PATIENCE)
    rep.gate.release()
    left.result(PATIENCE)
    alive = [weakref.ref(req), weakref.ref(rep)]
    req.close()
    rep.close()
    del req, rep, left
    wait_until(lambda: gc.collect() >= 0 and not any(ref() for ref in alive))


def test_a_request_that_waits_does_not_keep_a_context_that_is_forgotten():
    context = Context()
    ReqChannel(context, "calc").add(3, 4).set_auto_cancel_timeout(None)
    alive = weakref.ref(context)
    del context
    wait_until(lambda: gc.collect() >= 0 and alive() is None)


def test_a_replier_that_is_forgotten_ends_its_thread():
    def handle_a_request() -> weakref.ref[Calculator]:
        context = Context()
        rep = Calculator(context)
        rep.set_mode("thread")
        request = OBJECT.message_to_bytes(("add", (3, 4), {}))
        rep.deliver(Package(request, 0, 77, 1, context.id, 1), itertools.count())
        rep.packages_delivered()
        wait_until(lambda: rep.handled)
        return weakref.ref(rep)

    alive = handle_a_request()
    wait_until(lambda: gc.collect() >= 0 and alive() is None)
    wait_until(lambda: worker_threads() == [])


def test_the_slots_are_those_of_the_wire(make_context):
    context = make_context()
    req, rep = ReqChannel(context, "calc"), RepChannel(context, "calc")
    assert slot_number(req.slot_outgoing) == slot_number(rep.slot_incoming) == 0x00000F46BF11420F
    assert slot_number(rep.slot_outgoing) == slot_number(req.slot_incoming) == 0x00000F4630518E85

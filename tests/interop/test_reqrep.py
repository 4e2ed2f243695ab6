"""Request/reply with the yoton inside Pyzo: results, errors, cancellation, shared load."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from interop.peer import Link, Peer, connect, connect_peers, wait_with_events
from support import PATIENCE, wait_until

from yoton import (
    CancelledError,
    Context,
    Future,
    RepChannel,
    ReqChannel,
    RequestError,
    TimeoutError,
)

VALUES = [
    None,
    False,
    -1,
    2.5,
    "h\u00e9\u2603",
    "x" * 1_000_000,
    [1, (2, [3, {"four": (5,)}])],
    (),
    {1: "one", "two": [None]},
    [0] * 255,
]

# The same methods at both ends.
CALCULATOR = """
    class Calculator(yoton.RepChannel):
        def add(self, a, b=0): return a + b
        def same(self, value): return value
        def key(self): return {}['key']
        def value(self): raise ValueError('no good')
        def unsendable(self): return {1, 2}
        def huge(self): return 2 ** 63
        def wait(self, seconds): time.sleep(seconds); return hex(context.id)
    rep = Calculator(context, 'calc')
    rep.set_mode(mode)
"""


class Calculator(RepChannel):
    def add(self, a: int, b: int = 0) -> int:
        return a + b

    def same(self, value: object) -> object:
        return value

    def key(self) -> object:
        return {}["key"]

    def value(self) -> None:
        raise ValueError("no good")

    def unsendable(self) -> object:
        return {1, 2}

    def huge(self) -> int:
        return 2**63

    def wait(self, seconds: float) -> str:
        time.sleep(seconds)
        return hex(self._context.id)


@pytest.fixture
def req(link: Link) -> ReqChannel:
    """A requester of ours, with a replier of theirs."""
    link.theirs.run(CALCULATOR, mode="thread")
    return ReqChannel(link.ours, "calc")


@pytest.fixture
def rep(link: Link) -> Calculator:
    """A replier of ours, with a requester of theirs."""
    rep = Calculator(link.ours, "calc")
    rep.set_mode("thread")
    link.theirs.run("req = yoton.ReqChannel(context, 'calc')")
    return rep


# Results


def test_their_replier_carries_out_our_requests(req: ReqChannel) -> None:
    assert req.add(3, 4).result(PATIENCE) == 7
    assert req.add(3, b=4).result(PATIENCE) == 7
    for value in VALUES:
        assert repr(req.same(value).result(PATIENCE)) == repr(value)


def test_our_replier_carries_out_their_requests(link: Link, rep: Calculator) -> None:
    assert link.theirs.run("req.add(3, 4).result(5.0)") == 7
    assert link.theirs.run("req.add(3, b=4).result(5.0)") == 7
    for value in VALUES:
        assert link.theirs.run("repr(req.same(value).result(5.0))", value=value) == repr(value)


def test_echo_is_built_in_at_both_ends(link: Link, req: ReqChannel) -> None:
    there = link.theirs.run("context.id")
    assert req.echo("x", sleep=0.01).result(PATIENCE) == ("x", hex(there))
    rep = RepChannel(link.ours, "ours")
    rep.set_mode(2)
    echoed = link.theirs.run("yoton.ReqChannel(context, 'ours').echo('x', sleep=0.01).result(5.0)")
    assert echoed == ("x", hex(link.ours.id))


def test_100_requests_at_once_each_way(link: Link, req: ReqChannel) -> None:
    futures = [req.add(i, 1) for i in range(100)]
    assert [future.result(PATIENCE) for future in futures] == list(range(1, 101))
    rep = Calculator(link.ours, "ours")
    rep.set_mode("thread")
    link.theirs.run("req = yoton.ReqChannel(context, 'ours')")
    link.theirs.run("futures = [req.add(i, 1) for i in range(100)]")
    assert link.theirs.run("[future.result(5.0) for future in futures]") == list(range(1, 101))


@pytest.mark.parametrize("mode", ["event", 1, "Thread"])
def test_their_replier_works_in_each_mode(link: Link, mode: object) -> None:
    link.theirs.run(CALCULATOR, mode=mode)
    assert ReqChannel(link.ours, "calc").add(3, 4).result(PATIENCE) == 7


def test_our_replier_works_in_event_mode(link: Link) -> None:
    rep = Calculator(link.ours, "calc")
    rep.set_mode("event")
    link.theirs.run("futures = [yoton.ReqChannel(context, 'calc').add(i, 1) for i in range(1)]")
    wait_with_events(lambda: link.theirs.run("futures[0].done()"))
    assert link.theirs.run("futures[0].result()") == 1


def test_requests_wait_until_a_replier_comes(link: Link) -> None:
    early = ReqChannel(link.ours, "calc").add(3, 4)
    link.theirs.run("req = yoton.ReqChannel(context, 'ours'); early = req.add(3, 4)")
    rep = Calculator(link.ours, "ours")
    rep.set_mode("thread")
    link.theirs.run(CALCULATOR, mode="thread")
    assert early.result(PATIENCE) == 7
    assert link.theirs.run("early.result(5.0)") == 7


def test_requests_made_before_connecting_are_carried_out(
    ours: Context, theirs: Peer, binder: str
) -> None:
    rep = Calculator(ours, "ours")
    rep.set_mode("thread")
    theirs.run(CALCULATOR, mode="thread")
    early = ReqChannel(ours, "calc").add(3, 4)
    theirs.run("early = yoton.ReqChannel(context, 'ours').add(3, 4)")
    connect(ours, theirs, binder)
    assert early.result(PATIENCE) == 7
    assert theirs.run("early.result(5.0)") == 7


def test_callbacks_come_through_the_event_loop_of_each_end(link: Link, req: ReqChannel) -> None:
    done: list[Future] = []

    def note(future: Future) -> None:
        done.append(future)

    future = req.add(3, 4)
    future.add_done_callback(note)
    wait_with_events(lambda: done == [future])
    assert future.result() == 7

    rep = Calculator(link.ours, "ours")
    rep.set_mode("thread")
    link.theirs.run(
        """
        done = []
        def note(future): done.append(future.result())
        yoton.ReqChannel(context, 'ours').add(3, 4).add_done_callback(note)
        """
    )
    link.theirs.wait_until("done == [7]")


# Errors


def test_errors_of_their_methods_are_request_errors_here(link: Link, req: ReqChannel) -> None:
    with pytest.raises(RequestError) as info:
        req.key().result(PATIENCE)
    text, place = str(info.value).split("\n")
    assert text == "'key'"
    assert place.startswith("line ")
    assert place.endswith(" of <test>.")
    assert isinstance(req.value().exception(PATIENCE), RequestError)
    assert str(req.value().exception(PATIENCE)).startswith("no good")
    error = req.no_such_method(1).exception(PATIENCE)
    assert isinstance(error, RequestError)
    assert str(error).startswith("Method 'no_such_method' not implemented.")
    assert req.add(3, 4).result(PATIENCE) == 7


def test_errors_of_our_methods_are_exceptions_there(link: Link, rep: Calculator) -> None:
    def error_of(call: str) -> object:
        return link.theirs.run(
            f"error = req.{call}.exception(5.0); (type(error).__name__, str(error))"
        )

    line = Calculator.key.__code__.co_firstlineno + 1
    assert error_of("key()") == ("Exception", f"'key'\nline {line} of {__file__}.")
    kind, text = error_of("value()")
    assert (kind, text.strip()) == ("Exception", "no good")
    kind, text = error_of("no_such_method(1)")
    assert kind == "Exception"
    assert text.startswith("Method 'no_such_method' not implemented.")
    assert link.theirs.run("req.add(3, 4).result(5.0)") == 7


def test_error_texts_are_the_same_from_both_repliers(link: Link, req: ReqChannel) -> None:
    rep = Calculator(link.ours, "ours")
    rep.set_mode("thread")
    link.theirs.run("req = yoton.ReqChannel(context, 'ours')")
    there = str(req.value().exception(PATIENCE))
    assert link.theirs.run("str(req.value().exception(5.0))") == there


@pytest.mark.parametrize("call", ["unsendable", "huge"])
def test_a_result_of_ours_that_cannot_be_sent_is_an_error_there(
    link: Link, rep: Calculator, call: str
) -> None:
    text = link.theirs.run(f"str(req.{call}().exception(5.0))")
    assert text.startswith("the result cannot be sent: ")
    assert link.theirs.run("req.add(3, 4).result(5.0)") == 7


@pytest.mark.parametrize("call", ["unsendable", "huge"])
def test_a_result_of_theirs_that_cannot_be_sent_never_comes(req: ReqChannel, call: str) -> None:
    future = getattr(req, call)()
    wait_until(lambda: future.running())
    with pytest.raises(TimeoutError):
        future.result(0.3)
    assert not future.done()


def test_a_request_that_cannot_be_sent_is_an_error_at_once(link: Link, req: ReqChannel) -> None:
    with pytest.raises(ValueError, match="set"):
        req.same({1, 2})
    with pytest.raises(ValueError, match="int"):
        req.same(2**63)
    assert req.add(3, 4).result(PATIENCE) == 7


# Cancellation


def test_we_cancel_what_no_replier_of_theirs_has(link: Link) -> None:
    link.theirs.run(CALCULATOR, mode="off")
    req = ReqChannel(link.ours, "calc")
    future = req.add(3, 4)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(0.0)
    link.theirs.run("rep.set_mode('thread')")
    assert req.add(3, 4).result(PATIENCE) == 7
    assert future.cancelled()


def test_they_cancel_what_no_replier_of_ours_has(link: Link) -> None:
    rep = Calculator(link.ours, "calc")
    link.theirs.run("req = yoton.ReqChannel(context, 'calc'); future = req.add(3, 4)")
    assert link.theirs.run("future.cancel(), future.cancelled()") == (True, True)
    rep.set_mode("thread")
    assert link.theirs.run("req.add(3, 4).result(5.0)") == 7
    assert link.theirs.run("future.cancelled()")


def test_what_runs_at_either_end_cannot_be_cancelled(link: Link, req: ReqChannel) -> None:
    future = req.wait(0.2)
    wait_until(lambda: future.running())
    assert not future.cancel()
    assert future.result(PATIENCE) == link.theirs.run("hex(context.id)")
    rep = Calculator(link.ours, "ours")
    rep.set_mode("thread")
    link.theirs.run("future = yoton.ReqChannel(context, 'ours').wait(0.2)")
    link.theirs.wait_until("future.running()")
    assert link.theirs.run("future.cancel()") is False
    assert link.theirs.run("future.result(5.0)") == hex(link.ours.id)


def test_our_requests_are_cancelled_by_themselves_when_nobody_takes_them(link: Link) -> None:
    req = ReqChannel(link.ours, "calc", 0.2)
    by_default, by_setting = req.add(3, 4), ReqChannel(link.ours, "other").add(3, 4)
    by_setting.set_auto_cancel_timeout(0.2)
    wait_until(lambda: by_default.cancelled() and by_setting.cancelled())
    link.theirs.run(CALCULATOR, mode="thread")
    assert req.add(3, 4).result(PATIENCE) == 7


def test_result_or_cancel_at_both_ends(link: Link, req: ReqChannel) -> None:
    assert req.add(3, 4).result_or_cancel(PATIENCE) == 7
    nobody = ReqChannel(link.ours, "nobody").add(3, 4)
    assert nobody.result_or_cancel(0.1) is None
    assert nobody.cancelled()
    rep = Calculator(link.ours, "ours")
    rep.set_mode("thread")
    link.theirs.run("req = yoton.ReqChannel(context, 'ours')")
    assert link.theirs.run("req.add(3, 4).result_or_cancel(5.0)") == 7
    rep.set_mode("off")
    assert link.theirs.run("future = req.add(3, 4); future.result_or_cancel(0.2)") is None
    assert link.theirs.run("future.cancelled()")


def test_a_request_fails_when_their_replier_is_killed(link: Link, req: ReqChannel) -> None:
    future = req.wait(60.0)
    wait_until(lambda: future.running())
    link.theirs.kill()
    error = future.exception(PATIENCE)
    assert isinstance(error, OSError)
    assert "gone" in str(error)


# Several repliers


def test_three_repliers_of_both_kinds_share_our_requests(ours: Context) -> None:
    with Peer() as one, Peer() as two, Context() as third:
        for peer in (one, two):
            peer.run(CALCULATOR, mode="thread")
            connect(ours, peer, "we bind")
        third.connect(f"localhost:{ours.bind('localhost:0').port1}")
        rep = Calculator(third, "calc")
        rep.set_mode("thread")
        req = ReqChannel(ours, "calc")
        futures = [req.wait(0.05) for _ in range(18)]
        start = time.monotonic()
        ids = [future.result(PATIENCE) for future in futures]
        assert time.monotonic() - start < 18 * 0.05
        assert len(Counter(ids)) == 3


def test_three_repliers_of_both_kinds_share_their_requests(ours: Context) -> None:
    with Peer() as one, Peer() as two, Context() as third:
        rep, other = Calculator(ours, "calc"), Calculator(third, "calc")
        rep.set_mode("thread")
        other.set_mode("thread")
        connect(ours, one, "they bind")
        connect(third, one, "they bind")
        two.run(CALCULATOR, mode="thread")
        connect_peers(two, one)
        one.run("req = yoton.ReqChannel(context, 'calc')")
        # The original takes its time to find out who is free, so these are long.
        one.run("futures = [req.wait(0.2) for _ in range(9)]")
        start = time.monotonic()
        ids = one.run("[future.result(5.0) for future in futures]")
        assert time.monotonic() - start < 9 * 0.2
        assert len(Counter(ids)) == 3

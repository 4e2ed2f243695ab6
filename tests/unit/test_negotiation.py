"""Requester and Replier: each step for itself, then networks of them in any order of events."""

from __future__ import annotations

import itertools
from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from yoton.channels import negotiation
from yoton.channels.negotiation import (
    ASK,
    CHECK,
    CHECK_INTERVAL,
    CONTROL_SEQ,
    LATE_DIVISOR,
    LATE_REPLY,
    LEAVE,
    MAX_ASKED,
    MAX_DIRECT,
    MAX_GIVEN,
    MAX_REPEATED,
    MISSING,
    OFFER,
    OFFER_LIFETIME,
    QUICK_REPLY,
    RETRY_INTERVAL,
    RETURN,
    SETTLE,
    TIMER_RESOLUTION,
    Action,
    Cancel,
    Control,
    Fail,
    Give,
    Payload,
    Replier,
    Request,
    Requester,
)
from yoton.package import EVERYONE

PAYLOAD = Payload(b"the request", is_msgpack=False)
REPLIER = 17
OTHER = 18

# The requester


def asked(
    requester: Requester, call: str = "call", timeout: float | None = 10.0, now: float = 0.0
) -> int:
    """Have a requester ask for a request; returns the id of that."""
    request_id = requester.new_id()
    question = requester.ask(request_id, call, PAYLOAD, timeout, now)
    assert question == Control(ASK, EVERYONE, request_id)
    return request_id


def given(requester: Requester, call: str = "call", replier_id: int = REPLIER) -> int:
    """Have a requester ask for a request, and give it to a replier."""
    request_id = asked(requester, call)
    assert requester.told(replier_id, OFFER, request_id, 0.0)
    return request_id


def replied(requester: Requester, replier_id: int, request_id: int, now: float = 0.0) -> str | None:
    """Have a reply come to a requester, and get the call that it ends."""
    call: str | None = requester.call_replied(request_id, replier_id)
    if call is not None:
        requester.finished(request_id, now)
    return call


def test_the_texts_on_the_wire():
    texts = (ASK, OFFER, SETTLE, RETURN, LEAVE, CHECK, MISSING, CONTROL_SEQ)
    assert texts == (b"req?", b"req!", b"req-", b"req<", b"req.", b"req~", b"req/", 2**63)


def test_requests_are_numbered_from_one():
    requester: Requester = Requester()
    assert [asked(requester) for _ in range(3)] == [1, 2, 3]


def test_the_first_that_offers_gets_the_request_and_all_hear_that_it_is_settled():
    requester: Requester = Requester()
    request_id = asked(requester)
    assert requester.told(REPLIER, OFFER, request_id, 0.0) == [
        Give(request_id, "call", PAYLOAD, REPLIER),
        Control(SETTLE, EVERYONE, request_id),
    ]


@pytest.mark.parametrize("who", [REPLIER, OTHER])
def test_later_offers_are_ignored(who):
    requester: Requester = Requester()
    request_id = given(requester)
    assert requester.told(who, OFFER, request_id, 0.0) == []


def test_a_reply_finishes_the_request_once():
    requester: Requester = Requester()
    request_id = given(requester)
    assert replied(requester, REPLIER, request_id) == "call"
    requester.finished(request_id, 0.0)
    assert replied(requester, REPLIER, request_id) is None


def test_replies_that_nobody_waits_for_are_ignored():
    requester: Requester = Requester()
    waiting, running = asked(requester), given(requester)
    assert replied(requester, REPLIER, 1000) is None
    assert replied(requester, REPLIER, waiting) is None
    assert replied(requester, OTHER, running) is None


@pytest.mark.parametrize("text", [ASK, SETTLE, b"", b"req", b"req!!"])
def test_a_requester_ignores_texts_that_are_no_offer(text):
    requester: Requester = Requester()
    assert requester.told(REPLIER, text, asked(requester), 0.0) == []


def test_the_question_is_repeated_while_nobody_offers():
    requester: Requester = Requester()
    assert requester.next_deadline() is None
    request_id = asked(requester, now=100.0)
    question = Control(ASK, EVERYONE, request_id)
    for count in (1, 2, 3):
        due = requester.next_deadline()
        assert due == 100.0 + count * RETRY_INTERVAL
        assert requester.handle_timer(due - 0.01, is_heard=True) == []
        assert requester.handle_timer(due, is_heard=True) == [question]
    requester.told(REPLIER, OFFER, request_id, 102.0)
    assert requester.next_deadline() == 102.0 + CHECK_INTERVAL


def test_requests_made_at_about_the_same_time_are_looked_at_together():
    requester: Requester = Requester()
    for number in range(10):
        asked(requester, now=100.0 + number * TIMER_RESOLUTION / 20)
    due = requester.next_deadline()
    assert len(requester.handle_timer(due, is_heard=True)) == 1
    due = requester.next_deadline()
    assert len(requester.handle_timer(due, is_heard=True)) == 9


def test_the_number_of_questions_that_are_repeated_is_limited(monkeypatch):
    assert MAX_REPEATED >= 1000  # so many requests at a time are not unusual
    monkeypatch.setattr(negotiation, "MAX_REPEATED", 2)
    requester: Requester = Requester()
    first, second, third = (asked(requester) for _ in range(3))
    repeated = [
        [action.request_id for action in requester.handle_timer(count * 0.5, is_heard=True)]
        for count in (1, 2, 3)
    ]
    assert repeated == [[first, second], [third, first], [second, third]]


class Interrupting(float):
    """A time at which, when it is looked at, a finalizer cancels a request."""

    def __le__(self, other):
        self.cancel()
        return super().__le__(other)


@pytest.mark.parametrize("attribute", ["deadline", "ask_at"])
def test_a_finalizer_may_cancel_what_is_being_looked_at(attribute):
    requester: Requester = Requester()
    request_id = asked(requester)
    interrupting = Interrupting(0.0)
    interrupting.cancel = lambda: requester.cancel(request_id)
    setattr(requester._waiting[request_id], attribute, interrupting)
    assert requester.handle_timer(1.0, is_heard=True) == []
    assert requester.next_deadline() is None


def test_a_question_that_left_after_the_settlement_is_settled_again():
    requester: Requester = Requester()
    waiting, settled = asked(requester), given(requester)
    questions = [Control(ASK, EVERYONE, request_id) for request_id in (waiting, settled)]
    assert requester.overtaken(questions) == [Control(SETTLE, EVERYONE, settled)]
    assert requester.overtaken([Cancel("call"), Control(SETTLE, EVERYONE, settled)]) == []


def test_no_question_is_repeated_while_nobody_can_hear_it():
    requester: Requester = Requester()
    request_id = asked(requester)
    assert requester.handle_timer(RETRY_INTERVAL, is_heard=False) == []
    assert requester.next_deadline() == 2 * RETRY_INTERVAL
    assert requester.handle_timer(2 * RETRY_INTERVAL, is_heard=True) == [
        Control(ASK, EVERYONE, request_id)
    ]


def test_a_waiting_request_is_cancelled_at_its_timeout():
    requester: Requester = Requester()
    request_id = asked(requester, timeout=0.2, now=100.0)
    assert requester.next_deadline() == pytest.approx(100.2)
    assert requester.handle_timer(100.2, is_heard=True) == [
        Cancel("call"),
        Control(SETTLE, EVERYONE, request_id),
    ]
    assert requester.next_deadline() is None


def test_a_running_request_has_no_timeout():
    requester: Requester = Requester()
    given(requester)
    assert requester.handle_timer(1000.0, is_heard=True) == []


def test_the_timeout_can_be_set_and_counts_from_the_beginning():
    requester: Requester = Requester()
    request_id = asked(requester, timeout=None, now=100.0)
    requester.set_timeout(request_id, 0.3)
    assert requester.next_deadline() == pytest.approx(100.3)
    requester.set_timeout(request_id, None)
    assert requester.handle_timer(100.4, is_heard=True) == []
    assert requester.handle_timer(1e9, is_heard=False) == []
    requester.set_timeout(request_id, 1.0)
    assert requester.next_deadline() == pytest.approx(101.0)


def test_the_timeout_of_a_request_that_does_not_wait_changes_nothing():
    requester: Requester = Requester()
    requester.set_timeout(given(requester), 0.1)
    assert requester.next_deadline() == CHECK_INTERVAL


def test_the_next_deadline_is_that_of_the_first_request():
    requester: Requester = Requester()
    asked(requester, timeout=None, now=100.0)
    asked(requester, timeout=0.1, now=100.0)
    asked(requester, timeout=None, now=100.2)
    assert requester.next_deadline() == pytest.approx(100.1)
    requester.handle_timer(100.1, is_heard=True)
    assert requester.next_deadline() == pytest.approx(100.0 + RETRY_INTERVAL)


def test_a_deadline_of_the_past_does_not_last():
    requester: Requester = Requester()
    replied(requester, REPLIER, given(requester))
    asked(requester, now=500.0)
    assert requester.next_deadline() == 500.0 + RETRY_INTERVAL


def test_a_waiting_request_can_be_cancelled_once():
    requester: Requester = Requester()
    request_id = asked(requester)
    assert requester.cancel(request_id) == Control(SETTLE, EVERYONE, request_id)
    assert requester.cancel(request_id) is None
    assert requester.told(REPLIER, OFFER, request_id, 0.0) == []


def test_a_running_request_cannot_be_cancelled():
    requester: Requester = Requester()
    assert requester.cancel(given(requester)) is None


def test_those_who_come_are_asked_at_once_for_what_waits():
    requester: Requester = Requester()
    first, _, last = asked(requester), given(requester), asked(requester)
    assert requester.connection_made(0.3) == [
        Control(ASK, EVERYONE, first),
        Control(ASK, EVERYONE, last),
    ]
    assert requester.handle_timer(RETRY_INTERVAL, is_heard=True) == []
    assert requester.next_deadline() == pytest.approx(0.3 + RETRY_INTERVAL)


def test_the_requests_of_a_replier_that_is_gone_fail():
    requester: Requester = Requester()
    waiting, lost, kept = asked(requester), given(requester, "lost"), given(requester, "k", OTHER)
    (fail,) = requester.contexts_gone({REPLIER, 99})
    assert isinstance(fail, Fail)
    assert fail.call == "lost"
    assert hex(REPLIER) in fail.reason
    assert replied(requester, REPLIER, lost) is None
    assert replied(requester, OTHER, kept) == "k"
    assert requester.told(OTHER, OFFER, waiting, 0.0)


def test_a_request_that_could_not_be_given_is_forgotten():
    requester: Requester = Requester()
    request_id = given(requester)
    requester.forget(request_id)
    assert replied(requester, REPLIER, request_id) is None
    requester.forget(request_id)


def test_the_end_cancels_what_waits_and_fails_what_runs():
    requester: Requester = Requester()
    waiting, _ = asked(requester, "waiting"), given(requester, "running")
    cancel, settlement, fail = requester.end()
    assert cancel == Cancel("waiting")
    assert settlement == Control(SETTLE, EVERYONE, waiting)
    assert isinstance(fail, Fail)
    assert fail.call == "running"
    assert requester.end() == []
    assert requester.next_deadline() is None


# The replier

ALICE, BOB = 1, 2


def ask(replier: Replier, source_id: int, request_id: int) -> None:
    assert replier.receive(source_id, request_id + CONTROL_SEQ, ASK) is None


def settle(replier: Replier, source_id: int, request_id: int) -> None:
    assert replier.receive(source_id, request_id + CONTROL_SEQ, SETTLE) is None


def give(replier: Replier, source_id: int, request_id: int) -> Request | None:
    return replier.receive(source_id, request_id, b"data")


def offers(replier: Replier, now: float = 0.0) -> list[tuple[int, int]]:
    """Get to whom it makes an offer, and for which request."""
    offer = replier.offer(now)
    if offer is None:
        return []
    assert offer.text == OFFER
    return [(offer.dest_id, offer.request_id)]


def test_a_replier_offers_itself_to_who_asked_first():
    replier = Replier()
    assert offers(replier) == []
    assert not replier.has_work
    ask(replier, ALICE, 1)
    ask(replier, BOB, 1)
    assert replier.has_work
    assert offers(replier) == [(ALICE, 1)]


def test_one_offer_is_open_at_a_time():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, ALICE, 2)
    offers(replier)
    assert offers(replier) == []
    assert not replier.has_work


def test_the_next_is_offered_when_the_first_is_settled():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, BOB, 1)
    offers(replier)
    settle(replier, ALICE, 1)
    assert offers(replier) == [(BOB, 1)]


def test_what_was_settled_is_not_offered():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, BOB, 1)
    settle(replier, ALICE, 1)
    assert offers(replier) == [(BOB, 1)]


def test_who_asks_again_goes_to_the_end():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, BOB, 1)
    ask(replier, ALICE, 1)
    assert offers(replier) == [(BOB, 1)]
    settle(replier, BOB, 1)
    assert offers(replier) == [(ALICE, 1)]


def test_the_same_id_of_another_requester_is_another_request():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, BOB, 1)
    settle(replier, BOB, 1)
    assert offers(replier) == [(ALICE, 1)]


def test_nothing_is_offered_from_the_request_until_it_is_done():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, BOB, 1)
    offers(replier)
    give(replier, ALICE, 1)
    settle(replier, ALICE, 1)
    assert offers(replier) == []
    assert replier.has_work
    request = replier.take()
    assert request == Request(ALICE, 1, b"data")
    assert offers(replier) == []
    assert not replier.has_work
    replier.done(request)
    assert offers(replier) == [(BOB, 1)]


def test_a_request_settles_what_was_asked():
    replier = Replier()
    for request_id in (1, 2):
        ask(replier, ALICE, request_id)
    offers(replier)
    for request_id in (1, 2):
        give(replier, ALICE, request_id)
        replier.done(replier.take())
    assert offers(replier) == []
    ask(replier, BOB, 1)
    assert offers(replier) == [(BOB, 1)]


def test_a_request_that_was_not_offered_is_carried_out_as_well():
    replier = Replier()
    assert replier.take() is None
    give(replier, ALICE, 1)
    give(replier, BOB, 7)
    assert replier.given_count == 2
    assert replier.take() == Request(ALICE, 1, b"data")
    assert replier.take() == Request(BOB, 7, b"data")
    assert replier.given_count == 0


def test_an_offer_stays_open_when_another_request_comes():
    replier = Replier()
    ask(replier, ALICE, 1)
    offers(replier)
    give(replier, BOB, 1)
    replier.done(replier.take())
    ask(replier, BOB, 2)
    assert offers(replier) == []


def test_an_offer_that_is_not_answered_ends_for_the_sake_of_others():
    replier = Replier()
    ask(replier, ALICE, 1)
    offers(replier, now=100.0)
    assert replier.next_deadline() is None
    ask(replier, BOB, 1)
    assert replier.next_deadline() == 100.0 + OFFER_LIFETIME
    replier.handle_timer(100.0 + OFFER_LIFETIME - 0.01)
    assert offers(replier) == []
    replier.handle_timer(100.0 + OFFER_LIFETIME)
    assert replier.next_deadline() is None
    assert offers(replier) == [(BOB, 1)]


def test_the_timer_does_no_harm_when_nothing_is_offered():
    replier = Replier()
    replier.handle_timer(1000.0)
    assert replier.next_deadline() is None


def test_requesters_that_are_gone_get_no_offer():
    replier = Replier()
    ask(replier, ALICE, 1)
    ask(replier, ALICE, 2)
    ask(replier, BOB, 1)
    assert offers(replier) == [(ALICE, 1)]
    replier.contexts_gone({ALICE})
    assert offers(replier) == [(BOB, 1)]
    replier.contexts_gone({ALICE})
    assert replier.next_deadline() is None


def test_what_a_requester_gave_is_carried_out_though_it_is_gone():
    replier = Replier()
    give(replier, ALICE, 1)
    replier.contexts_gone({ALICE})
    assert replier.take() == Request(ALICE, 1, b"data")


@pytest.mark.parametrize("text", [OFFER, b"", b"req", b"req??"])
def test_a_replier_ignores_texts_that_it_does_not_know(text):
    replier = Replier()
    assert replier.receive(ALICE, 1 + CONTROL_SEQ, text) is None
    assert offers(replier) == []


def test_the_number_of_questions_is_limited(monkeypatch):
    assert MAX_ASKED > 1000  # so many one requester may have at a time
    monkeypatch.setattr(negotiation, "MAX_ASKED", 2)
    replier = Replier()
    for request_id in (1, 2, 3, 1):
        ask(replier, ALICE, request_id)
    assert offers(replier) == [(ALICE, 2)]
    settle(replier, ALICE, 2)
    assert offers(replier) == [(ALICE, 1)]
    settle(replier, ALICE, 1)
    assert offers(replier) == []


def test_a_request_too_many_is_refused():
    replier = Replier()
    for request_id in range(MAX_GIVEN):
        assert give(replier, ALICE, request_id) is None
    assert give(replier, BOB, 1) == Request(BOB, 1, b"data")
    assert replier.given_count == MAX_GIVEN


def test_the_end_refuses_what_was_given():
    replier = Replier()
    ask(replier, ALICE, 1)
    give(replier, BOB, 1)
    assert replier.end() == [Request(BOB, 1, b"data")]
    assert replier.end() == []
    assert not replier.has_work


def test_a_replier_leaves_once_when_it_has_done_its_work():
    replier = Replier()
    give(replier, BOB, 1)
    assert replier.leave() is None
    request = replier.take()
    replier.end()
    assert replier.leave() is None
    replier.done(request)
    assert replier.leave() == Control(LEAVE, EVERYONE, 0)
    assert replier.leave() is None


# Directly


def quick_requester(count: int = 1) -> Requester:
    """Get one that was replied to quickly so many times."""
    requester: Requester = Requester()
    for _ in range(count):
        assert replied(requester, REPLIER, given(requester))
    return requester


def ask_directly(requester: Requester, now: float = 0.0) -> Control | Give:
    request_id = requester.new_id()
    return requester.ask(request_id, "direct", PAYLOAD, None, now, may_give=True)


def test_a_quick_replier_is_given_the_next_request_at_once():
    requester = quick_requester()
    action = ask_directly(requester)
    assert action == Give(2, "direct", PAYLOAD, REPLIER)
    assert requester.next_deadline() == CHECK_INTERVAL
    assert replied(requester, REPLIER, 2) == "direct"


def test_a_replier_that_nobody_knows_yet_is_asked():
    assert isinstance(ask_directly(Requester()), Control)


def test_a_quick_replier_is_asked_if_not_all_know_of_that():
    requester = quick_requester()
    asked(requester)


def test_a_replier_that_is_quick_gets_more_and_more_at_a_time():
    requester = quick_requester()
    for window in (2, 4, 8):
        gives = [ask_directly(requester) for _ in range(window)]
        assert all(isinstance(action, Give) for action in gives)
        question = ask_directly(requester)
        assert isinstance(question, Control)
        requester.cancel(question.request_id)
        for action in gives:
            replied(requester, REPLIER, action.request_id)
        # As many doublings as replies: bring it down again.
        requester._quick[REPLIER].window = 2 * window


def test_no_request_overtakes_one_that_waits():
    requester = quick_requester()
    waiting = asked(requester)
    assert isinstance(ask_directly(requester), Control)
    requester.cancel(waiting)


def test_what_it_gets_at_a_time_is_limited():
    requester = quick_requester(20)
    actions = [ask_directly(requester) for _ in range(MAX_DIRECT + 1)]
    assert [type(action) for action in actions] == [Give] * MAX_DIRECT + [Control]


def test_a_slow_replier_is_asked():
    requester = quick_requester()
    action = ask_directly(requester)
    replied(requester, REPLIER, action.request_id, now=QUICK_REPLY * 1.01)
    assert isinstance(ask_directly(requester), Control)


def test_one_that_was_quick_often_may_be_late_and_has_less_at_a_time():
    requester = quick_requester(5)
    now = 0.0
    for window in (32 // LATE_DIVISOR, 32 // LATE_DIVISOR // LATE_DIVISOR):
        action = ask_directly(requester, now)
        now += QUICK_REPLY * 1.01
        replied(requester, REPLIER, action.request_id, now=now)
        gives = [ask_directly(requester, now) for _ in range(window)]
        assert all(isinstance(action, Give) for action in gives)
        question = ask_directly(requester, now)
        assert isinstance(question, Control)
        requester.cancel(question.request_id)
        for action in gives[1:]:
            requester.forget(action.request_id)
        requester._quick[REPLIER].running = 0
    action = ask_directly(requester, now)
    now += QUICK_REPLY * 1.01
    replied(requester, REPLIER, action.request_id, now=now)
    assert isinstance(ask_directly(requester, now), Control)


def test_one_of_several_that_is_late_once_is_asked():
    requester = quick_requester(5)
    requester.told(OTHER, OFFER, 1000, 0.0)
    action = ask_directly(requester)
    replied(requester, REPLIER, action.request_id, now=QUICK_REPLY * 1.01)
    assert isinstance(ask_directly(requester), Control)


def test_one_that_lets_a_reply_wait_gets_no_more():
    requester = quick_requester(3)
    assert isinstance(ask_directly(requester), Give)
    assert isinstance(ask_directly(requester, now=LATE_REPLY), Give)
    assert isinstance(ask_directly(requester, now=LATE_REPLY * 1.01), Control)


def test_one_of_several_repliers_has_one_at_a_time():
    requester = quick_requester(3)
    requester.told(OTHER, OFFER, 1000, 0.0)
    assert isinstance(ask_directly(requester), Give)
    assert isinstance(ask_directly(requester), Control)


def test_repliers_that_are_made_up_take_a_bounded_amount_of_memory(monkeypatch):
    monkeypatch.setattr(negotiation, "MAX_REPLIERS", 2)
    requester: Requester = Requester()
    for replier_id in range(10):
        requester.told(replier_id, OFFER, 1000, 0.0)
    assert len(requester._repliers) == 2


def test_what_a_replier_returns_waits_again_and_is_asked_for():
    requester = quick_requester()
    action = ask_directly(requester)
    assert requester.is_running(action.request_id)
    question = Control(ASK, EVERYONE, action.request_id)
    assert requester.told(OTHER, RETURN, action.request_id, 0.0) == []
    assert requester.told(REPLIER, RETURN, action.request_id, 0.0) == [question]
    assert requester.told(REPLIER, RETURN, action.request_id, 0.0) == []
    assert not requester.is_running(action.request_id)
    assert isinstance(ask_directly(requester), Control)
    assert requester.told(OTHER, OFFER, action.request_id, 0.0)[0] == Give(
        action.request_id, "direct", PAYLOAD, OTHER
    )


def test_a_replier_expects_what_it_has_offered_itself_for():
    replier = Replier()
    ask(replier, ALICE, 1)
    assert not replier.has_offered(ALICE, 1)
    offers(replier)
    assert replier.has_offered(ALICE, 1)
    give(replier, ALICE, 1)
    assert not replier.has_offered(ALICE, 1)


@pytest.mark.parametrize("end", ["leaves", "is gone"])
def test_what_a_replier_has_ends_with_it(end):
    requester = quick_requester()
    action = ask_directly(requester)
    if end == "leaves":
        fails = requester.told(REPLIER, LEAVE, 0, 0.0)
    else:
        fails = requester.contexts_gone({REPLIER})
    assert [fail.call for fail in fails] == ["direct"]
    assert replied(requester, REPLIER, action.request_id) is None
    assert isinstance(ask_directly(requester), Control)


# Requests and replies that are lost on the way


def checks(requester: Requester, now: float, may_check: bool = True) -> list[Action]:
    return list(requester.handle_timer(now, is_heard=True, may_check=may_check))


def test_a_replier_is_asked_from_time_to_time_whether_it_has_a_request():
    requester: Requester = Requester()
    request_id = given(requester)
    check = Control(CHECK, REPLIER, request_id)
    assert checks(requester, CHECK_INTERVAL - 0.1) == []
    assert checks(requester, CHECK_INTERVAL) == [check]
    assert requester.next_deadline() == 2 * CHECK_INTERVAL
    assert checks(requester, 2 * CHECK_INTERVAL - 0.1) == []
    assert checks(requester, 2 * CHECK_INTERVAL) == [check]


def test_who_does_not_know_the_question_is_not_asked():
    requester: Requester = Requester()
    given(requester)
    assert checks(requester, CHECK_INTERVAL, may_check=False) == []
    assert requester.next_deadline() == 2 * CHECK_INTERVAL


def test_what_waits_and_what_runs_is_looked_after_in_its_time():
    requester: Requester = Requester()
    running = given(requester)
    asked(requester, timeout=None, now=CHECK_INTERVAL - RETRY_INTERVAL / 2)
    assert requester.next_deadline() == CHECK_INTERVAL
    assert checks(requester, CHECK_INTERVAL) == [Control(CHECK, REPLIER, running)]
    assert requester.next_deadline() == CHECK_INTERVAL + RETRY_INTERVAL / 2


def test_so_many_questions_go_out_at_a_time_and_the_others_later(monkeypatch):
    monkeypatch.setattr(negotiation, "MAX_REPEATED", 2)
    requester: Requester = Requester()
    ids = [given(requester) for _ in range(3)]
    first = checks(requester, CHECK_INTERVAL)
    assert [check.request_id for check in first] == ids[:2]
    assert requester.next_deadline() == CHECK_INTERVAL + RETRY_INTERVAL
    second = checks(requester, CHECK_INTERVAL + RETRY_INTERVAL)
    assert [check.request_id for check in second] == ids[2:]


def test_repliers_are_asked_soon_when_something_was_lost():
    requester: Requester = Requester()
    request_id = given(requester)
    requester.something_is_lost(1.0)
    assert requester.next_deadline() == 1.0
    assert checks(requester, 1.0) == [Control(CHECK, REPLIER, request_id)]


def test_a_request_that_its_replier_does_not_have_fails():
    requester: Requester = Requester()
    request_id = given(requester)
    [fail] = requester.told(REPLIER, MISSING, request_id, 1.0)
    assert isinstance(fail, Fail)
    assert fail.call == "call"
    assert requester.next_deadline() is None
    assert requester.stats()["failed"] == 1
    assert requester.told(REPLIER, MISSING, request_id, 1.0) == []


def test_nobody_else_can_say_that_a_request_is_missing():
    requester: Requester = Requester()
    request_id = given(requester)
    assert requester.told(OTHER, MISSING, request_id, 1.0) == []
    assert requester.is_running(request_id)


def test_a_replier_knows_what_it_has():
    replier = Replier()
    ask(replier, ALICE, 1)
    offers(replier)
    assert not replier.has(ALICE, 1)
    give(replier, ALICE, 1)
    assert replier.has(ALICE, 1)
    assert not replier.has(BOB, 1)
    request = replier.take()
    assert replier.has(ALICE, 1)
    replier.done(request)
    assert not replier.has(ALICE, 1)


# Networks


class _Node:
    """A context: who it is, what is on its way to it, and from whom nothing more will come."""

    def __init__(self, node_id: int) -> None:
        self.id = node_id
        self.incoming: dict[int, deque[tuple[int, bytes] | None]] = {}


class _RequestingNode(_Node):
    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self.requester: Requester = Requester()
        # What another thread has decided to do, and has not done yet.
        self.pending: list[Action] = []


class _ReplyingNode(_Node):
    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self.replier = Replier()
        self.at_work: list[Request] = []
        self.open_offer: tuple[int, int] | None = None
        self.offered_at = 0.0


#: Stands in a link for the news that its sender is gone.
_GONE = None

#: What a replier that is closed replies to the requests that it has not begun.
REFUSAL = b"refused"


class Network(RuleBasedStateMachine):
    """Requesters and repliers, each connected with each; every link keeps the order.

    A call is (id of the requester, id of the request), and the data of a reply is its repr.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ids = itertools.count(1)
        self.nodes: dict[int, _Node] = {}
        self.outcomes: Counter[tuple[int, int]] = Counter()
        self.results: dict[tuple[int, int], str] = {}
        self.made: set[tuple[int, int]] = set()
        self.cancelled: set[tuple[int, int]] = set()
        self.failed: set[tuple[int, int]] = set()
        self.carried_out: Counter[tuple[int, int]] = Counter()

    # What happens

    @initialize(requesters=st.integers(1, 3), repliers=st.integers(0, 3))
    def begin(self, requesters, repliers):
        for _ in range(requesters):
            self._add(_RequestingNode(next(self.ids)))
        for _ in range(repliers):
            self._add(_ReplyingNode(next(self.ids)))

    @precondition(lambda self: len(self._repliers()) < 4)
    @rule()
    def a_replier_comes(self):
        self._add(_ReplyingNode(next(self.ids)))
        for node in self._requesters():
            self._perform(node, node.requester.connection_made(self.now))

    @rule(data=st.data(), timeout=st.sampled_from([None, None, 0.3, 3.0]))
    def requests_are_made(self, data, timeout):
        for node in data.draw(st.lists(st.sampled_from(self._requesters()), min_size=1)):
            request_id = node.requester.new_id()
            call = (node.id, request_id)
            self.made.add(call)
            payload = Payload(repr(call).encode(), False)
            may_give = data.draw(st.booleans())
            action = node.requester.ask(
                request_id, call, payload, timeout, self.now, may_give=may_give
            )
            self._perform(node, [action])

    @precondition(lambda self: self._links())
    @rule(data=st.data(), count=st.integers(1, 12))
    def packages_arrive(self, data, count):
        for _ in range(count):
            if self._links():
                self._deliver(*data.draw(st.sampled_from(self._links())))

    @precondition(lambda self: self._links())
    @rule(data=st.data())
    def a_request_or_a_reply_is_lost(self, data):
        sender_id, dest_id = data.draw(st.sampled_from(self._links()))
        link = self.nodes[dest_id].incoming[sender_id]
        lossy = [
            place for place, package in enumerate(link) if package and package[0] < CONTROL_SEQ
        ]
        if lossy:
            del link[data.draw(st.sampled_from(lossy))]

    @precondition(lambda self: any(node.replier.given_count for node in self._repliers()))
    @rule(data=st.data())
    def a_request_is_taken(self, data):
        busy = [node for node in self._repliers() if node.replier.given_count]
        self._take(data.draw(st.sampled_from(busy)))

    @precondition(lambda self: any(node.at_work for node in self._repliers()))
    @rule(data=st.data())
    def a_request_is_done(self, data):
        at_work = [node for node in self._repliers() if node.at_work]
        self._finish(data.draw(st.sampled_from(at_work)))

    @precondition(lambda self: self._unsettled())
    @rule(data=st.data())
    def a_request_is_cancelled(self, data):
        call = data.draw(st.sampled_from(sorted(self._unsettled())))
        requester = self.nodes[call[0]]
        settlement = requester.requester.cancel(call[1])
        if settlement is not None:
            self._end(call, self.cancelled)
            self._perform(requester, [settlement])

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 11.0]))
    def time_passes(self, seconds):
        self._pass_time(seconds)

    @rule(data=st.data(), is_new=st.booleans())
    def another_thread_decides_to_ask_again(self, data, is_new):
        node = data.draw(st.sampled_from(self._requesters()))
        if is_new:
            node.pending += node.requester.connection_made(self.now)
        else:
            node.pending += node.requester.handle_timer(self.now, is_heard=True)

    @precondition(lambda self: any(node.pending for node in self._requesters()))
    @rule()
    def the_other_threads_act(self):
        for node in self._requesters():
            pending, node.pending = node.pending, []
            self._perform(node, pending)

    @precondition(lambda self: any(not node.at_work for node in self._repliers()))
    @rule(data=st.data())
    def a_replier_is_closed(self, data):
        idle = [node for node in self._repliers() if not node.at_work]
        node = data.draw(st.sampled_from(idle))
        for request in node.replier.end():
            self._send(node, request.source_id, request.request_id, REFUSAL)
        self._perform(node, [node.replier.leave()])
        assert node.replier.leave() is None
        del self.nodes[node.id]

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data())
    def a_node_dies(self, data):
        mortal = self._repliers() + self._requesters()[1:]
        if not mortal:
            return
        node = data.draw(st.sampled_from(mortal))
        del self.nodes[node.id]
        for other in self.nodes.values():
            link = other.incoming.get(node.id)
            if link is not None:
                for _ in range(data.draw(st.integers(0, len(link)))):
                    link.pop()
                link.append(_GONE)

    # What holds at any time

    @invariant()
    def a_request_is_carried_out_at_most_once(self):
        assert all(count == 1 for count in self.carried_out.values())

    @invariant()
    def a_request_ends_at_most_once(self):
        assert all(count == 1 for count in self.outcomes.values())

    @invariant()
    def what_was_cancelled_is_never_carried_out(self):
        assert not self.cancelled & set(self.carried_out)

    @invariant()
    def a_result_is_that_of_its_request(self):
        assert all(result == repr(call) for call, result in self.results.items())

    @invariant()
    def a_deadline_is_set_just_while_something_waits(self):
        for node in self._requesters():
            due = node.requester.next_deadline()
            unsettled = [call for call in self._unsettled() if call[0] == node.id]
            if any(self._is_waiting(call) for call in unsettled):
                assert due <= self.now + RETRY_INTERVAL
            elif unsettled:
                assert due <= self.now + CHECK_INTERVAL
            else:
                assert due is None

    # In the end

    def teardown(self):
        if not self.nodes:
            return
        if not self._repliers():
            self.a_replier_comes()
        # Enough for all to be asked, offered, given, carried out and replied to, one by one,
        # while an offer to a dead requester may take its lifetime; no luck is needed.
        self.the_other_threads_act()
        for _ in range(10 + 3 * len(self.made)):
            self._settle_down()
            # Nobody waits in vain for the answer to an offer.
            assert all(node.open_offer is None for node in self._repliers())
            if not self._unsettled():
                break
            self._pass_time(CHECK_INTERVAL)
        # Nobody starved: what was neither cancelled nor lost with its replier has its result.
        assert not self._unsettled()
        alive = {call for call in self.made if call[0] in self.nodes}
        assert alive - self.cancelled - self.failed == set(self.results) & alive

    def _settle_down(self):
        while self._links() or any(n.replier.given_count or n.at_work for n in self._repliers()):
            for link in self._links():
                self._deliver(*link)
            for node in self._repliers():
                if node.replier.given_count:
                    self._take(node)
                if node.at_work:
                    self._finish(node)

    # How the nodes are driven

    def _add(self, node):
        self.nodes[node.id] = node

    def _requesters(self) -> list[_RequestingNode]:
        return [node for node in self.nodes.values() if isinstance(node, _RequestingNode)]

    def _repliers(self) -> list[_ReplyingNode]:
        return [node for node in self.nodes.values() if isinstance(node, _ReplyingNode)]

    def _links(self) -> list[tuple[int, int]]:
        return [
            (sender, node.id)
            for node in self.nodes.values()
            for sender, link in node.incoming.items()
            if link
        ]

    def _unsettled(self) -> set[tuple[int, int]]:
        return {call for call in self.made if call[0] in self.nodes and not self.outcomes[call]}

    def _is_waiting(self, call) -> bool:
        return call[1] in self.nodes[call[0]].requester._waiting

    def _end(self, call, kind):
        self.outcomes[call] += 1
        kind.add(call)

    def _send(self, sender, dest_id, dest_seq, data):
        kind = _ReplyingNode if isinstance(sender, _RequestingNode) else _RequestingNode
        for node in self.nodes.values():
            if dest_id in (EVERYONE, node.id) and isinstance(node, kind):
                node.incoming.setdefault(sender.id, deque()).append((dest_seq, data))

    def _perform(self, node, actions):
        for action in actions:
            match action:
                case Control(text=text, dest_id=dest_id, request_id=request_id):
                    self._send(node, dest_id, request_id + CONTROL_SEQ, text)
                case Give(request_id=request_id, payload=payload, replier_id=replier_id):
                    self._send(node, replier_id, request_id, payload.data)
                case Cancel(call=call):
                    self._end(call, self.cancelled)
                case Fail(call=call):
                    self._end(call, self.failed)
        if isinstance(node, _RequestingNode):
            for control in node.requester.overtaken(actions):
                self._send(node, control.dest_id, control.request_id + CONTROL_SEQ, control.text)

    def _deliver(self, sender_id, dest_id):
        node = self.nodes[dest_id]
        package = node.incoming[sender_id].popleft()
        if package is _GONE:
            if isinstance(node, _RequestingNode):
                self._perform(node, node.requester.contexts_gone({sender_id}))
            else:
                self._contexts_gone(node, sender_id)
        elif isinstance(node, _RequestingNode):
            self._hear(node, sender_id, *package)
        else:
            self._receive(node, sender_id, *package)

    def _hear(self, node, sender_id, dest_seq, data):
        requester = node.requester
        if dest_seq >= CONTROL_SEQ:
            self._perform(node, requester.told(sender_id, data, dest_seq - CONTROL_SEQ, self.now))
            return
        call = requester.call_replied(dest_seq, sender_id)
        if call is None:
            return
        self.outcomes[call] += 1
        if data == REFUSAL:
            self.failed.add(call)
        else:
            self.results[call] = data.decode()
        requester.finished(dest_seq, self.now)

    def _receive(self, node, sender_id, dest_seq, data):
        if data == CHECK:
            if not node.replier.has(sender_id, dest_seq - CONTROL_SEQ):
                self._send(node, sender_id, dest_seq, MISSING)
            return
        assert node.replier.receive(sender_id, dest_seq, data) is None
        answers = data == SETTLE or dest_seq < CONTROL_SEQ
        if answers and node.open_offer == (sender_id, dest_seq % CONTROL_SEQ):
            node.open_offer = None
        self._offer(node)

    def _contexts_gone(self, node, sender_id):
        node.replier.contexts_gone({sender_id})
        if node.open_offer is not None and node.open_offer[0] == sender_id:
            node.open_offer = None
        self._offer(node)

    def _offer(self, node):
        offer = node.replier.offer(self.now)
        if offer is None:
            return
        is_lapsed = self.now >= node.offered_at + OFFER_LIFETIME
        assert node.open_offer is None or is_lapsed
        assert not node.at_work
        assert not node.replier.given_count
        node.open_offer = (offer.dest_id, offer.request_id)
        node.offered_at = self.now
        self._perform(node, [offer])

    def _take(self, node):
        request = node.replier.take()
        assert request is not None
        node.at_work.append(request)
        self.carried_out[request.source_id, request.request_id] += 1

    def _finish(self, node):
        request = node.at_work.pop(0)
        self._send(node, request.source_id, request.request_id, request.data)
        node.replier.done(request)
        self._offer(node)

    def _pass_time(self, seconds):
        end = self.now + seconds
        while (due := self._next_due()) <= end:
            self.now = max(self.now, due)
            for requester in self._requesters():
                actions = requester.requester.handle_timer(self.now, is_heard=True, may_check=True)
                self._perform(requester, actions)
            for node in self._repliers():
                node.replier.handle_timer(self.now)
                self._offer(node)
        self.now = end

    def _next_due(self) -> float:
        deadlines = [node.requester.next_deadline() for node in self._requesters()]
        deadlines += [node.replier.next_deadline() for node in self._repliers()]
        return min((due for due in deadlines if due is not None), default=float("inf"))


# Minutes, on a machine that is busy with much else.
TestNetwork = pytest.mark.timeout(300)(Network.TestCase)
TestNetwork.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# Limits


def ask_for(requester: Requester, size: int, *, may_wait: bool = False) -> bool:
    """Have a requester ask for a request of that size; tells whether it does."""
    payload, request_id = Payload(bytes(size), is_msgpack=False), requester.new_id()
    return requester.ask(request_id, "call", payload, None, 0.0, may_wait=may_wait) is not None


def test_the_number_of_requests_that_wait_is_limited() -> None:
    requester = Requester()
    requester.limit_waiting(2, 1000)
    first = asked(requester)
    assert requester.has_room(1)
    asked(requester)
    assert not requester.has_room(1)
    assert not ask_for(requester, 1)
    assert requester.stats()["wait"] == 2
    requester.cancel(first)
    assert ask_for(requester, 1)
    assert ask_for(requester, 1, may_wait=True)
    assert requester.stats()["wait"] == 3


def test_the_bytes_of_requests_that_wait_are_limited_but_for_a_single_one() -> None:
    requester = Requester()
    requester.limit_waiting(100, 50)
    assert ask_for(requester, 1000)
    assert not ask_for(requester, 1)
    requester.end()
    for _ in range(2):
        assert ask_for(requester, 25)
        assert ask_for(requester, 25)
        assert not ask_for(requester, 1)
        requester.end()


def test_a_quick_replier_is_given_requests_whatever_the_limit_is() -> None:
    requester = Requester()
    requester.limit_waiting(1, 1)
    requester.finished(given(requester), 0.0)
    payload = Payload(bytes(1000), is_msgpack=False)
    give = requester.ask(requester.new_id(), "call", payload, None, 0.0, may_give=True)
    assert isinstance(give, Give)


def test_the_bytes_of_requests_that_wait_at_a_replier_are_limited_but_for_a_single_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(negotiation, "MAX_GIVEN_SIZE", 50)
    replier = Replier()
    for turn in range(3):
        assert replier.receive(ALICE, 1, bytes(30)) is None
        assert replier.receive(ALICE, 2, bytes(20)) is None
        assert replier.receive(ALICE, 3, bytes(1))
        assert replier.take() and replier.take()
        assert replier.stats()["refused"] == turn + 1
    assert replier.receive(ALICE, 4, bytes(1000)) is None
    assert replier.receive(ALICE, 5, bytes(1))


# Counts


def test_a_requester_counts_where_requests_are_and_how_they_ended() -> None:
    requester = Requester()
    done, failed, lost, forgotten = (given(requester) for _ in range(4))
    requester.finished(done, 1.0)
    requester.finished(done, 1.0)
    requester.finished(failed, 1.0, is_failure=True)
    requester.forget(forgotten)
    requester.forget(forgotten)
    requester.cancel(asked(requester))
    asked(requester)
    requester.refuse()
    counts = {"wait": 1, "running": 1, "done": 1, "failed": 2, "cancelled": 1, "refused": 1}
    assert requester.stats() == counts
    assert requester.is_running(lost)
    requester.contexts_gone([REPLIER])
    running = given(requester)
    assert requester.is_running(running)
    assert requester.stats() == {**counts, "failed": 3}
    requester.end()
    ended = {"wait": 0, "running": 0, "done": 1, "failed": 4, "cancelled": 2}
    assert requester.stats() == {**ended, "refused": 1}


def test_a_replier_counts_where_requests_are_and_how_they_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(negotiation, "MAX_GIVEN", 4)
    replier = Replier()
    for request_id in range(5):
        replier.receive(1, request_id, b"request")
    assert replier.peak == 4
    for is_failure in (False, True):
        replier.done(replier.take(), is_failure=is_failure)
    assert replier.take()
    counts = {"wait": 1, "running": 1, "done": 1, "failed": 1, "refused": 1}
    assert replier.stats() == counts
    replier.end()
    assert replier.stats() == {**counts, "wait": 0, "refused": 2}

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import Interrupted, call_with, is_interrupted

from yoton.numbering import BUNDLE_COUNT, BUNDLED_SIZE, Numbering
from yoton.package import Bundle, Envelope, Package

OWN = 1
BOB = 12
CHAT, LOG = Envelope(8), Envelope(9)
TO_BOB = Envelope(8, dest_id=BOB)


def numbered(*messages: tuple[Envelope, bytes]) -> list[Package]:
    """Get what is made of some messages at once."""
    numbering = Numbering(OWN)
    for envelope, data in messages:
        numbering.add(envelope, 0, data)
    return give_out(numbering)


def give_out(numbering: Numbering) -> list[Package]:
    packages: list[Package] = []
    numbering.give_out(packages.append)
    return packages


def messages_of(packages: Sequence[Package]) -> list[Package]:
    return [message for package in packages for message in package.packages()]


# Numbers


@given(
    st.lists(
        st.tuples(
            st.builds(
                Envelope,
                slot=st.sampled_from([8, 9]),
                dest_id=st.sampled_from([0, 0, BOB]),
                is_msgpack=st.booleans(),
            ),
            st.sampled_from([0, 0, 7]),
            st.binary(min_size=1, max_size=3),
            st.booleans(),
        )
    )
)
def test_every_message_gets_the_next_number_and_keeps_its_place(
    sent: list[tuple[Envelope, int, bytes, bool]],
) -> None:
    numbering = Numbering(OWN)
    packages: list[Package] = []
    for envelope, dest_seq, data, is_given_out in sent:
        numbering.add(envelope, dest_seq, data)
        if is_given_out:
            numbering.give_out(packages.append)
    numbering.give_out(packages.append)
    assert messages_of(packages) == [
        Package(data, slot, OWN, seq, dest_id, dest_seq, is_msgpack=is_msgpack)
        for seq, ((slot, dest_id, is_msgpack), dest_seq, data, _) in enumerate(sent, 1)
    ]


def test_it_tells_how_many_messages_wait() -> None:
    numbering = Numbering(OWN)
    numbering.add(CHAT, 0, b"one")
    numbering.add(LOG, 0, b"two")
    assert len(numbering) == 2
    give_out(numbering)
    assert len(numbering) == 0


def test_nothing_is_given_out_when_nothing_was_added() -> None:
    numbering = Numbering(OWN)
    assert give_out(numbering) == []
    numbering.add(CHAT, 0, b"one")
    assert len(give_out(numbering)) == 1
    assert give_out(numbering) == []


# Bundles


def test_a_message_by_itself_is_no_bundle() -> None:
    assert numbered((CHAT, b"one")) == [Package(b"one", 8, OWN, 1)]


def test_messages_that_follow_each_other_become_one_bundle() -> None:
    [bundle] = numbered((CHAT, b"one"), (CHAT, b"three"), (CHAT, b"4"))
    assert bundle == Bundle(b"onethree4", [3, 5, 1], 8, OWN, 3)


def test_a_bundle_says_whether_its_messages_are_in_msgpack() -> None:
    envelope = Envelope(8, is_msgpack=True)
    [bundle] = numbered((envelope, b"\xc0"), (envelope, b"\xc0"))
    assert bundle == Bundle(b"\xc0\xc0", [1, 1], 8, OWN, 2, is_msgpack=True)


def test_another_envelope_begins_another_package() -> None:
    packed = Envelope(8, is_msgpack=True)
    sent = (CHAT, b"1"), (CHAT, b"2"), (LOG, b"3"), (CHAT, b"4"), (packed, b"5")
    assert numbered(*sent) == [
        Bundle(b"12", [1, 1], 8, OWN, 2),
        Package(b"3", 9, OWN, 3),
        Package(b"4", 8, OWN, 4),
        Package(b"5", 8, OWN, 5, is_msgpack=True),
    ]


def test_a_bundle_is_for_the_one_that_its_messages_are_for() -> None:
    [bundle] = numbered((TO_BOB, b"1"), (TO_BOB, b"2"))
    assert bundle == Bundle(b"12", [1, 1], 8, OWN, 2, BOB)


def test_a_bundle_has_the_dest_seq_of_each_message_if_any_has_one() -> None:
    numbering = Numbering(OWN)
    for dest_seq in (0, 7, 8):
        numbering.add(TO_BOB, dest_seq, b"x")
    assert give_out(numbering) == [Bundle(b"xxx", [1, 1, 1], 8, OWN, 3, BOB, [0, 7, 8])]


def test_a_bundle_has_so_many_messages_at_most() -> None:
    counts = [package.count for package in numbered(*(2 * BUNDLE_COUNT + 1) * [(CHAT, b"x")])]
    assert counts == [BUNDLE_COUNT, BUNDLE_COUNT, 1]


def test_large_messages_are_not_copied_into_a_bundle() -> None:
    small, large = bytes(BUNDLED_SIZE), bytes(BUNDLED_SIZE + 1)
    assert [package.count for package in numbered((CHAT, small), (CHAT, small))] == [2]
    packages = numbered((CHAT, b"one"), (CHAT, large))
    assert [package.count for package in packages] == [1, 1]
    assert packages[1].data is large


# A call in the middle of another, and its end in the middle


def test_what_is_added_while_it_gives_out_follows_with_the_next_number() -> None:
    numbering = Numbering(OWN)
    packages: list[Package] = []

    def receive(package: Package) -> None:
        packages.append(package)
        if len(packages) == 1:
            numbering.add(CHAT, 0, b"later")
            numbering.give_out(receive)
            assert len(packages) == 1

    numbering.add(CHAT, 0, b"one")
    numbering.add(LOG, 0, b"two")
    numbering.give_out(receive)
    assert packages == [
        Package(b"one", 8, OWN, 1),
        Package(b"two", 9, OWN, 2),
        Package(b"later", 8, OWN, 3),
    ]


def test_what_an_error_stopped_is_given_out_again_with_its_number() -> None:
    numbering = Numbering(OWN)
    for data in (b"1", b"2"):
        numbering.add(CHAT, 0, data)
    numbering.add(LOG, 0, b"3")

    def fail(package: Package) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        numbering.give_out(fail)
    numbering.add(LOG, 0, b"4")
    assert give_out(numbering) == [
        Bundle(b"12", [1, 1], 8, OWN, 2),
        Package(b"3", 9, OWN, 3),
        Package(b"4", 9, OWN, 4),
    ]


#: Bundles, single messages, and a change of the envelope.
MIXED = ((CHAT, b"1"), (CHAT, b"2"), (TO_BOB, b"3"), (TO_BOB, b"4"), (LOG, b"5"))


def at_every_moment(disturb: Callable[[Numbering, list[Package], int], bool]) -> None:
    """Disturb giving out; the numbering must lose nothing and give no message two numbers."""
    for messages, least_moments in ((MIXED, 20), (MIXED[:1], 10)):
        moment = 0
        is_over = False
        while not is_over:
            moment += 1
            numbering, received = Numbering(OWN), list[Package]()
            for envelope, data in messages:
                numbering.add(envelope, 0, data)
            is_over = not disturb(numbering, received, moment)
            numbering.add(LOG, 0, b"last")
            numbering.give_out(received.append)
            assert not numbering._is_giving_out
            check(received, [data for _, data in messages])
        assert moment > least_moments


def check(received: list[Package], expected: list[bytes]) -> None:
    messages = messages_of(received)
    number_of = {message.data: message.source_seq for message in messages}
    # The same number each time that a message was given out.
    assert all(number_of[message.data] == message.source_seq for message in messages)
    # Without those that receivers drop, as they have had them, all are there, in order.
    news: list[Package] = []
    for message in messages:
        if not news or message.source_seq > news[-1].source_seq:
            news.append(message)
    assert [message.source_seq for message in news] == list(range(1, len(number_of) + 1))
    data = [message.data for message in news if message.data != b"intruder"]
    assert data == [*expected, b"last"]


def test_an_interrupt_at_any_moment_loses_no_message_and_renumbers_none() -> None:
    at_every_moment(
        lambda numbering, received, moment: is_interrupted(
            lambda: numbering.give_out(received.append), moment
        )
    )


def test_a_finalizer_may_send_at_any_moment() -> None:
    def disturb(numbering: Numbering, received: list[Package], moment: int) -> bool:
        def send() -> None:
            numbering.add(CHAT, 0, b"intruder")
            numbering.give_out(received.append)

        is_disturbed = call_with(lambda: numbering.give_out(received.append), send, moment)
        # Left to the call that it was in the middle of.
        sent = [message.data for message in messages_of(received)]
        assert sent.count(b"intruder") == is_disturbed
        assert len(numbering) == 0
        return is_disturbed

    at_every_moment(disturb)


def test_an_interrupt_right_after_a_finalizer_has_sent_loses_neither() -> None:
    def disturb(numbering: Numbering, received: list[Package], moment: int) -> bool:
        def send_and_interrupt() -> None:
            numbering.add(CHAT, 0, b"intruder")
            numbering.give_out(received.append)
            raise Interrupted

        try:
            call_with(lambda: numbering.give_out(received.append), send_and_interrupt, moment)
        except Interrupted:
            return True
        return False

    at_every_moment(disturb)


def test_two_interrupts_one_after_the_other_lose_nothing() -> None:
    def disturb(numbering: Numbering, received: list[Package], moment: int) -> bool:
        def give_out() -> None:
            numbering.give_out(received.append)

        is_disturbed = is_interrupted(give_out, moment)
        numbering.add(CHAT, 0, b"intruder")
        is_interrupted(give_out, moment)
        return is_disturbed

    at_every_moment(disturb)


def test_what_an_interrupt_left_is_not_done() -> None:
    def disturb(numbering: Numbering, received: list[Package], moment: int) -> bool:
        count = len(numbering)
        is_disturbed = is_interrupted(lambda: numbering.give_out(received.append), moment)
        if numbering.is_done:
            assert len({message.source_seq for message in messages_of(received)}) == count
        return is_disturbed

    at_every_moment(disturb)

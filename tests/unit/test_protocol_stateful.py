"""Two protocols over a fake link, with all that may happen to a link in any order."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from yoton.connection.framing import encode_package
from yoton.connection.protocol import (
    TRANSITIONS,
    Connected,
    Event,
    Failed,
    Identity,
    PackagesReceived,
    PeerClosed,
    Protocol,
    Role,
    State,
)
from yoton.package import Package

MAX_DATA_SIZE = 1000
#: Where packages may be sent, and the goodbye behind them.
MAY_SEND = (State.OPEN, State.PEER_CLOSING)


def reachable(state: State) -> set[State]:
    """Get the states that the table leads to, and the one where it begins."""
    return {state}.union(*(reachable(after) for after in TRANSITIONS[state].values()))


class End:
    """One end, and the bytes that are on their way to it."""

    def __init__(self, role: Role, own: Identity) -> None:
        self.own = own
        self.protocol = Protocol(role, own)
        self.incoming = b""
        #: The peer sends no more: what is in incoming is the rest.
        self.is_input_over = False
        self.is_eof_told = False
        self.has_ended_output = False
        self.sent: list[Package] = []
        self.sent_before_goodbye: int | None = None
        self.events: list[Event] = []
        self.states = [State.HANDSHAKE]

    def note(self, events: list[Event]) -> None:
        self.events += events
        self.states.append(self.protocol.state)

    @property
    def received(self) -> list[Package]:
        return [
            package
            for event in self.events
            if isinstance(event, PackagesReceived)
            for package in event.packages
        ]

    @property
    def final_events(self) -> list[Event]:
        return [event for event in self.events if isinstance(event, (PeerClosed, Failed))]


class LinkMachine(RuleBasedStateMachine):
    @initialize(is_extended=st.booleans(), is_connected=st.booleans())
    def make(self, is_extended: bool, is_connected: bool) -> None:
        self.is_extended = is_extended
        self.ends = (
            End(Role.CONNECTOR, Identity(1, 10, max_data_size=MAX_DATA_SIZE)),
            End(Role.BINDER, Identity(2, 20, max_data_size=MAX_DATA_SIZE)),
        )
        self.is_damaged = False
        self.carry_handshake()
        if is_connected:
            for index in (1, 0, 1, 0):
                self.deliver(index, None)
            assert all(end.protocol.state is State.OPEN for end in self.ends)

    def other(self, end: End) -> End:
        return self.ends[1 - self.ends.index(end)]

    def write(self, end: End, data: bytes) -> None:
        if not end.has_ended_output:
            self.other(end).incoming += data

    def carry_handshake(self) -> None:
        for end in self.ends:
            data = end.protocol.data_to_send()
            if not self.is_extended:
                # As if neither knew the extension.
                data = data.replace(b".+", b".")
            self.write(end, data)

    ends_of_link = st.integers(min_value=0, max_value=1)

    @rule(index=ends_of_link, size=st.none() | st.integers(min_value=1, max_value=200))
    def deliver(self, index: int, size: int | None) -> None:
        """Some of what is on its way arrives, or all with the end of the stream behind it."""
        end = self.ends[index]
        size = len(end.incoming) if size is None else size
        data, end.incoming = end.incoming[:size], end.incoming[size:]
        if data:
            end.note(end.protocol.receive_data(data))
            self.carry_handshake()
        if end.is_input_over and not end.incoming and not end.is_eof_told:
            end.is_eof_told = True
            end.note(end.protocol.receive_eof())

    @rule(index=ends_of_link, sizes=st.lists(st.integers(0, MAX_DATA_SIZE), min_size=1, max_size=4))
    def send(self, index: int, sizes: list[int]) -> None:
        """Packages of these sizes are sent, and a beat for each size of zero."""
        end = self.ends[index]
        if end.protocol.state not in MAY_SEND:
            return
        for size in sizes:
            if size == 0:
                self.write(end, end.protocol.send_beat())
                continue
            package = Package(bytes(size), 8, end.own.id, len(end.sent) + 1)
            end.sent.append(package)
            self.write(end, b"".join(encode_package(package)))

    @rule(index=ends_of_link, is_followed=st.booleans())
    def say_goodbye(self, index: int, is_followed: bool) -> None:
        """The end says goodbye; a package that follows all the same is not read."""
        end = self.ends[index]
        if end.protocol.state not in MAY_SEND:
            return
        self.write(end, end.protocol.send_close())
        end.sent_before_goodbye = len(end.sent)
        end.note([])
        if is_followed:
            self.write(end, b"".join(encode_package(Package(b"late", 8, end.own.id, 10**6))))

    @rule(index=ends_of_link, kept=st.none() | st.integers(min_value=0, max_value=300))
    def end_output(self, index: int, kept: int | None) -> None:
        """The end sends no more; of what is on its way, all or some arrives."""
        end = self.ends[index]
        end.has_ended_output = True
        receiver = self.other(end)
        receiver.is_input_over = True
        receiver.incoming = receiver.incoming[:kept]

    @rule(index=ends_of_link, garbage=st.binary(min_size=56, max_size=100))
    def damage(self, index: int, garbage: bytes) -> None:
        end = self.ends[index]
        if end.protocol.state is not State.HANDSHAKE:
            self.is_damaged = True
            self.write(end, b"\xff" + garbage)

    @invariant()
    def states_follow_the_table(self) -> None:
        for end in self.ends:
            assert end.protocol.state is end.states[-1]
            for before, after in itertools.pairwise(end.states):
                assert after in reachable(before)

    @invariant()
    def packages_arrive_once_and_in_order(self) -> None:
        for end in self.ends:
            assert end.received == self.other(end).sent[: len(end.received)]

    @invariant()
    def nothing_comes_before_the_handshake_or_behind_the_end(self) -> None:
        for end in self.ends:
            connected = [event for event in end.events if isinstance(event, Connected)]
            assert len(connected) <= 1
            if connected:
                assert end.events[0] is connected[0]
                assert connected[0].peer.id == self.other(end).own.id
                assert connected[0].peer.is_extended is self.is_extended
            assert len(end.final_events) <= 1
            if end.final_events:
                assert end.events[-1] is end.final_events[0]

    @invariant()
    def a_link_is_over_with_its_final_event(self) -> None:
        for end in self.ends:
            is_over = end.protocol.state in (State.PEER_CLOSING, State.CLOSED)
            assert is_over is bool(end.final_events)

    @invariant()
    def the_goodbye_of_the_peer_comes_after_all_that_it_sent(self) -> None:
        for end in self.ends:
            if end.protocol.state is State.PEER_CLOSING:
                assert end.events[-1] == PeerClosed()
                assert len(end.received) == self.other(end).sent_before_goodbye

    @invariant()
    def the_end_of_the_stream_answers_a_goodbye(self) -> None:
        for end in self.ends:
            if end.is_eof_told and end.sent_before_goodbye is not None and not self.is_damaged:
                assert end.final_events == [PeerClosed()]

    @invariant()
    def an_undamaged_line_is_never_lost_track_of(self) -> None:
        for end in self.ends:
            for event in end.final_events:
                if isinstance(event, Failed) and not self.is_damaged:
                    assert end.is_input_over

    def teardown(self) -> None:
        """Whatever happened: when both streams have ended, so has the link, once at each end."""
        for index in (0, 1):
            self.end_output(index, None)
        for index in (0, 1):
            self.deliver(index, None)
        for end in self.ends:
            if end.protocol.state is State.PEER_CLOSING:
                end.protocol.send_close()
            assert end.protocol.state is State.CLOSED
            assert len(end.final_events) == 1
            assert end.protocol.receive_eof() == end.protocol.receive_data(b"more") == []


TestLink = LinkMachine.TestCase
TestLink.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_all_that_was_sent_before_a_goodbye_arrives_when_the_line_lasts() -> None:
    machine = LinkMachine()
    machine.make(is_extended=True, is_connected=True)
    machine.send(0, [1, 1000])
    machine.say_goodbye(0, is_followed=True)
    machine.send(1, [5])
    machine.deliver(1, None)
    machine.send(1, [6])
    machine.say_goodbye(1, is_followed=True)
    machine.deliver(0, None)
    first, second = machine.ends
    assert second.received == first.sent
    assert first.received == second.sent
    assert first.final_events == second.final_events == [PeerClosed()]
    machine.teardown()

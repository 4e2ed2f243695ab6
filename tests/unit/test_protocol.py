from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import (
    BEAT,
    CLOSE,
    HELLO_ON_CHAT,
    LINE_OF_X,
    LINE_OF_Y,
    NEW_CONNECTION,
    X_ID,
    Y_ID,
    Y_PID,
    plain_package,
    read_plain_packages,
)

from yoton.connection.framing import (
    DEFAULT_MAX_DATA_SIZE,
    FrameDecoder,
    encode_bundle,
    encode_package,
)
from yoton.connection.handshake import NO_ROOM
from yoton.connection.protocol import (
    BEFORE_OPEN,
    MAX_GONE_SIZE,
    MAX_HELLO_SIZE,
    MAX_TOKEN_LENGTH,
    OTHER_END_DROPPED,
    TRANSITIONS,
    Acknowledged,
    BeatsWanted,
    Connected,
    ContextsGone,
    Event,
    Failed,
    Identity,
    Input,
    PackagesReceived,
    PeerClosed,
    Ping,
    Pong,
    Protocol,
    Resumed,
    Role,
    State,
    contexts_gone_package,
    encode_acknowledgement,
    encode_gap,
    encode_news,
    encode_notice,
    encode_ping,
    encode_pong,
    encode_resume,
    gap_package,
)
from yoton.directory import News
from yoton.entry import MAX_ENTRY_SIZE, Announcement, Endpoint, Entry, announcement_of
from yoton.entry import Peer as PeerContext
from yoton.exceptions import LocalUsageError, RemoteProtocolError
from yoton.gaps import MAX_LOSSES, Gap, Loss
from yoton.interest import Confirm, Decline, Notice, Want
from yoton.message_types import OBJECT
from yoton.package import EVERYONE, SLOT_LINK, Bundle, Package

OWN = Identity(0x0123456789ABCDEF, 4711, name="tested", max_data_size=10**6)
OWN_LINE = b"YOTON!0123456789abcdef.+4711\r\n"
PEER = Identity(0xFEDCBA9876543210, 1234, name="peer", max_data_size=10**5, speaks_msgpack=False)
PEER_LINE = b"YOTON!fedcba9876543210.+1234\r\n"

NOT_YOTON = b"ERROR: this is Yoton.\r\n"
BAD_ID = b"ERROR: could not parse id.\r\n"

HANDSHAKE_FAILED = "Handshake failed."

roles = pytest.mark.parametrize("role", Role)


def new_protocol(role: Role = Role.CONNECTOR) -> Protocol:
    return Protocol(role, OWN)


def hello(**changes: object) -> bytes:
    """Write the peer's hello; None leaves a field out."""
    fields = {
        "versions": [1],
        "name": "peer",
        "max_data_size": 10**5,
        "msgpack": False,
        **changes,
    }
    data = OBJECT.message_to_bytes({k: v for k, v in fields.items() if v is not None})
    return hello_with(data)


def hello_with(data: bytes, slot: int = SLOT_LINK, seq: int = 2) -> bytes:
    return b"".join(encode_package(Package(data, slot, PEER.id, seq)))


def contexts_gone(*ids: int) -> bytes:
    return b"".join(encode_package(contexts_gone_package(ids)))


def open_protocol(role: Role = Role.CONNECTOR, is_extended: bool = False) -> Protocol:
    protocol = new_protocol(role)
    protocol.receive_data(PEER_LINE + hello() if is_extended else LINE_OF_Y)
    protocol.data_to_send()
    assert protocol.state is State.OPEN
    return protocol


def package_of_y(data: bytes, seq: int) -> Package:
    return Package(data, 8, Y_ID, seq)


def receive_byte_by_byte(protocol: Protocol, data: bytes) -> list[Event]:
    events: list[Event] = []
    for byte in data:
        events += protocol.receive_data(bytes([byte]))
    return events


def packages_in(events: Iterable[Event]) -> list[Package]:
    return [p for event in events if isinstance(event, PackagesReceived) for p in event.packages]


def without_packages(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, PackagesReceived)]


def failure(events: list[Event]) -> Failed:
    """Get the last event, the only one of its kind."""
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert events[-1] is failed
    return failed


# The table


def closing(is_extended: bool) -> Protocol:
    protocol = open_protocol(is_extended=is_extended)
    protocol.send_close()
    return protocol


def peer_closing(is_extended: bool) -> Protocol:
    protocol = open_protocol(is_extended=is_extended)
    protocol.receive_data(CLOSE)
    return protocol


def closed(is_extended: bool) -> Protocol:
    protocol = closing(is_extended)
    protocol.receive_data(CLOSE)
    return protocol


def waiting_for_hello(is_extended: bool) -> Protocol:
    protocol = Protocol(Role.CONNECTOR, OWN.replaced(session="token", received=(3, 4)))
    protocol.receive_data(PEER_LINE)
    return protocol


def resuming(is_extended: bool) -> Protocol:
    protocol = waiting_for_hello(is_extended)
    protocol.receive_data(hello(sessions=True))
    return protocol


#: How to get a protocol into each state.
WAYS: dict[State, Callable[[bool], Protocol]] = {
    State.HANDSHAKE: lambda is_extended: new_protocol(),
    State.HELLO: waiting_for_hello,
    State.RESUMING: resuming,
    State.OPEN: lambda is_extended: open_protocol(is_extended=is_extended),
    State.CLOSING: closing,
    State.PEER_CLOSING: peer_closing,
    State.CLOSED: closed,
}

#: How to give it each input that comes from the peer. The lines are as long as a header, which
#: is what the protocol waits for behind the handshake.
GIVE: dict[Input, Callable[[Protocol], list[Event]]] = {
    Input.PLAIN_LINE: lambda protocol: protocol.receive_data(LINE_OF_Y + BEAT[:26]),
    Input.EXTENDED_LINE: lambda protocol: protocol.receive_data(PEER_LINE + hello()[:26]),
    Input.HELLO: lambda protocol: protocol.receive_data(hello()),
    Input.HELLO_OF_KEEPER: lambda protocol: protocol.receive_data(hello(sessions=True)),
    Input.RESUME: lambda protocol: protocol.receive_data(encode_resume(True, (5, 6))),
    Input.CLOSE_RECEIVED: lambda protocol: protocol.receive_data(CLOSE),
    Input.END_OF_STREAM: lambda protocol: protocol.receive_eof(),
    Input.VIOLATION: lambda protocol: protocol.receive_data(bytes(56)),
}

#: What only an extended peer says.
OF_THE_BEGINNING = (Input.HELLO, Input.HELLO_OF_KEEPER, Input.RESUME)

IN_TABLE = [(state, what) for state, row in TRANSITIONS.items() for what in row]
NOT_IN_TABLE = [
    (state, what) for state in State for what in Input if what not in TRANSITIONS[state]
]

both = pytest.mark.parametrize("is_extended", [False, True], ids=["plain", "extended"])


def pairs(pairs: list[tuple[State, Input]]) -> pytest.MarkDecorator:
    names = [f"{state.name}-{what.name}" for state, what in pairs]
    return pytest.mark.parametrize(("state", "what"), pairs, ids=names)


@both
@pairs(IN_TABLE)
def test_each_transition_of_the_table_is_made(state: State, what: Input, is_extended: bool) -> None:
    protocol = WAYS[state](is_extended)
    assert protocol.state is state
    if what is Input.CLOSE_SENT:
        assert protocol.send_close() == CLOSE
    else:
        GIVE[what](protocol)
    assert protocol.state is TRANSITIONS[state][what]


@both
@pairs(NOT_IN_TABLE)
def test_what_is_not_in_the_table_is_refused_or_ignored(
    state: State, what: Input, is_extended: bool
) -> None:
    protocol = WAYS[state](is_extended)
    if what is Input.CLOSE_SENT:
        with pytest.raises(LocalUsageError, match="cannot say goodbye"):
            protocol.send_close()
        assert protocol.state is state
    elif state in (State.PEER_CLOSING, State.CLOSED):
        assert GIVE[what](protocol) == []
        assert protocol.state is state
    elif what in OF_THE_BEGINNING and state not in BEFORE_OPEN:
        # Said too late, it says nothing; a plain peer means something of its own by it.
        events = GIVE[what](protocol)
        assert events == ([] if is_extended else [PackagesReceived(packages_in(events))])
        assert protocol.state is state
    else:
        # A line or a goodbye where it cannot be.
        assert failure(GIVE[what](protocol)).error is not None
        assert protocol.state is State.CLOSED


def test_every_state_can_be_reached_and_left_for_the_end() -> None:
    reached = {State.HANDSHAKE}.union(*(row.values() for row in TRANSITIONS.values()))
    assert reached == set(State) == set(TRANSITIONS)
    assert all(TRANSITIONS[state] for state in State if state is not State.CLOSED)


# Handshake


def test_the_connecting_end_speaks_first() -> None:
    assert new_protocol(Role.CONNECTOR).data_to_send() == OWN_LINE
    assert new_protocol(Role.BINDER).data_to_send() == b""


def test_what_is_to_be_sent_is_given_once() -> None:
    protocol = new_protocol()
    assert protocol.data_to_send()
    assert protocol.data_to_send() == b""


@roles
@pytest.mark.parametrize("receive", [Protocol.receive_data, receive_byte_by_byte])
def test_a_plain_peer_is_connected_with_its_line(
    role: Role, receive: Callable[[Protocol, bytes], list[Event]]
) -> None:
    protocol = new_protocol(role)
    [event] = receive(protocol, LINE_OF_Y)
    assert isinstance(event, Connected)
    assert event.peer == Identity(
        Y_ID, Y_PID, "", DEFAULT_MAX_DATA_SIZE, speaks_msgpack=False, is_extended=False
    )
    assert protocol.data_to_send() == OWN_LINE  # and no hello


@roles
@pytest.mark.parametrize("receive", [Protocol.receive_data, receive_byte_by_byte])
def test_an_extended_peer_is_connected_with_its_hello(
    role: Role, receive: Callable[[Protocol, bytes], list[Event]]
) -> None:
    protocol = new_protocol(role)
    assert receive(protocol, PEER_LINE) == []
    assert receive(protocol, hello()) == [Connected(PEER)]
    [own_hello] = FrameDecoder().decode(protocol.data_to_send().removeprefix(OWN_LINE))
    assert (own_hello.slot, own_hello.source_id, own_hello.source_seq) == (SLOT_LINK, OWN.id, 2)
    fields = OBJECT.message_from_bytes(own_hello.data)
    assert fields.pop("library").startswith("yoton ")
    assert fields == {
        "versions": [1],
        "name": "tested",
        "max_data_size": 10**6,
        "msgpack": OWN.speaks_msgpack,
        "interest": OWN.tells_interest,
        "directory": OWN.tells_directory,
        "pings": OWN.answers_pings,
    }


def test_a_binding_end_says_hello_when_it_knows_who_comes() -> None:
    protocol = new_protocol(Role.BINDER)
    protocol.receive_data(PEER_LINE)
    assert protocol.data_to_send() == OWN_LINE
    protocol.receive_data(hello())
    assert len(FrameDecoder().decode(protocol.data_to_send())) == 1


@both
def test_a_peer_for_which_there_is_no_room_is_told(is_extended: bool) -> None:
    asked: list[Identity] = []

    def admits(peer: Identity) -> bool:
        asked.append(peer)
        return False

    protocol = Protocol(Role.BINDER, OWN, admits)
    data = PEER_LINE + hello() if is_extended else LINE_OF_Y
    assert protocol.receive_data(data + NEW_CONNECTION) == [Failed(NO_ROOM)]
    assert protocol.state is State.CLOSED
    assert [peer.id for peer in asked] == [PEER.id if is_extended else Y_ID]
    answer = protocol.data_to_send()
    if not is_extended:
        assert answer == b"ERROR: no room for another peer.\r\n"
        return
    peer = Protocol(Role.CONNECTOR, PEER.replaced(session="token"))
    failed = failure(receive_byte_by_byte(peer, answer))
    assert failed.reason == NO_ROOM
    assert peer.state is State.CLOSED


def test_nobody_asks_a_connecting_end_whether_it_has_room() -> None:
    for data in (LINE_OF_Y, PEER_LINE + hello()):
        protocol = Protocol(Role.CONNECTOR, OWN, lambda peer: False)
        assert isinstance(protocol.receive_data(data)[0], Connected)


def test_an_end_tells_where_its_pid_means_something_if_it_knows() -> None:
    connector = Protocol(Role.CONNECTOR, OWN.replaced(pid_space="a container"))
    binder = Protocol(Role.BINDER, PEER)
    binder.receive_data(connector.data_to_send())
    connector.receive_data(binder.data_to_send())
    [connected] = binder.receive_data(connector.data_to_send())
    assert isinstance(connected, Connected)
    assert connected.peer.pid_space == "a container"


@roles
@both
@pytest.mark.parametrize("receive", [Protocol.receive_data, receive_byte_by_byte])
def test_packages_behind_the_handshake_in_the_same_segment_are_read(
    role: Role, is_extended: bool, receive: Callable[[Protocol, bytes], list[Event]]
) -> None:
    protocol = new_protocol(role)
    handshake = PEER_LINE + hello() if is_extended else LINE_OF_Y
    events = receive(protocol, handshake + BEAT + NEW_CONNECTION + HELLO_ON_CHAT + CLOSE)
    assert isinstance(events[0], Connected)
    assert [package.data for package in packages_in(events)] == [
        b"NEW_CONNECTION",
        "héllo".encode(),
    ]
    assert events[-1] == PeerClosed()


def test_the_hello_of_a_peer_that_says_little_is_enough() -> None:
    protocol = new_protocol()
    data = PEER_LINE + hello(name=None, max_data_size=None, msgpack=None, library=["any"])
    [event] = protocol.receive_data(data)
    assert isinstance(event, Connected)
    assert event.peer == Identity(PEER.id, PEER.pid, speaks_msgpack=False)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", NOT_YOTON),
        (b"\r\n", NOT_YOTON),
        (b"\0", NOT_YOTON),
        (b"YOTON!12.x\r\n", BAD_ID),
        (b"YOTON!10000000000000000.1\r\n", BAD_ID),
        (b"YOTON!" + bytes(5000), BAD_ID),
    ],
    ids=["http", "nothing", "zero", "no pid", "large id", "endless"],
)
@pytest.mark.parametrize("receive", [Protocol.receive_data, receive_byte_by_byte])
def test_a_line_that_is_refused_is_answered_by_the_binding_end(
    data: bytes, answer: bytes, receive: Callable[[Protocol, bytes], list[Event]]
) -> None:
    protocol = new_protocol(Role.BINDER)
    failed = failure(receive(protocol, data))
    assert failed.reason == HANDSHAKE_FAILED
    assert isinstance(failed.error, RemoteProtocolError)
    assert protocol.data_to_send() == answer
    assert protocol.state is State.CLOSED


def test_the_connecting_end_does_not_answer_what_it_refuses() -> None:
    protocol = new_protocol(Role.CONNECTOR)
    assert failure(protocol.receive_data(NOT_YOTON)).reason == HANDSHAKE_FAILED
    assert protocol.data_to_send() == OWN_LINE


@roles
@pytest.mark.parametrize("line", [OWN_LINE, OWN_LINE.replace(b"+", b"")])
def test_a_context_does_not_connect_to_itself(role: Role, line: bytes) -> None:
    protocol = new_protocol(role)
    failed = failure(protocol.receive_data(line + hello()))
    assert failed.reason == "Handshake failed (context cannot connect to self)."
    assert protocol.data_to_send() == OWN_LINE
    assert protocol.state is State.CLOSED


def test_a_line_ends_with_the_stream_as_well() -> None:
    protocol = new_protocol(Role.BINDER)
    protocol.receive_data(LINE_OF_Y[:-2])
    connected, failed = protocol.receive_eof()
    assert isinstance(connected, Connected)
    assert failed == Failed(OTHER_END_DROPPED)
    assert protocol.data_to_send() == OWN_LINE


# Hello


@pytest.mark.parametrize(
    "data",
    [
        hello(versions=[]),
        hello(versions=[2, 3]),
        hello(versions=["1"]),
        hello(versions=[[1]]),
        hello(versions=None),
        hello(versions=1),
        hello(name=7),
        hello(max_data_size="many"),
        hello(max_data_size=0),
        hello(max_data_size=-1),
        hello(msgpack=1),
        hello(directory=1),
        hello_with(OBJECT.message_to_bytes([1, 2])),
        hello_with(OBJECT.message_to_bytes(None)),
        hello_with(b"d\x01s\x08ver"),
        hello_with(b"\xff\xff"),
        hello_with(30000 * b"l\x01" + b"n"),
        hello_with(30000 * b"\x91" + b"\xc0"),
        hello_with(b"s\xff" + struct.pack("<Q", 2**62) + b"x"),
        hello_with(b"l\xff" + struct.pack("<Q", 2**62)),
        hello_with(OBJECT.message_to_bytes({"versions": [1]}), slot=8),
        hello_with(OBJECT.message_to_bytes({"versions": [1]}), seq=3),
        hello_with(OBJECT.message_to_bytes("x" * MAX_HELLO_SIZE)),
        hello_with(b"", seq=2),
        HELLO_ON_CHAT,
        CLOSE,
        BEAT,
        bytes(56),
    ],
)
def test_a_hello_that_is_none_is_refused(data: bytes) -> None:
    for receive in (Protocol.receive_data, receive_byte_by_byte):
        protocol = new_protocol()
        failed = failure(receive(protocol, PEER_LINE + data + HELLO_ON_CHAT))
        assert failed.reason == HANDSHAKE_FAILED
        assert failed.error is not None
        assert len(str(failed.error)) < 200
        assert protocol.state is State.CLOSED


def test_the_largest_hello_is_read() -> None:
    size = MAX_HELLO_SIZE - len(hello(name="")) + 56 - 8  # a long text takes 8 bytes more
    protocol = new_protocol()
    data = hello(name="x" * size)
    assert len(data) == 56 + MAX_HELLO_SIZE
    [event] = protocol.receive_data(PEER_LINE + data)
    assert isinstance(event, Connected)


@roles
def test_a_hello_that_is_too_large_is_refused_before_it_comes(role: Role) -> None:
    protocol = new_protocol(role)
    protocol.receive_data(PEER_LINE)
    header = hello_with(bytes(MAX_HELLO_SIZE + 1))[:56]
    assert receive_byte_by_byte(protocol, header[:-1]) == []
    failed = failure(protocol.receive_data(header[-1:]))
    assert failed.reason == HANDSHAKE_FAILED
    assert "65537 bytes" in str(failed.error)


def test_the_packages_behind_the_hello_may_be_larger_than_a_hello() -> None:
    protocol = new_protocol()
    large = plain_package(bytes(2 * MAX_HELLO_SIZE), 1)
    events = protocol.receive_data(PEER_LINE + hello() + large[:1000])
    events += protocol.receive_data(large[1000:])
    assert [len(package.data) for package in packages_in(events)] == [2 * MAX_HELLO_SIZE]


# Packages


@both
def test_packages_are_handed_on_together(is_extended: bool) -> None:
    protocol = open_protocol(is_extended=is_extended)
    data = plain_package(b"one", 1) + plain_package(b"two", 2)
    sent = [package_of_y(b"one", 1), package_of_y(b"two", 2)]
    assert protocol.receive_data(data) == [PackagesReceived(sent)]


@both
@given(places=st.lists(st.integers(0, 700), max_size=10))
def test_packages_cut_anywhere_arrive_once_and_in_order(
    is_extended: bool, places: list[int]
) -> None:
    protocol = new_protocol(Role.BINDER)
    stream = PEER_LINE + hello() if is_extended else LINE_OF_Y
    for seq in range(1, 6):
        stream += BEAT + plain_package(seq * b"x", seq)
    bounds = [0, *sorted(place % len(stream) for place in places), len(stream)]
    events: list[Event] = []
    for start, end in itertools.pairwise(bounds):
        events += protocol.receive_data(stream[start:end])
    assert packages_in(events) == [package_of_y(seq * b"x", seq) for seq in range(1, 6)]
    assert [type(event) for event in without_packages(events)] == [Connected]


@both
def test_beats_and_unknown_signals_are_ignored(is_extended: bool) -> None:
    protocol = open_protocol(is_extended=is_extended)
    assert protocol.send_beat() == BEAT
    unknown = BEAT[:24] + struct.pack("<Q", 9) + BEAT[32:]
    assert protocol.receive_data(BEAT + unknown + BEAT) == []
    assert protocol.state is State.OPEN


def test_a_signal_counts_whatever_its_slot_and_source_are() -> None:
    protocol = open_protocol()
    signal = struct.pack("<8s6Q", b"YOTON   ", 77, Y_ID, 1, X_ID, 5, 0)
    assert protocol.receive_data(signal) == [PeerClosed()]


@both
def test_the_line_is_lost_with_a_wrong_magic(is_extended: bool) -> None:
    protocol = open_protocol(is_extended=is_extended)
    events = protocol.receive_data(plain_package(b"one", 1) + b"NOTON   " + bytes(48))
    assert packages_in(events) == [package_of_y(b"one", 1)]
    failed = failure(events)
    assert failed.reason == "Lost track of the stream."
    assert isinstance(failed.error, RemoteProtocolError)
    assert protocol.receive_data(plain_package(b"two", 2)) == []


def test_a_package_over_the_limit_ends_the_link() -> None:
    protocol = open_protocol()
    header = BEAT[:48] + struct.pack("<Q", OWN.max_data_size + 1)
    assert "1000001 bytes announced" in failure(protocol.receive_data(header)).reason
    assert protocol.receive_eof() == []


# The link's own packages between extended ends


def test_contexts_that_are_gone_are_told_in_their_place() -> None:
    protocol = open_protocol(is_extended=True)
    data = plain_package(b"one", 1) + contexts_gone(X_ID, Y_ID) + plain_package(b"two", 2)
    assert protocol.receive_data(data) == [
        PackagesReceived([package_of_y(b"one", 1)]),
        ContextsGone([X_ID, Y_ID]),
        PackagesReceived([package_of_y(b"two", 2)]),
    ]


def test_a_list_of_contexts_that_is_cut_off_gives_the_whole_ones() -> None:
    protocol = open_protocol(is_extended=True)
    package = Package(struct.pack("<QI", X_ID, 7), SLOT_LINK, 0, 3)
    assert protocol.receive_data(b"".join(encode_package(package))) == [ContextsGone([X_ID])]


def test_a_list_of_contexts_has_a_limit() -> None:
    protocol = Protocol(Role.CONNECTOR, OWN.replaced(max_data_size=2 * MAX_GONE_SIZE))
    protocol.receive_data(PEER_LINE + hello())
    [event] = protocol.receive_data(contexts_gone(*range(MAX_GONE_SIZE // 8)))
    assert isinstance(event, ContextsGone)
    failed = failure(protocol.receive_data(contexts_gone(*range(MAX_GONE_SIZE // 8 + 1))))
    assert failed.reason == f"The peer's list of contexts has {MAX_GONE_SIZE + 8} bytes."
    assert protocol.state is State.CLOSED


def test_what_a_later_version_says_is_ignored() -> None:
    protocol = open_protocol(is_extended=True)
    assert protocol.receive_data(hello_with(b"news", seq=99)) == []
    assert protocol.state is State.OPEN


def test_a_plain_peer_has_no_packages_of_the_link() -> None:
    protocol = open_protocol()
    data = contexts_gone(X_ID)
    assert [package.slot for package in packages_in(protocol.receive_data(data))] == [SLOT_LINK]


# The end


@both
def test_the_goodbye_of_the_peer_comes_after_all_it_sent(is_extended: bool) -> None:
    protocol = open_protocol(is_extended=is_extended)
    data = plain_package(b"one", 1) + CLOSE + plain_package(b"two", 2)
    assert protocol.receive_data(data) == [
        PackagesReceived([package_of_y(b"one", 1)]),
        PeerClosed(),
    ]
    assert protocol.state is State.PEER_CLOSING
    assert protocol.receive_eof() == []
    assert protocol.send_close() == CLOSE
    assert protocol.state is State.CLOSED


@both
def test_the_peer_may_send_until_its_own_goodbye(is_extended: bool) -> None:
    protocol = open_protocol(is_extended=is_extended)
    assert protocol.send_close() == CLOSE
    assert packages_in(protocol.receive_data(plain_package(b"one", 1)))
    assert protocol.receive_data(CLOSE) == [PeerClosed()]
    assert protocol.receive_eof() == []


def test_the_end_of_the_stream_answers_a_goodbye() -> None:
    protocol = open_protocol()
    protocol.send_close()
    protocol.receive_data(HELLO_ON_CHAT[:60])
    assert protocol.receive_eof() == [PeerClosed()]


def test_a_fault_behind_the_goodbye_does_not_matter() -> None:
    protocol = open_protocol()
    assert protocol.receive_data(CLOSE + bytes(56)) == [PeerClosed()]


@both
def test_a_stream_that_ends_anywhere_ends_the_link_once(is_extended: bool) -> None:
    handshake = PEER_LINE + hello() if is_extended else LINE_OF_Y
    stream = handshake + NEW_CONNECTION + BEAT + HELLO_ON_CHAT
    boundaries = {
        len(handshake) + sum(map(len, (NEW_CONNECTION, BEAT, HELLO_ON_CHAT)[:count]))
        for count in range(4)
    }
    for end in range(len(stream) + 1):
        protocol = new_protocol(Role.BINDER)
        events = protocol.receive_data(stream[:end]) + protocol.receive_eof()
        failed = failure(events)
        is_connected = isinstance(events[0], Connected)
        # The end of the stream ends a line; what of the number is there counts.
        first_digit = LINE_OF_Y.index(b".") + 1
        assert is_connected is (end >= len(handshake) if is_extended else end > first_digit)
        assert failed.reason == (OTHER_END_DROPPED if is_connected else HANDSHAKE_FAILED)
        is_cut_off = end > len(handshake) and end not in boundaries
        assert (str(failed.error) == "The stream ended in the middle of a package.") is is_cut_off
        assert protocol.state is State.CLOSED
        assert protocol.receive_eof() == protocol.receive_data(HELLO_ON_CHAT) == []


@given(st.lists(st.binary(max_size=200), max_size=10), st.sampled_from(list(WAYS)), st.booleans())
def test_no_bytes_raise_anything(chunks: list[bytes], state: State, is_extended: bool) -> None:
    protocol = WAYS[state](is_extended)
    is_over = state in (State.PEER_CLOSING, State.CLOSED)
    for chunk in chunks:
        for event in protocol.receive_data(chunk):
            assert not is_over
            is_over = isinstance(event, (Failed, PeerClosed))
    assert (protocol.state in (State.PEER_CLOSING, State.CLOSED)) is is_over
    final_events = [event for event in protocol.receive_eof() if not isinstance(event, Connected)]
    assert len(final_events) == (0 if is_over else 1)
    assert protocol.state in (State.PEER_CLOSING, State.CLOSED)


# Two ends


def connect(connector: Protocol, binder: Protocol) -> tuple[list[Event], list[Event]]:
    events: tuple[list[Event], list[Event]] = ([], [])
    ends = (connector, binder)
    is_silent = False
    while not is_silent:
        is_silent = True
        for sender, receiver, received in ((0, 1, events[1]), (1, 0, events[0])):
            data = ends[sender].data_to_send()
            if data:
                is_silent = False
                received += receive_byte_by_byte(ends[receiver], data)
    return events


def test_two_ends_of_this_package_know_each_other() -> None:
    own, other = OWN, PEER.replaced(speaks_msgpack=True)
    connector, binder = Protocol(Role.CONNECTOR, own), Protocol(Role.BINDER, other)
    assert connect(connector, binder) == ([Connected(other)], [Connected(own)])


@pytest.mark.parametrize("first_is_connector", [True, False])
def test_two_ends_part_in_an_orderly_way(first_is_connector: bool) -> None:
    ends = [Protocol(Role.CONNECTOR, OWN), Protocol(Role.BINDER, PEER)]
    connect(*ends)
    first, second = ends if first_is_connector else reversed(ends)
    assert second.receive_data(plain_package(b"last", 1) + first.send_close()) == [
        PackagesReceived([package_of_y(b"last", 1)]),
        PeerClosed(),
    ]
    assert second.receive_eof() == []
    assert packages_in(first.receive_data(plain_package(b"answer", 1)))
    assert first.receive_data(second.send_close()) == [PeerClosed()]
    assert first.receive_eof() == []
    assert first.state is second.state is State.CLOSED


def test_two_ends_can_say_goodbye_at_the_same_time() -> None:
    ends = [Protocol(Role.CONNECTOR, OWN), Protocol(Role.BINDER, PEER)]
    connect(*ends)
    goodbyes = [end.send_close() for end in ends]
    for end, goodbye in zip(ends, reversed(goodbyes), strict=True):
        assert end.receive_data(goodbye) == [PeerClosed()]
        assert end.receive_eof() == []
        assert end.state is State.CLOSED


# A peer like the yoton inside Pyzo


class PlainPeer:
    """Does what was observed of it; it ends without a goodbye, but understands one."""

    def __init__(self, role: Role) -> None:
        self.output = LINE_OF_X if role is Role.CONNECTOR else b""
        self._role = role
        self._input = b""
        self._has_line = False
        self.received: list[tuple[int, bytes]] = []
        self.is_closed = False

    def receive(self, data: bytes) -> None:
        self._input += data
        if not self._has_line:
            line, end, rest = self._input.partition(b"\r\n")
            if not end:
                return
            self._has_line = True
            self._input = rest
            context_id, _, pid = line.removeprefix(b"YOTON!").partition(b".")
            # The plus of the extension is the sign of a number to it.
            assert (int(context_id, 16), int(pid)) == (OWN.id, OWN.pid)
            if self._role is Role.BINDER:
                self.output += LINE_OF_X
        packages = read_plain_packages(self._input)
        self._input = b""
        self.received += [package for package in packages if package[1]]
        self.is_closed |= (1, b"") in packages


@roles
def test_a_plain_peer_understands_this_end(role: Role) -> None:
    protocol = new_protocol(role)
    peer = PlainPeer(Role.BINDER if role is Role.CONNECTOR else Role.CONNECTOR)
    events: list[Event] = []
    while protocol.state is State.HANDSHAKE:
        peer.receive(protocol.data_to_send())
        events += protocol.receive_data(peer.output)
        peer.output = b""
    peer.receive(protocol.data_to_send())
    assert [type(event) for event in events] == [Connected]
    package = Package(b"hi", 8, OWN.id, 1, EVERYONE)
    peer.receive(b"".join(encode_package(package)) + protocol.send_beat())
    assert not peer.is_closed
    peer.receive(protocol.send_close())
    assert peer.received == [(1, b"hi")]
    assert peer.is_closed
    assert protocol.receive_eof() == [PeerClosed()]


def test_behind_a_goodbye_the_peer_only_says_what_it_has_got() -> None:
    behind = plain_package(b"late", 3) + encode_acknowledgement((1, 2))
    for says_goodbye_first in (False, True):
        protocol = open_protocol(is_extended=True)
        if says_goodbye_first:
            protocol.send_close()
        assert protocol.receive_data(CLOSE + behind) == [PeerClosed(), Acknowledged((1, 2))]
        assert protocol.receive_data(behind[:20]) == []
        assert protocol.receive_data(behind[20:]) == [Acknowledged((1, 2))]
        if not says_goodbye_first:
            protocol.send_close()
            assert protocol.receive_data(behind) == [Acknowledged((1, 2))]
        assert protocol.receive_eof() == []


def test_who_broke_the_protocol_is_not_heard_any_more() -> None:
    protocol = open_protocol(is_extended=True)
    [failed] = protocol.receive_data(bytes(100))
    assert isinstance(failed, Failed)
    assert protocol.receive_data(encode_acknowledgement((1, 2))) == []


# Reading again


def test_it_understands_again_from_a_bookmark() -> None:
    protocol = open_protocol(is_extended=True)
    first = plain_package(b"one", 1)
    protocol.receive_data(first[:10])
    bookmark = protocol.bookmark
    rest = first[10:] + CLOSE
    events = protocol.receive_data(rest)
    assert protocol.state is State.PEER_CLOSING
    protocol.bookmark = bookmark
    assert protocol.state is State.OPEN
    assert protocol.receive_data(rest) == events
    assert protocol.state is State.PEER_CLOSING


def test_a_package_that_comes_alone_is_had_the_short_way() -> None:
    protocol = open_protocol()
    data = plain_package(b"one", 1)
    package = protocol.lone_package(data)
    assert protocol.receive_data(data) == [PackagesReceived([package])]


def test_what_the_link_itself_says_takes_the_long_way() -> None:
    protocol = open_protocol(is_extended=True)
    assert protocol.lone_package(protocol.send_watch()) is None
    assert protocol.lone_package(BEAT) is None


def test_behind_a_goodbye_nothing_is_had_the_short_way() -> None:
    protocol = open_protocol()
    protocol.receive_data(CLOSE)
    assert protocol.lone_package(plain_package(b"one", 1)) is None


def test_it_asks_for_the_rest_of_a_large_package() -> None:
    protocol = open_protocol()
    data = plain_package(bytes(2**18), 1)
    assert protocol.missing_size == 0
    protocol.receive_data(data[:1000])
    assert protocol.missing_size == len(data) - 1000


NOTICES = [Decline(100), Want(7), Want(7, (100, 2**64 - 1)), Confirm(2**64 - 1)]


@pytest.mark.parametrize("notice", NOTICES, ids=repr)
def test_an_extended_end_can_tell_what_is_wanted(notice: Notice) -> None:
    assert open_protocol(is_extended=True).receive_data(encode_notice(notice)) == [notice]


@pytest.mark.parametrize("notice", NOTICES, ids=repr)
def test_a_plain_end_tells_no_such_thing(notice: Notice) -> None:
    [event] = open_protocol().receive_data(encode_notice(notice))
    assert isinstance(event, PackagesReceived)


@pytest.mark.parametrize("number", [5, 6, 7, 8])
@pytest.mark.parametrize("data", [b"x", bytes(7), bytes(8)], ids=len)
def test_a_notice_without_numbers_or_of_another_kind_is_ignored(number: int, data: bytes) -> None:
    package = Package(data, SLOT_LINK, 0, number)
    stream = b"".join(encode_package(package))
    events = open_protocol(is_extended=True).receive_data(stream)
    assert len(events) == (len(data) == 8 and number < 8)


ENTRIES = [
    Entry(PeerContext(X_ID, 1, "host", "name", "program"), 1),
    Entry(
        PeerContext(2**64 - 1, 2, "host", "", "program"),
        7,
        (Endpoint("PubChannel", "a.txt.pub-sub", "a.txt.sub-pub"),),
        frozenset((X_ID, 2**63)),
    ),
]


def news_of(data: bytes) -> bytes:
    news = News()
    news.add([Announcement(ENTRIES[0], data)])
    return encode_news(news)


def test_what_is_told_of_contexts_arrives_in_its_place() -> None:
    news = News()
    news.add(map(announcement_of, ENTRIES))
    stream = [plain_package(b"before", 1), encode_news(news), plain_package(b"after", 2)]
    protocol = open_protocol(is_extended=True)
    events = receive_byte_by_byte(protocol, b"".join(stream))
    assert [type(event) for event in events[::3]] == [PackagesReceived, PackagesReceived]
    assert [event.entry for event in events[1:3]] == ENTRIES


@pytest.mark.parametrize(
    "data",
    [b"garbage", b"n", announcement_of(ENTRIES[1]).data[:-1], bytes(MAX_ENTRY_SIZE + 1)],
    ids=len,
)
def test_what_cannot_be_read_of_a_context_ends_the_link(data: bytes) -> None:
    protocol = open_protocol(is_extended=True)
    failed = failure(protocol.receive_data(news_of(data) + plain_package(b"after", 1)))
    assert failed.reason.startswith("What the peer tells of a context cannot be read: ")
    assert len(failed.reason) < 200
    assert protocol.state is State.CLOSED


def test_the_largest_entry_is_read_by_who_accepts_little() -> None:
    protocol = Protocol(Role.CONNECTOR, OWN.replaced(max_data_size=1))
    protocol.receive_data(PEER_LINE + hello())
    entry = ENTRIES[0]
    room = MAX_ENTRY_SIZE - len(announcement_of(entry).data)
    # A long text has a longer count.
    large = announcement_of(
        entry.replaced(peer=entry.peer.replaced(name="name" + (room - 8) * "x"))
    )
    assert len(large.data) == MAX_ENTRY_SIZE
    [event] = protocol.receive_data(news_of(large.data))
    assert event.entry == large.entry


def test_a_bundle_comes_by_itself() -> None:
    bundle = Bundle(b"onetwo", (3, 3), 8, X_ID, 3)
    stream = [
        plain_package(b"zero", 1),
        b"".join(encode_bundle(bundle)),
        plain_package(b"three", 4),
    ]
    protocol = open_protocol()
    counts = [len(event.packages) for event in protocol.receive_data(b"".join(stream))]
    assert counts == [2, 1]


def test_an_extended_end_can_ask_for_beats() -> None:
    watching, watched = open_protocol(), open_protocol(is_extended=True)
    assert watched.receive_data(watching.send_watch()) == [BeatsWanted()]


def test_pings_and_pongs_carry_their_number() -> None:
    protocol = open_protocol(is_extended=True)
    assert protocol.receive_data(encode_ping(7) + encode_pong(2**64 - 1)) == [
        Ping(7),
        Pong(2**64 - 1),
    ]


@pytest.mark.parametrize("number", [11, 12])
def test_a_ping_without_a_number_is_ignored_and_more_data_too(number: int) -> None:
    protocol = open_protocol(is_extended=True)
    for data, count in [(b"short", 0), (bytes(800), 1)]:
        package = Package(data, SLOT_LINK, 0, number)
        assert len(protocol.receive_data(b"".join(encode_package(package)))) == count


def test_a_hello_says_whether_pings_are_answered() -> None:
    protocol = Protocol(Role.BINDER, OWN)
    peer = Protocol(Role.CONNECTOR, PEER.replaced(answers_pings=True))
    protocol.receive_data(peer.data_to_send())
    peer.receive_data(protocol.data_to_send())
    [event] = protocol.receive_data(peer.data_to_send())
    assert isinstance(event, Connected)
    assert event.peer.answers_pings


# Sessions

receiving = pytest.mark.parametrize("receive", [Protocol.receive_data, receive_byte_by_byte])


def test_the_hello_of_a_connecting_end_names_its_session() -> None:
    own = OWN.replaced(session="token", received=(2**64 - 1, 7), keeps_sessions=True)
    protocol = Protocol(Role.CONNECTOR, own)
    protocol.receive_data(PEER_LINE)
    peer = Protocol(Role.BINDER, PEER)
    [event] = peer.receive_data(protocol.data_to_send())
    assert isinstance(event, Connected)
    assert event.peer == own.replaced(name=event.peer.name)
    assert event.peer.has_session
    assert not PEER.has_session


@receiving
@pytest.mark.parametrize("is_known", [True, False])
def test_a_session_goes_on_before_any_package(
    receive: Callable[[Protocol, bytes], list[Event]], is_known: bool
) -> None:
    protocol = resuming(True)
    package = Package(b"x", 8, PEER.id, 1)
    data = encode_resume(is_known, (2**64 - 1, 9)) + b"".join(encode_package(package))
    assert receive(protocol, data) == [
        Connected(PEER.replaced(keeps_sessions=True)),
        Resumed(is_known, (2**64 - 1, 9)),
        PackagesReceived([package]),
    ]


def test_without_a_session_nothing_is_waited_for() -> None:
    protocol = new_protocol()
    protocol.receive_data(PEER_LINE + hello(sessions=True))
    assert protocol.state is State.OPEN


@pytest.mark.parametrize("data", [b"x", b"\x01" * 7, b"\x01" * 23])
def test_a_session_that_goes_on_by_halves_fails(data: bytes) -> None:
    package = Package(data, SLOT_LINK, 0, 8)
    events = resuming(True).receive_data(b"".join(encode_package(package)))
    assert failure(events).reason == HANDSHAKE_FAILED


def test_a_stream_that_ends_before_the_session_goes_on_fails_the_handshake() -> None:
    assert resuming(True).receive_eof() == [Failed(HANDSHAKE_FAILED)]


def test_a_large_package_before_the_session_goes_on_is_refused_at_once() -> None:
    header = b"".join(encode_package(Package(bytes(MAX_HELLO_SIZE + 1), 8, 1, 1)))[:56]
    assert failure(resuming(True).receive_data(header)).reason == HANDSHAKE_FAILED


@pytest.mark.parametrize("received", ["", "1", "1.", "x.y", 7, "1.2.3"])
def test_a_place_that_is_none_fails_the_handshake(received: object) -> None:
    protocol = new_protocol(Role.BINDER)
    events = protocol.receive_data(PEER_LINE + hello(session="token", received=received))
    assert failure(events).reason == HANDSHAKE_FAILED


def test_a_token_is_bounded() -> None:
    protocol = new_protocol(Role.BINDER)
    [event] = protocol.receive_data(PEER_LINE + hello(session="x" * 1000))
    assert isinstance(event, Connected)
    assert event.peer.session == "x" * MAX_TOKEN_LENGTH


@receiving
def test_what_has_come_and_what_will_not_is_told(
    receive: Callable[[Protocol, bytes], list[Event]],
) -> None:
    gap = Gap((2**64 - 1, 8), [Loss(slot, EVERYONE, slot + 1) for slot in range(100)])
    data = encode_acknowledgement((2**64 - 1, 3)) + encode_gap(gap)
    assert receive(open_protocol(is_extended=True), data) == [Acknowledged((2**64 - 1, 3)), gap]


def test_a_gap_in_many_slots_is_told_in_one_package_that_any_peer_takes() -> None:
    losses = [Loss(slot, EVERYONE, 2) for slot in range(8, MAX_LOSSES + 18)]
    protocol = Protocol(Role.CONNECTOR, OWN.replaced(max_data_size=1))
    protocol.receive_data(PEER_LINE + hello())
    [gap] = protocol.receive_data(b"".join(encode_package(gap_package(losses, (1, 2)))))
    assert isinstance(gap, Gap)
    assert gap.losses == [*losses[:MAX_LOSSES], Loss(0, EVERYONE, 20)]
    assert gap.messages == 2 * len(losses)


@receiving
def test_what_was_lost_elsewhere_is_told_with_the_place_of_its_package(
    receive: Callable[[Protocol, bytes], list[Event]],
) -> None:
    losses = [Loss(8, EVERYONE, 2), Loss(9, 5, 2**64), Loss(8, EVERYONE, 1)]
    package = gap_package(losses, (2**64 - 1, 3))
    data = b"".join(encode_package(package))
    [gap] = receive(open_protocol(is_extended=True), data)
    place = package.source_id, package.source_seq
    told = [Loss(8, EVERYONE, 3), Loss(9, 5, 2**64 - 1)]
    assert gap == Gap(place, told, origin=(2**64 - 1, 3))
    assert place[0] != gap_package(losses, (1, 2)).source_id


@pytest.mark.parametrize("kind", [9, 10])
def test_what_is_told_by_halves_says_nothing(kind: int) -> None:
    data = b"".join(encode_package(Package(b"\x01" * 15, SLOT_LINK, 0, kind)))
    assert open_protocol(is_extended=True).receive_data(data) == []

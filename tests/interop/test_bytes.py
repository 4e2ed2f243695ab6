"""The bytes on the line to the yoton inside Pyzo, as recorded by a tap."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from interop.peer import Peer, bind
from interop.tap import Tap
from interop.wire import P, Package, encode, packages_in, read_object, slot_of, split_line
from support import PATIENCE, wait_until

from yoton import (
    BINARY,
    OBJECT,
    TEXT,
    Context,
    FileWrapper,
    PubChannel,
    RepChannel,
    ReqChannel,
    StateChannel,
    SubChannel,
)

MAGIC = bytes.fromhex("594f544f4e202020")
ZERO = bytes(8)
ONE = bytes.fromhex("0100000000000000")
BEAT = MAGIC + ONE + 5 * ZERO
CLOSE = MAGIC + ONE + ZERO + ONE + 3 * ZERO

CHAT = bytes.fromhex("8f160854e10f0000")
THINGS = bytes.fromhex("2a818a116b150000")
STATUS = bytes.fromhex("92688d5c960c0000")
REQUESTS = bytes.fromhex("0f4211bf460f0000")
REPLIES = bytes.fromhex("858e5130460f0000")

THING = {"a": [1, 2.5, None, True], "t": ("x", -1)}
THING_DATA = bytes.fromhex(
    "64027301616c046901000000000000006600000000000004406e6201730174740273017869ffffffffffffffff"
)


class Tapped:
    """A connection of ours to theirs, with a tap on it."""

    def __init__(self, ours: Context, theirs: Peer, tap: Tap, binder: str) -> None:
        self.ours = ours
        self.theirs = theirs
        if binder == "we bind":
            self.from_us, self.from_them = tap.from_binder, tap.from_connector
        else:
            self.from_us, self.from_them = tap.from_connector, tap.from_binder
        self._expected = b""
        self._seq = 0
        if binder == "they bind":
            # The end that connects tells all others of it.
            self.expect(number(2), b"NEW_CONNECTION")

    def expect(self, slot: bytes, data: bytes, dest_id: int = 0, dest_seq: int = 0) -> None:
        """Wait until we have said this, right after what was expected before, but for beats."""
        self._seq += 1
        fields = [self.ours.id, self._seq, dest_id, dest_seq, len(data)]
        self._expected += MAGIC + slot + b"".join(map(number, fields)) + data
        wait_until(lambda: len(self.said()) >= len(self._expected))
        assert self.said()[: len(self._expected)] == self._expected

    def said(self) -> bytes:
        """Get what we said so far, without our line and the beats."""
        if b"\r\n" not in self.from_us:
            return b""
        return split_line(self.from_us)[1].replace(BEAT, b"")


@pytest.fixture
def tapped(ours: Context, theirs: Peer, binder: str) -> Iterator[Tapped]:
    if binder == "we bind":
        with Tap(ours.bind("localhost:0").port1) as tap:
            theirs.run("context.connect(address)", address=f"localhost:{tap.port}")
            await_their_news(ours, theirs)
            yield Tapped(ours, theirs, tap, binder)
    else:
        with Tap(bind(theirs)) as tap:
            ours.connect(f"localhost:{tap.port}")
            yield Tapped(ours, theirs, tap, binder)


def await_their_news(ours: Context, theirs: Peer) -> None:
    """Wait until we have acted on their NEW_CONNECTION, which can make us repeat things."""
    theirs.run("news = yoton.PubChannel(context, 'news')")
    with SubChannel(ours, "news") as sub:
        # The first one may have come together with it, the second one comes later.
        for _ in range(2):
            theirs.run("news.send('x')")
            sub.recv(PATIENCE)


def number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def their_id(tapped: Tapped) -> int:
    return int(tapped.theirs.run("context.id"))


def test_the_lines_of_both_ends(tapped: Tapped) -> None:
    our_line, _ = split_line(tapped.from_us)
    assert our_line == f"YOTON!{tapped.ours.id:016x}.+{os.getpid()}\r\n".encode()
    their_line, _ = split_line(tapped.from_them)
    assert their_line == f"YOTON!{their_id(tapped):016x}.{tapped.theirs.pid}\r\n".encode()


def test_a_text(tapped: Tapped) -> None:
    PubChannel(tapped.ours, "chat").send("h\u00e9llo")
    tapped.expect(CHAT, bytes.fromhex("68c3a96c6c6f"))


def test_bytes(tapped: Tapped) -> None:
    PubChannel(tapped.ours, "raw", BINARY).send(b"\0\xff")
    tapped.expect(number(slot_of("raw.bin.pub-sub")), b"\0\xff")


def test_an_object(tapped: Tapped) -> None:
    PubChannel(tapped.ours, "things", OBJECT).send(THING)
    tapped.expect(THINGS, THING_DATA)


def test_packages_of_several_channels_have_numbers_in_a_row(tapped: Tapped) -> None:
    things = PubChannel(tapped.ours, "things", OBJECT)
    chat = PubChannel(tapped.ours, "chat")
    for _ in range(3):
        things.send(None)
        tapped.expect(THINGS, b"n")
        chat.send("x")
        tapped.expect(CHAT, b"x")


def test_a_state_and_its_repetition_for_those_who_come(tapped: Tapped) -> None:
    state = StateChannel(tapped.ours, "stat")
    state.send("Ready")
    state.send("Ready")
    tapped.expect(STATUS, b"Ready")
    with Peer() as newcomer:
        newcomer.run("context.connect(address)", address=f"localhost:{bind(tapped.theirs)}")
        tapped.expect(STATUS, b"Ready")


def test_a_request_of_ours(tapped: Tapped) -> None:
    tapped.theirs.run(
        """
        class Calculator(yoton.RepChannel):
            def add(self, a, b): return a + b
        rep = Calculator(context, 'calc')
        rep.set_mode('thread')
        """
    )
    assert ReqChannel(tapped.ours, "calc").add(3, 4).result(PATIENCE) == 7
    tapped.expect(REQUESTS, b"req?", dest_seq=P + 1)
    request = "7403 7303616464 7402 690300000000000000 690400000000000000 6400"
    tapped.expect(REQUESTS, bytes.fromhex(request), their_id(tapped), 1)
    tapped.expect(REQUESTS, b"req-", dest_seq=P + 1)


def test_a_reply_of_ours(tapped: Tapped) -> None:
    class Calculator(RepChannel):
        def add(self, a: int, b: int) -> int:
            return a + b

    rep = Calculator(tapped.ours, "calc")
    rep.set_mode("thread")
    tapped.theirs.run("req = yoton.ReqChannel(context, 'calc')")
    assert tapped.theirs.run("req.add(3, 4).result(5.0)") == 7
    tapped.expect(REPLIES, b"req!", their_id(tapped), P + 1)
    tapped.expect(REPLIES, bytes.fromhex("690700000000000000"), their_id(tapped), 1)


def test_an_error_of_ours(tapped: Tapped) -> None:
    class Calculator(RepChannel):
        def fail(self) -> None:
            raise ValueError("no")

    rep = Calculator(tapped.ours, "calc")
    rep.set_mode("thread")
    tapped.theirs.run("yoton.ReqChannel(context, 'calc').fail().exception(5.0)")
    tapped.expect(REPLIES, b"req!", their_id(tapped), P + 1)
    mark = b"t\x02s\x1cyoton_ERROR_HANDLING_REQUEST"
    tapped.expect(REPLIES, mark + b"s\x03no\n", their_id(tapped), 1)


@pytest.mark.parametrize("binder", ["they bind"])
def test_beats_and_nothing_else_while_idle(tapped: Tapped) -> None:
    before = len(tapped.from_us)
    time.sleep(1.0)
    beats = bytes(tapped.from_us[before:])
    # One each quarter of a second, or fewer on a loaded machine.
    assert beats in [BEAT * count for count in (2, 3, 4, 5)]


def test_a_close_is_the_last_thing_that_is_said(tapped: Tapped) -> None:
    PubChannel(tapped.ours, "chat").send("x")
    tapped.expect(CHAT, b"x")
    before = tapped.said()
    tapped.ours.close()
    wait_until(lambda: len(tapped.said()) > len(before))
    assert tapped.said() == before + CLOSE


# A whole session


class Calculator(RepChannel):
    def add(self, a: int, b: int) -> int:
        return a + b

    def fail(self) -> None:
        raise ValueError("no")


def test_in_a_session_with_all_channels_we_say_only_what_theirs_know(tapped: Tapped) -> None:
    ours, theirs = tapped.ours, tapped.theirs
    theirs.run(
        """
        class Calculator(yoton.RepChannel):
            def add(self, a, b): return a + b
        types = yoton.TEXT, yoton.BINARY, yoton.OBJECT
        pubs = [yoton.PubChannel(context, 'chat', t) for t in types]
        subs = [yoton.SubChannel(context, 'chat', t) for t in types]
        states = [yoton.StateChannel(context, 'stat', t) for t in types]
        rep, req = Calculator(context, 'theirs'), yoton.ReqChannel(context, 'ours')
        rep.set_mode('thread')
        """
    )
    types = TEXT, BINARY, OBJECT
    pubs = [PubChannel(ours, "chat", t) for t in types]
    subs = [SubChannel(ours, "chat", t) for t in types]
    states = [StateChannel(ours, "stat", t) for t in types]
    rep, req = Calculator(ours, "ours"), ReqChannel(ours, "theirs")
    rep.set_mode("thread")
    file = FileWrapper(PubChannel(ours, "file"), 256)
    subs[0].set_sync_mode(True)

    values: list[Any] = ["h\u00e9", b"\xff", THING]
    theirs.run("for i in range(50): pubs[0].send('x')")
    wait_until(lambda: subs[0].pending == 50)
    subs[0].recv_all()
    for pub, state, value in zip(pubs, states, values, strict=True):
        pub.send(value)
        state.send(value)
        pub.send(value * 2 if value is not THING else [THING] * 300)
    file.write("x" * 1000)
    assert req.add(3, 4).result(PATIENCE) == 7
    req.no_such_method().exception(PATIENCE)
    ReqChannel(ours, "nobody").add(1).cancel()
    assert theirs.run("req.add(3, 4).result(5.0)") == 7
    theirs.run("req.fail().exception(5.0)")
    with Peer() as newcomer:
        newcomer.run("context.connect(address)", address=f"localhost:{bind(theirs)}")
        newcomer.run("state = yoton.StateChannel(context, 'stat')")
        newcomer.wait_until("state.recv() == value", value=values[0])
    ours.close()

    said = packages_in(tapped.from_us)
    assert b"".join(map(encode, said)) == split_line(tapped.from_us)[1]
    about_the_link = [package for package in said if not package.data]
    assert {encode(package) for package in about_the_link} <= {BEAT, CLOSE}
    assert encode(said[-1]) == CLOSE
    made = [package for package in said if package.data]
    assert [package.source_seq for package in made] == list(range(1, len(made) + 1))
    assert {package.source_id for package in made} == {ours.id}
    kinds = Counter(kind_of(package, their_id(tapped)) for package in made)
    kinds.pop("new connection", None)
    assert set(kinds) == {
        *("text", "bytes", "object", "state text", "state bytes", "state object", "word"),
        *("question", "request", "settlement", "offer", "reply"),
    }


def kind_of(package: Package, their_id: int) -> str:
    """Tell what a package is by what is written of it; an AssertionError if it is nothing."""
    slot, _, _, dest_id, dest_seq, data = package
    if slot == 2:
        assert (dest_id, dest_seq, data) == (0, 0, b"NEW_CONNECTION")
        return "new connection"
    name = SLOT_NAMES[slot]
    if name.endswith(".pub-sub"):
        assert (dest_id, dest_seq) == (0, 0)
        return read(name, data)
    if name.endswith(".sub-pub"):
        assert (dest_id, dest_seq) == (0, 0)
        assert data in (b"full", b"ok")
        return "word"
    if name.endswith(".state"):
        assert (dest_id, dest_seq) == (0, 0)
        return "state " + read(name, data)
    if dest_seq > P:
        addressees = {b"req?": 0, b"req-": 0, b"req!": their_id}
        assert dest_id == addressees[data]
        return {b"req?": "question", b"req-": "settlement", b"req!": "offer"}[data]
    assert dest_id == their_id
    assert dest_seq > 0
    content = read_object(data)
    if name.endswith(".rep-req"):
        return "reply"
    method, args, kwargs = content
    assert (type(content), type(method), type(args), type(kwargs)) == (tuple, str, tuple, dict)
    return "request"


SLOT_NAMES = {
    slot_of(name): name
    for name in [
        *(f"chat.{kind}.{way}" for kind in ("txt", "bin", "obj") for way in ("pub-sub", "sub-pub")),
        *(f"stat.{kind}.state" for kind in ("txt", "bin", "obj")),
        *("file.txt.pub-sub", "theirs.obj.req-rep", "nobody.obj.req-rep", "ours.obj.rep-req"),
    ]
}


def read(name: str, data: bytes) -> str:
    if ".txt." in name:
        data.decode("utf-8")
        return "text"
    if ".bin." in name:
        return "bytes"
    read_object(data)
    return "object"

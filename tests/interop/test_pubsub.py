"""Publish/subscribe with the yoton inside Pyzo: TEXT, BINARY, OBJECT, files, SimpleSocket."""

from __future__ import annotations

import threading

import pytest
from interop.peer import BINDERS, Link, Peer, connect, connect_peers
from support import PATIENCE

from yoton import (
    BINARY,
    OBJECT,
    Context,
    FileWrapper,
    MessageType,
    PubChannel,
    SimpleSocket,
    SubChannel,
    select_sub_channel,
)

# Made at both ends rather than sent by the harness.
PATTERNS = {"ascii": "abcdefghi\n", "not ascii": "h\u00e9\u2603\U0001f40d\0\r\n"}
SIZES = [1, 100, 10_000_000]

OBJECTS = [
    None,
    True,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2.5,
    float("inf"),
    "",
    "h\u00e9\u2603\U0001f40d",
    [],
    (),
    {},
    [1, [2, (3, [4, {"five": 5}])]],
    {1: "int", None: "none", (1, 2): "tuple", "a": {"b": {"c": ()}}},
    *("\u00e9" * (n // 2) + "x" * (n % 2) for n in (254, 255, 256)),
    *([0] * n for n in (254, 255, 256)),
    *((None,) * n for n in (254, 255, 256)),
    *({i: str(i) for i in range(n)} for n in (254, 255, 256)),
]


def text_of(pattern: str, size: int) -> str:
    return (pattern * (size // len(pattern) + 1))[:size]


TEXT_OF = "(pattern * (size // len(pattern) + 1))[:size]"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_texts_of_all_sizes_arrive_both_ways(link: Link, pattern: str, size: int) -> None:
    pub, sub = PubChannel(link.ours, "out"), SubChannel(link.ours, "back")
    link.theirs.run(
        "sub = yoton.SubChannel(context, 'out'); pub = yoton.PubChannel(context, 'back')"
    )
    pub.send(text_of(pattern, size))
    assert link.theirs.run(f"sub.recv(20.0) == {TEXT_OF}", pattern=pattern, size=size)
    link.theirs.run(f"pub.send({TEXT_OF})")
    assert sub.recv(PATIENCE) == text_of(pattern, size)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_of_all_sizes_arrive_both_ways(link: Link, size: int) -> None:
    pub, sub = PubChannel(link.ours, "out", BINARY), SubChannel(link.ours, "back", BINARY)
    link.theirs.run(
        """
        sub = yoton.SubChannel(context, 'out', yoton.BINARY)
        pub = yoton.PubChannel(context, 'back', yoton.BINARY)
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        """,
        size=size,
    )
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    pub.send(data)
    assert link.theirs.run("sub.recv(20.0) == data")
    link.theirs.run("pub.send(data)")
    assert sub.recv(PATIENCE) == data


def test_objects_arrive_both_ways_with_their_types(link: Link) -> None:
    pub, sub = PubChannel(link.ours, "out", OBJECT), SubChannel(link.ours, "back", OBJECT)
    link.theirs.run(
        """
        sub = yoton.SubChannel(context, 'out', yoton.OBJECT)
        pub = yoton.PubChannel(context, 'back', yoton.OBJECT)
        """
    )
    for value in OBJECTS:
        pub.send(value)
    came = link.theirs.run("came = [sub.recv(5.0) for _ in range(n)]; repr(came)", n=len(OBJECTS))
    assert came == repr(OBJECTS)
    link.theirs.run("for value in came: pub.send(value)")
    assert repr([sub.recv(PATIENCE) for _ in OBJECTS]) == repr(OBJECTS)


class Row(MessageType):
    """A type of the user's own: a list of texts."""

    def message_type_name(self) -> str:
        return "row"

    def message_to_bytes(self, message: list[str]) -> bytes:
        return "\t".join(message).encode()

    def message_from_bytes(self, data: bytes) -> list[str]:
        return data.decode().split("\t")


def test_a_message_type_of_the_users_own(link: Link) -> None:
    pub, sub = PubChannel(link.ours, "out", Row()), SubChannel(link.ours, "back", Row())
    link.theirs.run(
        """
        class Row(yoton.MessageType):
            def message_type_name(self): return 'row'
            def message_to_bytes(self, message): return '\\t'.join(message).encode()
            def message_from_bytes(self, data): return data.decode().split('\\t')
        sub = yoton.SubChannel(context, 'out', Row())
        pub = yoton.PubChannel(context, 'back', Row())
        """
    )
    pub.send(["a", "b"])
    assert link.theirs.run("row = sub.recv(5.0); pub.send(row + ['c']); row") == ["a", "b"]
    assert sub.recv(PATIENCE) == ["a", "b", "c"]


def test_bytes_of_theirs_that_are_no_text_are_an_error_and_harm_nothing(link: Link) -> None:
    sub = SubChannel(link.ours, "back")
    link.theirs.run(
        """
        class Raw(yoton.MessageType):
            def message_type_name(self): return 'txt'
            def message_to_bytes(self, message): return message
            def message_from_bytes(self, data): return data
        pub = yoton.PubChannel(context, 'back', Raw())
        pub.send(b'\\xff')
        pub.send(b'fine')
        """
    )
    with pytest.raises(UnicodeDecodeError):
        sub.recv(PATIENCE)
    assert sub.recv(PATIENCE) == "fine"


def test_nothing_is_sent_for_an_empty_message(link: Link) -> None:
    pub, sub = PubChannel(link.ours, "out"), SubChannel(link.ours, "back")
    pub_bytes = PubChannel(link.ours, "out", BINARY)
    link.theirs.run(
        """
        sub = yoton.SubChannel(context, 'out')
        sub_bytes = yoton.SubChannel(context, 'out', yoton.BINARY)
        pub = yoton.PubChannel(context, 'back')
        """
    )
    pub.send("")
    pub_bytes.send(b"")
    pub.send("last")
    assert link.theirs.run("sub.recv(5.0), sub.pending, sub_bytes.pending") == ("last", 0, 0)
    link.theirs.run("pub.send(''); pub.send('last')")
    assert (sub.recv(PATIENCE), sub.pending) == ("last", 0)


def test_slots_are_the_same_whatever_their_case_and_characters(link: Link) -> None:
    for number, name in enumerate(["Chat", "\u00e9t\u00e9 \u2603", " blanks ", "a.b", ""]):
        pub = PubChannel(link.ours, name)
        link.theirs.run("sub = yoton.SubChannel(context, name)", name=name.upper())
        link.theirs.run("sub2 = yoton.SubChannel(context, name + '2')", name=name)
        pub.send(f"{number}")
        assert link.theirs.run("sub.recv(5.0), sub2.pending") == (f"{number}", 0)


def test_1000_messages_arrive_each_way_at_once_in_order(link: Link) -> None:
    pub, sub = PubChannel(link.ours, "out"), SubChannel(link.ours, "back")
    link.theirs.run(
        "sub = yoton.SubChannel(context, 'out'); pub = yoton.PubChannel(context, 'back')"
    )
    numbers = [str(i) for i in range(1000)]
    link.theirs.start("for i in range(1000): pub.send(str(i))")
    for number in numbers:
        pub.send(number)
    assert [sub.recv(PATIENCE) for _ in numbers] == numbers
    link.theirs.result()
    assert link.theirs.run("[sub.recv(5.0) for _ in range(1000)]") == numbers


def test_messages_on_several_channels_keep_their_order(link: Link) -> None:
    types = {"txt": str, "bin": lambda i: str(i).encode(), "obj": lambda i: i}
    pubs = [PubChannel(link.ours, "out"), PubChannel(link.ours, "out", BINARY)]
    pubs.append(PubChannel(link.ours, "out", OBJECT))
    subs = [SubChannel(link.ours, "back"), SubChannel(link.ours, "back", BINARY)]
    subs.append(SubChannel(link.ours, "back", OBJECT))
    link.theirs.run(
        """
        types = yoton.TEXT, yoton.BINARY, yoton.OBJECT
        subs = [yoton.SubChannel(context, 'out', t) for t in types]
        pubs = [yoton.PubChannel(context, 'back', t) for t in types]
        make = [str, lambda i: str(i).encode(), lambda i: i]

        def read_in_order():
            selected = yoton.select_sub_channel(*subs)
            return [int(message) for message in selected.recv_selected()] if selected else []
        """
    )
    order = [(i * i) % 3 if i % 5 else i % 3 for i in range(300)]
    makes = list(types.values())
    for i, kind in enumerate(order):
        pubs[kind].send(makes[kind](i))
    link.theirs.wait_until("sum(sub.pending for sub in subs) == 300")
    there = link.theirs.run("[i for _ in range(300) for i in read_in_order()]")
    assert there == list(range(300))

    link.theirs.run("for i, kind in enumerate(order): pubs[kind].send(make[kind](i))", order=order)
    here: list[int] = []
    while len(here) < 300:
        selected = select_sub_channel(*subs)
        if selected is not None:
            here += map(int, selected.recv_selected())
    assert here == list(range(300))


def test_four_threads_of_ours_send_1000_messages_each_and_all_arrive(link: Link) -> None:
    pubs = [PubChannel(link.ours, f"out{k}") for k in range(2)]
    link.theirs.run("subs = [yoton.SubChannel(context, f'out{k}') for k in range(2)]")

    def send(number: int) -> None:
        for i in range(1000):
            pubs[i % 2].send(f"{number} {i}")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    link.theirs.wait_until("sum(sub.pending for sub in subs) == 4000")
    for parity in range(2):
        came = link.theirs.run(f"subs[{parity}].recv_all()")
        for number in range(4):
            mine = [int(text.split()[1]) for text in came if text.startswith(f"{number} ")]
            assert mine == list(range(parity, 1000, 2))


def test_text_files_over_channels_both_ways(link: Link) -> None:
    out = FileWrapper(PubChannel(link.ours, "out"), 256, isatty=True)
    back = FileWrapper(SubChannel(link.ours, "back"), echo=PubChannel(link.ours, "echo"))
    link.theirs.run(
        """
        sub, echo = yoton.SubChannel(context, 'out'), yoton.SubChannel(context, 'echo')
        file = yoton.FileWrapper(yoton.PubChannel(context, 'back'), 256)
        """
    )
    print("one", "two", file=out)
    out.write("\u00e9" * 1000)
    text = "one two\n" + "\u00e9" * 1000
    link.theirs.run("parts = []")
    link.theirs.wait_until(f"parts.extend(sub.recv_all()) or sum(map(len, parts)) >= {len(text)}")
    parts = link.theirs.run("parts")
    assert "".join(parts) == text
    assert max(map(len, parts)) == 256

    link.theirs.run("file.write('line\\n'); file.write('no end'); file.write('x' * 600)")
    assert back.readline() == "line\n"
    assert back.readline() == "no end\n"
    assert "".join(back.read() for _ in range(3)) == "x" * 600
    assert link.theirs.run("[echo.recv(5.0) for _ in range(2)]") == ["line\n", "no end"]


@pytest.mark.parametrize("binder", BINDERS)
def test_simple_sockets_talk(binder: str) -> None:
    with SimpleSocket() as ours, Peer() as theirs:
        theirs.run("context = yoton.SimpleSocket()")
        connect(ours, theirs, binder)
        ours.send("h\u00e9llo")
        assert theirs.run("context.recv(5.0)") == "h\u00e9llo"
        theirs.run("context.send('back')")
        assert ours.recv(PATIENCE) == "back"


def test_a_message_reaches_all_subscribers_of_both_kinds(ours: Context) -> None:
    with Peer() as one, Peer() as two:
        connect(ours, one, "we bind")
        connect_peers(one, two)
        pub, sub = PubChannel(ours, "chat"), SubChannel(ours, "chat")
        for theirs in (one, two):
            theirs.run("sub = yoton.SubChannel(context, 'chat')")
        pub.send("all")
        assert one.run("sub.recv(5.0)") == two.run("sub.recv(5.0)") == "all"
        two.run("pub = yoton.PubChannel(context, 'chat'); pub.send('two')")
        assert one.run("sub.recv(5.0)") == sub.recv(PATIENCE) == "two"

"""Sync mode with the yoton inside Pyzo: a receiver that cannot keep up holds the sender back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from interop.peer import Link, Peer, bind
from interop.tap import Tap
from interop.wire import packages_in, slot_of
from support import PATIENCE, wait_until

from yoton import Context, PubChannel, SubChannel, select_sub_channel

# Enough that they do not fit on the way, in the buffers of two sockets.
COUNT = 2000
MESSAGE = "x" * 10_000

# A sender that is held sends a message each second all the same.
HELD_TIME = 0.5
SENT_WHILE_HELD = 2


@pytest.mark.parametrize("binder", ["we bind"])
@pytest.mark.parametrize("is_mark", [False, True], ids=["sync mode", "high-water mark"])
def test_ours_holds_theirs_back_until_it_has_read(link: Link, is_mark: bool) -> None:
    sub = SubChannel(link.ours, "chat")
    if is_mark:
        sub.set_high_water_mark(33, policy="block")
    else:
        sub.set_sync_mode(True)
    link.theirs.run("pub = yoton.PubChannel(context, 'chat')")
    link.theirs.start(
        "for i in range(count): pub.send(f'{i} ' + message)", count=COUNT, message=MESSAGE
    )
    wait_until(lambda: is_steady(lambda: sub.pending))
    assert 32 < sub.pending < COUNT
    came = [sub.recv(PATIENCE) for _ in range(COUNT)]
    assert came == [f"{i} {MESSAGE}" for i in range(COUNT)]
    link.theirs.result()


@pytest.mark.parametrize("binder", ["they bind"])
def test_theirs_holds_ours_back_until_it_has_read(link: Link) -> None:
    pub = PubChannel(link.ours, "chat")
    link.theirs.run("sub = yoton.SubChannel(context, 'chat'); sub.set_sync_mode(True)")
    # Its first look.
    link.theirs.run("def look(channel): channel.pending\nsub.received.bind(look)")
    sent = []

    def send() -> None:
        for i in range(COUNT):
            pub.send(f"{i} {MESSAGE}")
            sent.append(i)

    thread = threading.Thread(target=send)
    thread.start()
    wait_until(lambda: len(sent) > 32)
    wait_until(lambda: is_steady(lambda: len(sent)))
    assert 32 < len(sent) < COUNT
    link.theirs.run("came = [sub.recv(5.0) for _ in range(count)]", count=COUNT)
    thread.join(PATIENCE)
    assert link.theirs.run("came == [f'{i} ' + message for i in range(count)]", message=MESSAGE)


def is_steady(count: Callable[[], int]) -> bool:
    before = count()
    time.sleep(HELD_TIME)
    return before > 0 and count() - before <= SENT_WHILE_HELD


def recv_each(sub: SubChannel) -> None:
    while sub.pending:
        sub.recv(False)


def recv_selected(sub: SubChannel) -> None:
    # As Pyzo's IDE does.
    assert select_sub_channel(sub) is sub
    sub.recv_selected()


@pytest.mark.parametrize("read", [recv_each, SubChannel.recv_all, recv_selected])
def test_what_the_receivers_say_is_full_and_ok(
    ours: Context, theirs: Peer, read: Callable[[SubChannel], object]
) -> None:
    with Tap(bind(theirs)) as tap:
        ours.connect(f"localhost:{tap.port}")
        pub, sub = PubChannel(ours, "out"), SubChannel(ours, "back")
        sub.set_sync_mode(True)
        theirs.run(
            """
            pub, sub = yoton.PubChannel(context, 'back'), yoton.SubChannel(context, 'out')
            sub.set_sync_mode(True)
            sub.received.bind(lambda channel: None)
            for i in range(40): pub.send('x')
            """
        )
        for _ in range(40):
            pub.send("x")
        # A receiver whose first look is at a few messages says that it has room.
        wait_until(lambda: last_word(tap.from_connector, "back") == b"full")
        wait_until(lambda: last_word(tap.from_binder, "out") == b"full")
        wait_until(lambda: sub.pending == 40)
        read(sub)
        theirs.run("for i in range(40): sub.recv(5.0)")
        wait_until(lambda: last_word(tap.from_connector, "back") == b"ok")
        wait_until(lambda: last_word(tap.from_binder, "out") == b"ok")


def last_word(stream: bytes, slot_base: str) -> bytes | None:
    slot = slot_of(f"{slot_base}.txt.sub-pub")
    words = [package.data for package in packages_in(stream) if package.slot == slot]
    return words[-1] if words else None

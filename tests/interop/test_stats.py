"""What goes to the yoton inside Pyzo is counted; it is sent no pings."""

from __future__ import annotations

import pytest
from interop.peer import Peer, bind
from interop.tap import Tap
from interop.wire import packages_in
from support import PATIENCE, wait_until

from yoton import OBJECT, Context, PubChannel, SubChannel
from yoton.connection import heartbeat

SLOT_LINK = 1


def test_theirs_is_counted_and_never_pinged(
    ours: Context, theirs: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_INTERVAL", 0.02)
    with Tap(bind(theirs)) as tap:
        connection = ours.connect(f"localhost:{tap.port}")
        theirs.run("""
            sub = yoton.SubChannel(context, 'news')
            pub = yoton.PubChannel(context, 'views')
        """)
        pub, sub = PubChannel(ours, "news"), SubChannel(ours, "views")
        for number in range(10):
            pub.send(str(number))
            assert theirs.run("sub.recv(5.0)") == str(number)
            theirs.run("pub.send('twelve bytes')")
            assert sub.recv(PATIENCE)
        before = len(tap.from_connector)
        wait_until(lambda: len(tap.from_connector) >= before + 5 * 56)  # beats
        said = packages_in(bytes(tap.from_connector))
        assert not [package for package in said if package.slot == SLOT_LINK and package.data]
        stats = connection.stats()
        assert stats["round_trip"] is None
        assert stats["out"]["messages"] == len([package for package in said if package.data])
        assert sub.stats()["in"] == {"messages": 10, "bytes": 120}
        assert theirs.run("context.connection_count") == 1


def test_what_theirs_cannot_read_is_counted(ours: Context, theirs: Peer) -> None:
    """A state of the network in which a message was made before they came."""
    with Context() as other:
        pub = PubChannel(other, "things", OBJECT)
        other.connect(f"localhost:{ours.bind('localhost:0').port1}")
        connection = ours.connect(f"localhost:{bind(theirs)}")
        before = connection.stats()["out"]["messages"]
        pub.send({"big": 2**63})
        pub.send("fine")
        wait_until(lambda: connection.stats()["dropped"]["not_encodable"] == 1)
        wait_until(lambda: connection.stats()["out"]["messages"] == before + 1)

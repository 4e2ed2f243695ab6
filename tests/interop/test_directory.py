"""Our directory says nothing to the yoton inside Pyzo, and knows what can be known of it."""

from __future__ import annotations

import pytest
from interop.peer import Peer, bind, connect
from interop.tap import Tap
from interop.wire import packages_in
from support import PATIENCE, wait_until

from yoton import Context, PubChannel, RepChannel, ReqChannel, StateChannel, SubChannel

SLOT_LINK = 1


def test_theirs_hears_nothing_of_the_directory_and_works_on(ours: Context, theirs: Peer) -> None:
    with Tap(bind(theirs)) as tap, Context() as other:
        ours.connect(f"localhost:{tap.port}")
        other.connect(f"localhost:{ours.bind('localhost:0').port1}")
        theirs.run("sub = yoton.SubChannel(context, 'news')")
        for number in range(20):
            # There is much to tell, by both of ours.
            with SubChannel(ours, "other"), PubChannel(other, "other") as telling:
                assert telling.wait_for_subscribers(1, PATIENCE)
            PubChannel(other, f"{number}")
            pub = PubChannel(other, "news")
            pub.send(f"{number}")
            assert theirs.run("sub.recv(5.0)") == f"{number}"
            pub.close()
        said = [package for package in packages_in(bytes(tap.from_connector)) if package.data]
        assert len(said) >= 20
        assert not [package for package in said if package.slot == SLOT_LINK]
        assert theirs.run("context.connection_count") == 1


def test_of_theirs_the_id_is_known_to_all_of_ours(ours: Context, theirs: Peer) -> None:
    connection = connect(ours, theirs, "we bind")
    with Context() as other:
        other.connect(f"localhost:{ours.bind('localhost:0').port1}")
        theirs_id = theirs.run("context.id")
        assert connection.id2 == theirs_id
        wait_until(lambda: len(other.graph()["contexts"]) == 3)
        [known] = [c for c in other.graph()["contexts"] if c["id"] == theirs_id]
        assert known == {
            "id": theirs_id,
            "pid": 0,
            "host": "",
            "name": "",
            "program": "",
            "is_own": False,
        }
        assert sorted([ours.id, theirs_id]) in other.graph()["connections"]
        theirs.close()
        wait_until(lambda: len(other.graph()["contexts"]) == 2)


def test_channels_of_theirs_do_not_count(ours: Context, theirs: Peer) -> None:
    connect(ours, theirs, "we bind")
    pub, sub = PubChannel(ours, "news"), SubChannel(ours, "views")
    req, state = ReqChannel(ours, "calls"), StateChannel(ours, "state")
    theirs.run("sub = yoton.SubChannel(context, 'news')")
    theirs.run("pub = yoton.PubChannel(context, 'views')")
    theirs.run("rep = yoton.RepChannel(context, 'calls'); rep.set_mode('thread')")
    theirs.run("state = yoton.StateChannel(context, 'state')")
    assert not pub.wait_for_subscribers(timeout=0.1)
    assert not req.wait_for_repliers(timeout=0.1)
    for channel in (pub, sub, req, state):
        assert channel.peers == ()
    pub.send("hello")
    assert theirs.run("sub.recv(5.0)") == "hello"
    assert req.echo(1).result(PATIENCE)[0] == 1


def test_two_of_ours_with_theirs_between_them_do_not_know_each_other(theirs: Peer) -> None:
    with Context() as left, Context() as right:
        connect(left, theirs, "they bind")
        connect(right, theirs, "they bind")
        pub, sub = PubChannel(left, "news"), SubChannel(right, "news")
        RepChannel(right, "calls")
        wait_until(lambda: len(left.graph()["contexts"]) == 2)
        assert not pub.wait_for_subscribers(timeout=0.1)
        pub.send("hello")
        assert sub.recv(PATIENCE) == "hello"


@pytest.mark.parametrize("binds", ["we bind", "they bind"])
def test_a_relay_of_ours_between_them_tells_ours(theirs: Peer, binds: str) -> None:
    with Context() as left, Context() as relay, Context() as right:
        left.connect(f"localhost:{relay.bind('localhost:0').port1}")
        right.connect(f"localhost:{relay.bind('localhost:0').port1}")
        connect(relay, theirs, binds)
        pub, sub = PubChannel(left, "news"), SubChannel(right, "news")
        theirs.run("sub = yoton.SubChannel(context, 'news')")
        assert pub.wait_for_subscribers(1, PATIENCE)
        pub.send("hello")
        assert sub.recv(PATIENCE) == theirs.run("sub.recv(5.0)") == "hello"

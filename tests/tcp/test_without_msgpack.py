"""A process that lacks msgpack, as a kernel in the user's own interpreter may."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import PATIENCE, wait_until

from yoton.channels import PubChannel, SubChannel
from yoton.exceptions import EncodeError
from yoton.message_types import OBJECT

MESSAGE = {"a": [1, 2.5, None, True], "t": ("x", -1)}

CHILD = """
import sys
sys.modules["msgpack"] = None  # what makes an import of it fail
from yoton.context import Context
from yoton.channels import PubChannel, SubChannel
from yoton.message_types import MSGPACK_AVAILABLE, OBJECT
assert not MSGPACK_AVAILABLE
context = Context()
pub, sub = PubChannel(context, "reply", OBJECT), SubChannel(context, "question", OBJECT)
context.connect("localhost:" + sys.argv[1])
while (message := sub.recv()) != "end":
    pub.send(message)
context.close()
"""


@pytest.fixture
def child(make_context):
    """A context that is connected to a process without msgpack, which echoes objects."""
    context = make_context()
    connection = context.bind("localhost:0")
    with subprocess.Popen([sys.executable, "-c", CHILD, str(connection.port1)]) as process:
        wait_until(lambda: connection.is_connected)
        yield context
        PubChannel(context, "question", OBJECT).send("end")
        process.wait(PATIENCE)
    assert process.returncode == 0


def test_objects_go_both_ways_in_the_other_encoding(child):
    assert child.connections[0].peer.is_extended
    assert not child.connections[0].peer.speaks_msgpack
    with PubChannel(child, "question", OBJECT) as pub, SubChannel(child, "reply", OBJECT) as sub:
        pub.send(MESSAGE)
        assert sub.recv(PATIENCE) == MESSAGE
        with pytest.raises(EncodeError, match="a set"):
            pub.send({"numbers": {1, 2}})
        pub.send("fine")
        assert sub.recv(PATIENCE) == "fine"


def test_a_relay_re_encodes_for_it(child, make_context):
    sender = make_context()
    connection = child.bind("localhost:0")
    sender.connect(f"localhost:{connection.port1}")
    pub, sub = PubChannel(sender, "question", OBJECT), SubChannel(sender, "reply", OBJECT)
    assert sender.neighbours.read_msgpack
    pub.send(MESSAGE)
    assert sub.recv(PATIENCE) == MESSAGE
    pub.send({1, 2})  # which cannot be re-encoded: it is dropped there, and logged
    pub.send("fine")
    assert sub.recv(PATIENCE) == "fine"
    sender.close()

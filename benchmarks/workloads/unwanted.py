"""A publisher sends what nobody behind the relay has subscribed to: does the relay pass it on?"""

from __future__ import annotations

from typing import Any

from benchmarks import usage
from benchmarks.control import Control
from benchmarks.payload import Payload
from benchmarks.peers.base import Peer, Stream
from benchmarks.workloads import one_way
from benchmarks.workloads.workload import Figure, Start, Workload

#: Of these 1 KiB each.
COUNT = 1000
STREAM = Stream(size=1024, has_topics=True)


def publish(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send a message that is wanted, then many that are not, then one that is."""
    listener = peer.listen_publisher(1, STREAM)
    control.tell(listener.addresses)
    publisher = listener.accept()
    assert publisher.send_unwanted is not None
    payload = Payload(STREAM.form, STREAM.size)
    control.hear()
    publisher.send(payload.messages[0])
    control.hear()
    for message in payload.first(COUNT):
        publisher.send_unwanted(message)
    publisher.send(payload.messages[-1])
    control.hear()


def measure(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Be the subscriber, and count the bytes that come in."""
    server = start("server")
    relay = start("relay", upstream=server.hear()[0])
    recv = peer.connect_subscriber(relay.hear()[0], STREAM).recv
    relay.hear()
    payload = Payload(STREAM.form, STREAM.size)
    server.tell("begin")
    payload.check(recv(), payload.messages[0])
    before = usage.bytes_received()
    server.tell("go on")
    payload.check(recv(), payload.messages[-1])
    return {"crossed": usage.bytes_received() - before - STREAM.size}


WORKLOADS = [
    Workload(
        name="relay-unwanted",
        title=f"{COUNT} KiB through a relay, behind which nobody wants them: what comes out",
        ability="relay",
        figures=(Figure("crossed", "bytes"),),
        client=measure,
        roles={"server": publish, "relay": one_way.relay},
        only=frozenset({"yoton", "pyzo-yoton", "zmq-tcp"}),
    )
]

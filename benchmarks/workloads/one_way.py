"""Messages go one way: from a publisher to its subscribers, through a relay if there is one.

All subscribers are in one process, which takes a message of each of them in turn. The rate is that
of all of them together, from the first message to the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks import usage
from benchmarks.control import Control
from benchmarks.payload import Payload
from benchmarks.peers.base import Peer, Stream
from benchmarks.workloads.workload import Figure, Role, Start, Workload

#: What a run sends at most, so that a sender far ahead of its receiver fits into memory.
MOST_BYTES = 2**30
MOST_MESSAGES = 2_000_000
#: A trial tells how many messages a run needs: it grows until it takes so long.
TRIAL_SECONDS = 0.05
TRIAL_BYTES = 2**27

SIZES = {
    "16 B": 16,
    "100 B": 100,
    "1 KiB": 2**10,
    "16 KiB": 2**14,
    "1 MiB": 2**20,
    "64 MiB": 2**26,
}


def stream_of(options: dict[str, Any]) -> Stream:
    """Get what is sent."""
    return Stream(options.get("form", "binary"), options["size"])


def publish(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Send as many messages as one is told, again and again."""
    listener = peer.listen_publisher(options["connections"], stream_of(options))
    control.tell(listener.addresses)
    send = listener.accept().send
    if options["is_fresh"]:
        send = _copies(send)
    payload = Payload(stream_of(options).form, options["size"])
    control.tell("joined")
    before = usage.peak_memory()
    while True:
        for message in payload.first(control.hear()):
            send(message)
        control.tell(usage.peak_memory() - before)


def _copies(send: Callable[[Any], object]) -> Callable[[bytes], object]:
    """Let each message have its own memory, which else they share with those sent before."""
    return lambda message: send(message[:-1] + message[-1:])


def relay(peer: Peer, control: Control, options: dict[str, Any]) -> None:
    """Pass on what comes, for ever."""
    listener = peer.relay(options["upstream"])
    control.tell(listener.addresses)
    run = listener.accept()
    control.tell("joined")
    run()


def measure(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Be all the subscribers."""
    server = start("server", connections=1 if options["is_relayed"] else options["subscribers"])
    addresses = server.hear()
    if options["is_relayed"]:
        middle = start("relay", upstream=addresses[0])
        addresses = middle.hear()
    stream = stream_of(options)
    receivers = [peer.connect_subscriber(address, stream).recv for address in addresses]
    if options["is_relayed"]:
        middle.hear()
    server.hear()
    payload = Payload(stream.form, options["size"])

    def transfer(count: int) -> tuple[float, int]:
        server.tell(count)
        seconds = _receive(receivers, payload, count)
        return seconds, server.hear()

    count = find_count(
        lambda count: transfer(count)[0], options["size"], options["seconds"], options["least"]
    )
    seconds, memory = transfer(count)
    rate = (count - 1) * len(receivers) / seconds
    return {"rate": rate, "bytes": rate * options["size"], "memory": memory / 2**20}


def find_count(transfer: Callable[[int], float], size: int, seconds: float, least: int = 2) -> int:
    """Warm up, and find how many messages take so many seconds, at least the least."""
    count = least
    trial = transfer(count)
    while trial < TRIAL_SECONDS and count * size < TRIAL_BYTES:
        count *= 4
        trial = transfer(count)
    wanted = int(seconds * (count - 1) / trial)
    return max(4, least, min(wanted, MOST_MESSAGES, MOST_BYTES // size))


def _receive(receivers: list[Callable[[], Any]], payload: Payload, count: int) -> float:
    """Take so many messages from each; get the seconds from the first to the last."""
    # A call of check for each message would take a good part of the time of the fastest.
    is_same, check = payload.is_same, payload.check
    messages = payload.first(count)
    first = next(messages)
    check(receivers[0](), first)
    begin = time.perf_counter()
    for recv in receivers[1:]:
        check(recv(), first)
    for message in messages:
        for recv in receivers:
            received = recv()
            if not is_same(received, message):
                check(received, message)
    return time.perf_counter() - begin


BYTES = (Figure("bytes", "bytes/s", is_rate=True),)
RATE = (Figure("rate", "messages/s", is_rate=True),)
OPTIONS = {"size": 100, "subscribers": 1, "is_relayed": False, "is_fresh": False, "least": 2}
ROLES: dict[str, Role] = {"server": publish, "relay": relay}

WORKLOADS = [
    Workload(
        name=f"pubsub-{size_title.replace(' ', '')}",
        title=f"One way, {size_title}",
        ability="publish",
        figures=RATE if size < 2**20 else BYTES,
        client=measure,
        roles=ROLES,
        options=OPTIONS | {"size": size},
        is_quick=True,
    )
    for size_title, size in SIZES.items()
] + [
    Workload(
        name="fan-out",
        title="One to 8 subscribers in a process, 100 B, all together",
        ability="publish",
        figures=RATE,
        client=measure,
        roles=ROLES,
        options=OPTIONS | {"subscribers": 8},
        is_quick=True,
    ),
    Workload(
        name="relay",
        title="One way through a relay, 100 B",
        ability="relay",
        figures=RATE,
        client=measure,
        roles=ROLES,
        options=OPTIONS | {"is_relayed": True},
    ),
    *(
        Workload(
            name=f"form-{form}",
            title=f"One way, {title}",
            ability="messages",
            figures=RATE,
            client=measure,
            roles=ROLES,
            options=OPTIONS | {"form": form},
        )
        for form, title in [
            ("text", "TEXT of 100 B"),
            ("binary", "BINARY of 100 B"),
            ("object", "OBJECT, a dict of 5 fields"),
        ]
    ),
    Workload(
        name="publisher-memory",
        title="Memory of a publisher of 1 MiB messages at full speed, over what it had before",
        ability="publish",
        figures=(Figure("memory", "MiB"),),
        client=measure,
        roles=ROLES,
        options=OPTIONS | {"size": 2**20, "is_fresh": True},
    ),
]

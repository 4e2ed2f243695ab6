"""How long messages are on their way to and from the yoton inside Pyzo.

That one writes header and data one after the other, and a large message in small pieces. In
between it waits for an acknowledgement, which takes 40 ms on Linux unless the reader sees to it.
"""

from __future__ import annotations

import statistics
import time

from interop.peer import Link
from support import PATIENCE, wait_until

from yoton import PubChannel, SubChannel

COUNT = 30
#: Seconds between two messages, so that each travels alone.
PAUSE = 0.01
#: Seconds; half of the delay of an acknowledgement, a hundred times what a message takes.
SOON = 0.02


def test_they_answer_at_once(link: Link) -> None:
    pub, sub = PubChannel(link.ours, "out"), SubChannel(link.ours, "back")
    link.theirs.run(
        "sub = yoton.SubChannel(context, 'out'); pub = yoton.PubChannel(context, 'back')"
    )
    link.theirs.start("for _ in range(count): pub.send(sub.recv(5.0))", count=COUNT)
    delays = []
    for _ in range(COUNT):
        sent_at = time.monotonic()
        pub.send("x")
        assert sub.recv(PATIENCE) == "x"
        delays.append(time.monotonic() - sent_at)
        time.sleep(PAUSE)
    link.theirs.result()
    assert statistics.median(delays) < SOON


def test_a_large_message_of_theirs_comes_without_pauses(link: Link) -> None:
    sub = SubChannel(link.ours, "back")
    link.theirs.run("pub = yoton.PubChannel(context, 'back')")
    start = time.monotonic()
    link.theirs.run("pub.send('x' * 10_000_000)")
    wait_until(lambda: sub.pending)
    # With a pause for each of its buffers it takes over five seconds.
    assert time.monotonic() - start < 2.5

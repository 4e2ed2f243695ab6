"""Sync mode at a receiver that reads several channels in order."""

from __future__ import annotations

import threading
import time

from support import PATIENCE, wait_until

from yoton.channels import PubChannel, SubChannel, select_sub_channel
from yoton.channels.sync import FULL_ABOVE, HOLD_TIMEOUT

MESSAGES = 20 * FULL_ABOVE


def test_reading_selected_messages_lets_the_sender_go_on(pair):
    sender, receiver = pair
    pub, sub = PubChannel(sender, "slot"), SubChannel(receiver, "slot")
    sub.set_sync_mode(True)
    thread = threading.Thread(target=lambda: [pub.send(str(n)) for n in range(MESSAGES)])
    before = time.monotonic()
    thread.start()
    received = []
    while missing := MESSAGES - len(received):
        wait_until(lambda missing=missing: sub.pending > FULL_ABOVE or sub.pending == missing)
        assert select_sub_channel(sub) is sub
        received += sub.recv_selected()
    thread.join(PATIENCE)
    assert received == [str(number) for number in range(MESSAGES)]
    # Each round holds the sender; none of them until it gives up.
    assert time.monotonic() - before < 2 * HOLD_TIMEOUT

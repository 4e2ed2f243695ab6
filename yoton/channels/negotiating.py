"""What both sides of request/reply have in common."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from yoton.channels.base import BaseChannel
from yoton.channels.negotiation import CONTROL_SEQ, Control
from yoton.context import Context
from yoton.events.scheduler import Alarm, scheduler
from yoton.message_types import OBJECT
from yoton.package import Envelope, Package
from yoton.waiting import free_in_child


class NegotiatingChannel(BaseChannel):
    """Base of the channels for requests and replies; both carry `OBJECT`."""

    def __init__(self, context: Context, slot_base: str) -> None:
        super().__init__(context, slot_base, OBJECT)

    def _prepare(self) -> None:
        # Guards the state of the negotiation, and the alarm. The locks of the scheduler and of
        # a future come second.
        self._lock = threading.RLock()
        self._alarm = Alarm(scheduler, self._handle_timer)
        # In place of the inbox, which drops what is too much: without its reply, a request
        # would never end. The thread that fills it empties it right afterwards.
        self._arrived: deque[tuple[Package, int]] = deque()
        # What was sent last was in this; what follows most often goes to the same context.
        self._last_envelope: Envelope | None = None

    def _handle_timer(self) -> None:
        raise NotImplementedError

    def deliver(self, package: Package, numbers: Iterator[int]) -> bool:
        """Note a package; the routing lock is held."""
        self._arrived.extend(zip(package.packages(), numbers, strict=False))
        return True

    def abandon(self) -> None:
        """See `BaseChannel.abandon`."""
        super().abandon()
        free_in_child(self._lock)
        self._alarm = Alarm(scheduler, self._handle_timer)
        self._arrived.clear()

    def _send_control(self, control: Control) -> None:
        envelope = Envelope(self._slot_number_out, control.dest_id)
        dest_seq = control.request_id + CONTROL_SEQ
        self._context.send_package(envelope, control.text, dest_seq, may_wait=False)

    def _send_to(
        self, dest_id: int, request_id: int, data: bytes, is_msgpack: bool, *, may_wait: bool
    ) -> None:
        """Send a request or a reply; also when the channel is closed, to finish what has begun."""
        envelope = self._last_envelope
        if not envelope or envelope.dest_id != dest_id or envelope.is_msgpack is not is_msgpack:
            envelope = Envelope(self._slot_number_out, dest_id, is_msgpack)
            self._last_envelope = envelope
        self._context.send_package(envelope, data, request_id, may_wait=may_wait)

"""What both sides of request/reply have in common."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

from yoton.channels.base import BaseChannel
from yoton.channels.negotiation import CONTROL_SEQ, Control
from yoton.context import Context
from yoton.events.callbacks import Callback
from yoton.events.scheduler import ScheduledCall, scheduler
from yoton.message_types import OBJECT
from yoton.package import Envelope, Package
from yoton.waiting import free_in_child


class Alarm:
    """Has a method called at a moment that moves. Not thread-safe.

    Parameters
    ----------
    method : callable
        Called by the thread of the scheduler, perhaps earlier than is due; it has to call
        `reset`. A bound method does not keep its object alive.
    """

    def __init__(self, method: Callable[[], object]) -> None:
        self._callback = Callback(method)
        self._call: ScheduledCall | None = None
        self._due = 0.0

    def set(self, due: float | None) -> None:
        """Move it to a time of the scheduler; None: there is nothing to call for."""
        if self._call is not None and (due is None or due < self._due):
            # In this order: after an interrupt in between it comes too early, not never.
            call, self._call = self._call, None
            call.cancel()
        # An earlier call is left as it is: most of what is due is over long before.
        if self._call is None and due is not None:
            # An interpreter that is ending allows no thread: nothing takes too long there.
            with contextlib.suppress(RuntimeError):
                self._call = scheduler.call_at(due, self._callback)
                self._due = due

    def reset(self, due: float | None) -> None:
        """Set it anew, as it has come."""
        self._call = None
        self.set(due)


class NegotiatingChannel(BaseChannel):
    """Base of the channels for requests and replies; both carry `OBJECT`."""

    def __init__(self, context: Context, slot_base: str) -> None:
        super().__init__(context, slot_base, OBJECT)

    def _prepare(self) -> None:
        # Guards the state of the negotiation, and the alarm. The locks of the scheduler and of
        # a future come second.
        self._lock = threading.RLock()
        self._alarm = Alarm(self._handle_timer)
        # In place of the inbox, which drops what is too much: without its reply, a request
        # would never end. The thread that fills it empties it right afterwards.
        self._arrived: deque[tuple[Package, int]] = deque()

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
        self._alarm = Alarm(self._handle_timer)
        self._arrived.clear()

    def _send_control(self, control: Control) -> None:
        envelope = Envelope(self._slot_number_out, control.dest_id)
        dest_seq = control.request_id + CONTROL_SEQ
        self._context.send_package(envelope, control.text, dest_seq, may_wait=False)

    def _send_to(
        self, dest_id: int, request_id: int, data: bytes, is_msgpack: bool, *, may_wait: bool
    ) -> None:
        """Send a request or a reply; also when the channel is closed, to finish what has begun."""
        envelope = Envelope(self._slot_number_out, dest_id, is_msgpack)
        self._context.send_package(envelope, data, request_id, may_wait=may_wait)

"""What comes by the connections of a context: to its channels, and on to other contexts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import length_hint

from yoton.connection.base import Connection
from yoton.connection.protocol import OTHER_END_CLOSED
from yoton.demand import Demand
from yoton.interest import Interest
from yoton.neighbours import Neighbours, kick_all, wait_for_room
from yoton.package import SLOT_CONTEXT, Package
from yoton.routing import DROP, Router
from yoton.slots import Receiver, Slots

logger = logging.getLogger(__name__)

NEW_CONNECTION = b"NEW_CONNECTION"
CLOSE_CONNECTION = b"CLOSE_CONNECTION"


class Arrivals:
    """Gives what peers sent to the channels and connections it is for.

    Parameters
    ----------
    lock : threading.RLock
        The routing lock of the context. It guards all that follows.
    router : Router
        Decides what becomes of a package.
    slots : Slots
        The channels of the context.
    neighbours : Neighbours
        Its connections.
    interest : Interest
        Knows what is declined by whom.
    demand : Demand
        Declines what nobody wants.
    newcomers_heard : callable
        Called with the ids of contexts of which something came to which no line led before.
    """

    def __init__(
        self,
        lock: threading.RLock,
        router: Router,
        slots: Slots,
        neighbours: Neighbours,
        interest: Interest,
        demand: Demand,
        newcomers_heard: Callable[[set[int]], object],
    ) -> None:
        self._lock = lock
        self._router = router
        self._slots = slots
        self._neighbours = neighbours
        self._interest = interest
        self._demand = demand
        self._newcomers_heard = newcomers_heard
        #: The number of the message that is received next, over all channels.
        self.next_number = 1
        # The package that is just being delivered, to whom, by which connection, and the numbers
        # left for it; None in between. Whoever delivers next finishes what Ctrl-C cut short.
        self._delivery: tuple[Package, Receiver, Connection, Iterator[int]] | None = None
        # A list, as there are few at a time, and a deque takes 600 bytes.
        self._for_context: list[tuple[Package, Connection]] = []
        # For a connection those that got packages which came by it, and have to be kicked.
        self._forwarded: dict[Connection, dict[Connection, None]] = {}
        # Messages that came too late, by whom they were for.
        self._missed: dict[Receiver, int] = {}
        # Those who have to act on what was delivered to them.
        self._acting: dict[Receiver, None] = {}

    # Delivering

    def deliver(self, packages: Sequence[Package], connection: Connection) -> None:
        """See `yoton.connection.base.Arrivals`; to be called again after Ctrl-C."""
        has_declined = False
        with self._lock:
            if self._delivery is not None:
                self._finish_delivery(*self._delivery)
            connections = self._neighbours.connections
            has_others = connections != (connection,)
            is_lone = len(packages) == 1 and packages[0].count == 1
            for package in packages if is_lone else self._parts(packages):
                verdict = self._router.decide(package)
                is_wanted = verdict is DROP or verdict.is_late
                if verdict.forward and has_others:
                    is_wanted = self._forward(package, connection) or is_wanted
                if verdict.deliver:
                    # Of states, versions tell which one counts.
                    if verdict.is_late and not package.is_state:
                        self._note_missed(package)
                    else:
                        is_wanted = self._deliver(package, connection) or is_wanted
                if not is_wanted and self._decline(package, connection):
                    has_declined = True
                self._router.remember(package, connection)
                # Only now: what is delivered and not remembered would be delivered once more.
                self._delivery = None
        if has_declined:
            connection.kick()

    def _parts(self, packages: Sequence[Package]) -> Iterator[Package]:
        for package in packages:
            if package.count > 1:
                yield from self._router.parts(package)
            else:
                yield package

    def _note_missed(self, package: Package) -> None:
        slot = self._slots.receiving.get(package.slot)
        if slot is not None:
            missed = self._missed.get(slot.receiver, 0)
            self._missed[slot.receiver] = missed + package.count

    def _forward(self, package: Package, connection: Connection) -> bool:
        """Pass a package on to others who want it; tells whether somebody does."""
        wanting = self._others_wanting(package.slot, connection)
        if wanting:
            forwarded = self._forwarded.setdefault(connection, {})
            for other in wanting:
                forwarded[other] = None
                other.enqueue(package)
        return bool(wanting)

    def _others_wanting(self, slot: int, connection: Connection) -> list[Connection]:
        declined_by = self._interest.declined_by.get(slot, ())
        return [
            other
            for other in self._neighbours.connections
            if other is not connection and other not in declined_by
        ]

    def _decline(self, package: Package, connection: Connection) -> bool:
        """Decline what came for nobody here, if it is time to; tells whether that was done."""
        peer = connection.peer
        if peer is None or not peer.tells_interest or self._router.has_ring:
            return False
        # What came may be for another context, or this one alone.
        slot = package.slot
        if slot in self._slots.receiving or self._others_wanting(slot, connection):
            return False
        return self._demand.came_in_vain(slot, package.count, connection)

    def _deliver(self, package: Package, connection: Connection) -> bool:
        """Deliver a package to its channel; tells whether there is one."""
        slot = self._slots.receiving.get(package.slot)
        if slot is None:
            return self._deliver_to_context(package, connection)
        receiver, came = slot.receiver, slot.flow
        first_number = self.next_number
        self.next_number += package.count
        numbers = iter(range(first_number, self.next_number))
        self._delivery = (package, receiver, connection, numbers)
        if receiver.deliver(package, numbers):
            self._acting[receiver] = None
        came.messages += package.count
        came.bytes += package.size
        return True

    def _deliver_to_context(self, package: Package, connection: Connection) -> bool:
        is_for_context = package.slot == SLOT_CONTEXT
        if is_for_context:
            self._for_context.extend((single, connection) for single in package.packages())
        return is_for_context

    def _finish_delivery(
        self, package: Package, receiver: Receiver, connection: Connection, numbers: Iterator[int]
    ) -> None:
        if length_hint(numbers) < package.count:
            self._acting[receiver] = None
            self._router.remember(package, connection)
        self._delivery = None

    # Acting

    def act(self, connection: Connection) -> None:
        """See `yoton.connection.base.Arrivals`; in a thread that no Ctrl-C strikes."""
        forwarded = self._forwarded.pop(connection, {})
        kick_all(forwarded)
        if self._router.newcomers:
            self._tell_who_is_new()
        while self._for_context:
            self._handle_context_package(*self._for_context.pop(0))
        if self._missed:
            self._tell_what_was_missed()
        while (receiver := self._next_acting()) is not None:
            _have_act(receiver)
        # The peers behind this connection are held back by not reading on.
        wait_for_room(forwarded)

    def deliver_leading(self, packages: Sequence[Package], connection: Connection) -> bool:
        """See `yoton.connection.base.Arrivals`."""
        self.deliver(packages, connection)
        is_more_to_do = self._for_context or self._missed or self._router.newcomers
        if is_more_to_do or len(self._neighbours.connections) > 1:
            return False
        for receiver in tuple(self._acting):
            if not receiver.act_leading():
                return False
            self._acting.pop(receiver, None)
            if len(self._neighbours.connections) > 1:
                # One that has just come may have delivered before that, and have found it there.
                self._acting[receiver] = None
                return False
        return True

    def _tell_who_is_new(self) -> None:
        with self._lock:
            newcomers, self._router.newcomers = self._router.newcomers, set()
        self._newcomers_heard(newcomers)

    def _tell_what_was_missed(self) -> None:
        with self._lock:
            missed, self._missed = self._missed, {}
        for receiver, count in missed.items():
            receiver.messages_lost(count)

    def _next_acting(self) -> Receiver | None:
        with self._lock:
            receiver = next(iter(self._acting), None)
            if receiver is not None:
                del self._acting[receiver]
            return receiver

    def _handle_context_package(self, package: Package, connection: Connection) -> None:
        if package.data == NEW_CONNECTION:
            self._slots.renew_states()
        elif package.data == CLOSE_CONNECTION:
            if connection.id2 == package.source_id:
                connection.begin_close(OTHER_END_CLOSED)
        else:
            logger.warning("unknown context message: %r", package.data[:60])


def _have_act(receiver: Receiver) -> None:
    try:
        receiver.packages_delivered()
    except Exception:
        # Whatever a peer sent, the thread that reads from it has to live on.
        logger.exception("%r failed to act on what it received", receiver)

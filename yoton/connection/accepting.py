"""Letting peers in: each shakes hands in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from yoton.clock import Deadline
from yoton.connection.protocol import Event, Identity, Protocol, Role
from yoton.connection.streams import ByteStream
from yoton.connection.threaded import hang_up, shake_hands
from yoton.connection.transports import StreamListener
from yoton.exceptions import ConnectFailed, ConnectionClosed
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Seconds that a handshake may take. The peer answers within milliseconds if it is a yoton.
HANDSHAKE_TIMEOUT = 2.0

#: Seconds in which a peer that was refused can read why.
_REFUSAL_TIMEOUT = 1.0

#: Seconds to wait when the system cannot take one more peer: looking again at once would only keep
#: the processor busy until somebody leaves.
_RETRY_DELAY = 0.1

#: Peers that may be shaking hands at once; each has a thread meanwhile. Whoever knocks beyond
#: that pushes out the one that has waited longest.
MAX_PENDING_HANDSHAKES = 256


class Acceptor:
    """Lets peers knock, and in when they have shaken hands.

    Each peer that knocks has a thread for its handshake, so that one that says nothing keeps
    nobody waiting.

    Parameters
    ----------
    listener : StreamListener
        Where they knock; closed in the end.
    own_identity : callable
        Gets what to tell a peer.
    admits : callable
        Gets what a peer tells of itself; says whether there is room for it, and keeps it. Called
        in the thread of the handshake, as all of these.
    let_in : callable
        Gets the stream, the protocol and the events of a peer that has shaken hands; returns
        whether it takes it.
    settled : callable
        Gets what a peer told that was admitted, when it is in, or will not come.
    is_for_one : bool
        Whether to let only the first one in. The address is let go before that.
    """

    def __init__(
        self,
        listener: StreamListener,
        own_identity: Callable[[], Identity],
        admits: Callable[[Identity], bool],
        let_in: Callable[[ByteStream, Protocol, Sequence[Event]], bool],
        settled: Callable[[Identity], object],
        *,
        is_for_one: bool,
    ) -> None:
        self._listener = listener
        self._own_identity = own_identity
        self._admits = admits
        self._let_in = let_in
        self._settled = settled
        self._is_for_one = is_for_one
        # Guards who has ended it, a peer's stream or `stop`, and the streams, oldest first.
        self._lock = threading.RLock()
        self._ended_by: object = None
        self._knocking: list[ByteStream] = []
        self._ended = WaitPoint(self._lock)
        self._thread = threading.Thread(
            target=self._accept, name=f"yoton-accept {listener.address[1]}", daemon=True
        )

    def start(self) -> None:
        """Begin to let peers knock."""
        self._thread.start()

    def stop(self) -> None:
        """Let the address go, and all who still knock; repeated after an interrupt."""
        if self._claim_end(self):
            self._let_address_go()

    def abandon(self) -> None:
        """Close this process's copies of the sockets; for use in a forked child."""
        self._lock = threading.RLock()
        self._ended_by = self
        self._listener.abandon()
        for stream in self._knocking:
            stream.abandon()

    def _claim_end(self, claimant: object) -> bool:
        with self._lock:
            if self._ended_by is None:
                self._ended.wake_all()
                self._ended_by = claimant
            return self._ended_by is claimant

    def _let_address_go(self) -> None:
        self._listener.wake()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            left_over = list(self._knocking)
        for stream in left_over:
            stream.abort()

    def _accept(self) -> None:
        try:
            while True:
                self._admit(self._next())
        except ConnectionClosed:
            self._listener.close()

    def _next(self) -> ByteStream:
        """Wait for a peer, however long the system has no room for one."""
        is_told = False
        while True:
            try:
                return self._listener.accept()
            except ConnectionClosed:
                raise
            except OSError as error:
                if not is_told:
                    logger.error(
                        "No room for another peer at %s: %s", self._listener.address, error
                    )
                is_told = True
            self._ended.wait_for(lambda: self._ended_by is not None, Deadline(_RETRY_DELAY))

    def _admit(self, stream: ByteStream) -> None:
        with self._lock:
            self._knocking.append(stream)
            if len(self._knocking) > MAX_PENDING_HANDSHAKES:
                self._knocking.pop(0).abort()
        try:
            threading.Thread(
                target=self._receive, args=(stream,), name="yoton-handshake", daemon=True
            ).start()
        except RuntimeError as error:
            # There can be no more threads now; those who knock later are to find a way in.
            logger.warning("Cannot shake hands with %s: %s", stream.peer_address, error)
            self._forget(stream)
            stream.close()

    def _receive(self, stream: ByteStream) -> None:
        is_in = False
        try:
            is_in = self._welcome(stream)
        except Exception:
            logger.exception("Cannot let %s in", stream.peer_address)
            stream.abort()  # a link may be at it already
        finally:
            self._forget(stream)
            if not is_in:
                stream.close()

    def _welcome(self, stream: ByteStream) -> bool:
        """Shake hands with a peer and let it in; returns whether it is."""
        admitted: list[Identity] = []

        def admits(peer: Identity) -> bool:
            is_admitted = self._admits(peer)
            if is_admitted:
                admitted.append(peer)
            return is_admitted

        try:
            protocol = Protocol(Role.BINDER, self._own_identity(), admits)
            greeting = shake_hands(stream, protocol, HANDSHAKE_TIMEOUT)
            self._forget(stream)
            return self._may_come_in(stream) and self._let_in(stream, protocol, greeting)
        except ConnectFailed as error:
            failure = error
        finally:
            for peer in admitted:
                self._settled(peer)
        self._see_off(stream, failure)
        return False

    def _see_off(self, stream: ByteStream, failure: ConnectFailed) -> None:
        self._forget(stream)
        if self._ended_by is None:
            logger.warning("Handshake failed: %s (from %s)", failure, stream.peer_address)
        hang_up(stream, _REFUSAL_TIMEOUT)

    def _may_come_in(self, stream: ByteStream) -> bool:
        if not self._is_for_one:
            return self._ended_by is None
        is_first = self._claim_end(stream)
        if is_first:
            self._let_address_go()
        return is_first

    def _forget(self, stream: ByteStream) -> None:
        with self._lock:
            if stream in self._knocking:
                self._knocking.remove(stream)

"""Two threads and a protocol over a stream: how a link runs.

Sending: whoever has put a package into the outbox calls `ThreadedLink.kick`, and writes it to
the stream there and then if the stream takes it. What it does not take is left to the send
thread, which waits until it does, and otherwise sleeps until a beat is due, or silence is to be
looked for, see `yoton.connection.silence`.

Receiving: the receive thread sleeps until bytes come, or a peer that is watched counts as silent.
It stays back while threads that wait for messages read themselves, see `yoton.connection.reader`.

The end: `close` closes the outbox. The send thread writes what is left, then the goodbye, and
shuts the writing side. The receive thread reads on until the peer's end and is the last one:
it frees the stream and tells the owner.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

from yoton.clock import FOREVER, Deadline, monotonic
from yoton.connection.busy import is_busy, keeps_busy
from yoton.connection.framing import bundle_size, encode_bundle, encode_package
from yoton.connection.handshake import HANDSHAKE_FAILED, HANDSHAKE_TIMED_OUT
from yoton.connection.heartbeat import BEAT_INTERVAL, beat_delay
from yoton.connection.outbox import Outbox
from yoton.connection.protocol import (
    BEFORE_OPEN,
    OTHER_END_CLOSED,
    OTHER_END_DROPPED,
    TRANSITIONS,
    Acknowledged,
    BeatsWanted,
    Connected,
    ContextsGone,
    Event,
    Failed,
    Identity,
    Input,
    PackagesReceived,
    PeerClosed,
    Ping,
    Pong,
    Protocol,
    encode_acknowledgement,
    encode_gap,
    encode_news,
    encode_notice,
    encode_ping,
    encode_pong,
)
from yoton.connection.reader import Reader
from yoton.connection.session import Session
from yoton.connection.silence import SilenceDetector
from yoton.connection.streams import ByteStream, read_some
from yoton.connection.traffic import Traffic
from yoton.connection.writer import Writer
from yoton.directory import News
from yoton.entry import Announcement
from yoton.exceptions import CodecError, ConnectFailed
from yoton.gaps import Gap
from yoton.interest import Confirm, Decline, Notice, Want
from yoton.message_types import msgpack_to_tagged
from yoton.package import BEGINNING, SLOT_LINK, Bundle, Package, Place
from yoton.waiting import WaitPoint, wait_time

logger = logging.getLogger(__name__)

#: Seconds that an orderly end may take: to write what waits, and to hear the peer's end. A peer
#: that lives answers within milliseconds.
CLOSE_TIMEOUT = 2.0

#: Frames of the link itself that wait to be written, from which on no ping is answered: who asks
#: and does not read the answers must not take memory.
MAX_WAITING_NOTICES = 256

#: Seconds until a flush looks again whether what was written has left the system, at first and in
#: the end; in between it doubles. No system tells when it has. A peer that keeps up takes it
#: within the first, one that does not keeps the flush waiting anyway.
_FIRST_LOOK = 0.0001
_LAST_LOOK = 0.01

CANNOT_HANDLE = "Error while handling what came."


class LinkOwner(Interface):
    """What a link tells its connection.

    All are called from the link's threads, but for `deliver_leading`.
    """

    @property
    def silent_after(self) -> float:
        """Seconds without bytes after which the peer counts as silent."""

    def deliver(self, packages: Sequence[Package]) -> None:
        """Packages came: note them. They may have been noted before, by `deliver_leading`."""

    def deliver_leading(self, packages: Sequence[Package]) -> bool:
        """Packages came in a thread that leads: note them and act on that.

        Returns False if `act` has to follow in the receive thread. Called with the same packages
        again if Ctrl-C came in between.
        """

    def act(self) -> None:
        """Act on all that was noted."""

    def contexts_gone(self, ids: Sequence[int]) -> None:
        """The peer says that it can no longer reach some contexts."""

    def heard(self, notice: Notice) -> None:
        """The peer said what is wanted behind it, or not."""

    def gap_found(self, gap: Gap) -> None:
        """The peer says what will not come."""

    def announced(self, announcement: Announcement) -> None:
        """The peer told of a context."""

    def silence_changed(self, is_silent: bool) -> None:
        """The peer fell silent, or is heard again."""

    @property
    def comes_back(self) -> bool:
        """Whether another link goes on after this one, whatever the peer does."""

    def link_closing(self, reason: str) -> None:
        """The link is about to end: no packages should be put into the outbox any more."""

    def link_ended(self, reason: str, *, is_cut_short: bool) -> None:
        """Nothing follows.

        If it was cut short, not all was written that was to be, or the peer of a session has
        not said that it has all. If the peer said goodbye, and another link goes on, the rest is
        in the outbox and the session.
        """

    def link_lost(self, reason: str) -> None:
        """Instead of the two before: the line was lost, and the session can go on over another.

        All that was not written is in the outbox and the session.
        """


class _Ending:
    """How far a link has come with its end, and why and until when it ends."""

    __slots__ = (
        "deadline",
        "has_begun",
        "has_peer_closed",
        "is_input_over",
        "is_over",
        "reason",
    )

    def __init__(self) -> None:
        self.reason: str | None = None
        self.deadline = FOREVER
        self.has_begun = False
        self.has_peer_closed = False
        self.is_input_over = False
        self.is_over = False


class ThreadedLink:
    """One end of a running link.

    Parameters
    ----------
    stream : ByteStream
        What carries it; the link closes it in the end.
    protocol : Protocol
        The protocol, past its handshake.
    greeting : sequence of Event
        What the handshake brought beyond itself.
    outbox : Outbox
        What to send; the link closes it in the end.
    owner : LinkOwner
        Whom to tell.
    name : str
        Where it leads, for the names of the threads and the log.
    session : Session or None
        What outlives the link if its line is lost.
    resent : sequence of Package
        What to write first.
    traffic : Traffic, optional
        Where to count. What came is counted by the owner.

    Attributes
    ----------
    peer : Identity
        What the other end told of itself.
    lead : callable
        Reads in the thread that calls it while that waits for something, see `Reader.lead`.
    """

    def __init__(
        self,
        stream: ByteStream,
        protocol: Protocol,
        greeting: Sequence[Event],
        outbox: Outbox,
        owner: LinkOwner,
        name: str,
        session: Session | None = None,
        resent: Sequence[Package] = (),
        traffic: Traffic | None = None,
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._outbox = outbox
        self._owner = owner
        self._name = name
        self._traffic = traffic or Traffic()
        self.peer = peer_in(greeting)
        if not self.peer.is_extended:
            # The yoton inside Pyzo writes header and data one by one, into a buffer of 10 KiB:
            # it would stand still for 40 ms, the delay of an acknowledgement, again and again.
            stream.acknowledge_at_once()
        # Guards the protocol once the threads run.
        self._protocol_lock = threading.RLock()
        self._session = session if self.peer.has_session else None
        self._received_before = session.received if session else BEGINNING
        encode = self._encode if self._session is None else self._encode_and_keep
        self._writer = Writer(stream, outbox, encode, resent)
        self._reader = Reader(
            stream,
            protocol,
            self._protocol_lock,
            owner.deliver_leading,
            self._echo,
            self._call_back,
        )
        self._reader.put(greeting)
        self.lead = self._reader.lead
        # Whether the peer wants beats often, and whether this end does; each is set once. Peers
        # without the extension always do, and send them.
        self._is_watched = not self.peer.is_extended
        self._silence = SilenceDetector(stream, owner, is_watching=not self.peer.is_extended)
        # Each set once: the peer is not told of the end then; the line came to an end by itself.
        self._is_broken_off = False
        self._is_line_lost = False
        # Set once: all was written, and the goodbye.
        self._has_written_all = False
        # How long the end may take, if a thread in the middle of reading or writing began it.
        self._interrupted_timeout: float | None = None
        # Why this end lets go of the line, if it does.
        self._loss_reason: str | None = None
        # Guards the two fields below it, and the beginning of watching. Never held together with
        # another lock.
        self._lock = threading.RLock()
        self._is_full = False
        self._ending = _Ending()
        self._changed = WaitPoint(self._lock)
        # Taken for good by the thread that receives: who starts it may have to do so itself.
        self._receiving = threading.Lock()
        self._send_thread = threading.Thread(
            target=_run_busy, args=(self._send,), name=f"yoton-send {name}", daemon=True
        )
        self._receive_thread = threading.Thread(
            target=_run_busy, args=(self._receive,), name=f"yoton-receive {name}", daemon=True
        )

    def start(self) -> None:
        """Start the threads; if the system allows none, the line is lost at once."""
        if self.peer.answers_pings:
            self._writer.add_notice(self._ping())
        try:
            self._send_thread.start()
            self._receive_thread.start()
        except RuntimeError as error:
            logger.error("%s: broken off, as there can be no more threads: %s", self._name, error)
            self.end_here()

    def end_here(self) -> None:
        """End at once, in this thread, as nobody knows which of the others have started."""
        self._break_off()
        # It waits for nobody: there is no line.
        self._receive()

    @property
    def last_read(self) -> float:
        """When something came last, on the monotonic clock."""
        return self._reader.last_read

    @property
    def last_write(self) -> float:
        """When something was last written."""
        return self._writer.last_write

    # What other threads call

    def kick(self) -> bool:
        """Write what is in the outbox, as far as the stream takes it; never blocks.

        Returns whether nothing is left in it that will be written.
        """
        try:
            is_full = not self._writer.write_pending()
        except OSError as error:
            self._line_lost(error)
            return True
        if is_full:
            self._leave_to_send_thread()
        return not self._outbox.packages

    def flush(self, deadline: Deadline) -> bool:
        """Wait until the stream has sent all that is in the outbox.

        False at the deadline, if the link `takes_no_more`, and if this thread `is_interrupted`
        and something is left.
        """
        self.kick()
        return self._writer.wait_until_written(deadline) and self._wait_until_sent(deadline)

    def _wait_until_sent(self, deadline: Deadline) -> bool:
        """Wait until what was written so far has got to the peer's system."""
        size, delay = self._writer.written_size, _FIRST_LOOK
        while not self._has_sent(size):
            if self.takes_no_more:
                return self._has_written_all and self._ending.has_peer_closed
            if deadline.passed():
                return False
            remaining = deadline.remaining()
            time.sleep(delay if remaining is None else min(delay, remaining))
            delay = min(2 * delay, _LAST_LOOK)
        return True

    def _has_sent(self, size: int) -> bool:
        # In this order: what is written in between seems to be unsent, never the other way round.
        written = self._writer.written_size
        is_sent = written - self._stream.unsent() >= size
        # A stream that was closed meanwhile knew nothing.
        return is_sent and not self.takes_no_more

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread has to go on before anything more is written."""
        return self._writer.is_interrupted

    @property
    def takes_no_more(self) -> bool:
        """Whether its line has ended; what it did not take is left to another one, or lost."""
        return self._writer.is_stopped

    def watch(self) -> None:
        """Notice from now on when the peer falls silent."""
        if self._silence.is_watching:
            return
        # Before it counts as watched: Ctrl-C in between must not leave a peer that nobody has
        # asked for beats. And before all that waits, which may take long; twice does no harm.
        self._writer.add_notice(self._protocol.send_watch())
        with self._lock:
            self._changed.wake_all()
            self._silence.begin()
        self.kick()

    def probe(self) -> int | None:
        """Send a beat to a silent peer; returns the `ByteStream.retransmissions` so far."""
        self._writer.add_signal(self._protocol.send_beat())
        self.kick()
        return self._stream.retransmissions()

    def tell(self, notice: Notice) -> None:
        """Tell the peer what is wanted; never blocks, `kick` follows."""
        self._writer.add_notice(encode_notice(notice))

    def tell_gap(self, gap: Gap) -> None:
        """Tell the peer what will not come; never blocks, `kick` follows."""
        self._writer.add_notice(encode_gap(gap))

    def tell_news(self, news: News) -> None:
        """Tell the peer of contexts; never blocks, `kick` follows."""
        self._writer.add_notice(functools.partial(encode_news, news))

    def acknowledge(self, place: Place) -> None:
        """Tell the peer what has come; never blocks for long."""
        self._writer.add_notice(encode_acknowledgement(place))
        self.kick()

    def lose_line(self, reason: str = OTHER_END_DROPPED) -> None:
        """End as if the line had been lost; the owner is told the reason."""
        self._loss_reason = reason
        self._is_line_lost = True
        self._stream.abort()

    def close(self, reason: str, deadline: Deadline | None = None) -> None:
        """Begin an orderly end, without waiting for it; see `join`.

        Parameters
        ----------
        reason : str
            For the owner. That of the first call counts, and so does its deadline.
        deadline : Deadline, optional
            When the link is broken off if it has not ended. Default: in `CLOSE_TIMEOUT` seconds.
            For a signal handler in the middle of reading or writing, the time begins when its
            thread has gone on.
        """
        try:
            self._note_interrupted_thread(deadline)
            if self._claim_end(reason, deadline or Deadline(CLOSE_TIMEOUT)):
                self._owner.link_closing(reason)
        finally:
            # The outbox before the goodbye: what came into it later would be sent behind that,
            # where the peer does not read it.
            self._outbox.close()
            with self._lock:
                self._changed.wake_all()
                self._ending.has_begun = True

    def _note_interrupted_thread(self, deadline: Deadline | None) -> None:
        if is_busy() and not self._is_own_thread and self._ending.reason is None:
            deadline = deadline or Deadline(CLOSE_TIMEOUT)
            self._interrupted_timeout = deadline.remaining()

    def abort(self, reason: str) -> None:
        """End at once, without a goodbye; see `join`."""
        self._is_broken_off = True
        self.close(reason)
        self._stream.abort()

    def abandon(self) -> None:
        """Close this process's copy of the stream; for use in a forked child."""
        self._stream.abandon()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end, and for both threads; False at the deadline."""
        if self._is_own_thread:
            return False
        if not self._changed.wait_for(lambda: self._ending.is_over, deadline):
            return False
        if self._receive_thread.ident is not None:
            self._receive_thread.join(deadline.remaining())
        return True

    @property
    def _is_own_thread(self) -> bool:
        return threading.current_thread() in (self._receive_thread, self._send_thread)

    def _claim_end(self, reason: str, deadline: Deadline) -> bool:
        with self._lock:
            is_first = self._ending.reason is None
            if is_first:
                self._ending.deadline = deadline
                self._ending.reason = reason
            return is_first

    def _leave_to_send_thread(self) -> None:
        with self._lock:
            self._changed.wake_all()
            self._is_full = True

    def _call_back(self) -> None:
        with self._lock:
            self._changed.wake_all()

    def _line_lost(self, error: OSError) -> None:
        logger.debug("%s: cannot write: %s", self._name, error)
        # The receive thread reads what has already come, finds the end and tells of it.
        self._break_off()

    def _break_off(self) -> None:
        """Say no goodbye, and have both threads find that there is no line any more."""
        self._is_broken_off = True
        self._stream.abort()

    def _encode_and_keep(self, package: Package) -> Sequence[bytes]:
        assert self._session is not None  # or this would not be called
        frames = self._encode(package)
        if frames:
            self._session.keep(package)
        return frames

    def _encode(self, package: Package) -> Sequence[bytes]:
        if isinstance(package, Bundle):
            return self._encode_bundle(package)
        if package.slot == SLOT_LINK:
            # Every extended peer takes it, whatever its size, and no other one understands it.
            if self.peer.is_extended:
                return encode_package(package)
            self._traffic.departures.sent.take_back(package)
            return ()
        if package.size > self.peer.max_data_size:
            logger.error("%s: %r is too large for this peer, not sent", self._name, package)
            self._traffic.refuse_large(package)
            return ()
        if package.is_msgpack and not self.peer.speaks_msgpack:
            try:
                package = _with_tagged_data(package)
            except CodecError as error:
                logger.error("%s: %r cannot be read by this peer: %s", self._name, package, error)
                self._traffic.refuse_unreadable(package)
                return ()
        return encode_package(package)

    def _encode_bundle(self, bundle: Bundle) -> Sequence[bytes]:
        peer = self.peer
        is_readable = peer.speaks_msgpack or not bundle.is_msgpack
        if peer.is_extended and is_readable and bundle_size(bundle) <= peer.max_data_size:
            return encode_bundle(bundle)
        data = b"".join(piece for package in bundle.packages() for piece in self._encode(package))
        return (data,) if data else ()

    # The send thread

    def _send(self) -> None:
        try:
            self._send_until_end()
            if not self._is_broken_off:
                self._say_goodbye()
        except OSError as error:
            self._line_lost(error)
        except Exception:
            # Nobody writes on: the peer must not take this end for a living one.
            logger.exception("%s: broken off, as its send thread failed", self._name)
            self._break_off()

    def _send_until_end(self) -> None:
        while not self._ending.has_begun:
            self._send_what_is_due()

    def _send_what_is_due(self) -> None:
        with self._lock:
            self._is_full = False
        is_watched, is_watching = self._is_watched, self._silence.is_watching
        look_delay = self._silence.look()
        if not self._writer.write_pending(wait_for_turn=True):
            # Not for ever: the end may begin meanwhile, and has a deadline.
            self._stream.wait_writable(BEAT_INTERVAL)
            return
        delay = beat_delay(self._writer.last_write, monotonic(), is_watched)
        if delay == 0.0:
            self._writer.add_signal(self._sign_of_life())
            return
        self._changed.wait_for(
            lambda: (
                self._is_full
                or self._ending.has_begun
                or self._is_watched is not is_watched
                or self._silence.is_watching is not is_watching
            ),
            Deadline(min(delay, look_delay)),
        )

    def _sign_of_life(self) -> bytes:
        return self._ping() if self.peer.answers_pings else self._protocol.send_beat()

    def _ping(self) -> bytes:
        return encode_ping(self._traffic.round_trip.ask(monotonic()))

    def _say_goodbye(self) -> None:
        deadline = self._ending.deadline
        if self._interrupted_timeout is not None:
            # It takes its turn behind that thread.
            self._writer.write_pending(wait_for_turn=True)
            deadline = Deadline(self._interrupted_timeout)
        with self._protocol_lock:
            if Input.CLOSE_SENT in TRANSITIONS[self._protocol.state]:
                self._writer.add_signal(self._protocol.send_close())
        if self._write_all(deadline):
            self._has_written_all = True
            if self._session is not None:
                self._confirm_goodbye(self._session, deadline)
            self._stream.shutdown_write()
            self._await_peer(lambda: self._ending.is_input_over, deadline)
        if not self._ending.is_input_over:
            logger.warning("%s: the peer did not answer the goodbye", self._name)
            self._stream.abort()

    def _confirm_goodbye(self, session: Session, deadline: Deadline) -> None:
        """Tell the peer what came before its goodbye: all that it had to send."""
        self._await_peer(
            lambda: self._ending.has_peer_closed or self._ending.is_input_over, deadline
        )
        if self._ending.has_peer_closed:
            self._writer.add_signal(encode_acknowledgement(session.received))
            self._write_all(deadline)
        if self._ending.reason == OTHER_END_CLOSED:
            # The other end has yet to tell the same, and what lies between the two may end both
            # directions with the first.
            self._await_peer(lambda: self._ending.is_input_over, deadline)

    def _await_peer(self, is_heard: Callable[[], bool], deadline: Deadline) -> None:
        """Wait for what the peer says to a goodbye."""
        was_interrupted = self._interrupted_timeout is not None
        has_leader = self._reader.has_leader
        while not self._changed.wait_for(is_heard, deadline) and was_interrupted and has_leader:
            # The thread that was interrupted has not gone on yet, or just now; nobody else reads.
            deadline = Deadline(CLOSE_TIMEOUT)
            has_leader = self._reader.has_leader

    def _write_all(self, deadline: Deadline) -> bool:
        while not self._writer.write_pending(wait_for_turn=True):
            if not self._stream.wait_writable(deadline.remaining()) and deadline.passed():
                return False
        return True

    # The receive thread

    def _receive(self) -> None:
        if not self._receiving.acquire(blocking=False):
            return
        try:
            reason = self._receive_until_end()
        except Exception:
            # Nobody reads on: the peer must not take this end for a living one.
            logger.exception("%s: broken off, as what came could not be handled", self._name)
            self._break_off()
            reason = CANNOT_HANDLE
        reason = self._loss_reason or reason
        session = self._session
        if self._is_line_lost and session is not None and self._claim_end(reason, Deadline(0.0)):
            self._leave_to_other_line(session, reason)
        else:
            self._end(reason)
        with self._lock:
            self._changed.wake_all()
            self._ending.is_over = True

    def _leave_to_other_line(self, session: Session, reason: str) -> None:
        self._await_send_thread()
        self._keep_unwritten(session)
        self._free_stream()
        self._owner.link_lost(reason)

    def _keep_unwritten(self, session: Session) -> None:
        for package in self._writer.leave():
            session.keep(package)
        session.is_behind = self._writer.is_behind or self._stream.unsent() > 0

    def _end(self, reason: str) -> None:
        self.close(reason)
        self._await_send_thread()
        reason, session = self._ending.reason or reason, self._session
        is_confirmed = session is None or session.is_confirmed
        is_cut_short = not self._has_written_all or not is_confirmed
        if is_cut_short and reason == OTHER_END_CLOSED and session and self._owner.comes_back:
            self._keep_unwritten(session)
        else:
            self._tell_what_is_lost(self._writer.stop())
        self._free_stream()
        self._owner.link_ended(reason, is_cut_short=is_cut_short)

    def _await_send_thread(self) -> None:
        with self._lock:
            self._changed.wake_all()
            self._ending.has_begun = True
            self._ending.is_input_over = True
        if self._send_thread.is_alive():
            self._send_thread.join()

    def _free_stream(self) -> None:
        self._reader.turn.acquire()  # for good
        self._stream.close()

    def _receive_until_end(self) -> str:
        """Hand on what comes until nothing does, and get the reason for the end."""
        while True:
            self._let_others_read()
            with self._reader.turn:
                # What a thread that led has left comes first.
                reason = self._handle_what_came() or self._read() or self._handle_what_came()
            if reason is not None:
                return reason

    def _read(self) -> str | None:
        """Wait for bytes and read them; returns the reason if the link is over."""
        self._silence.wait_for_bytes()
        try:
            is_heard = self._reader.read()
        except OSError as error:
            self._is_line_lost = True
            self._break_off()
            return f"Socket error: {error}"
        if is_heard:
            self._silence.heard()
        return None

    def _let_others_read(self) -> None:
        while (delay := self._reader.time_to_stay_back()) and not self._ending.has_begun:
            self._changed.wait_for(
                lambda: self._ending.has_begun or not self._reader.time_to_stay_back(),
                Deadline(delay),
            )

    def _handle_what_came(self) -> str | None:
        """Act on what the peer sent; returns the reason if the link is over."""
        self._owner.act()  # on what a thread that led has noted
        while (event := self._reader.next_event()) is not None:
            reason = self._handle(event)
            self._reader.handled()
            if reason is not None:
                return reason
        return OTHER_END_CLOSED if self._reader.is_at_end else None

    def _handle(self, event: Event) -> str | None:
        if isinstance(event, PackagesReceived):
            self._owner.deliver(event.packages)
            self._owner.act()
        elif isinstance(event, ContextsGone):
            self._owner.contexts_gone(event.ids)
        elif isinstance(event, (Decline, Want, Confirm)):
            self._owner.heard(event)
        elif isinstance(event, Announcement):
            self._owner.announced(event)
        elif isinstance(event, (Ping, Pong)):
            self._echo(event)
        elif isinstance(event, BeatsWanted):
            with self._lock:
                self._changed.wake_all()
                self._is_watched = True
        elif isinstance(event, PeerClosed):
            with self._lock:
                self._changed.wake_all()
                self._ending.has_peer_closed = True
            self.close(OTHER_END_CLOSED)
        elif isinstance(event, Failed):
            if event.error is not None:
                logger.warning("%s: %s", self._name, event.error)
            self._is_line_lost = event.reason == OTHER_END_DROPPED or self._has_brought_something
            self._break_off()
            return event.reason
        elif isinstance(event, Acknowledged):
            if self._session is not None:
                self._session.acknowledged(event.received)
        elif isinstance(event, Gap):
            self._note_gap(event)
        return None

    def _note_gap(self, gap: Gap) -> None:
        if self._session is None or self._session.note_gap(gap):
            self._owner.gap_found(gap)
        if self._session is not None:
            # At once: it is to be told to nobody else who may follow this end.
            self.acknowledge(self._session.received)

    @property
    def _has_brought_something(self) -> bool:
        """Whether something came since the line stands.

        Then what makes no sense was damaged on the way, and may come as it was by another line.
        Otherwise it would be the same again and again.
        """
        return self._session is not None and self._session.received != self._received_before

    def _echo(self, event: Ping | Pong) -> None:
        """Answer a ping, or take the answer to one; it does no harm to repeat that."""
        if isinstance(event, Pong):
            self._traffic.round_trip.answered(event.number, monotonic())
        elif self._writer.notice_count < MAX_WAITING_NOTICES:
            self._writer.add_notice(encode_pong(event.number))
            self.kick()

    def _tell_what_is_lost(self, count: int) -> None:
        if count:
            logger.warning("%s: closed with %d packages not sent", self._name, count)


@keeps_busy
def _run_busy(run: Callable[[], object]) -> None:
    """Run what one of the two threads does.

    A finalizer in it that sends must not wait until the peer has taken something: it would keep
    the thread from just what that needs.
    """
    run()


def shake_hands(stream: ByteStream, protocol: Protocol, timeout: float) -> list[Event]:
    """Drive a protocol over a stream until both ends know each other.

    Parameters
    ----------
    stream : ByteStream
        Freshly connected. The caller closes it when this fails.
    protocol : Protocol
        At its beginning.
    timeout : float
        Seconds that the whole may take, however the peer spreads its bytes.

    Returns
    -------
    list of Event
        Connected, and what came behind the handshake.

    Raises
    ------
    ConnectFailed
        The peer is no yoton, or did not say so in time; the text is the reason.
    """
    deadline = Deadline(timeout)
    events: list[Event] = []
    try:
        while True:
            write_out(stream, protocol.data_to_send(), deadline)
            if protocol.state not in BEFORE_OPEN:
                break
            data = read_some(stream, deadline.remaining())
            if data is None:
                raise ConnectFailed(HANDSHAKE_TIMED_OUT)
            events += protocol.receive_data(data) if data else protocol.receive_eof()
    except ConnectFailed:
        raise
    except OSError as error:
        raise ConnectFailed(HANDSHAKE_FAILED) from error
    failures = [event for event in events if isinstance(event, Failed)]
    if failures and not any(isinstance(event, Connected) for event in events):
        raise ConnectFailed(failures[0].reason) from failures[0].error
    return events


def hang_up(stream: ByteStream, timeout: float) -> None:
    """Close a stream so that what was written last can still be read by the peer.

    A socket that is closed with unread bytes resets the connection, which can overtake the
    answer; so this reads on, at most timeout seconds, until the peer hangs up as well.
    """
    deadline = Deadline(timeout)
    stream.shutdown_write()
    with contextlib.suppress(OSError):
        while True:
            if not read_some(stream, deadline.remaining()) or deadline.passed():
                break
    stream.close()


def write_out(stream: ByteStream, data: bytes, deadline: Deadline) -> None:
    """Write all of some bytes; raises ConnectFailed at the deadline."""
    while data:
        counts: list[int] = []
        stream.write([data], counts)
        data = data[counts[0] :]
        if data and not stream.wait_writable(wait_time(deadline)) and deadline.passed():
            raise ConnectFailed(HANDSHAKE_TIMED_OUT)


def peer_in(greeting: Sequence[Event]) -> Identity:
    """Get what the peer told of itself in a handshake."""
    return next(event.peer for event in greeting if isinstance(event, Connected))


def _with_tagged_data(package: Package) -> Package:
    return Package(
        msgpack_to_tagged(package.data),
        package.slot,
        package.source_id,
        package.source_seq,
        package.dest_id,
        package.dest_seq,
    )

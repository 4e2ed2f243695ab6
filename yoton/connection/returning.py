"""How a connection that has lost its line gets another one, or is given up."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Callable

from yoton.clock import Deadline, monotonic
from yoton.connection.reconnecting import ReconnectPolicy
from yoton.events.repeating import RepeatedCall
from yoton.exceptions import ConnectFailed
from yoton.waiting import WaitPoint

logger = logging.getLogger(__name__)

#: Seconds for which a session is kept without a line: a cable that is out, a laptop that sleeps
#: for a moment. What waits for the peer takes memory meanwhile.
SESSION_LIFETIME = 60.0

#: Seconds between two looks whether the process of a peer without a line has ended: it takes a
#: moment from the end of its line to its own.
_LOOK_INTERVAL = 0.25

#: Ids of processes end here on all systems that have `os.kill`. A peer may claim anything.
_MAX_PID = 2**31 - 1

#: Seconds that a line has to last for the delays to begin anew with its loss. A peer that lets
#: one in and hangs up at once, again and again, does so within milliseconds.
LASTING_TIME = 1.0


class Reconnector:
    """Tries to connect again, in a thread, each time that a line was lost.

    Parameters
    ----------
    policy : ReconnectPolicy
        When.
    reconnect : callable
        Connects, unless that is done already; raises ConnectFailed if it does not work yet.
    tried_in_vain : callable
        Called after each try that failed with the seconds without a line so far.
    give_up : callable
        Called with the reason if it did not work in time.
    name : str
        For the thread.
    """

    def __init__(
        self,
        policy: ReconnectPolicy,
        reconnect: Callable[[], object],
        tried_in_vain: Callable[[float], object],
        give_up: Callable[[str], object],
        name: str,
    ) -> None:
        self._policy = policy
        self._reconnect = reconnect
        self._tried_in_vain = tried_in_vain
        self._give_up = give_up
        self._name = name
        # Guards the flag and the delays.
        self._lock = threading.RLock()
        self._is_stopped = False
        self._delays = policy.delays(_chance)
        self._changed = WaitPoint(self._lock)

    def line_lost(self, lasted: float) -> None:
        """Begin to try, as a line was lost that has lasted for so many seconds."""
        if lasted >= LASTING_TIME:
            with self._lock:
                self._delays = self._policy.delays(_chance)
        try:
            threading.Thread(
                target=self._try, name=f"yoton-reconnect {self._name}", daemon=True
            ).start()
        except RuntimeError as error:  # an interpreter that is ending allows no thread
            self._give_up(f"Could not reconnect: {error}")

    def stop(self) -> None:
        """Try no more; does not wait for a try that is under way."""
        with self._lock:
            self._changed.wake_all()
            self._is_stopped = True

    def _try(self) -> None:
        lost_at = monotonic()
        limit = math.inf if self._policy.give_up_after is None else self._policy.give_up_after
        while True:
            with self._lock:
                delay = next(self._delays)
            # The last try comes when the time is over, however long the delay would be.
            delay = min(delay, lost_at + limit - monotonic())
            if self._changed.wait_for(lambda: self._is_stopped, Deadline(delay)):
                return
            error = self._failure()
            if error is None:
                return
            absence = monotonic() - lost_at
            self._tried_in_vain(absence)
            if absence >= limit:
                self._give_up(f"Could not reconnect: {error}")
                return

    def _failure(self) -> Exception | None:
        """Try once; returns what went wrong, None if nothing did."""
        try:
            self._reconnect()
        except ConnectFailed as error:
            logger.debug("%s: %s", self._name, error)
            return error
        except Exception as error:
            # Whatever it is, the next try may succeed.
            logger.exception("%s: cannot connect again", self._name)
            return error
        return None


class Expectation:
    """Waits for a peer whose line was lost to come back, for a while.

    Parameters
    ----------
    lifetime : float
        Seconds to wait.
    is_absent : callable
        Tells whether it has not come yet.
    waited_in_vain : callable
        Called now and then meanwhile with the seconds without a line so far.
    is_in_vain : callable
        Tells that it will not come.
    give_up : callable
        Called if it did not come.
    """

    def __init__(
        self,
        lifetime: float,
        is_absent: Callable[[], bool],
        waited_in_vain: Callable[[float], object],
        is_in_vain: Callable[[], bool],
        give_up: Callable[[], object],
    ) -> None:
        self._lifetime = lifetime
        self._is_absent = is_absent
        self._waited_in_vain = waited_in_vain
        self._is_in_vain = is_in_vain
        self._give_up = give_up
        # Replaced by the thread that has lost a line.
        self._looking = RepeatedCall(self._look)
        self._lost_at = 0.0

    def line_lost(self, lasted: float) -> None:
        """Begin to wait, however long the line has lasted."""
        self.stop()
        self._lost_at = monotonic()
        self._looking = RepeatedCall(self._look)
        try:
            self._looking.start()
        except RuntimeError:  # an interpreter that is ending allows no thread
            self._give_up()

    def stop(self) -> None:
        """Wait no more."""
        self._looking.stop()

    def _look(self) -> float | None:
        if not self._is_absent():
            return None
        absence = monotonic() - self._lost_at
        self._waited_in_vain(absence)
        remaining = self._lifetime - absence
        if remaining <= 0.0 or self._is_in_vain():
            self._give_up()
            return None
        return min(_LOOK_INTERVAL, remaining)


class ProcessWatch:
    """Knows whether a process of this machine has ended.

    Parameters
    ----------
    pid : int
        Its id.
    """

    __slots__ = ("_pid", "_was_seen")

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._was_seen = not self._is_absent()

    @property
    def has_ended(self) -> bool:
        """Whether it certainly has. False also if nobody can tell."""
        return self._was_seen and self._is_absent()

    def _is_absent(self) -> bool:
        # On Windows it would end the process.
        if sys.platform == "win32" or not 0 < self._pid <= _MAX_PID:
            return False
        try:
            os.kill(self._pid, 0)
            return _is_zombie(self._pid)
        except ProcessLookupError:
            return True
        except OSError:
            return False  # it is somebody else's


def pid_space() -> str:
    """Get a text that is the same in all processes for which a pid means the same process.

    That are those of one running system and one of its namespaces: two containers may share a
    network, and the way to another machine may begin at this one. "" where nobody can tell.
    """
    try:
        # A random number of 128 bits, in hexadecimal; a part of it tells systems apart as well.
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            system = file.read(8)
        return f"{system} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _chance() -> float:
    """Get a random number from 0 to 1, whatever seed the program has set."""
    return int.from_bytes(os.urandom(4), "little") / 2**32


def _is_zombie(pid: int) -> bool:
    """Tell whether a process has ended, and its parent has not heard of it yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except OSError:
        return False  # there is no such file system here

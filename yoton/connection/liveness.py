"""Why nothing is heard of a peer: from what this end can see to what it means."""

from __future__ import annotations

import enum

from yoton.record import Record

#: Times that the system has sent the same bytes again without an answer, from which on the line
#: counts as lost: within one machine or a house that takes some 0.6 s. A single one is a packet
#: that got lost on the way.
LOST_LINE_RETRANSMISSIONS = 2


class Liveness(enum.Enum):
    """What is known of the other end of a connection."""

    #: Something came within `Connection.timeout`.
    RUNNING = "running"
    #: Nothing came, and nobody can tell why.
    SILENT = "silent"
    #: Its system answers for it, but it does not run Python code now: it is stopped, or code in
    #: C holds the interpreter.
    NOT_RUNNING_PYTHON = "not running Python"
    #: What is sent does not get through to its machine, or the line has been cut.
    LINE_LOST = "line lost"
    #: Its process has ended.
    PROCESS_DEAD = "process dead"
    #: The connection waits for a peer, or is closed.
    NOT_CONNECTED = "not connected"


class Signs(Record):
    """What can be seen of a peer that is silent.

    Parameters
    ----------
    has_line : bool
        Whether the line is open as far as this end knows.
    has_process_ended : bool
        Whether its process is known to have ended.
    retransmissions : int or None
        How often the system has sent the same bytes again without an answer. None: unknown.
    """

    __slots__ = ("has_line", "has_process_ended", "retransmissions")

    def __init__(
        self, has_line: bool, has_process_ended: bool, retransmissions: int | None
    ) -> None:
        self.has_line = has_line
        self.has_process_ended = has_process_ended
        self.retransmissions = retransmissions


def judge(signs: Signs) -> Liveness:
    """Say what the signs of a silent peer mean."""
    if signs.has_process_ended:
        return Liveness.PROCESS_DEAD
    if not signs.has_line:
        return Liveness.LINE_LOST
    if signs.retransmissions is None:
        return Liveness.SILENT
    if signs.retransmissions >= LOST_LINE_RETRANSMISSIONS:
        return Liveness.LINE_LOST
    return Liveness.NOT_RUNNING_PYTHON

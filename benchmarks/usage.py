"""What a process takes from the machine, as Linux tells it under /proc."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SELF = Path("/proc/self")

# Where struct tcp_info has the bytes that a socket has received.
_TCP_INFO_SIZE = 256
_BYTES_RECEIVED = struct.Struct("@128xQ")


class Idling(NamedTuple):
    """What a process took while it had nothing to do.

    Attributes
    ----------
    cpu : float
        Percent of a core.
    wakeups : float
        How often per second one of its threads had waited and ran again.
    """

    cpu: float
    wakeups: float


def watch(seconds: float) -> Idling:
    """Sleep, and see what the other threads do meanwhile."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    time.sleep(seconds)
    after, duration = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - begin
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Idling(100 * cpu / duration, (after.ru_nvcsw - before.ru_nvcsw) / duration)


def memory() -> int:
    """Get the bytes of memory that this process has now."""
    resident_pages = int((_SELF / "statm").read_text().split()[1])
    return resident_pages * resource.getpagesize()


def peak_memory() -> int:
    """Get the bytes of memory that this process has had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def thread_count() -> int:
    """Get the number of threads of this process, those of C libraries included."""
    return len(os.listdir(_SELF / "task"))


def bytes_received() -> int:
    """Get how many bytes have come over the TCP connections that this process has now."""
    return sum(_bytes_received(connected) for connected in _tcp_sockets())


def _bytes_received(connected: socket.socket) -> int:
    info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    received: int = _BYTES_RECEIVED.unpack_from(info)[0]
    return received


def _tcp_sockets() -> Iterator[socket.socket]:
    for name in os.listdir(_SELF / "fd"):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.type == socket.SOCK_STREAM and copy.family == socket.AF_INET:
                    yield copy

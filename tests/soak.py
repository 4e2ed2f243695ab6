"""A long run with faults: processes are killed, stopped and cut off, and nothing may grow.

Run by ``make soak``, for SOAK_SECONDS. A test runs it for half a minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fleet import Fleet, Sample, sample

#: Half an hour.
DEFAULT_SECONDS = 1800.0

#: By how much the lowest of the last quarter may be above that of the second: caches that fill,
#: and lines and threads that are just about to end.
MAX_GROWTH = Sample(memory=8 * 2**20, descriptors=6, threads=6)

#: Samples without which a quarter says nothing.
_MIN_SAMPLES = 8


class Watch:
    """Samples of one process, taken while all goes on as usual."""

    def __init__(self, name: str, pid: int) -> None:
        self._name = name
        self._pid = pid
        self._samples: list[Sample] = []

    def look(self) -> None:
        """Take a sample."""
        self._samples.append(sample(self._pid))

    def check(self) -> str:
        """Check that nothing has grown, and tell what was seen."""
        quarter = len(self._samples) // 4
        if len(self._samples) < _MIN_SAMPLES:
            return f"{self._name}: {len(self._samples)} samples are too few"
        early, late = (
            Sample(*map(min, zip(*samples, strict=True)))
            for samples in (self._samples[quarter : 2 * quarter], self._samples[-quarter:])
        )
        text = f"{self._name}: {early} became {late}"
        for before, after, margin in zip(early, late, MAX_GROWTH, strict=True):
            assert after <= before + margin, text
        return text


def run(seconds: float, seed: int, say: Callable[[str], object] = print) -> None:
    """Have processes killed for half of the time, and lines cut and stalled for the other.

    Parameters
    ----------
    seconds : float
        How long in total.
    seed : int
        Decides what happens.
    say : callable
        Gets what has happened, line by line.

    Raises
    ------
    AssertionError
        Something did not go on, the books are wrong, or something has grown.
    """
    with Fleet(seed) as fleet:
        say(f"seed {seed}, {seconds} seconds")
        own = Watch("this process", os.getpid())
        _play(fleet.play_round, seconds / 2, [own])
        say(fleet.report())
        say(own.check())
        # From now on all of them live, so that their growth can be seen.
        watches = [Watch(name, pid) for name, pid in fleet.pids.items()]
        watches.append(Watch("this process", os.getpid()))
        _play(fleet.play_gentle_round, seconds / 2, watches)
        say(fleet.report())
        for watch in watches:
            say(watch.check())


def _play(play_round: Callable[[], None], seconds: float, watches: list[Watch]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        play_round()
        for watch in watches:
            watch.look()


if __name__ == "__main__":
    run(float(os.environ.get("SOAK_SECONDS") or DEFAULT_SECONDS), seed=time.time_ns() % 10**6)

"""What goes wrong on a faulty line, and when: bytes and times in, pieces out.

A seed decides. Where the line is cut, which bytes are damaged and where bytes are parted hangs on
the seed and on the place in the stream alone, however the bytes come: a run can be repeated though
its threads never run twice in the same way.
"""

from __future__ import annotations

import copy
import errno
import math
import sys
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, TypeVar

from yoton.exceptions import ArgumentError

T = TypeVar("T")

#: Bytes that are under way at most. The writer has to wait then, as at a real line, which holds
#: what the buffers of the two ends do.
MAX_UNDER_WAY = 2**16

#: Seconds for which bytes are gathered where bandwidth is limited. They are to come little by
#: little, as over a real line, and not as one lump at the end.
_LUMP_TIME = 0.01


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong with the bytes that come over a line; nothing, unless told.

    Where a range is given, as a pair of the least and the greatest value, the seed picks.

    Parameters
    ----------
    delay : float or pair of float
        Seconds that bytes are under way. With a range, each piece has its own delay; none
        overtakes the one before it.
    bandwidth : float
        Bytes per second that come through; `math.inf` is no limit.
    max_piece : int or None
        Bytes are parted into pieces of 1 to so many bytes, and a read gets one piece. None leaves
        them as they come; 1 has them come one by one.
    corrupt_probability : float
        For each byte, how probable it is that one of its bits is flipped, from 0 to 1.
    cut_after : int, pair of int, or None
        Bytes that come through until the line is cut, at least 1. None: it is not cut.

    Raises
    ------
    ArgumentError
        A value of the wrong kind, or outside of what it may be. A ValueError.
    """

    delay: float | tuple[float, float] = 0.0
    bandwidth: float = math.inf
    max_piece: int | None = None
    corrupt_probability: float = 0.0
    cut_after: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check(
            _is_range(self.delay, (int, float), 0),
            f"delay is a number of seconds, or a pair (least, greatest), not {self.delay!r}",
        )
        _check(
            isinstance(self.bandwidth, (int, float)) and self.bandwidth > 0,
            f"bandwidth is a number of bytes per second above 0, not {self.bandwidth!r}",
        )
        _check(
            self.max_piece is None or (isinstance(self.max_piece, int) and self.max_piece >= 1),
            f"max_piece is a number of bytes from 1 on, or None, not {self.max_piece!r}",
        )
        _check(
            isinstance(self.corrupt_probability, (int, float))
            and 0 <= self.corrupt_probability <= 1,
            f"corrupt_probability is a number from 0 to 1, not {self.corrupt_probability!r}",
        )
        _check(
            self.cut_after is None or _is_range(self.cut_after, (int,), 1),
            "cut_after is a number of bytes from 1 on, a pair (least, greatest), or None,"
            f" not {self.cut_after!r}",
        )


class FaultPlan:
    """Decides what becomes of the bytes that come over a line in one direction.

    Not thread-safe. An interrupt at any moment loses no byte and doubles none.

    Parameters
    ----------
    faults : Faults
        What goes wrong.
    seed : int
        Decides where the faults leave a choice.

    Raises
    ------
    ArgumentError
        One of them is something else. A ValueError.

    Attributes
    ----------
    arrived : list of bytes
        Whoever reads the line appends here what came, b"" for its end, and calls `schedule`.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        check_faults(faults, seed)
        self.arrived: list[bytes] = []
        self._course = _Course(faults, seed)
        # What is under way. Only the first one can be taken, whatever is due behind it. What ends
        # the line stays as the last one.
        self._pieces: deque[_Piece] = deque()
        self._size = 0

    @property
    def has_room(self) -> bool:
        """Whether to read more from the line."""
        is_over = bool(self._pieces) and not self._pieces[-1].data
        return self._size < MAX_UNDER_WAY and not is_over

    def schedule(self, now: float) -> None:
        """Send what has arrived on its way.

        Parameters
        ----------
        now : float
            Seconds on a clock that never goes backwards.
        """
        # The copy goes on; an interrupt may cost it a number drawn by chance, but no byte.
        course = copy.copy(self._course)
        pieces: list[_Piece] = []
        for data in self.arrived:
            pieces += course.send(data, now)
        size = sum(len(piece.data) for piece in pieces)
        # No call from here on, so no interrupt either.
        self._pieces += pieces
        self._size += size
        self._course = course
        self.arrived = []

    def fail(self, error: OSError, now: float) -> None:
        """Have the line end with an error, behind all that has arrived."""
        self.schedule(now)
        self._pieces.append(_Piece(self._course.arrival(0, now), b"", error))

    def delay(self, now: float) -> float | None:
        """Get the seconds until something is there, 0.0 if it is, None if nothing is under way."""
        return max(0.0, self._pieces[0].due - now) if self._pieces else None

    def take(self, chunks: list[bytes], at_most: int, now: float) -> None:
        """Get the piece that is there.

        Parameters
        ----------
        chunks : list of bytes
            Gets it appended: b"" at the end of the line, nothing if nothing is there.
        at_most : int
            How many bytes to take at most.
        now : float
            Seconds on the clock of `schedule`.

        Raises
        ------
        OSError
            The line is cut, or has failed.
        """
        if self.delay(now) != 0.0:
            return
        due, data, error = self._pieces[0]
        if error is not None:
            raise error
        data, rest = data[:at_most], _Piece(due, data[at_most:])
        size = len(data)
        # No call but the last from here on, so no interrupt in between either.
        if rest.data:
            self._pieces[0] = rest
        elif data:
            del self._pieces[0]
        self._size -= size
        chunks.append(data)


class _Piece(NamedTuple):
    """Bytes that come at once, when they are due; without bytes, the end of the line."""

    due: float
    data: bytes
    error: OSError | None = None


class _Course:
    """How far the bytes have come, and what is in store for the next ones."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        # One for each kind of fault: one more kind does not change what the others do.
        self._sizes = Random(f"sizes {seed}")
        self._delays = Random(f"delays {seed}")
        self._flips = Random(f"flips {seed}")
        self._lump = max(1, int(min(faults.bandwidth * _LUMP_TIME, MAX_UNDER_WAY)))
        # Bytes that still come through; and of the piece at hand, with the delay of that.
        self._until_cut = sys.maxsize
        if faults.cut_after is not None:
            self._until_cut = Random(f"cut {seed}").randint(*_range(faults.cut_after))
        self._left_of_piece = 0
        self._delay = 0.0
        # When the line has room for the next byte.
        self._free_at = -math.inf

    def send(self, data: bytes, now: float) -> list[_Piece]:
        """Get the pieces that bytes become, or the end of the line; none once it is cut."""
        if not self._until_cut:
            return []
        if not data:
            return [_Piece(self.arrival(0, now), b"")]
        data = data[: self._until_cut]
        self._until_cut -= len(data)
        pieces = self._part(self._damage(data), now)
        if not self._until_cut:
            pieces.append(_Piece(pieces[-1].due, b"", line_cut()))
        return pieces

    def arrival(self, size: int, now: float) -> float:
        """Have so many bytes leave behind the others, and get the moment when they are there."""
        self._free_at = max(self._free_at, now) + size / self._faults.bandwidth
        return self._free_at + self._delay

    def _damage(self, data: bytes) -> bytes:
        probability = self._faults.corrupt_probability
        if not probability:
            return data
        return bytes(
            byte ^ (1 << self._flips.randrange(8)) if self._flips.random() < probability else byte
            for byte in data
        )

    def _part(self, data: bytes, now: float) -> list[_Piece]:
        pieces: list[_Piece] = []
        start = 0
        while start < len(data):
            size = self._next_size(len(data) - start)
            pieces.append(_Piece(self.arrival(size, now), data[start : start + size]))
            start += size
        return pieces

    def _next_size(self, available: int) -> int:
        if not self._left_of_piece:
            max_piece = self._faults.max_piece
            self._left_of_piece = self._sizes.randint(1, max_piece) if max_piece else available
            self._delay = self._delays.uniform(*_range(self._faults.delay))
        size = min(self._left_of_piece, available, self._lump)
        self._left_of_piece -= size
        return size


def check_faults(faults: object, seed: object) -> None:
    """Raise ArgumentError (a ValueError) if they are not what a line can have."""
    _check(isinstance(faults, Faults), f"faults are a Faults, not {faults!r}")
    _check(isinstance(seed, int), f"seed is an int, not {seed!r}")


def line_cut() -> OSError:
    """Make the error that a cut line gives."""
    return ConnectionResetError(errno.ECONNRESET, "the line was cut")


def _range(value: T | tuple[T, T]) -> tuple[T, T]:
    return value if isinstance(value, tuple) else (value, value)


def _is_range(value: Any, types: tuple[type, ...], least: int) -> bool:
    limits = _range(value)
    if len(limits) != 2 or not all(isinstance(limit, types) for limit in limits):
        return False
    return bool(least <= limits[0] <= limits[1] < math.inf)


def _check(is_fine: bool, text: str) -> None:
    if not is_fine:
        raise ArgumentError(text)

"""When to try to connect again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from yoton.exceptions import ArgumentError


class ReconnectPolicy(NamedTuple):
    """How often, and for how long, to try to connect again.

    Parameters
    ----------
    first_delay : float
        Seconds from the loss of the line to the first try.
    factor : float
        By which the delay grows with each try.
    ceiling : float
        Seconds that a delay has at most.
    jitter : float
        Part of a delay that is left to chance, from 0 to 1: the clients of a server that comes
        back are not to knock all at once.
    give_up_after : float or None
        Seconds without a line after which the connection is closed. None: never.
    """

    first_delay: float = 0.05
    factor: float = 2.0
    ceiling: float = 5.0
    jitter: float = 0.5
    give_up_after: float | None = None

    def check(self) -> None:
        """Raise ArgumentError (a ValueError) if a field has a value that it cannot have."""
        numbers = [number for number in self if number is not None]
        if not all(isinstance(number, (int, float)) and number >= 0.0 for number in numbers):
            raise ArgumentError(f"the fields of a ReconnectPolicy are no less than 0: {self!r}")
        if self.factor < 1.0 or self.jitter > 1.0 or not math.isfinite(self.ceiling):
            raise ArgumentError(
                f"factor is at least 1, jitter at most 1, and ceiling finite: {self!r}"
            )

    def delays(self, chance: Callable[[], float]) -> Iterator[float]:
        """Get the seconds to wait before each try, without end.

        Parameters
        ----------
        chance : callable
            Gets a random number from 0 to 1.
        """
        delay = self.first_delay
        while True:
            delay = min(delay, self.ceiling)
            yield delay * (1.0 - self.jitter * chance())
            delay *= self.factor

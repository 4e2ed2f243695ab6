"""When to try to connect again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from yoton.exceptions import ArgumentError
from yoton.record import Record

#: Seconds from a try that failed to the next one, at least. A hundred tries a second are as good as
#: more, and leave the processor to others.
MIN_DELAY = 0.01


class ReconnectPolicy(Record):
    """How often, and for how long, to try to connect again.

    Parameters
    ----------
    first_delay : float
        Seconds from the loss of the line to the first try.
    factor : float
        By which the delay grows with each try. It begins anew when a line has lasted for a second.
    ceiling : float
        Seconds that a delay has at most. After the first one, each has at least 0.01.
    jitter : float
        Part of a delay that is left to chance, from 0 to 1: the clients of a server that comes
        back are not to knock all at once.
    give_up_after : float or None
        Seconds without a line after which the connection is closed. None: never.
    """

    __slots__ = ("ceiling", "factor", "first_delay", "give_up_after", "jitter")

    def __init__(
        self,
        first_delay: float = 0.05,
        factor: float = 2.0,
        ceiling: float = 5.0,
        jitter: float = 0.5,
        give_up_after: float | None = None,
    ) -> None:
        self.first_delay = first_delay
        self.factor = factor
        self.ceiling = ceiling
        self.jitter = jitter
        self.give_up_after = give_up_after

    def check(self) -> None:
        """Raise ArgumentError (a ValueError) if a field has a value that it cannot have."""
        numbers = [self.first_delay, self.factor, self.ceiling, self.jitter]
        if self.give_up_after is not None:
            numbers.append(self.give_up_after)
        if not all(isinstance(number, (int, float)) and number >= 0.0 for number in numbers):
            raise ArgumentError(f"the fields of a ReconnectPolicy are no less than 0: {self!r}")
        if not 1.0 <= self.factor < math.inf or not 0.0 < self.ceiling < math.inf:
            raise ArgumentError(
                f"factor is at least 1, ceiling more than 0, and both are finite: {self!r}"
            )
        if self.jitter > 1.0:
            raise ArgumentError(f"jitter is at most 1: {self!r}")

    def delays(self, chance: Callable[[], float]) -> Iterator[float]:
        """Get the seconds to wait before each try, without end.

        Parameters
        ----------
        chance : callable
            Gets a random number from 0 to 1.
        """
        delay = min(self.first_delay, self.ceiling)
        yield delay * (1.0 - self.jitter * chance())
        while True:
            delay = min(max(delay, MIN_DELAY) * self.factor, self.ceiling)
            yield max(delay * (1.0 - self.jitter * chance()), MIN_DELAY)


def policy_of(reconnect: bool | ReconnectPolicy) -> ReconnectPolicy | None:
    """Get the policy that somebody wants, checked; None for not to connect again.

    Raises
    ------
    ArgumentError
        It is neither a bool nor a policy, or a policy with values that it cannot have.
    """
    if reconnect is False:
        return None
    policy = ReconnectPolicy() if reconnect is True else reconnect
    if not isinstance(policy, ReconnectPolicy):
        raise ArgumentError(f"reconnect is a bool or a ReconnectPolicy, not {reconnect!r}")
    policy.check()
    return policy

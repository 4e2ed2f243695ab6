"""Statistics of samples, and how numbers are written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

#: Stands where there is no number.
NOTHING = "\N{EN DASH}"


class Summary(NamedTuple):
    """The middle and the ends of some samples."""

    median: float
    low: float
    high: float


def summarize(samples: Sequence[float]) -> Summary:
    """Get median, minimum and maximum of at least one sample."""
    return Summary(median(samples), min(samples), max(samples))


def median(samples: Sequence[float]) -> float:
    """Get the middle one, or the mean of the two in the middle."""
    return statistics.median(samples)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Get the smallest sample that at least so many percent of them do not exceed."""
    ordered = sorted(samples)
    rank = -int(-len(ordered) * percent // 100)
    return ordered[max(0, rank - 1)]


def format_number(number: float) -> str:
    """Write three digits that count, with k, M or G where it is large."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * factor:
            return f"{_three_digits(number / factor)} {letter}"
    return _three_digits(number)


def format_ratio(numerator: float, denominator: float) -> str:
    """Write how many times the second one the first one is."""
    if denominator <= 0.0:
        return NOTHING
    return format_number(numerator / denominator)


def _three_digits(number: float) -> str:
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    if abs(number) >= 9.995:
        return f"{number:.1f}"
    return f"{number:.2f}"

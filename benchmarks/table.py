"""Results as a Markdown table."""

from __future__ import annotations

from benchmarks.results import Results, Row
from benchmarks.summary import NOTHING, format_number, format_ratio, summarize

#: What yoton is divided by, in the last column.
YARDSTICK = "zmq-tcp"


def render(results: Results) -> str:
    """Get a line for each row and a column for each peer, and below it where it was measured."""
    header = ["", "unit", *(peer.title for peer in results.peers.values())]
    has_ratio = {"yoton", YARDSTICK} <= results.peers.keys()
    if has_ratio:
        header.append(f"yoton : {results.peers[YARDSTICK].title}")
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2)]
    for row in results.rows:
        cells = [row.title, _unit(row), *(_cell(row, peer) for peer in results.peers)]
        lines.append(cells + [_ratio(row)] * has_ratio)
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"{table}\n{_circumstances(results)}"


def _unit(row: Row) -> str:
    return f"{row.unit} ({'more' if row.is_rate else 'less'} is better)"


def _cell(row: Row, peer: str) -> str:
    if peer in row.errors:
        is_lossy = any(error.startswith("lossy") for error in row.errors[peer])
        return "lossy" if is_lossy else "failed"
    if peer not in row.samples:
        return NOTHING
    middle, low, high = (format_number(number) for number in summarize(row.samples[peer]))
    return f"**{middle}** ({low} … {high})"


def _ratio(row: Row) -> str:
    compared = ("yoton", YARDSTICK)
    if any(peer in row.errors or peer not in row.samples for peer in compared):
        return NOTHING
    ours, theirs = (summarize(row.samples[peer]).median for peer in compared)
    return format_ratio(ours, theirs)


def _circumstances(results: Results) -> str:
    versions = ", ".join(f"{peer.title} {peer.version}" for peer in results.peers.values())
    machine = ", ".join(results.machine.values())
    return (
        f"Medians of {results.rounds} rounds (smallest … greatest). {machine}. {versions}.\n"
        f"`{results.command}`\n"
    )

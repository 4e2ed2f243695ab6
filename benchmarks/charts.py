"""Charts of results: ``python -m benchmarks.charts DIR``, where DIR has the results.json.

They are made from what was written, so that they can be made again without measuring.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.results import Results, Row
from benchmarks.summary import format_number, summarize
from benchmarks.workloads.one_way import SIZES

#: The same results make the same file, byte by byte.
_REPRODUCIBLE = {"svg.hashsalt": "yoton", "svg.fonttype": "none"}
_METADATA = {"Date": None, "Creator": None}
_STYLE = {
    "figure.figsize": (7.0, 3.6),
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
}

#: File, what is plotted upwards, and what to the right, by the beginning of the workloads' names.
_SCALES = {
    "scale-connections": ("processor, % of a core", "idle connections"),
    "scale-broadcast": ("µs per subscriber and message", "subscribers"),
    "scale-slots": ("messages/s", "slots"),
    "scale-hops": ("round trip, µs", "relays"),
    "scale-size": ("bytes/s", "bytes of a message"),
    "scale-threads": ("messages/s", "threads that send"),
}


def main(folder: Path) -> None:
    """Draw all that there are results for."""
    mpl.use("svg")
    mpl.rcParams.update(_REPRODUCIBLE | _STYLE)
    results = Results.read(folder / "results.json")
    _draw_round_trips(results, folder / "round-trip.svg")
    _draw_throughput(results, folder / "throughput.svg")
    scale = folder / "scale" / "results.json"
    if scale.exists():
        rows = Results.read(scale).rows
        for name, (quantity, axis) in _SCALES.items():
            points = [row for row in rows if row.workload.rpartition("-")[0] == name]
            _draw_scale(points, quantity, axis, folder / f"{name}.svg")


def _draw_round_trips(results: Results, path: Path) -> None:
    """Draw a bar for each peer, free and on one core."""
    rows = [row for row in results.rows if row.figure == "p50" and "round-trip" in row.workload]
    peers = [name for name in results.peers if any(_has_figure(row, name) for row in rows)]
    figure, axes = pyplot.subplots()
    height = 0.8 / max(1, len(rows))
    for position, row in enumerate(rows):
        places = [place + position * height for place, name in enumerate(peers)]
        values = [_middle(row, name) if _has_figure(row, name) else 0.0 for name in peers]
        bars = axes.barh(places, values, height, label=row.title)
        axes.bar_label(bars, [f" {format_number(value)}" for value in values])
    axes.set_xscale("log")
    axes.set_xlabel("µs (less is better)")
    axes.set_yticks(
        [place + 0.4 - height / 2 for place in range(len(peers))],
        [results.peers[name].title for name in peers],
    )
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _draw_throughput(results: Results, path: Path) -> None:
    """Draw a line for each peer, over the size of messages."""
    figure, axes = pyplot.subplots()
    by_workload = {row.workload: row for row in results.rows}
    points = [
        (size, by_workload[name])
        for title, size in SIZES.items()
        if (name := f"pubsub-{title.replace(' ', '')}") in by_workload
    ]
    for name, peer in results.peers.items():
        line = [
            (size, _middle(row, name) * (1 if row.figure == "bytes" else size))
            for size, row in points
            if _has_figure(row, name)
        ]
        if line:
            is_ours = name == "yoton"
            axes.plot(
                *zip(*line, strict=True), "o-", label=peer.title, linewidth=3 if is_ours else 1.3
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(SIZES.values()), list(SIZES))
    axes.set_ylabel("bytes/s (more is better)")
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _draw_scale(rows: Sequence[Row], quantity: str, axis: str, path: Path) -> None:
    """Draw one line with its spread."""
    figure, axes = pyplot.subplots()
    points = [row for row in rows if _has_figure(row, "yoton")]
    xs = [int(row.workload.rpartition("-")[2]) for row in points]
    summaries = [summarize(_per_unit(row, quantity)) for row in points]
    axes.plot(xs, [summary.median for summary in summaries], "o-")
    axes.fill_between(xs, [s.low for s in summaries], [s.high for s in summaries], alpha=0.2)
    if xs and max(xs) > 100:
        axes.set_xscale("log")
    if quantity == "bytes/s":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(axis)
    axes.set_ylabel(quantity)
    _save(figure, path)


def _per_unit(row: Row, quantity: str) -> list[float]:
    """Get the samples, as costs where a rate was measured and a cost is shown."""
    samples = row.samples["yoton"]
    is_cost_of_rate = row.is_rate and quantity.startswith("µs")
    return [1e6 / sample for sample in samples] if is_cost_of_rate else samples


def _has_figure(row: Row, peer: str) -> bool:
    return peer in row.samples and peer not in row.errors


def _middle(row: Row, peer: str) -> float:
    return summarize(row.samples[peer]).median


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.savefig(path, metadata=_METADATA)
    pyplot.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

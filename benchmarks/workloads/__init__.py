"""All workloads, in the order of the table."""

from __future__ import annotations

import importlib

from benchmarks.workloads import calls, flood, idle, importing, load, one_way, round_trip, unwanted
from benchmarks.workloads.workload import Workload

_COMPARING = (
    *round_trip.WORKLOADS,
    *calls.WORKLOADS,
    *one_way.WORKLOADS,
    *unwanted.WORKLOADS,
    *load.WORKLOADS,
    *idle.WORKLOADS,
    *flood.WORKLOADS,
    *importing.WORKLOADS,
)


def load_workloads(group: str) -> tuple[Workload, ...]:
    """Get the workloads of a group.

    Parameters
    ----------
    group : str
        "all": those for all peers. "scale": those for yoton alone. They import it, so they are
        imported only where they are used: another peer has the same name.
    """
    if group == "all":
        return _COMPARING
    scale: tuple[Workload, ...] = importlib.import_module("benchmarks.workloads.scale").WORKLOADS
    return scale


def find_workload(name: str) -> Workload:
    """Get a workload by its name."""
    group = "scale" if name.startswith("scale-") else "all"
    return next(workload for workload in load_workloads(group) if workload.name == name)

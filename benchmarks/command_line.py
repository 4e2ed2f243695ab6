"""What can be asked for on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.workloads.workload import Workload

GROUPS = ("all", "scale")
QUICK_PEERS = ["yoton", "zmq-tcp"]
SCALE_PEERS = ["yoton"]


def parse(
    arguments: Sequence[str], peers: Sequence[str], workloads: Mapping[str, Sequence[str]]
) -> argparse.Namespace:
    """Parse.

    Parameters
    ----------
    arguments : sequence of str
        Without the name of the program.
    peers : sequence of str
        The names of all peers.
    workloads : mapping
        The names of all workloads, by group.

    Returns
    -------
    argparse.Namespace
        With the names of the chosen peers and workloads, in the order in which they were given.

    Raises
    ------
    SystemExit
        Something is asked for that there is not.
    """
    parser = _parser(peers, workloads)
    parsed = parser.parse_args(arguments)
    if parsed.rounds < 1:
        parser.error("--rounds has to be at least 1")
    if parsed.seconds <= 0.0:
        parser.error("--seconds has to be more than 0")
    default_peers = SCALE_PEERS if parsed.group == "scale" else peers
    if parsed.quick:
        default_peers = QUICK_PEERS
    parsed.peers = _matching(parser, peers, parsed.peers or ",".join(default_peers))
    parsed.only = _matching(parser, workloads[parsed.group], parsed.only or "*")
    return parsed


def chosen(workloads: Sequence[Workload], parsed: argparse.Namespace) -> list[Workload]:
    """Get the workloads that are asked for."""
    return [
        workload
        for workload in workloads
        if workload.name in parsed.only and (workload.is_quick or not parsed.quick)
    ]


def _parser(
    peers: Sequence[str], workloads: Mapping[str, Sequence[str]]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure yoton beside what one would use instead.",
        epilog=f"Peers: {', '.join(peers)}. "
        + " ".join(f"Workloads of {group}: {', '.join(workloads[group])}." for group in workloads),
    )
    add = parser.add_argument
    add("group", nargs="?", choices=GROUPS, default="all", help="all peers, or how yoton scales")
    add("--quick", action="store_true", help="the main workloads, with yoton and zmq-tcp")
    add("--only", metavar="NAMES", help="workloads, separated by commas, * for any text")
    add("--peers", metavar="NAMES", help="peers, in the same way")
    add("--rounds", type=int, default=5, help="how often each is run (%(default)s)")
    add("--seconds", type=float, default=0.5, help="how long a run takes (%(default)s)")
    add("--output", type=Path, metavar="DIR", help="where results.json and table.md go")
    return parser


def _matching(parser: argparse.ArgumentParser, names: Sequence[str], patterns: str) -> list[str]:
    for pattern in patterns.split(","):
        if not any(fnmatchcase(name, pattern) for name in names):
            parser.error(f"{pattern!r} is none of {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, p) for p in patterns.split(","))]

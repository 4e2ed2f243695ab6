"""``python -m benchmarks``: measures, prints a table and writes the results."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from benchmarks import table
from benchmarks.command_line import GROUPS, chosen, parse
from benchmarks.machine import describe_machine
from benchmarks.measure import describe_peer, run_workload
from benchmarks.peers import peer_names
from benchmarks.results import Results
from benchmarks.workloads import load_workloads


def main(arguments: list[str]) -> None:
    """Do what the command line asks for."""
    names = {group: [workload.name for workload in load_workloads(group)] for group in GROUPS}
    parsed = parse(arguments, peer_names(), names)
    results = Results(
        command=shlex.join(["python", "-m", "benchmarks", *arguments]),
        machine=describe_machine(),
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        peers={name: describe_peer(name) for name in parsed.peers},
    )
    for workload in chosen(load_workloads(parsed.group), parsed):
        print(workload.title, file=sys.stderr)
        results.rows += run_workload(workload, results.peers, parsed.rounds, parsed.seconds)
    print(table.render(results))
    if parsed.output is not None:
        _write(results, parsed.output)


def _write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "results.json")
    (folder / "table.md").write_text(table.render(results))


if __name__ == "__main__":
    main(sys.argv[1:])

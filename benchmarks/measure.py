"""Runs workloads, the peers in turns, and collects what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.control import start_child
from benchmarks.results import PeerInfo, Row
from benchmarks.workloads.workload import Workload

#: A run that takes longer has lost something and waits for it.
RUN_TIMEOUT = 60.0


def describe_peer(name: str) -> PeerInfo:
    """Ask a peer what it is, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.describe", name]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return PeerInfo(**json.loads(output))


def run_workload(
    workload: Workload, peers: dict[str, PeerInfo], rounds: int, seconds: float
) -> list[Row]:
    """Run a workload so many times with each peer that can do it; get a row for each figure."""
    rows = [
        Row(
            workload.name,
            figure.name,
            f"{workload.title}: {figure.title}" if figure.title else workload.title,
            figure.unit,
            figure.is_rate,
        )
        for figure in workload.figures
    ]
    able = [name for name, peer in peers.items() if _takes_part(workload, name, peer)]
    for _ in range(rounds):
        for name in able:
            _add(rows, name, _run(workload.name, name, {"seconds": seconds}))
    return rows


def _takes_part(workload: Workload, name: str, peer: PeerInfo) -> bool:
    is_able = not workload.ability or workload.ability in peer.abilities
    return is_able and (not workload.only or name in workload.only)


def _add(rows: Sequence[Row], peer: str, outcome: dict[str, Any]) -> None:
    for row in rows:
        if "error" in outcome:
            row.errors.setdefault(peer, []).append(outcome["error"])
        else:
            row.samples.setdefault(peer, []).append(outcome["figures"][row.figure])


def _run(workload: str, peer: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run a workload once; get its figures, or what went wrong."""
    client = start_child(peer, workload, "client", options, is_leader=True)
    try:
        output, _ = client.communicate(timeout=RUN_TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"error": f"lossy: not all has come in {RUN_TIMEOUT:.0f} s"}
    finally:
        if client.poll() is None:
            _end(client)
    if not output:
        return {"error": f"the client ended with {client.returncode}"}
    outcome: dict[str, Any] = json.loads(output)
    return outcome


def _end(client: subprocess.Popen[str]) -> None:
    """End a client and all that it has started."""
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()

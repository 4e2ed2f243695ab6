"""How much longer Python takes to start with an import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.peers.base import Peer
from benchmarks.summary import median
from benchmarks.workloads.workload import Figure, Start, Workload

_TIMES = 15


def measure(peer: Peer, start: Start, options: dict[str, Any]) -> dict[str, float]:
    """Start Python with and without it, in turns."""
    _start_python(peer.import_code)
    differences = []
    for _ in range(_TIMES):
        bare = _start_python("pass")
        differences.append(_start_python(peer.import_code) - bare)
    return {"import": 1e3 * median(differences)}


def _start_python(code: str) -> float:
    # With compiled modules, as installed ones are.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - begin


WORKLOADS = [
    Workload(
        name="import",
        title="Import, over the bare interpreter",
        ability="",
        figures=(Figure("import", "ms"),),
        client=measure,
        is_quick=True,
    )
]

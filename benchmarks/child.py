"""One process of a run: ``python -m benchmarks.child PEER WORKLOAD ROLE OPTIONS``."""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from typing import Any

from benchmarks.control import Control, control_of_child, control_of_parent, start_child
from benchmarks.payload import LossyError
from benchmarks.peers import load_peer
from benchmarks.peers.base import Peer
from benchmarks.workloads import find_workload
from benchmarks.workloads.workload import Workload


def main(peer_name: str, workload_name: str, role: str, options_text: str) -> None:
    """Take a role and end with the process."""
    control = control_of_parent()
    _allow_many_files()
    peer = load_peer(peer_name)
    workload = find_workload(workload_name)
    options = workload.options | json.loads(options_text)
    if role == "client":
        control.tell(_run_client(peer_name, peer, workload, options))
    else:
        workload.roles[role](peer, control, options)
    # Libraries say goodbye at exit, some of them for a long time; that is not measured here.
    os._exit(0)


def _run_client(
    peer_name: str, peer: Peer, workload: Workload, options: dict[str, Any]
) -> dict[str, Any]:
    children = []

    def start(role: str, **more: Any) -> Control:
        child = start_child(peer_name, workload.name, role, options | more)
        children.append(child)
        return control_of_child(child)

    try:
        if options.get("is_pinned"):
            # Children inherit it.
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return {"figures": workload.client(peer, start, options)}
    except LossyError as error:
        return {"error": f"lossy: {error}"}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        # The next run begins when this one has left nothing behind.
        for child in children:
            child.kill()
            child.wait()


def _allow_many_files() -> None:
    """Raise the limit of open files, which hundreds of connections need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main(*sys.argv[1:])

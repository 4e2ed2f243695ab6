"""What a peer says of itself: ``python -m benchmarks.describe PEER``.

In a process of its own, since two of the peers are imported by the same name.
"""

from __future__ import annotations

import json
import sys

from benchmarks.peers import load_peer


def main(name: str) -> None:
    """Print it as JSON."""
    peer = load_peer(name)
    description = {
        "title": peer.title,
        "version": peer.version(),
        "abilities": sorted(peer.abilities),
    }
    print(json.dumps(description))


if __name__ == "__main__":
    main(sys.argv[1])

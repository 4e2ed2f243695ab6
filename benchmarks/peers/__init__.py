"""One module for each peer. Its name, with hyphens, is the peer's name on the command line."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.peers.base import Peer


def peer_names() -> list[str]:
    """Get the names of all peers, yoton first."""
    names = {module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)}
    return sorted(names - {"base"}, key=lambda name: (name != "yoton", name))


def load_peer(name: str) -> Peer:
    """Import the adapter of a peer, and with it its library."""
    module = importlib.import_module(f"benchmarks.peers.{name.replace('-', '_')}")
    adapter: Peer = module.Adapter()
    return adapter

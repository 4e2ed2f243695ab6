"""What was measured, as it is kept in results.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class PeerInfo:
    """A peer, as it described itself."""

    title: str
    version: str
    abilities: list[str]


@dataclass
class Row:
    """One figure of one workload.

    Attributes
    ----------
    workload, figure : str
        Their names.
    title, unit : str
        For readers.
    is_rate : bool
        Whether more is better.
    samples : dict
        By peer, one for each round that went well.
    errors : dict
        By peer, what went wrong in the other ones. A peer with one of them has no figure.
    """

    workload: str
    figure: str
    title: str
    unit: str
    is_rate: bool
    samples: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Results:
    """All of one call of this program."""

    command: str
    machine: dict[str, str]
    rounds: int
    seconds: float
    peers: dict[str, PeerInfo]
    rows: list[Row] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what was written."""
        content = json.loads(path.read_text())
        content["peers"] = {name: PeerInfo(**peer) for name, peer in content["peers"].items()}
        content["rows"] = [Row(**row) for row in content["rows"]]
        return cls(**content)

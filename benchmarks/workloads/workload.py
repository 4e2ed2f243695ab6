"""What a workload is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.control import Control
from benchmarks.peers.base import Peer


@dataclass(frozen=True)
class Figure:
    """One number that a run gives: a row of the table.

    Attributes
    ----------
    name : str
        Key in what the client returns.
    unit : str
        What it counts.
    title : str
        What it is, where a workload has several.
    is_rate : bool
        Whether more is better.
    """

    name: str
    unit: str
    title: str = ""
    is_rate: bool = False


#: One of the other sides.
Role = Callable[[Peer, Control, dict[str, Any]], None]


class Start(Protocol):
    """Starts another process of the run, with the same options and more."""

    def __call__(self, role: str, **more: Any) -> Control: ...


@dataclass(frozen=True)
class Workload:
    """Something that peers are measured at.

    Attributes
    ----------
    name : str
        For the command line.
    title : str
        For the table.
    ability : str
        What a peer needs for it, see `benchmarks.peers.base.Peer`. Empty: nothing.
    figures : tuple of Figure
        What comes out.
    client : callable
        The measuring side. Starts the others and returns the figures by name.
    roles : dict
        The other sides, by the name of their role.
    options : dict
        What sets it apart from others with the same functions.
    only : frozenset of str
        The peers that take part; empty: all that can.
    is_quick : bool
        Whether it is one of the main ones.
    """

    name: str
    title: str
    ability: str
    figures: tuple[Figure, ...]
    client: Callable[[Peer, Start, dict[str, Any]], dict[str, float]]
    roles: dict[str, Role] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    is_quick: bool = False

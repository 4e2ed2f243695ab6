"""Our context in this process, connected to the yoton inside Pyzo in another one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from interop.peer import BINDERS, Link, Peer, connect

from yoton import Context


@pytest.fixture
def ours() -> Iterator[Context]:
    """A context of ours; closed after the peers that are made after it were ended."""
    with Context() as context:
        yield context


@pytest.fixture
def theirs(ours: Context) -> Iterator[Peer]:
    """A process with the yoton inside Pyzo, not connected."""
    with Peer() as peer:
        yield peer


@pytest.fixture(params=BINDERS)
def binder(request: pytest.FixtureRequest) -> str:
    """Which end binds."""
    value: str = request.param
    return value


@pytest.fixture
def link(ours: Context, theirs: Peer, binder: str) -> Link:
    """Two connected contexts, in both roles."""
    return Link(ours, theirs, connect(ours, theirs, binder))

"""Pairs of contexts that are connected, and closed in the end.

Over TCP, and the tests of the channels over all other transports as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import connect, places

from yoton.context import Context

#: The tests of the channels.
OVER_ALL_TRANSPORTS = {
    "test_file_wrapper",
    "test_pubsub",
    "test_reqrep",
    "test_state_order",
    "test_sync_mode_selected",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.path.stem in OVER_ALL_TRANSPORTS:
        metafunc.parametrize("transport", ["tcp", "unix", "memory"], indirect=True)


@pytest.fixture(autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have contexts connect over this transport."""
    name: str = getattr(request, "param", "tcp")
    # Not tmp_path, which is too long for the address of a socket.
    with tempfile.TemporaryDirectory(prefix="yoton") as folder:
        monkeypatch.setattr(places, "folder", Path(folder))
        monkeypatch.setattr(places, "transport", name)
        yield name


@pytest.fixture
def make_context() -> Iterator[Callable[..., Context]]:
    contexts: list[Context] = []

    def make(**settings: Any) -> Context:
        contexts.append(Context(**settings))
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def pair(make_context: Callable[[], Context]) -> tuple[Context, Context]:
    binder, connector = make_context(), make_context()
    connect(binder, connector)
    return binder, connector


@pytest.fixture
def ring(make_context: Callable[[], Context]) -> tuple[Context, Context]:
    """A context in a ring with two relays, and one behind the first of them."""
    one, first, second, leaf = (make_context() for _ in range(4))
    connect(one, first)
    connect(first, second)
    connect(second, one)
    connect(first, leaf)
    return one, leaf


@pytest.fixture
def chain(make_context: Callable[[], Context]) -> list[Context]:
    """Two contexts and a relay between them."""
    contexts = [make_context() for _ in range(3)]
    connect(contexts[0], contexts[1])
    connect(contexts[1], contexts[2])
    return contexts

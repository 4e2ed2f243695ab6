"""Pairs of contexts that are connected over TCP, and closed in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import connect

from yoton.context import Context


@pytest.fixture
def make_context() -> Iterator[Callable[[], Context]]:
    contexts: list[Context] = []

    def make() -> Context:
        contexts.append(Context())
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def pair(make_context: Callable[[], Context]) -> tuple[Context, Context]:
    binder, connector = make_context(), make_context()
    connect(binder, connector)
    return binder, connector

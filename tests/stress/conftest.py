"""What the tests with interrupts have in common."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def collector_off() -> Iterator[None]:
    """Have no garbage collected: an interrupt in one of its callbacks would only be a warning."""
    gc.disable()
    yield
    gc.enable()

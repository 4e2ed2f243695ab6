"""The long run with faults, for a minute."""

from __future__ import annotations

import sys

import pytest
import soak

#: Seconds; `make soak` runs for half an hour.
DURATION = 60.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_grows() -> None:
    soak.run(DURATION, seed=1)

"""Processes are killed, stopped and cut off at any moment: the others go on, and no call hangs."""

from __future__ import annotations

import os
import sys

import pytest
from fleet import Fleet

#: `make soak` plays more.
ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("seed", [1])
def test_all_goes_on_whoever_is_killed(seed: int) -> None:
    with Fleet(seed) as fleet:
        for _ in range(ROUNDS):
            fleet.play_round()
        print(fleet.report())

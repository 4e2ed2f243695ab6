from __future__ import annotations

import pytest

from yoton.connection.liveness import LOST_LINE_RETRANSMISSIONS, Liveness, Signs, judge


@pytest.mark.parametrize(
    ("signs", "liveness"),
    [
        (Signs(True, False, 0), Liveness.NOT_RUNNING_PYTHON),
        (Signs(True, False, LOST_LINE_RETRANSMISSIONS - 1), Liveness.NOT_RUNNING_PYTHON),
        (Signs(True, False, LOST_LINE_RETRANSMISSIONS), Liveness.LINE_LOST),
        (Signs(True, False, None), Liveness.SILENT),
        (Signs(False, False, None), Liveness.LINE_LOST),
        (Signs(False, True, None), Liveness.PROCESS_DEAD),
        (Signs(True, True, 0), Liveness.PROCESS_DEAD),
        (Signs(True, True, 9), Liveness.PROCESS_DEAD),
    ],
)
def test_what_the_signs_mean(signs: Signs, liveness: Liveness) -> None:
    assert judge(signs) is liveness

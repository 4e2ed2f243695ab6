"""A forked child starts with an empty event system, whatever the parent's threads were doing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import PATIENCE

SCRIPT = """
import os, sys, threading
from yoton.events import Timer, app, call_later, process_events
from yoton.events.scheduler import scheduler

FORKS = 20

def use_all():
    while True:
        call_later(int)
        process_events()
        scheduler.call_after(1000, int).cancel()

def check_child():
    called = []
    app.embed_event_loop(None)
    assert not app._events, "the queue is not empty"
    call_later(called.append, 0.01, "later")
    process_events(20)
    with Timer(0.01) as timer:
        timer.bind(lambda: called.append("timer"))
        timer.start()
        process_events(20)
    assert called == ["later", "timer"], called

for _ in range(2):
    threading.Thread(target=use_all, daemon=True).start()
app.embed_event_loop(lambda: None)
for _ in range(FORKS):
    child = os.fork()
    if child == 0:
        assert app._embedding_callback is None
        check_child()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("all children were well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_starts_anew() -> None:
    # Python 3.12 warns of forks of a process with threads, which this is about.
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.stdout == "all children were well\n", result.stderr

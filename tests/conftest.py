"""What holds for all tests: how hypothesis searches, and that Ctrl-C is heard."""

from __future__ import annotations

import signal

import hypothesis

# A shell that starts the tests in the background has them, and all processes that they start,
# ignore SIGINT, which many of them are about.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline per example would make tests fail on a loaded machine; pytest-timeout watches over
# the whole test. The same examples each time: a failure is to be seen where it was caused. To
# look for more, run with --hypothesis-profile=explore.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("suite")

"""How hypothesis searches: the same examples in each run, without a clock of its own."""

from __future__ import annotations

import hypothesis

# A deadline per example would make tests fail on a loaded machine; pytest-timeout watches over
# the whole test. The same examples each time: a failure is to be seen where it was caused. To
# look for more, run with --hypothesis-profile=explore.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("suite")

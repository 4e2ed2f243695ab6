# Every target that needs packages has a virtual environment of its own under .venv/,
# made from the package registry when it is missing or setup.cfg has changed.

PYTHON ?= python3
PYTEST_ARGS ?=
TEST_PROCESSES ?= 2
BENCH_ARGS ?=
SOAK_SECONDS ?= 1800
VERSIONS ?= 3.10 3.11 3.12 3.13

# The rooms without sockets, threads or clocks: all of their branches are tested.
PURE = yoton/routing.py,yoton/seen.py,yoton/interest.py,yoton/numbering.py,yoton/entry.py,yoton/directory.py,yoton/gaps.py,yoton/traffic.py,yoton/connection/framing.py,yoton/connection/handshake.py,yoton/connection/heartbeat.py,yoton/connection/liveness.py,yoton/connection/protocol.py,yoton/connection/fault_plan.py,yoton/connection/traffic.py,yoton/channels/negotiation.py,yoton/channels/replier_status.py,yoton/channels/sync.py

.PHONY: help test test-all lint soak demo docs bench bench-quick bench-micro clean

help:
	@echo "make test      lint, type check and run all tests"
	@echo "make test-all  the tests on every supported Python ($(VERSIONS))"
	@echo "make soak      half an hour (SOAK_SECONDS) of killed processes and cut lines"
	@echo "make demo      an IDE side drives a real Python kernel"
	@echo "make docs      the manual, as HTML in docs/_build/html"
	@echo "make bench     measure beside ZeroMQ and others, for docs/performance (long);"
	@echo "               bench-quick: the main ratios in two minutes; bench-micro: the parts"

.venv/%/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@

test: lint .venv/test/ready
	.venv/test/bin/python -m pytest -n $(TEST_PROCESSES) tests/unit --cov --cov-report= $(PYTEST_ARGS)
	.venv/test/bin/python -m coverage report --include="$(PURE)" --fail-under=100 --show-missing
	.venv/test/bin/python -m pytest -n $(TEST_PROCESSES) --dist worksteal --ignore=tests/unit $(PYTEST_ARGS)

lint: .venv/test/ready
	.venv/test/bin/ruff check .
	.venv/test/bin/ruff format --check .
	.venv/test/bin/mypy

test-all:
	for version in $(VERSIONS); do \
	    tests/on_python $$version || exit 1; \
	done

soak: .venv/test/ready
	KILL_ROUNDS=200 CONNECT_CYCLES=10000 .venv/test/bin/python -m pytest \
	    tests/stress/test_killed_processes.py tests/stress/test_many_lines.py $(PYTEST_ARGS)
	SOAK_SECONDS=$(SOAK_SECONDS) .venv/test/bin/python tests/soak.py

demo: .venv/demo/ready
	.venv/demo/bin/python -m examples.ide_kernel.demo

docs: .venv/docs/ready
	.venv/docs/bin/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: .venv/bench/ready
	.venv/bench/bin/python -m benchmarks --output docs/performance $(BENCH_ARGS)
	.venv/bench/bin/python -m benchmarks scale --output docs/performance/scale $(BENCH_ARGS)
	.venv/bench/bin/python -m benchmarks.charts docs/performance

bench-quick: .venv/bench/ready
	.venv/bench/bin/python -m benchmarks --quick $(BENCH_ARGS)

bench-micro: .venv/bench/ready
	.venv/bench/bin/python -m benchmarks.micro $(BENCH_ARGS)

clean:
	rm -rf .venv docs/_build build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# Everything that a newcomer or CI runs. Needs make, a Python of 3.11 or newer and the package index.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)
TESTS := tests
# a part is done before they have started
WORKERS := $(if $(filter-out tests,$(TESTS)),,--numprocesses=logical --maxprocesses=4 --dist=worksteal)
SERVERS ?= local

.PHONY: help demo test guarantees lint bench outage faults simulate mutations clean

help:  ## this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 12
	@echo 'PYTHON=python3.13 chooses the interpreter of a new .venv; make clean removes the old one.'

demo: $(READY)  ## three processes, one killed, every read judged; BROKER=sqlite, redis, nats, kafka or a URL
	@$(PY) -m examples.demo $(if $(BROKER),--broker $(BROKER))

test: $(READY)  ## the whole suite on real servers that it starts; TESTS="tests/unit -k lru" for a part, SERVERS=docker for containers
	@SERVERS=$(SERVERS) $(PY) -m pytest $(WORKERS) $(TESTS)

guarantees: $(READY)  ## the tests that show a promise, and the tables in docs/guarantees.md from what passed
	@$(PY) -m pytest $(WORKERS) -m promise --guarantees tests

lint: $(READY)  ## ruff, mypy --strict, pyright and the contracts on imports
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV)/bin/pyright --pythonpath $(PY)
	@$(VENV)/bin/lint-imports

bench: $(READY)  ## figures, as ratios against peers in the same run
	@$(PY) -m pip install --quiet --disable-pip-version-check --group bench
	@$(PY) -m benchmarks

outage: $(READY)  ## a broker away for SECONDS=30 under three writers and three readers; BROKER as for demo
	@$(PY) -m benchmarks.outage $(if $(BROKER),--broker $(BROKER)) $(if $(SECONDS),--seconds $(SECONDS))

faults: $(READY)  ## a broker broken in every way under load for SECONDS=300, and every read judged; BROKER=sqlite, redis, nats or kafka, SEED, REPORT=path.json
	@$(PY) -m tests.faultrun $(if $(BROKER),--broker $(BROKER)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(REPORT),--report $(REPORT))

simulate: $(READY)  ## the simulation over SEEDS=10000 seeds; a failing one is shortened and printed
	@$(PY) -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS))

mutations: $(READY)  ## the simulation with each rule switched off in turn, and how soon it notices
	@$(PY) -m tests.simulation --mutations

clean:  ## remove what make and the tools left here, the virtual environment too
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each candidate is run, since the shims of version managers exist without the interpreter behind them.
$(READY): pyproject.toml
	@set -e; \
	for python in $(PY) $(PYTHONS); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "setting up $(VENV) with $$($$python --version)"; \
	    test $$python = $(PY) || $$python -m venv --clear $(VENV); \
	    $(PY) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'; \
	    $(PY) -m pip install --quiet --editable . --group test --group lint; \
	    touch $@; \
	    exit 0; \
	  fi; \
	done; \
	echo 'no Python of 3.11 or newer with its venv module among: $(PYTHONS)' >&2; \
	exit 1

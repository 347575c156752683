# Everything a newcomer needs, from a bare clone on a machine with Python (>= 3.10), git and make:
#
#   make demo     set up, then do a real job on real files
#   make test     set up, then pass the tests
#
# `make help` lists the rest. All of it lives in .venv (and .venvs/ for other interpreters); nothing is installed
# outside this folder.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Two workers at most: the tests start processes of their own, and some measure promptness.
JOBS ?= 2
PYTEST := $(PY) -m pytest -q
# The fast half, and the rest; `make test` runs both.
FAST := $(wildcard tests/arch tests/unit tests/property tests/golden tests/typing)
LONG := $(wildcard tests/conformance tests/simulation tests/integration tests/interop)
PARALLEL := -n $(JOBS) --dist loadfile

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

# ---------------------------------------------------------------- setting up

# The first python that really runs, is new enough and can make environments. Version managers put commands on the
# PATH that only print an error, hence the trial run.
$(PY):
	@.ci/make-venv $(VENV)

$(STAMP): $(PY) pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

.PHONY: setup
setup: $(STAMP) ## make .venv and install the project with its tools

# ---------------------------------------------------------------- the job

FOLDER ?=
.PHONY: demo
demo: $(STAMP) ## a real job: digest, count and name the language of every file below FOLDER (default: Python's own)
	$(PY) examples/demo.py $(if $(FOLDER),'$(FOLDER)')

# ---------------------------------------------------------------- checks

.PHONY: format
format: $(STAMP) ## put the source into its canonical form
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

.PHONY: lint
lint: $(STAMP) ## format, lint and types
	$(VENV)/bin/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/basedpyright

.PHONY: check
check: lint ## the fast half, under two minutes: lint, architecture, units, properties, conformance on memory
	$(PYTEST) $(PARALLEL) -m 'not proof and not slow' $(FAST) tests/conformance/test_memory.py

.PHONY: test
test: check ## everything: check, then conformance, simulation, integration, docs, and every interpreter found
	$(PYTEST) $(PARALLEL) -m 'not proof' $(LONG)
	$(PYTEST) $(PARALLEL) -m 'slow and not proof' $(FAST) || [ $$? -eq 5 ]  # 5: there is none
	.ci/interpreters

.PHONY: interpreters
interpreters: $(STAMP) ## units and conformance under every Python from 3.10 on that is found
	.ci/interpreters

.PHONY: proof
proof: $(STAMP) ## the full form of every long test; takes its time
	$(PYTEST) --timeout 3600 -m proof tests

.PHONY: bench
bench: $(STAMP) ## figures, side by side with Celery on Redis in the same run (QUICK=1 for a short look)
	$(PY) bench/run.py $(if $(QUICK),--quick)

.PHONY: clean
clean: ## remove what was built and cached, the environments too
	rm -rf $(VENV) .venvs build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Needs Python 3.11 or newer and make, nothing else. `make` alone lists the targets.

PYTHON ?= python3
# The pins to install with; `CONSTRAINTS=` takes the newest versions that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# The game of `make train`, and more options of `ez train`: make train GAME=breakout ARGS="--seed 1"
GAME ?= pong
ARGS ?=
# Processes that the fast tests are shared among.
WORKERS ?= auto
# Random kills of `make chaos`.
KILLS ?= 200

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-dev train test test-slow chaos test-nojit test-gpu lint format types docs audit check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## install ez into .venv
setup-dev: $(VENV)/.installed-dev  ## the same, with what tests and checks need

train: setup  ## train EfficientZero on GAME (pong), with more options in ARGS
	$(BIN)/ez train --game $(GAME) $(ARGS)

test: setup-dev  ## the fast tests
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

test-slow: setup-dev  ## the slow tests: learning, real games, whole runs
	$(BIN)/python -m pytest -m slow --timeout 900 --durations 5 -rs $(ARGS)

chaos: setup-dev  ## the crash hunt in full: KILLS random kills, a fault at every change of a file
	EZ_CHAOS_KILLS=$(KILLS) $(BIN)/python -m pytest -m slow -n 2 --dist worksteal -rA --show-capture stdout \
	  $(ARGS) tests/chaos

test-nojit: setup-dev  ## the algorithm's tests without Numba's compiler, CUDA kernels simulated
	NUMBA_DISABLE_JIT=1 NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest --timeout 300 $(ARGS) tests/efficientzero \
	  tests/runs/test_device_check.py

test-gpu: setup-dev  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu --timeout 600 $(ARGS)

lint: setup-dev  ## style, layout, spelling and wording, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m codespell_lib
	$(BIN)/python -m docs.site.prose

format: setup-dev  ## mend what lint can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup-dev  ## mypy, strict
	$(BIN)/mypy

docs: setup-dev  ## the documentation as a site, in build/docs; fails on a dead link
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

audit:  ## known vulnerabilities of the pinned dependencies, where those can be looked up
	PYTHON="$(PYTHON)" .ci/audit

check:  ## everything that CI runs
	.ci/run

clean:  ## remove .venv and every cache; runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find ezcli tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "ezcli needs Python 3.11 or newer; this is %d.%d. Name another one: make setup PYTHON=python3.11" \
	  % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

# The stamps: pip runs again only after pyproject.toml or the pins have changed.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed $@

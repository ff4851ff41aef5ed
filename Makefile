# `make` alone lists what there is.
SHELL := /bin/bash
ARGS ?= aug=saturate_x8
VENV := .venv
BIN := $(VENV)/bin
# The first interpreter of a supported version; name another with `make setup PYTHON=/path/to/python3.12`.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow lint board

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.ready: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; give one with PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version) (PyTorch is large: a few minutes the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[app,test,lint]'
	@rm -rf hueprint.egg-info # left over from building; what is installed lies in $(VENV)
	@touch $@

setup: $(VENV)/.ready ## make .venv with everything needed, and nothing else

run: setup ## train on the embedded default; pass settings as ARGS="aug=none data=cifake"
	@$(BIN)/python -m experiments.run $(ARGS)

test: setup ## the test suite
	@$(BIN)/python -m pytest

test-slow: setup ## the tests that train for minutes or need real data
	@$(BIN)/python -m pytest -m slow

lint: setup ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

board: setup ## TensorBoard over runs/
	@$(BIN)/tensorboard --logdir runs

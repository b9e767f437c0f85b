# make setup | demo | test | test-slow | bench | lint
# PYTHON chooses the interpreter of the environment: make setup PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-slow bench lint

setup: $(READY)

# Again only when what is installed may have changed.
$(READY): setup.py pyproject.toml Makefile .ci/setup
	PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup
	@touch $@

demo: $(READY)
	$(BIN)/keras-switch demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

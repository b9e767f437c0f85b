# make setup | demo | test | test-slow | test-jax | bench | lint
# PYTHON chooses the interpreter of the environment: make setup PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A file's tests stay in one process, where they share TensorFlow's start and traces.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: setup demo test test-slow test-jax bench lint

setup: $(READY)

# Again only when what is installed may have changed.
$(READY): setup.py pyproject.toml Makefile .ci/setup
	PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup
	@touch $@

demo: $(READY)
	$(BIN)/keras-switch demo

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow

# The parity tests on Keras's other backend; compiling is most of their time.
test-jax: $(READY)
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST) -m parity tests/routing tests/dispatch tests/layers tests/models

bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck .ci/setup .ci/run tpu_scripts/*.sh tpu_scripts/lib/*.sh tests/tpu_scripts/fakes/* examples/*.sh

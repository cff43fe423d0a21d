# `make demo` and `make test` do all their own set-up: a virtual environment in .venv, the package and what it needs, and the run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint reproduce clean

demo: $(VENV)/.ready
	$(BIN)/emocaliber predict examples/images --report demo-report

test: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Trains tiny from nothing through all stages, and scores it after each (about two and a half hours on two cores).
reproduce: $(VENV)/.ready-dev
	$(BIN)/emocaliber train all --config configs/tiny
	$(BIN)/python benchmarks/evolvement.py --models runs/tiny

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "EmoCaliber needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-report .pytest_cache .mypy_cache .ruff_cache .hypothesis

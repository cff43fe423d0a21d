# `make demo` and `make test` do all their own set-up: a virtual environment in .venv, the package and what it needs, and the run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast test-servers lint docs release reproduce tiny lite clean

demo: $(VENV)/.ready
	$(BIN)/emocaliber predict examples/images --report demo-report

test: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# While you work: without what takes longer than a second or so (kills, shards, whole training runs).
test-fast: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "not slow"

# The documentation as a site, site/index.html: the notebooks are run, and a link that leads nowhere fails. NOTEBOOKS= leaves them unrun.
NOTEBOOKS ?= yes
docs: $(VENV)/.ready-dev
	$(PIP) --editable '.[docs]'
	$(if $(NOTEBOOKS),$(BIN)/python tools/run_notebooks.py)
	$(BIN)/mkdocs build

# The wheel and the sdist, in dist/, after their tests in a clean environment.
release: $(VENV)/.ready-dev
	$(BIN)/python -m pytest tests/test_release.py
	$(BIN)/python -m hatchling build

# The vllm kind and the client of remote models against real engines and servers on this machine (docs/vllm.md). VLLM is an environment
# that has vLLM; one that is not there is made, with vLLM's build for GPUs.
VLLM ?= .venv-vllm
test-servers: $(VENV)/.ready-dev $(VLLM)/bin/vllm
	EMOCALIBER_VLLM=$(abspath $(VLLM)) $(BIN)/python -m pytest -m real_servers tests/models/test_real_servers.py

# Tables 6 and 9 and Figure 6 in the known-answer world, with three seeds: which of the paper's claims hold there? About three
# hours on two cores; it goes on where it was broken off. SCALE is the number of scenes of stage 2, or `smoke`, which takes a minute or two.
SCALE ?= 6000
reproduce: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/reproduce.py --scale $(SCALE)

# Trains tiny from nothing, calibrates it and measures it: under three hours on two cores. It goes on where it was broken off.
tiny: $(VENV)/.ready-dev
	$(BIN)/emocaliber train stage0 --config configs/tiny
	$(BIN)/emocaliber train stage1 --config configs/tiny
	$(BIN)/emocaliber train stage2 --config configs/tiny/calibrated
	$(BIN)/python tools/ship_tiny.py runs/tiny/calibrated/stage2/model

# Trains lite from photographs: five folds that measure and calibrate it, then the model itself; about two hours on two cores, and it goes
# on where it was broken off. WHEEL has its eyes, OASIS and IMAGENET are folders (docs/photographs.md).
LITE = OMP_NUM_THREADS=1 $(BIN)/python tools/make_lite.py $(WHEEL) --oasis $(OASIS) --imagenet $(IMAGENET)
lite: $(VENV)/.ready-dev
	for fold in 0 1 2 3 4; do $(LITE) --fold $$fold || exit 1; done
	$(LITE)
	$(BIN)/python benchmarks/photographs.py --oasis $(OASIS)
	$(BIN)/python tools/ship_lite.py runs/lite/final/stage2-model --stage stage2

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

$(VLLM)/bin/vllm:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check 'vllm>=0.32,<1' accelerate

clean:
	rm -rf $(VENV) .venv-vllm demo-report site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

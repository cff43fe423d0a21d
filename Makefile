# `make demo` and `make test` do all their own set-up: a virtual environment in .venv, the package and what it needs, and the run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast test-servers test-releases try-transformers try-inspect try-lmms-eval try-fiftyone try-label-studio try-ray lint docs release reproduce tiny lite clean

demo: $(VENV)/.ready
	$(BIN)/emocaliber predict examples/photos --report demo-report

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

# What trains and what loads models, with other releases of TRL and transformers (docs/training.md), each in a folder that is put before
# the environment's own. RELEASE_TESTS names fewer tests.
RELEASES ?= trl==1.15.0 transformers==5.19.0 transformers==5.24.0
RELEASE_TESTS ?= tests/training tests/models
test-releases: $(VENV)/.ready-dev
	for release in $(RELEASES); do \
		test -d .venv-releases/$$release || \
			$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .venv-releases/$$release $$release || exit 1; \
		PYTHONPATH=$(CURDIR)/.venv-releases/$$release EMOCALIBER_RELEASE=$$release $(BIN)/python -m pytest $(RELEASE_TESTS) || exit 1; \
	done

# `pipeline("visual-emotion")`, `pipeline("decision")` and `transformers serve` with tiny (docs/transformers.md), in an environment of its own.
TRANSFORMERS ?= .venv-transformers
try-transformers: $(TRANSFORMERS)/bin/transformers
	$(TRY_ENV) $(TRANSFORMERS)/bin/python tools/try_transformers.py

# Integrations run inside the real software of the other side, each in an environment of its own (docs/integrations.md). They share a
# benchmark of synthetic scenes. TRY_ENV may set variables, such as PYTHONPATH; PICTURE=FILE.png
# also draws the page, in Chromium.
TRY_WITH = $(abspath $(1))/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[serve]' pytest
try-inspect: $(VENV)/.ready runs/try/bench
	@test -x .venv-inspect/bin/inspect || { echo "inspect_ai is installed into .venv-inspect: some minutes";  $(PYTHON) -m venv .venv-inspect && $(call TRY_WITH,.venv-inspect) 'inspect_ai>=0.3.285,<0.4' openai 'cleanlab>=2.9,<3' pandas; }
	$(TRY_ENV) .venv-inspect/bin/python tools/try_inspect.py runs/try/bench/test.jsonl
	$(TRY_ENV) .venv-inspect/bin/python -m pytest tests/integrations -k "inspect or cleanlab_itself"

try-lmms-eval: $(VENV)/.ready runs/try/bench
	@test -x .venv-lmms-eval/bin/lmms-eval || { echo "lmms-eval is installed into .venv-lmms-eval: some minutes";  $(PYTHON) -m venv .venv-lmms-eval && $(call TRY_WITH,.venv-lmms-eval) 'lmms-eval>=0.7.3,<0.8' 'filelock<4' decord; }
	$(TRY_ENV) .venv-lmms-eval/bin/python tools/try_lmms_eval.py runs/try/bench

try-fiftyone: $(VENV)/.ready runs/try/bench
	test -x .venv-fiftyone/bin/fiftyone || { $(PYTHON) -m venv .venv-fiftyone && $(call TRY_WITH,.venv-fiftyone) 'fiftyone>=1.22,<2' torchvision; }
	$(TRY_ENV) .venv-fiftyone/bin/python tools/try_fiftyone.py runs/try/bench/test.jsonl $(if $(PICTURE),--picture $(PICTURE))

try-label-studio: $(VENV)/.ready runs/try/bench
	test -x .venv-label-studio/bin/label-studio || { $(PYTHON) -m venv .venv-label-studio && \
		.venv-label-studio/bin/python -m pip install --quiet --disable-pip-version-check 'label-studio>=1.23,<2'; }
	$(TRY_ENV) $(BIN)/python tools/try_label_studio.py runs/try/bench .venv-label-studio/bin/label-studio $(if $(PICTURE),--picture $(PICTURE))

# `respond --engine ray` on a Ray cluster on this machine (docs/scale.md): the tests that need Ray, then 2,000 pictures, two workers, one of
# them killed, and the command killed and given again.
try-ray: $(VENV)/.ready
	test -x .venv-ray/bin/ray || { $(PYTHON) -m venv .venv-ray && $(call TRY_WITH,.venv-ray) hypothesis 'ray[data]>=2.50,<3'; }
	$(TRY_ENV) .venv-ray/bin/python -m pytest tests/inference/test_ray_data.py
	$(TRY_ENV) OMP_NUM_THREADS=1 .venv-ray/bin/python benchmarks/ray_respond.py

runs/try/bench: | $(VENV)/.ready
	$(BIN)/emocaliber bench build --out $@ --scenes 12

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

# Trains lite from photographs: five folds that measure and calibrate it, then the model itself; about three hours on two cores, and it goes
# on where it was broken off. WHEEL has its eyes, OASIS and IMAGENET are folders (docs/photographs.md).
LITE = OMP_NUM_THREADS=1 $(BIN)/python tools/make_lite.py $(WHEEL) --oasis $(OASIS) --imagenet $(IMAGENET)
lite: $(VENV)/.ready-dev
	for fold in 0 1 2 3 4; do $(LITE) --fold $$fold || exit 1; done
	$(LITE)
	$(BIN)/python benchmarks/photographs.py --oasis $(OASIS)
	$(BIN)/python tools/ship_lite.py runs/lite/final/stage3-model --stage stage3

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

$(TRANSFORMERS)/bin/transformers:
	$(PYTHON) -m venv $(TRANSFORMERS)
	$(TRANSFORMERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable . 'transformers[serving]>=5.23,<6' torchvision openai

clean:
	rm -rf $(VENV) .venv-releases .venv-vllm .venv-transformers .venv-inspect .venv-lmms-eval .venv-fiftyone .venv-label-studio .venv-ray runs/try demo-report site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

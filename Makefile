# make demo and make test work on a fresh machine; both make .venv first. See BUILD.md.

# Recipes name no absolute path, so that a checkout in a folder with spaces works.
VENV_PYTHON := .venv/bin/python
unexport PYTHONPATH PYTHONHOME
# A CPython 3.11 to make .venv with; empty: python3.11, python3, or one that uv fetches.
PYTHON ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format lock clean

help: ## Lists the targets
	@echo "usage: make TARGET [PYTHON=/path/to/python3.11]"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile | expand -t 12

demo: venv ## The main job, end to end, on synthetic volumes: train, segment, measure
	@bash tools/demo.sh

test: lint ## Lint, types and all tests
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m pytest

lint: venv ## Lint and layout, changing nothing
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: venv ## Lays out the code, and mends what ruff can mend
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .

venv: ## The environment .venv, on CPython 3.11, from requirements.lock
	@bash tools/environment.sh venv

lock: ## requirements.lock anew from setup.py; keeps pins that fit (UPGRADE=1: takes the newest)
	@bash tools/environment.sh lock $(if $(UPGRADE),--upgrade)

clean: ## Removes what make made: .venv, .uv, caches, the demo's data and models
	rm -rf .venv .uv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf data/demo models/demo
	find spleen_tf tests tools -name __pycache__ -prune -exec rm -rf {} +

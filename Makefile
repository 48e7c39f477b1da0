# One virtual environment, installed once; every verb below makes sure of it first.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN     := $(VENV)/bin
STAMP   := $(VENV)/.sfmarl-installed
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help train test test-all lint format bench learn clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile
	@echo 'Extra arguments: make train ARGS="--seed 2". Another interpreter: make test PYTHON=python3.12.'

train: $(STAMP) ## Train MAPPO on mpe2 simple_spread asynchronously (2M env-steps)
	$(BIN)/python launch/spread_mappo.py $(ARGS)

test: $(STAMP) ## Run the fast tests, files side by side
	$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile $(ARGS)

test-all: $(VENV)/.sfmarl-envs ## Run all tests, the slow ones too, with the environments they use
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Check style, format, spelling and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

format: $(STAMP) ## Rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure sfmarl beside the roofline, Sample Factory and RLlib (half an hour)
	$(BIN)/python benchmarks/compare_peers.py $(ARGS)

learn: $(VENV)/.sfmarl-envs ## Train one task of every kind, three seeds each, and print a table (hours)
	$(BIN)/python benchmarks/learn.py $(ARGS)

clean: ## Remove caches and build leftovers; .venv and runs/ stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# torch goes first, alone, so that no other package's requirement chooses its build.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@test "$$(uname -s)" = Linux || { echo "sfmarl: only Linux is supported (this is $$(uname -s)): memfd, forkserver and process-shared queues are needed. Use a Linux machine, container or virtual machine." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "sfmarl: '$(PYTHON)' is missing or older than Python 3.10. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "sfmarl: '$(PYTHON) -m venv' failed; its venv module may be a package of its own (python3-venv on Debian and Ubuntu)." >&2; exit 2; }
	$(INSTALL) "$$(grep -o '^torch==[^ ;]*' constraints.txt)"
	$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.sfmarl-envs: $(STAMP)
	$(INSTALL) -e '.[dev,envs]'
	@touch $@

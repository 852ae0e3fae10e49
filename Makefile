# make demo: from a fresh clone to an answer. make test: all tests. See CONTRIBUTING.md for the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup demo down check test bench lock clean

setup: $(VENV)/.serving

# The stamps make a second `make` quick; a changed pin makes it install again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Baton needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.serving: $(VENV)/bin/python pyproject.toml requirements/lock.txt
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -e '.[hf]' -c requirements/lock.txt
	@touch $@

$(VENV)/.testing: $(VENV)/.serving
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -e '.[hf,dev]' -c requirements/lock.txt
	@touch $@

demo: setup
	@$(BIN)/baton up --ask "What is Baton?"

down:
	@if [ -x $(BIN)/baton ]; then $(BIN)/baton down; fi

check: $(VENV)/.testing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: $(VENV)/.testing
	$(BIN)/python -m pytest -q

bench: $(VENV)/.testing
	$(BIN)/python -m bench.engines

# Writes the pins from what is installed; the local build tags of torch stay out.
lock: $(VENV)/.testing
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > requirements/lock.txt

clean: down
	rm -rf $(VENV) build *.egg-info logs/*.log* run/*

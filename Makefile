# make demo: sets up, runs the demo study and names its report. make test: sets up, runs the tests.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: setup demo test lint bench clean

setup: .venv/.installed

# requirements.lock pins exactly; it names no index, so yours is used.
.venv/.installed: requirements.lock pyproject.toml
	@echo "Setting up .venv (a few minutes and about 7 GB, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "histosynth needs Python 3.11 or newer; found: $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "On Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: setup
	@echo "Running the demo study (about half an hour on two cores the first time)"
	@$(RUN) snakemake --profile profiles/local
	@echo "Report: $(CURDIR)/reports/demo/index.html"

test: setup
	@echo "Running the tests (about a quarter of an hour on two cores)"
	@$(RUN) OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile rules
	@$(BIN)/mypy
	@$(RUN) snakemake --lint

bench: setup
	@for script in bench/*.py; do $(BIN)/python $$script --quick || exit 1; done

clean:
	rm -rf results reports/*/ .snakemake .pytest_cache .ruff_cache .mypy_cache

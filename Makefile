# make demo        generate the demo accelerator and let it tell a story in simulation
# make test        linter, type checker and tests (under 20 minutes on two cores)
# make test-slow   the tests that take minutes each
# make lint        linter, format check and type checker
# make docs        the documents as a site, in build/site
#
# PYTHON names the interpreter (3.11 or newer) from which .venv is made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.celosia-installed
SOURCES := $(VENV)/celosia-sources/celosia
DEMO := $(BIN)/celosia simulate demo --prompt ROMEO: --tokens 90 --temperature 0.7 --seed 7

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint docs setup clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: setup compiler
	$(DEMO)

test: lint compiler
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup compiler
	$(BIN)/python -m pytest -n 2 -m slow

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

docs: setup compiler
	@$(BIN)/python -c 'import material' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

setup: $(STAMP)

# The stamp is written last: an interrupted or failed set-up is done again.
$(STAMP): pyproject.toml
	@rm -f $@
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Celosia needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Could not make a virtual environment (Debian, Ubuntu: apt install python3-venv)." >&2; \
	  exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@mkdir -p $(SOURCES)
	@ln -sfn $(addprefix ../../../,celosia/__init__.py boards generators protocol reference rtl sim) $(SOURCES)
	@touch $@

.PHONY: compiler
compiler:
	@for cxx in $(CXX) g++ clang++ c++; do command -v $$cxx >/dev/null 2>&1 && exit 0; done; \
	  echo "Simulation needs a C++ compiler (Debian, Ubuntu: apt install g++;" \
	    "macOS: xcode-select --install)." >&2; exit 1

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache

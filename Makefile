# make run     set up what is missing, start the server with its state in ./var
# make test    set up what is missing (OpenSMTPD where this user may), run every test
# make check   style, types, import contracts, unused code and dependencies, spelling, Dockerfile
# make soak    100 kills under mail, changes among a million entries, 10,000 made-up routings (root, an hour)
# make demo    server, agent and a real smtpd with three sinks, in a minute (root, Debian)
# make bench   measure every speed figure, each a ratio of this run, into bench/RESULTS.md (CHECK=1: fail past a limit)
# make fuzz    look for input that the table program does not survive (SECONDS=60 for each target)
# make openapi write openapi/openapi.json anew
# make fmt     let the formatter and the safe fixes do their work
# make lock    resolve the pinned requirements anew
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL  := /bin/sh
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
TESTS  ?=
# Tests wait as often as they compute: one process more than there are processors.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export UV_NO_PROGRESS = 1
# uv does not read pip's settings; the system's store is where a company's CA is.
export UV_SYSTEM_CERTS = 1

# Debian's python3 without python3-venv has no ensurepip: then the pip of that python3 works on the environment.
PIP := $$($(BIN)/python -c 'import pip' 2>/dev/null && echo "$(BIN)/python -m pip" || echo "$(PYTHON) -m pip --python $(BIN)/python")

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11 or newer with its venv module" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	else $(PYTHON) -m pip --version >/dev/null && $(PYTHON) -m venv --without-pip $(VENV); fi

# uv, itself from the package index by hash, installs five times faster than pip; where it cannot run, pip does the same.
$(VENV)/.%: requirements/%.txt requirements/uv.txt | $(BIN)/python
	@echo "==> installing $< into $(VENV)"
	@{ $(PIP) install -q --require-hashes -r requirements/uv.txt \
	   && $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r $<; } \
	 || { echo "    uv did not work here; pip does it"; $(PIP) install -q --require-hashes -r $<; }
	@touch $@

run: export RELAYMAP_STATE_DIR ?= ./var
run: $(VENV)/.run
	@$(BIN)/python -m app serve

test: $(VENV)/.dev
	@VENV=$(VENV) scripts/services.sh
	@VENV=$(VENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(TESTS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/deptry .
	$(BIN)/vulture
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile

fmt: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

soak: export RELAYMAP_SOAK_KILLS ?= 100
soak: export RELAYMAP_SOAK_ENTRIES ?= 1000000
soak: export RELAYMAP_SOAK_CASES ?= 10000
soak: $(VENV)/.dev
	@VENV=$(VENV) scripts/services.sh
	@$(BIN)/python -m pytest tests/mta/test_live_kills.py tests/mta/test_live_scale.py tests/mta/test_live_history.py tests/contract/test_oracle.py

demo: $(VENV)/.dev
	@VENV=$(VENV) scripts/services.sh
	@$(BIN)/python scripts/demo

FIGURES ?=
bench: $(VENV)/.dev
	@$(BIN)/python -m bench $(FIGURES)

SECONDS ?= 60
fuzz: $(VENV)/.dev $(VENV)/.fuzz
	@for target in $$($(BIN)/python -m fuzz); do \
	   echo "==> $$target"; $(BIN)/python -m fuzz $$target $(SECONDS) || exit 1; done

openapi: $(VENV)/.run
	@mkdir -p openapi
	@$(BIN)/python -m app openapi >openapi/new.json && mv openapi/new.json openapi/openapi.json

COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock: $(VENV)/.run
	@$(COMPILE) requirements/uv.in -o requirements/uv.txt
	@$(COMPILE) pyproject.toml -o requirements/run.txt
	@$(COMPILE) pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt
	@$(COMPILE) --group fuzz -o requirements/fuzz.txt

.PHONY: help run test soak check fmt demo bench fuzz openapi lock

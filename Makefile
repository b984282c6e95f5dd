# Forerun. `make help` lists what can be made; every target does its own set-up in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet
REALTIME ?=
PORT ?=
BOARD ?=

.PHONY: help demo test lint bench peer soak docs examples flash clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on the PATH; install Python 3.11 or newer, or call make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, $$($(PYTHON) --version) was found; call make PYTHON=/path/to/python3"; exit 2; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: make demo stays small, make test adds what only tests need.
$(VENV)/.ready-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing forerun[$*] into $(VENV)"
	@$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The lock file pins version and hash; registry hosts are left out of it.
tests/wasm/node_modules/.ready: tests/wasm/package.json tests/wasm/package-lock.json | $(VENV)/.ready-test
	@PATH="$(abspath $(BIN)):$$PATH" npm --prefix tests/wasm ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved
	@touch $@

# Board APIs to type-check the firmware against; two boards' stubs cannot share one site-packages.
$(VENV)/.ready-stubs: constraints.txt | $(VENV)/.ready-test
	@for board in rp2 esp32; do $(PIP) install --upgrade --constraint constraints.txt --target $(VENV)/stubs/$$board micropython-$$board-stubs; done
	@touch $@

docs/node_modules/.ready: docs/package.json docs/package-lock.json | $(VENV)/.ready-test
	@PATH="$(abspath $(BIN)):$$PATH" npm --prefix docs ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved
	@touch $@

demo: $(VENV)/.ready-demo ## one site-day, with and without the controller -> out/demo/report.html
	@$(BIN)/forerun demo $(if $(REALTIME),--realtime $(REALTIME))

# The suite starts the programs some hundred times: what is compiled is kept, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.ready-test $(VENV)/.ready-stubs tests/wasm/node_modules/.ready ## every test: CPython, MicroPython 64-bit and 32-bit, hardware in the loop
	@$(BIN)/python -m pytest -q -n 2

lint: $(VENV)/.ready-dev $(VENV)/.ready-stubs ## style everywhere, and the firmware against the boards' interfaces
	@$(BIN)/ruff check host protocol firmware tests
	@$(BIN)/python -m pytest -q tests/host/test_guards.py

bench: $(VENV)/.ready-bench tests/wasm/node_modules/.ready ## speed, as JSON lines
	@$(BIN)/python -m tests.bench

docs: $(VENV)/.ready-test docs/node_modules/.ready ## the documentation as pages -> out/docs/index.html
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs out/docs
	@echo "out/docs/index.html"

# EMHASS has dependencies of its own, which never share an environment with Forerun's.
out/peer/.ready: | $(BIN)/python
	@echo "installing EMHASS into out/peer"
	@$(PYTHON) -m venv out/peer
	@PIP_DISABLE_PIP_VERSION_CHECK=1 out/peer/bin/python -m pip --quiet install 'emhass==0.18.7'
	@touch $@

peer: $(VENV)/.ready-test out/peer/.ready ## plans and weeks of a year side by side with EMHASS, as JSON lines
	@$(BIN)/python tests/bench_peer.py out/peer/bin/python
	@$(BIN)/python tests/bench_b3.py out/peer/bin/python

soak: $(VENV)/.ready-test ## the long forms of tests: 10 000 tampers, the vendors' whole year, 24 h of a watched site, the wire
	@FORERUN_SOAK=1 FORERUN_TAMPER_TRIES=10000 $(BIN)/python -m pytest -q tests/host/test_publish.py tests/host/test_rank.py -k "single_byte or put_in or example"
	@FORERUN_SOAK_H=24 $(BIN)/python -m pytest -q -s tests/hil/test_soak.py tests/hil/test_set_on_plan.py
	@$(BIN)/python -m tests.soak

examples: $(VENV)/.ready-test ## the bundles of examples/rank, made again
	@$(BIN)/python -m forerun.rank.vendors examples/rank

flash: $(VENV)/.ready-demo ## put the firmware on a board: make flash PORT=/dev/ttyACM0 BOARD=pico
	@test -n "$(PORT)" || { echo "make flash: say where the board is, for example: make flash PORT=/dev/ttyACM0"; exit 2; }
	@$(BIN)/forerun commission flash --port "$(PORT)" $(if $(BOARD),--board "$(BOARD)")

clean: ## remove what was made
	@rm -rf $(VENV) out build dist docs/reference tests/wasm/node_modules docs/node_modules

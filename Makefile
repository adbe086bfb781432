# Needs Python >= 3.11, make and a C compiler. Everything else is installed into .venv, once.

PYTHON ?= python3
JOBS   ?= 2

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# One BLAS thread a process: on a small machine threads that wait for each other cost more than they give.
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format docs bench learn clean

help:  ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/##/' | awk -F '## *' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP)  ## install logpi and all it needs into .venv, from constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "logpi needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "logpi needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "'$(PYTHON)' comes without its venv module, which make setup needs. Install it (on Debian and Ubuntu: apt install python3-venv), or name another Python: make setup PYTHON=..." >&2; exit 1; }
	@echo "Installing into $(VENV) (one to three minutes, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gym,box2d,mujoco,play,tune,onnx,lm,dev]'
	@touch $@

demo: $(STAMP)  ## SFT on noisy arithmetic, then GRPO, on two cores; writes runs/demo/report.html
	@$(BIN)/logpi demo

test: $(STAMP)  ## the whole test suite
	@$(PYTEST)

check: $(STAMP)  ## ruff, pyright and the fast tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright
	@$(PYTEST) -q -m "not learn and not slow"

format: $(STAMP)  ## let ruff format and repair what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(STAMP)  ## write the generated parts of README.md and docs/
	@$(BIN)/python -m logpi.docs

bench: $(STAMP)  ## speed and memory against TRL; installs it into a folder of its own
	@$(BIN)/python benchmarks/run.py

learn: $(STAMP)  ## the slow tests: does every recipe learn?
	@$(PYTEST) -m learn

clean:  ## remove the environments and caches; runs/ stays
	@rm -rf $(VENV) .venv-bench build dist .pytest_cache .ruff_cache .hypothesis
	@find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

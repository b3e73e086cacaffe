# make run and make test need nothing but Python 3.10 or later with its venv, make and a C compiler.
# PYTHON=python3.12 chooses the Python, ARGS="…" is handed on to what is run.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# setuptools warns of every editable install.
INSTALL := PYTHONWARNINGS=ignore::UserWarning $(BIN)/python -m pip install --quiet --disable-pip-version-check
# pyenv's shims run only those of its Pythons that are active.
PYENV_PYTHONS := $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1*/bin/python3)

# Else whatever is started, each of the tests' processes too, compiles anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

.PHONY: run
run: $(VENV)/.installed ## Run ComfyUI: $COMFYUI_DIR, or the one that is found, or the stand-in.
	@trap : INT; $(BIN)/comfy-supervisor up --or-standin $(ARGS) || [ $$? -eq 130 ] # Ctrl-C is how it ends

.PHONY: test
test: $(VENV)/.installed-dev ## Run all tests.
	$(BIN)/python -m pytest --numprocesses 6 --dist loadgroup $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.installed-dev ## Look for inputs that break something, for MINUTES=10.
	$(BIN)/python -m tests.fuzz $(MINUTES)

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check style, types, and who imports whom.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

.PHONY: pythons
pythons: $(VENV)/.installed-dev ## Run what may differ on every Python found, and on the oldest and newest dependencies.
	@mkdir -p .tox # by itself, tox would close it to the other users that some tests are about
	$(BIN)/tox run-parallel --parallel all --parallel-no-spinner $(if $(PYENV_PYTHONS),--discover $(PYENV_PYTHONS)) $(ARGS)

.PHONY: proof
proof: $(VENV)/.installed-bench ## Prove what is promised, and write docs/reliability.md and docs/benchmarks.md of it, in about an hour; QUICK=1: in minutes, without the documents.
	$(BIN)/python -m tests.proof $(if $(QUICK),--quick) $(if $(REPEAT),--repeat $(REPEAT)) $(ARGS)

.PHONY: bench
bench: $(VENV)/.installed-bench ## The part of proof that measures what things cost, in a quarter of an hour; ARGS=commands: one of its parts.
	$(BIN)/python -m tests.proof $(or $(ARGS),benchmarks)

.PHONY: soak
soak: $(VENV)/.installed-bench ## A part of proof of its own: real processes at honest work, then faults at random, for MINUTES=10.
	$(BIN)/python -m tests.proof soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(QUICK),--quick) $(ARGS)

.PHONY: mutation
mutation: $(VENV)/.installed-mutation ## A part of proof of its own: whether the tests notice what is changed in the code that decides.
	$(BIN)/python -m tests.proof mutation $(if $(QUICK),--quick) $(ARGS)

.PHONY: docs
docs: $(VENV)/.installed-dev ## Bring README's tables and the example settings up to date.
	$(BIN)/python -m tests.packaging.documents

.PHONY: audit
audit: $(VENV)/.installed-dev ## Ask PyPI whether anything that is pinned is known to be vulnerable. Needs the network.
	$(PYTHON) -m venv $(VENV)/audit # pip-audit's own packages are none of ours
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement tests/constraints.txt

.PHONY: pins
pins: $(VENV)/.installed-dev ## Pin the newest versions of all: tests/constraints.txt.
	$(INSTALL) --upgrade --upgrade-strategy eager --editable '.[bench,dev,mutation]'
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/$$/; python_version >= "3.11"/' >tests/constraints.txt

.PHONY: clean
clean: ## Remove all that these commands have made.
	rm -rf $(VENV) .tox build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

# The same versions wherever the tests are run. On Python 3.10, for which some are too new, and with tox it is others:
# the newest, and the oldest that setup.cfg allows.
$(VENV)/.installed-dev: $(VENV)/.installed tests/constraints.txt
	$(INSTALL) --constraint tests/constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(INSTALL) --constraint tests/constraints.txt --editable '.[bench]'
	@touch $@

$(VENV)/.installed-mutation: $(VENV)/.installed-dev
	$(INSTALL) --constraint tests/constraints.txt --editable '.[mutation]'
	@touch $@

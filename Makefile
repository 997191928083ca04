# Needs Python 3.11 or newer, git and make; everything else is fetched, pinned and hashed, into .venv.

VENV ?= .venv
PYTHON ?=
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# A set-up is named by the content of what it was made from: nothing is done when nothing changed, and
# switching branches does not fool it, as time stamps would.
RUN_STAMP := $(VENV)/.run-$(shell cat pyproject.toml requirements.lock | git hash-object --stdin)
DEV_STAMP := $(VENV)/.dev-$(shell cat pyproject.toml requirements-dev.lock | git hash-object --stdin)
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help run test bench coverage lint fmt docs lock setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_STAMP) ## Start the server on 127.0.0.1:8080, data in ./var (ATP_HOST, ATP_PORT, ATP_DATA change them)
	@exec atp serve

test: $(DEV_STAMP) ## Check everything: style, types, imports, contracts, tests; one summary at the end
	@.ci/checks

bench: $(DEV_STAMP) ## Measure, each figure beside the raw engine doing the same work
	@python -m benchmarks

coverage: $(DEV_STAMP) ## Run the tests counting branches; the kernel and the pure decisions must be complete
	@.ci/checks coverage

lint: $(DEV_STAMP) ## Check style, types and imports only
	@.ci/checks format lint types imports

fmt: $(DEV_STAMP) ## Format the code and mend what can be mended safely
	@ruff format .
	@ruff check --fix .

docs: $(DEV_STAMP) ## Write the pages that are made from contracts and settings
	@python -m tests.tidy.reference

lock: $(DEV_STAMP) ## Choose newer versions of the dependencies and pin them with their hashes
	@$(LOCK) --upgrade --group build --output-file requirements.lock
	@$(LOCK) --upgrade --group dev --constraint requirements.lock --output-file requirements-dev.lock

setup: $(DEV_STAMP) ## Install everything that developing needs into .venv

clean: ## Remove what the tools made; the trail in ./var is left alone
	@rm -rf $(VENV) build dist htmlcov .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): | $(BIN)/python
	@echo "Installing the pinned dependencies into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.run-* && touch $@

$(DEV_STAMP): | $(BIN)/python
	@echo "Installing the pinned dependencies for development into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.dev-* && touch $@

$(BIN)/python:
	@python=$$(.ci/find-python $(PYTHON)) && echo "Making $(VENV) with $$python …" && "$$python" -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "No virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

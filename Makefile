# make setup   everything the tests need, on a machine with python3 (3.11 or newer) and apt; quick the second time
# make check   under a minute: style, types, import rules, and the quick tests that need no real part
# make test    everything: setup, lint and the whole suite with its real parts
# make lint    style, types (mypy and pyright) and import rules
# make demo    the demonstration, which needs nothing but the package; make demo ARGS="--help" says more
# make bench   the benchmarks, beside their peers
# make docs    the reference pages that are made from the code
# make clean   back to a fresh clone

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
# One more than the cores of a small machine: many tests wait for servers and browsers.
WORKERS ?= 3
# What is quick waits for nobody, and each worker pays for finding all tests.
QUICK_WORKERS ?= 2

# What one process has compiled no other compiles again: the workers find all tests in half the time, a server starts
# quicker.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
NODE := tests/peers/node
SAML := tests/peers/saml
SAML_NODE := $(SAML)/node
CODE := jit_middleware adapters tests benchmarks examples
PACKAGES := mariadb-server chromium libatomic1 xmlsec1 php-cli php-xml php-mbstring php-curl \
  lemonldap-ng liblasso-perl libio-string-perl libstring-random-perl libxml-simple-perl
QUICK := $(wildcard $(addprefix tests/,unit property edges architecture))

PACKAGE_READY := $(VENV)/.package-ready
PYTHON_READY := $(VENV)/.ready
NODE_READY := $(NODE)/node_modules/.ready
SAML_NODE_READY := $(SAML_NODE)/node_modules/.ready
SAML_READY := $(SAML)/.cache/.ready
PACKAGES_READY := $(VENV)/.packages-ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test check lint style types imports demo bench docs clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# --- setup ---------------------------------------------------------------------------------------------------------

setup: $(PYTHON_READY) $(NODE_READY) $(SAML_NODE_READY) $(PACKAGES_READY) $(SAML_READY)

# The package and what it needs itself.
$(PACKAGE_READY): pyproject.toml scripts/setup-python.sh
	@echo "Installing into $(VENV) …"
	@PYTHON="$(PYTHON)" scripts/setup-python.sh $(VENV)
	@touch $@

# Also what tests and checks need.
$(PYTHON_READY): pyproject.toml scripts/setup-python.sh
	PYTHON="$(PYTHON)" scripts/setup-python.sh $(VENV) test lint
	@touch $(PACKAGE_READY) $@

$(NODE_READY): $(NODE)/package.json $(NODE)/package-lock.json scripts/setup-node.sh | $(PYTHON_READY)
	scripts/setup-node.sh "$(abspath $(VENV))" $(NODE)
	@touch $@

$(SAML_NODE_READY): $(SAML_NODE)/package.json $(SAML_NODE)/package-lock.json scripts/setup-node.sh | $(PYTHON_READY)
	scripts/setup-node.sh "$(abspath $(VENV))" $(SAML_NODE)
	@touch $@

# After the packages, whose installation has brought apt's lists.
$(SAML_READY): scripts/setup-saml.sh | $(PYTHON_READY) $(PACKAGES_READY)
	scripts/setup-saml.sh $(VENV) $(SAML)/.cache
	@touch $@

# The list is written down, so that a package added here is installed although the stamp is there.
$(PACKAGES_READY): Makefile scripts/debian-packages.sh | $(PYTHON_READY)
	scripts/debian-packages.sh $(PACKAGES)
	@touch $@

# --- judging -------------------------------------------------------------------------------------------------------

test: setup lint
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal $(PYTEST_ARGS)

check: $(PYTHON_READY) style imports
	$(BIN)/mypy
	$(BIN)/pytest -m "not real and not slow" --numprocesses=$(QUICK_WORKERS) --dist=worksteal $(PYTEST_ARGS) $(QUICK)

lint: $(PYTHON_READY) style imports types

style: $(PYTHON_READY)
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/ruff format --check $(wildcard $(CODE))

imports: $(PYTHON_READY)
	$(BIN)/lint-imports --no-cache --no-logo

types: $(PYTHON_READY)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# --- using ---------------------------------------------------------------------------------------------------------

demo: $(PACKAGE_READY)
	@$(BIN)/jit-middleware demo $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(PACKAGE_READY)
	$(BIN)/python -m jit_middleware.settings.reference docs/settings.md

clean:
	rm -rf $(VENV) $(NODE)/node_modules $(SAML_NODE)/node_modules $(SAML)/.cache build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

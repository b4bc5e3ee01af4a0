# `make up` runs the platform, `make test` proves it; each does all its own set-up. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
POLICY := .venv-policy
POLICY_READY := $(POLICY)/.ready
CDKTN := tools/cdktn/node_modules/.package-lock.json
NPM = $(BIN)/python tools/npm.py
UNITS = --dist loadscope --no-loadscope-reorder --durations=20
# Two workers have a deployment of their own, and run unit tests until it is complete (tests/support/scheduling.py). The
# third uses the cores while those wait.
SPREAD = -n 3 $(UNITS)
# Drills measure time, so only one other worker runs beside them.
MEASURING = -n 2 $(UNITS)
TESTS = tests/unit tests/infra tests/deployed
# They cover every branch of healthcare_dr.infra.
MEASURED = tests/infra tests/unit/test_package.py
# Property tests that try few examples in `make test`.
AT_LENGTH = tests/unit/patient_api/test_parser_fuzz.py tests/unit/patient_api/replicas/test_convergence.py
PIP_INSTALL = install --quiet --disable-pip-version-check --require-hashes

# What steers Python and Node is meant for other programs, and breaks these or makes them slow.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONWARNINGS PYTHONOPTIMIZE PYTHONDONTWRITEBYTECODE NODE_OPTIONS

.DEFAULT_GOAL := help
.PHONY: help setup up down test test-full check synth generate bench format lock clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment, from hash-locked requirements

up: $(READY) ## run the whole platform on this machine
	@$(BIN)/hdr up

down: $(READY) ## destroy the platform on this machine and stop it
	@$(BIN)/hdr down

test: $(READY) ## unit tests, rules on the synthesized stacks, and a real deployment with two failovers: under ten minutes
	@$(BIN)/pytest $(SPREAD) $(or $(ARGS),$(TESTS))

test-full: $(READY) $(POLICY_READY) $(CDKTN) ## what takes longer: every drill, runbook and damage, fuzzing, the policy scan, coverage
	@$(if $(ARGS),,$(BIN)/pytest $(MEASURED) --cov=healthcare_dr.infra --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100)
	@$(if $(ARGS),,HEALTHCARE_DR_TESTS_AT_LENGTH=1 $(BIN)/pytest $(SPREAD) tests/full $(AT_LENGTH) --ignore=tests/full/deployed)
	@HEALTHCARE_DR_TESTS_AT_LENGTH=1 $(BIN)/pytest $(MEASURING) $(or $(ARGS),tests/full/deployed)

check: $(READY) ## format, lint, types, and the rules on the synthesized stacks
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hdr synth

synth: $(READY) ## write the Terraform JSON of the three stacks to cdktf.out
	@$(BIN)/hdr synth

generate: $(READY) ## compile the FHIR profile; write docs/openapi.json and the generated parts of docs/
	@$(BIN)/python tools/fhir_profile.py
	@$(BIN)/python tools/openapi.py
	@$(BIN)/python tools/pages.py

bench: $(READY) $(CDKTN) ## measure, as ratios in one run, into bench/results.json
	@$(BIN)/python -m bench $(ARGS)

format: $(READY) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(READY) ## lock the requirements again, with hashes
	@$(BIN)/python tools/lock.py

clean: ## remove what the targets above made; run `make down` first
	rm -rf $(VENV) $(POLICY) tools/cdktn/node_modules cdktf.out .test-state

$(READY): requirements/dev.txt pyproject.toml bin/hdr
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (about a minute, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip $(PIP_INSTALL) -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(POLICY_READY): requirements/checkov.txt
	@echo "Setting up $(POLICY) for the policy scan (once) ..."
	@$(PYTHON) -m venv $(POLICY)
	@$(POLICY)/bin/pip $(PIP_INSTALL) -r requirements/checkov.txt
	@touch $@

$(CDKTN): tools/cdktn/package-lock.json $(READY)
	@echo "Setting up the cdktn command line (once) ..."
	@$(NPM) ci --prefix tools/cdktn --no-audit --no-fund --loglevel=error
	@touch $@

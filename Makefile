# `make up` runs the platform, `make test` proves it; each does all its own set-up. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
POLICY := .venv-policy
POLICY_READY := $(POLICY)/.ready
CDKTN := tools/cdktn/node_modules/.package-lock.json
NPM = $(BIN)/python tools/npm.py
# The unit tests run beside the deployment, most of which is waiting; a folder stays in one process (tests/conftest.py).
SPREAD = -n 2 --dist loadscope --no-loadscope-reorder
PIP_INSTALL = install --quiet --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help setup up down test check synth generate bench format lock clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment, from hash-locked requirements

up: $(READY) ## run the whole platform on this machine
	@$(BIN)/hdr up

down: $(READY) ## destroy the platform on this machine and stop it
	@$(BIN)/hdr down

test: $(READY) $(POLICY_READY) $(CDKTN) ## every test, the deployment to the embedded AWS included
	@$(BIN)/pytest $(SPREAD) $(ARGS)

check: $(READY) ## format, lint, types, and the rules on the synthesized stacks
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hdr synth

synth: $(READY) ## write the Terraform JSON of the three stacks to cdktf.out
	@$(BIN)/hdr synth

generate: $(READY) ## compile the FHIR profile; write docs/openapi.json and what docs/ says of drills, verify and availability
	@$(BIN)/python tools/fhir_profile.py
	@$(BIN)/python tools/openapi.py
	@$(BIN)/python tools/drills_page.py
	@$(BIN)/python tools/verify_page.py
	@$(BIN)/python tools/availability_page.py

bench: $(READY) $(CDKTN) ## measure, as ratios in one run, into bench/results.json
	@$(BIN)/python -m bench $(ARGS)

format: $(READY) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(READY) ## lock the requirements again, with hashes
	@$(BIN)/python tools/lock.py

clean: ## remove what the targets above made; run `make down` first
	rm -rf $(VENV) $(POLICY) tools/cdktn/node_modules cdktf.out

$(READY): requirements/dev.txt pyproject.toml
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

# The developer interface. Everything that is needed is set up on the first call; see README.md.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Compiled modules are kept: without them each process that runs tests compiles all of them, about 8 s each.
export PYTHONDONTWRITEBYTECODE =

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEVCLUSTER := hack/devcluster/devcluster
# `make test KIND=kind` runs the same tests on real kind with Docker.
KIND ?= $(DEVCLUSTER)
# More arguments for pytest, like `make test ARGS="-k locks"`.
ARGS ?=
# How many processes run tests side by side, each with a cluster of its own; most tests wait more than they compute.
JOBS ?= 4
# `make run CONFIRM=yes` runs against a cluster that does not look like a local one, without a question.
CONFIRM ?=
# How many releases `make bench` works with.
N ?= 100

.PHONY: help demo demo-stop run test fuzz test-unit test-e2e chaos upgrade-path lint check-alerts bench bench-compare bench-scale bench-independence bench-failures bench-checks bench-impersonation
.PHONY: image image-test tools crds lock clean

help:  ## Show these commands.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 22

# The lock holds versions and hashes; the operator itself is installed so that changes count at once.
$(VENV)/.ready: requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

tools: ## Build helm, kubectl and the control plane (once; about 6 minutes on 2 cores).
	@$(DEVCLUSTER) build >/dev/null

demo: $(VENV)/.ready tools ## Bring up a control plane, run the operator, apply the examples, show the outcome.
	@$(BIN)/python hack/demo/demo.py start

# Needs no package, hence any Python: it also works after `make clean` and in another clone.
demo-stop: ## Stop what `make demo` started.
	@$(PYTHON) hack/demo/demo.py stop

# helm alone takes two minutes to build; a fitting one on PATH is used as it is.
run: $(VENV)/.ready ## Run the operator on this machine against the current kubeconfig context; CONFIRM=yes asks nothing.
	@CONFIRM="$(CONFIRM)" $(BIN)/python hack/run/run.py

test: $(VENV)/.ready tools ## Run all tests.
	$(BIN)/python -P -m pytest --kind-bin="$(KIND)" --kind-kubectl-bin="$$($(DEVCLUSTER) bin)/kubectl" \
		--cluster-name="managedchart-test-$$$$" --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

test-unit: $(VENV)/.ready ## Run the tests that need no cluster.
	$(BIN)/python -P -m pytest tests/unit --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

fuzz: $(VENV)/.ready ## Search longer for inputs that end in an error or cost too much.
	MANAGEDCHART_FUZZ=long $(BIN)/python -P -m pytest tests/unit/fuzz --numprocesses=$(JOBS) $(ARGS)

test-e2e: ## Run the tests on a real API server.
	$(MAKE) test ARGS="tests/e2e $(ARGS)"

lint: $(VENV)/.ready ## Check style, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-alerts: ## Check and test the alerts of deploy/chart with promtool.
	hack/check-alerts

chaos: $(VENV)/.ready tools ## Kill and change things at random for minutes; SEED= replays a run.
	PYTHONPATH=tests $(BIN)/python -P -m chaos $(if $(SEED),--seed=$(SEED)) $(ARGS)

upgrade-path: $(VENV)/.ready tools ## Upgrade the operator from a commit (OLD=), and check that no release is touched.
	PYTHONPATH=bench:tests $(BIN)/python -P -m upgrade_path --old=$(OLD) $(ARGS)

bench: $(VENV)/.ready tools ## Compare with plain helm on a fresh cluster; N= releases.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark run --n=$(N) $(ARGS)

bench-compare: $(VENV)/.ready ## Compare two kept results: OLD= NEW=.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark compare $(OLD) $(NEW)

bench-scale: $(VENV)/.ready tools ## Measure one operator with 5,000 resources in sync.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark scale $(ARGS)

bench-independence: $(VENV)/.ready tools ## Measure installs beside releases that wait for ever.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark independence $(ARGS)

bench-failures: $(VENV)/.ready tools ## Measure how soon a bad image is named, and how soon a fix is under way.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark failures $(ARGS)

bench-checks: $(VENV)/.ready tools ## Measure 500 resources whose checks run again every minute.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark checks $(ARGS)

bench-impersonation: $(VENV)/.ready tools ## Compare installs as a ServiceAccount with those as the operator; N= releases.
	PYTHONPATH=bench:tests $(BIN)/python -P -m benchmark impersonation --n=$(N) $(ARGS)

image: ## Build the operator's image with docker, podman or buildah.
	hack/image/build

image-test: $(VENV)/.ready tools ## Build the image and let it reconcile a ManagedChart on a devcluster.
	hack/image/test

crds: $(VENV)/.ready ## Generate the CRDs in crds/ from the models, and their copies in deploy/chart.
	$(BIN)/python -P -m managedchart_operator.lifecycle.definitions managedchart > crds/managedchart.yaml
	$(BIN)/python -P -m managedchart_operator.lifecycle.definitions lifecycleprofile > crds/lifecycleprofile.yaml
	cp crds/managedchart.yaml deploy/chart/files/crd.yaml
	cp crds/lifecycleprofile.yaml deploy/chart/files/crd-lifecycleprofile.yaml

lock: $(VENV)/.ready ## Renew the locked dependencies.
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
		--python-version 3.11 --upgrade --group dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
		--python-version 3.11 --upgrade pyproject.toml -o requirements/runtime.lock

clean: ## Remove what was built in this folder; the cache of tools stays.
	rm -rf $(VENV) build dist .pytest-kind .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

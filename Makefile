# Every target sets up what it needs in .venv; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run test check format bench bench-cluster bench-workers year docs cluster-up cluster-down cluster-status clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Extra arguments, for example: make test ARGS="tests/domain -x"
ARGS ?=
# Tests run on a real Kafka, Flink and Cassandra where these can run, or where they must.
REQUIRED := $(filter required,$(TASKSCHEDULER_TEST_CLUSTER))
CLUSTER := $(if $(REQUIRED),yes,$(shell command -v java >/dev/null && command -v mvn >/dev/null && echo yes))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  Needs Python 3.11 or newer (make PYTHON=python3.12 ... picks one); everything else is installed into $(VENV).'
	@echo '  ARGS="..." is passed on to the command, for example: make test ARGS="tests/domain -x"'

run: $(VENV)/.installed ## Serve the scheduler on 127.0.0.1:8080, data in ./data
	@TASKSCHEDULER_HTTP__ALLOW_LOOPBACK=$${TASKSCHEDULER_HTTP__ALLOW_LOOPBACK:-true} exec $(BIN)/taskscheduler serve $(ARGS)

test: $(VENV)/.installed-dev $(if $(CLUSTER),$(VENV)/.fetched) ## Run all tests (cluster tests are skipped aloud where Java is missing)
	@$(BIN)/python -I -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## Check style, types and import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Format the code and apply safe fixes
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/.installed-dev ## Measure: prints a table, writes JSON to tests/benchmarks/results
	@$(BIN)/python tests/benchmarks/run.py $(ARGS)

bench-cluster: $(VENV)/.installed-cluster ## Measure the cluster profile, everything on this machine (15 minutes)
	@$(BIN)/python tests/benchmarks/run_cluster.py $(ARGS)

bench-workers: $(VENV)/.installed-dev .venv-peers/.installed ## Measure eight workers beside Celery and Procrastinate (needs Redis, PostgreSQL)
	@$(BIN)/python tests/benchmarks/bench_workers.py $(ARGS)

year: $(VENV)/.installed-dev ## Balance the ledgers of a simulated year of 10,000 tasks
	@TASKSCHEDULER_SIM_YEAR_TASKS=$${TASKSCHEDULER_SIM_YEAR_TASKS:-10000} \
	  $(BIN)/python -I -m pytest -q tests/simulation/test_year.py -k accounted $(ARGS)

docs: $(VENV)/.installed-dev ## Rebuild docs/architecture.png from docs/architecture.toml
	@$(BIN)/python docs/build_architecture.py

cluster-up: $(VENV)/.installed-cluster ## Start Kafka, Cassandra, Flink and our own processes on this machine
	@$(BIN)/taskscheduler cluster up $(ARGS)

cluster-down: $(VENV)/.installed ## Stop them; their data stays in ./cluster-data
	@$(BIN)/taskscheduler cluster down $(ARGS)

cluster-status: $(VENV)/.installed ## Show what runs where, and how it is
	@$(BIN)/taskscheduler cluster status $(ARGS)

clean: ## Remove the environment, caches and build output (never ./data or ./cluster-data)
	rm -rf $(VENV) .venv-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed, and "$(PYTHON)" is not one: name yours with make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo 'Could not make $(VENV): on Debian and Ubuntu, install the package python3-venv' >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	@echo 'Installing into $(VENV) ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	@echo 'Installing into $(VENV), with the development tools ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-cluster: pyproject.toml | $(BIN)/pip
	@echo 'Installing into $(VENV), with what a cluster needs ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cluster]'
	@touch $(VENV)/.installed $@

# What is compared with stays out of our own environment.
.venv-peers/.installed: tests/benchmarks/peers/requirements.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What cannot be fetched now is missed, and said to be, by the tests that need it.
$(VENV)/.fetched: $(VENV)/.installed-cluster
	@$(BIN)/taskscheduler cluster fetch && touch $@ || true

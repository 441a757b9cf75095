# Two commands matter: `make baseline` measures, `make test` checks. The others are their parts and work alone.
#   PYTHON=python3.12   the interpreter of the virtual environment (default python3; 3.11 to 3.13)
#   ARGS="..."          further options for the program (baseline) or for pytest (test)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export PYTHON
# every command here starts several Pythons: without kept bytecode each compiles the package anew, 0.7 s of CPU time
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
ARGS ?=
# what is marked so starts containers, chroots and sweeps, one test after another. It mostly waits, so the rest runs
# beside it, in two processes of a lower priority; what needs the machine for itself runs before both
MACHINE := (docker or root or ray) and not beside
ALONE := tests/integration/test_faults_are_marked.py
PARALLEL ?= -n 2 --dist loadfile
# two processes on two cores: threads of their own would only be in each other's way
ONE_THREAD = OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=1

# scripts/docker.sh leaves an address there when its engine listens elsewhere than at the default; the caller's own wins.
WITH_ENGINE = if [ -z "$${DOCKER_HOST:-}" ] && [ -f .docker-engine/env ]; then set -a; . .docker-engine/env; set +a; fi;

.PHONY: help install docker docker-stop baseline test lint docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: ## put sparkray into a virtual environment, .venv
	@bash scripts/install.sh

docker: ## see to a Docker engine that answers (may install docker.io, and says so)
	@bash scripts/docker.sh

docker-stop: ## stop the engine that `make docker` started by itself, if any
	@bash scripts/docker.sh stop

baseline: install docker ## measure: native against container, and print the comparison
	@echo "sparkray: fetching the model, building the image, measuring ($(BIN)/python -m sparkray.sweep baseline --yes $(ARGS))"
	@$(WITH_ENGINE) $(BIN)/python -m sparkray.sweep baseline --yes $(ARGS)

test: install docker ## run the whole test suite, real Docker and chroot included
ifneq ($(strip $(ARGS)),)
	@echo "sparkray: running tests ($(BIN)/python -m pytest $(ARGS))"
	@$(WITH_ENGINE) $(BIN)/python -m pytest $(ARGS)
else
	@echo "sparkray: running the test suite: $(ALONE), then what is marked $(MACHINE) beside all the rest"
	@$(WITH_ENGINE) status=0; $(MAKE) --no-print-directory test-alone || status=1; \
	    $(MAKE) --no-print-directory --keep-going --jobs=2 test-marked test-unmarked || status=1; exit $$status
endif

.PHONY: test-alone test-marked test-unmarked

test-alone:
	@$(BIN)/python -m pytest $(ALONE)

test-marked:
	@$(BIN)/python -m pytest -m "$(MACHINE)" --ignore=$(ALONE)

# its output waits, or that of both would mix
test-unmarked:
	@output="$$(mktemp)"; trap 'rm -f "$$output"' EXIT; status=0; \
	    $(ONE_THREAD) nice -n 19 $(BIN)/python -m pytest $(PARALLEL) -m "not ($(MACHINE))" >"$$output" 2>&1 || status=1; \
	    cat "$$output"; exit $$status

LINTERS := ruff mypy imports audit
.PHONY: $(LINTERS:%=lint-%)

lint: install ## run ruff, mypy --strict, the import contract and the documentation build, two at a time
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint-mypy docs $(LINTERS:%=lint-%)

lint-ruff:
	@echo "sparkray: ruff check"
	@$(BIN)/ruff check .

lint-mypy:
	@echo "sparkray: mypy"
	@$(BIN)/mypy

lint-imports:
	@echo "sparkray: lint-imports"
	@$(BIN)/lint-imports

lint-audit:
	@if [ -x $(BIN)/pip-audit ]; then echo "sparkray: pip-audit"; $(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip || echo "sparkray: pip-audit found something, or could not reach its data: see above"; fi

docs: install ## build the documentation into build/docs; a dead link or a page outside the menu ends it
	@echo "sparkray: mkdocs build --strict"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/docs

clean: ## remove .venv, builds and caches; results stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './results/*' -prune -exec rm -rf {} +

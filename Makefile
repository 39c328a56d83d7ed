# Thin wrappers over bin/; RUN=runs/NAME names a run, CONFIG=configs/STUDY/NAME.yaml a config.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
PYTEST := $(VENV)/bin/python -m pytest
DEMOS := $(sort $(wildcard configs/*/demo.yaml))
.PHONY: help setup demo test test-all test-slurm lint plan submit local status merge verify bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -s: -t

setup: $(VENV)/.stamp ## make .venv and install the suite

$(VENV)/.stamp: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "quintet needs Python 3.11 or newer: make PYTHON=python3.12 setup" >&2; exit 78; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	mkdir -p $(VENV)/typing/quintet && ln -sfn ../../../jobs ../../../shard ../../../merge ../../../slurm $(VENV)/typing/quintet/
	touch $@

demo: setup ## run every study in miniature and list its figures
	@for config in $(DEMOS); do \
	  study=$$(basename $$(dirname $$config)); \
	  bin/plan $$config && bin/local runs/$$study-demo || exit $$?; \
	done
	@for config in $(DEMOS); do \
	  run=runs/$$(basename $$(dirname $$config))-demo; \
	  echo; echo "$$run: figures and report"; \
	  ls $$run/figures/*.png $$run/report/report.html; \
	done

test: lint ## quick tests
	$(PYTEST) -m "not slow and not slurm and not chaos"

test-slurm: setup ## tests on a real private Slurm
	$(PYTEST) -m slurm tests/slurm

test-all: lint ## all tests: slow science, real Slurm, chaos
	$(PYTEST)

lint: setup ## ruff, mypy, shellcheck
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy -p quintet.jobs -p quintet.shard -p quintet.merge -p quintet.slurm
	$(VENV)/bin/shellcheck -x $$(grep -lrE '^#!/bin/(ba)?sh' bin .ci) bin/.python $$(find slurm -name '*.sh' -o -name '*.sbatch')

plan: setup ## plan CONFIG
	bin/plan $(CONFIG) $(if $(RUN),--run $(RUN))

submit local status verify: setup ## these verbs on RUN
	bin/$@ $(RUN)

merge: setup ## merge RUN; ALLOW_MISSING=1 goes on without what is missing
	bin/merge $(RUN) $(if $(ALLOW_MISSING),--allow-missing)

bench: setup ## the benchmark tables, each beside its peer
	@for script in bench/*.py; do echo "== $$script"; $(VENV)/bin/python $$script || exit $$?; done

clean: ## remove temporary files of RUN
	bin/clean $(RUN)

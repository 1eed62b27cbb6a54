# One environment, made once: .venv, from python3 and the pinned versions. `make help` lists what there is.

BASE_PYTHON ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready
LAB_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?= --peers
WORKERS ?= 2

# With an NVIDIA GPU, torch is free to be the newest CUDA build; without one it is the pinned version,
# which is the small CPU wheel where pip knows one.
ifeq ($(shell nvidia-smi >/dev/null 2>&1 && echo found),found)
TORCH := an NVIDIA GPU: torch with CUDA
INSTALL := -c constraints.txt -e '.[dev,gpu]'
else
TORCH := no NVIDIA GPU: the torch of constraints-cpu.txt
INSTALL := -c constraints.txt -c constraints-cpu.txt -e '.[dev]'
endif

# Jupyter refuses to serve as root unless told; it listens on this machine alone, with its token on.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help install lab app test tour docs bench format clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-8s %s\n' "$$name" "$$what"; done

install: $(READY)  ## the environment alone

$(READY): pyproject.toml constraints.txt constraints-cpu.txt
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(BASE_PYTHON) is missing or older than Python 3.11; install one, or: make BASE_PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(BASE_PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) ($(TORCH)); a few minutes, once."
	$(PYTHON) -m pip install --quiet $(INSTALL)
	$(PYTHON) -m jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements 2>/dev/null
	@touch $@

# OpenMP's threads sleep while they wait: awake, they keep each other from working on a busy machine.
lab app tour: export OMP_WAIT_POLICY ?= PASSIVE
lab: $(READY)  ## open the tour in JupyterLab (LAB_ARGS=--no-browser to open it yourself)
	$(PYTHON) -m jupyter lab --ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb $(AS_ROOT) $(LAB_ARGS)

app: $(READY)  ## the same panels as an app, without code
	$(PYTHON) -m workbench lab --app -- $(LAB_ARGS)

# One thread per process: two OpenMP threads on a busy machine wait for each other longer than they work. The notebooks come
# first, for they are long; the browser's tests come last and alone, for they measure how soon a page answers. PYTEST_ARGS
# may select tests of one half only, and then the other ends with 5, "no tests were run".
NONE = [ $$? -eq 5 ]
test: export OMP_NUM_THREADS = 1
test: $(READY)  ## lint, types, unit tests, the model contract, every notebook, every view in a browser
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest --nbmake notebooks tests --ignore=tests/browser -n $(WORKERS) --dist worksteal $(PYTEST_ARGS) || $(NONE)
	$(PYTHON) -m pytest tests/browser $(PYTEST_ARGS) || $(NONE)

tour: $(READY)  ## run the tour without a browser; read it in build/00_tour.html
	@mkdir -p build
	$(PYTHON) -m jupyter nbconvert --execute --to html --output-dir build notebooks/00_tour.ipynb

docs: $(READY)  ## run every notebook into a static site, build/site/index.html, that needs no server and no network
	$(PYTHON) docs/website.py

bench: $(READY)  ## measure speed, here and now, beside the peers (BENCH_ARGS= without them)
	$(PYTHON) benchmarks/run.py $(BENCH_ARGS)

format: $(READY)  ## put the code into its one form
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

clean:  ## remove what make built (runs/ stays: it is yours)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

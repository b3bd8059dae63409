# Two commands on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PEERS := .venv-peers
HOSTILE := .venv-hostile
BIN := $(VENV)/bin
PORT ?= 8000

.DEFAULT_GOAL := help
.PHONY: help demo picture test test-long hosts chaos simulate soak coverage test-wheel bench fuzz audit lint format clean

help:  ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[demo,test,lint]'
	touch $@

demo: $(VENV)/installed  ## The quickstart under uvicorn, 2 workers, http://127.0.0.1:8000
	cd examples/quickstart && $(abspath $(BIN))/uvicorn app:app --workers 2 --host 127.0.0.1 --port $(PORT)

test: $(VENV)/installed  ## The whole suite, in two processes side by side
	$(BIN)/python -m compileall -q pseudocron  # once, not in each child where PYTHONDONTWRITEBYTECODE is set
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope $(ARGS)

test-long: $(VENV)/installed  ## The same, with all that the tests can do: more runs, slots and hostile values
	LONG=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope $(ARGS)

hosts: $(VENV)/installed  ## Three hosts and one Redis, or a cluster, at full length: 300 slots, 5,000 jobs, a minute and a half
	HOSTS=full $(BIN)/python -m pytest tests/hosts --log-cli-level=INFO $(ARGS)

chaos: $(VENV)/installed  ## Kill, stop and cut off real processes on both stores, MINUTES=5; OUT=figures.json; SEED=1
	$(BIN)/python -m verification.chaos --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1) $(if $(OUT),--out $(OUT)) $(ARGS)

simulate: $(VENV)/installed  ## So many seeds of the simulation, N=10000; BUGS=1: within how many planted bugs are found
	$(BIN)/python -m verification.simulation $(if $(BUGS),--bugs,$(or $(N),1000)) $(ARGS)

soak: $(VENV)/installed  ## A server under load for an hour, or MINUTES=3: does anything grow? Samples, table and plot in OUT=soak
	$(BIN)/python -m verification.soak --minutes $(or $(MINUTES),60) --out $(or $(OUT),soak) $(ARGS)

coverage: $(VENV)/installed  ## The same, with branch coverage, of child processes too: they start half as fast
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)

test-wheel:  ## The suite against the built wheel, in a fresh environment without the source tree
	set -e; away=$$(mktemp -d); chmod 755 "$$away"; trap 'rm -rf "$$away"' EXIT; \
	$(PYTHON) -m venv "$$away/venv"; \
	"$$away/venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$$away/dist" .; \
	"$$away/venv/bin/python" -m pip install --quiet "$$(echo "$$away"/dist/*.whl)[test]"; \
	cp -R tests examples docs benchmarks harness verification pyproject.toml LICENSE *.md "$$away"; \
	cd "$$away"; venv/bin/python -m pytest $(ARGS)

$(PEERS)/installed: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement benchmarks/peers.txt
	touch $@

bench: $(VENV)/installed $(PEERS)/installed  ## What pseudocron costs: a table in 40 minutes, kept in benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(ARGS)

picture: $(VENV)/installed  ## The picture of the dashboard in the README; needs a Chromium
	PYTHONPATH=tests $(BIN)/python -m dashboard.picture docs/dashboard.png

$(HOSTILE)/installed: pyproject.toml
	$(PYTHON) -m venv $(HOSTILE)
	$(HOSTILE)/bin/python -m pip install --quiet --editable '.[dashboard,redis]' atheris pip-audit
	touch $@

fuzz: $(HOSTILE)/installed  ## Hostile input for every parser, store and endpoint, 1.7 million times in a quarter of an hour; N=1000 for fewer
	$(HOSTILE)/bin/python -m verification.fuzzing $(or $(N),200000)

audit: $(HOSTILE)/installed  ## Known vulnerabilities of what we need; asks a database on the web
	$(HOSTILE)/bin/pip-audit --strict --local --skip-editable

lint: $(VENV)/installed  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed  ## Let ruff write what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and caches
	rm -rf $(VENV) $(PEERS) $(HOSTILE) .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.*

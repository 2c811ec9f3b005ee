# Rackproof. `make demo` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# The tool that reads uv.lock; installed into the environment itself. It leaves no bytecode unless told to, and then every
# start of a program compiles all its libraries again, twice the work of the start itself.
UV      = $(BIN)/uv
ARGS   ?=
# A few processes: most of the tests' time is waiting for programs to start. Each file's tests stay together.
PYTEST  = $(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadscope $(ARGS)
# Python that finds this checkout's packages wherever it is started.
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: help env demo test lint check format services reference bench bench-cpu bench-disk bench-gpu bench-network \
  bench-queries bench-scrape bench-wipe \
  wheel clean

help:            ## show the targets
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 16

env: $(VENV)/ready

$(VENV)/ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	@$(UV) sync --quiet --frozen --compile-bytecode --extra collector
	@touch $@

demo: env        ## run collector and agent here, with a wipe; ONCE=1 to end by itself
	@$(BIN)/rackproof demo $(if $(ONCE),--once,)

test: env        ## run the tests
	$(PYTEST)

lint: env        ## format, lint, types, import contracts
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: lint      ## all of lint, and the tests
	$(PYTEST)

format: env      ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

services: env    ## install the servers that some tests start (they skip without)
	$(UV) sync --quiet --frozen --compile-bytecode --extra collector --group services

reference: env   ## write the page of all readings from the indicators themselves
	@$(BIN)/rackproof-agent indicators --markdown > agent/indicators/REFERENCE.md

bench: env       ## measure the agent's cost beside its peers (SECONDS=300)
	$(UV) sync --quiet --frozen --compile-bytecode --extra collector --group bench --group services
	$(BIN)/python tests/load/agent_cost.py --seconds $(or $(SECONDS),300)

bench-cpu: env   ## how far runs of the CPU benchmark lie apart, beside sysbench, 7-Zip and stress-ng (5 min each; ARGS)
	$(BIN)/python tests/load/cpu_spread.py $(ARGS)
bench-gpu: env   ## measure the GPU benchmark beside PyTorch or CuPy (needs a GPU; ARGS="--python FILE")
	$(BIN)/python tests/load/gpu_peers.py $(ARGS)

bench-wipe: env  ## measure the wiper beside rm and find, and what the usual tools leave (root; ARGS)
	$(BIN)/python tests/load/wipe_cost.py $(ARGS)
	$(BIN)/python tests/load/wipe_peers.py
	$(BIN)/python tests/load/wipe_peers.py --calm

bench-disk: env  ## measure the disk benchmark's own engines beside fio, in pairs (ARGS)
	$(BIN)/python tests/load/disk_pairs.py $(ARGS)
bench-network: env  ## measure bandwidth beside iperf3, and whether the limit is named right (root, iperf3; ARGS)
	$(BIN)/python tests/load/bandwidth_peers.py $(ARGS)

bench-scrape: env ## what a scrape of all machines' figures costs (ARGS="--machines 1000")
	$(BIN)/python tests/load/scrape.py $(ARGS)

bench-queries: env ## what reading a day of one machine and the fleet costs, and storing reports, on both databases (ARGS)
	$(BIN)/python tests/load/query_cost.py $(ARGS)
	$(BIN)/python tests/load/fleet_speed.py

wheel: env       ## build the wheel and the source archive into dist/
	$(UV) build --quiet

clean:           ## remove the environment and what was built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

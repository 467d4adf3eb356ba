# One line a target. PYTHON=python3.12 picks another interpreter; `make clean` first, to change it later.
PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock (uv on PATH; UPGRADE=--upgrade for newer versions)" $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --quiet $(UPGRADE)
NEEDS := import sys; sys.exit(sys.version_info < (3, 11) and "KubeBraid needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")

.PHONY: install dev native serve dev-cluster dev-tikv test sim check fmt proto e2e cluster tikv model soak lock clean
install: $(VENV)/.installed ## the command .venv/bin/kubebraid and what it needs
dev: $(VENV)/.installed-dev ## ... and what tests and checks need

serve: install ; $(BIN)/kubebraid serve --data-dir data --listen-client-urls http://127.0.0.1:2379 --listen-metrics-urls http://127.0.0.1:2381 ## one node on RocksDB that etcd's clients find at its usual address
dev-cluster: install ; $(BIN)/kubebraid dev-cluster --data-dir data-cluster ## three coordinators, three shards, two routers
native: dev ; native/tikv/build.sh $(BIN)/python ## our own client of TiKV, built and installed; needs Rust
dev-tikv: dev ; tests/tikv/build.sh && $(BIN)/kubebraid dev-cluster --data-dir data-tikv --engine=tikv --tikv-bin="$${KUBEBRAID_PEERS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/kubebraid/peers}/bin" ## ... the shards on a store that speaks TiKV's protocol
test: dev ## needs no peer and nothing prepared
	$(BIN)/python -m pytest -n auto --maxprocesses=8 --dist=loadfile -m "not (e2e or slow or etcd or tikv or cluster)"
sim: dev ; $(BIN)/python -m tests.sim --seed=1 --count=2000 --jobs=2 ## whole clusters under faults, by seeds
check: dev ## what CI runs before the tests
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/tidy.py
	$(BIN)/python tools/proto.py --check

fmt: dev ; $(BIN)/ruff format . && $(BIN)/ruff check --fix . ## format, and mend what can be mended safely
proto: dev ; $(BIN)/python tools/proto.py ## regenerate the wire from its .proto files

e2e: dev ## whole processes, and real peers beside them
	tests/peers/build.sh && $(BIN)/python -m pytest -m "(e2e or etcd) and not (slow or cluster)" tests

cluster: dev ## three coordinators, three shards, two routers: etcd's clients, kube-apiserver, kills and cuts
	KUBEBRAID_CLUSTER_PEERS=1 tests/peers/build.sh && $(BIN)/python -m pytest -m "cluster and not slow" --ignore-glob="*/test_cluster_*" tests
	KUBEBRAID_E2E_STORE=cluster $(BIN)/python -m pytest -m "e2e and not slow" $(filter-out %_workload.py,$(wildcard tests/e2e/test_cluster_*.py tests/e2e/test_etcdctl*.py)) tests/e2e/test_watch_streams.py tests/conformance/test_api_table.py
tikv: dev ## shards on TiKV, of one store and of three, by both clients: the engine, the API table, kills and cuts, kube-apiserver
	tests/tikv/build.sh && tests/peers/build.sh && native/tikv/build.sh --if-possible $(BIN)/python && KUBEBRAID_REQUIRE_PEERS=1 KUBEBRAID_TIKV_CLIENT=tikv-client $(BIN)/python -m pytest -n 3 --dist=loadfile -m "tikv and not slow" tests/contract && KUBEBRAID_REQUIRE_PEERS=1 KUBEBRAID_E2E_STORE=tikv $(BIN)/python -m pytest -n 3 --dist=loadfile -m "(tikv or e2e) and not slow" tests/contract $(wildcard tests/e2e/test_*tikv*.py) tests/conformance/test_api_table.py
model: dev ; tests/peers/fetch_tlc.sh && $(BIN)/python -m tests.model.run ## docs/model, checked by TLC (Java 11 or newer)

soak: dev ## fresh seeds and long runs
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m slow
lock: ## needs uv on PATH; UPGRADE=--upgrade takes newer versions
	$(LOCK) --group build pyproject.toml -o requirements/run.lock
	$(LOCK) --group build --group dev --extra tikv -c requirements/run.lock pyproject.toml -o requirements/dev.lock

clean: ; rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info

$(VENV)/.installed: requirements/run.lock pyproject.toml src/kubebraid/__init__.py
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c '$(NEEDS)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements/run.lock
	$(PIP) install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock
	$(PIP) install --quiet --require-hashes -r requirements/dev.lock
	@touch $@

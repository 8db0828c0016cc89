# The two commands: `make demo` shows the system, `make test` proves it. `make check` is the quick part of the latter.
# A fresh clone on Debian 12 with Python 3.11 (venv) and make is enough; a second run reuses what is there.
# `make servers` gets PostgreSQL, Redis and Kafka for the tests, as root by itself; see scripts/install_servers.sh.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.made
WHEEL := .venv/.wheel
SOURCES := $(shell find src -type f -not -name '*.pyc')
CODE := src tests examples benchmarks scripts
export OMS_TEST_WHEEL := 1
# Without it each process of pytest rewrites the asserts of every module anew: a quarter of its time here.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-slow test-searches hunt test-hunts test-pythons same-traces test-servers test-faults test-containers test-images check check-static check-domain check-fast servers bench bench-short clean

demo: $(WHEEL)
	$(BIN)/oms demo

# The slow tests mostly wait, and the simulator's searches only compute: side by side they keep the cores busy.
test: servers check
	@$(MAKE) --no-print-directory -j2 --output-sync test-slow test-searches
	@echo "make test: everything passed"

# A module stays with its worker, which has the module's servers; the modules that take longest begin (tests/conftest.py).
test-slow: $(WHEEL) servers
	$(BIN)/python -m pytest -q -m "slow and not servers" -n 3 --dist loadfile --no-loadscope-reorder -p no:cacheprovider --ignore tests/testing/sim

# Behind all other processes: a search has no time limits that a busy core could exceed, and other tests have.
test-searches: $(WHEEL)
	nice -n 19 $(BIN)/python -m pytest -q -m slow -n 2 --dist worksteal -rP -p no:cacheprovider tests/testing/sim

# The contract suites and the adapters' own tests on real servers. Kafka's groups make each worker wait, so three of them
# work at once on two cores.
test-servers: $(WHEEL) servers
	$(BIN)/python -m pytest -q -m servers -n 3 --dist loadfile --no-loadscope-reorder -p no:cacheprovider

# Deaths and losses in the distributed profile, with at least 500 orders in flight at each: about half an hour.
# Fault tests that are also marked slow or servers run with `make test` and `make test-servers`; `pytest -m faults` is all.
test-faults: $(WHEEL) servers
	$(BIN)/python -m pytest -q -m "faults and not slow and not servers" -p no:cacheprovider tests/system/distributed

# The stack of docker-compose.yml on a Docker engine: one that answers, else Debian's own, started and stopped again.
test-containers: $(WHEEL)
	scripts/stack/test.sh

# What `make test-containers` needs besides the tests: Docker Compose and the images. Nothing where no engine can start.
test-images:
	! scripts/stack/can_run.sh || nice -n 19 scripts/stack/prepare.sh

# The longer searches: two orders 3 coarse and 2 fine, twenty thousand seeds, every crash of every path, a thousand
# hostile extensions; and the same seeds on each Python that is here. About half an hour of one core.
test-hunts: $(WHEEL)
	$(BIN)/python -m pytest -q -m hunts -n 2 --dist worksteal -rP -p no:cacheprovider tests/testing/sim tests/domain tests/application
	$(MAKE) same-traces

# Same seed, same run to the byte, on each Python that is here; it prints which version isn't.
same-traces: SEEDS ?= 500
same-traces: $(WHEEL)
	nice -n 19 $(BIN)/python scripts/same_traces.py --seeds $(SEEDS)

# The fast tests on each Python that is here and that the package's metadata names: about five minutes for each.
test-pythons: $(WHEEL)
	$(BIN)/python scripts/test_pythons.py

# The simulator, one block of seeds after the other, until it finds something (exit 1, with its tape) or is stopped.
# FIRST=100000 begins elsewhere.
hunt: $(WHEEL)
	n=$${FIRST:-0}; while $(BIN)/oms sim --seeds 5000 --first $$n || exit 1; do n=$$((n + 5000)); done

# The static part, the domain and the other fast tests side by side: none of them keeps two cores busy to its end.
check: $(WHEEL)
	@$(MAKE) --no-print-directory -j3 --output-sync check-static check-domain check-fast

check-static: $(WHEEL)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	MYPYPATH=src $(BIN)/mypy -p oms
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python scripts/runtime_lock.py --check
	$(BIN)/python scripts/mirrored_tests.py

# One process, in which an exploration of the model serves several tests.
check-domain: $(WHEEL)
	$(BIN)/python -m pytest -q tests/domain -m "not slow and not hunts" -p no:cacheprovider -p no:schemathesis --cov --cov-report=term --cov-fail-under=100

# No test in here cuts the power, so to wait for the disk proves nothing: the files lie in memory where it has 512 MiB.
# Without the plugin and the file that only slow tests need, schemathesis isn't loaded.
check-fast: export TMPDIR := $(shell df -Pk /dev/shm 2>/dev/null | awk '$$4 > 524288 && $$6 == "/dev/shm" {print $$6}')
check-fast: $(WHEEL)
	$(BIN)/python -m pytest -q -m "not slow and not servers and not faults and not containers and not hunts" -n 2 --dist worksteal -p no:cacheprovider -p no:schemathesis -o tmp_path_retention_policy=failed --ignore tests/domain --ignore tests/entrypoints/http/test_schemathesis.py

# What docs/performance.md shows, on a machine that does nothing else: about twenty minutes.
bench: $(WHEEL) servers
	$(BIN)/oms bench burst steady embedded accept fulfil hot slow workers --orders 10000 --json bench.json --svg charts

# A minute; fails below a share of the floor of the same run, never on an absolute time. A machine that is shared is
# sometimes slower in one half of a run than in the other: the best of five takes counts.
bench-short: $(WHEEL) servers
	for take in 1 2 3 4 5; do $(BIN)/oms bench burst --orders 8000 --least 0.25 && exit 0; done; exit 1

servers: $(WHEEL)
	PYTHON=$(BIN)/python scripts/install_servers.sh

# The tests run against a built, installed wheel, not against the source tree.
$(WHEEL): $(STAMP) $(SOURCES) README.md LICENSE
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	@# The distribution was once named oms: two that hold the same files can't be installed at once.
	if ls -d .venv/lib/python*/site-packages/oms-*.dist-info >/dev/null 2>&1; then $(BIN)/python -m pip uninstall --quiet --yes oms; fi
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

$(STAMP): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "oms needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .import_linter_cache

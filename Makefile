# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COMPILED := .venv-compiled
COMPILED_WHEEL := dist/compiled/.built

# Which runs what, tests/scheduling.py says. A third, for those that mostly wait, takes a quarter off the
# time, and off what tests that measure have of the processor.
PROCESSES := -n 2

# Without bytecode every server that a test starts would compile all of Outcrop first.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo run fmt check test test-fast test-clients test-compiled compiled dist generate bench load clean

help: ## print this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Outcrop needs Python 3.11 or newer, not " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 …") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) …"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' 2>&1 | grep -v '^WARNING: Location' || true
	@$(BIN)/python -m pip install --quiet --editable . --group dev --group demo
	@touch $@

demo: $(READY) ## the main job, start to end, on the model that ships with Outcrop (KEEP=1 leaves the server running)
	@KEEP=$(KEEP) $(BIN)/python scripts/demo.py

run: $(READY) ## serve from the working tree
	$(BIN)/outcrop serve

fmt: $(READY) ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(READY) ## everything CI checks but tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/gen_shapes.py --check
	$(BIN)/python tools/compatibility.py --check
	$(BIN)/python tools/fragments.py --check

test: $(READY) ## every test, real PostgreSQL included
	$(BIN)/pytest -m 'not client' $(PROCESSES)

test-fast: $(READY) ## the tests that need no server and no database: on every save
	$(BIN)/pytest -m 'not client and not slow' tests/wire tests/iam tests/runtime tests/control

test-clients: $(READY) ## third-party clients, and what a release gives, in environments of their own; 300 kills under load
	$(BIN)/pytest -m client tests/clients
	OUTCROP_KILLS=300 $(BIN)/pytest tests/conformance/test_crash.py

compiled: $(COMPILED)/.ready ## a wheel whose busiest modules are machine code, in .venv-compiled

$(COMPILED)/.ready: $(COMPILED_WHEEL)
	@test -x $(COMPILED)/bin/python || $(PYTHON) -m venv $(COMPILED)
	@echo "Setting up $(COMPILED) …"
	@$(COMPILED)/bin/python -m pip install --quiet --upgrade 'pip>=25.1' 2>&1 | grep -v '^WARNING: Location' || true
	@$(COMPILED)/bin/python -m pip install --quiet dist/compiled/*.whl --group dev
	@$(COMPILED)/bin/python -m pip install --quiet --no-deps --force-reinstall dist/compiled/*.whl
	@touch $@
	@$(COMPILED)/bin/outcrop --version

# auditwheel looks which C libraries it runs with, and names it after the oldest: an index takes no other.
$(COMPILED_WHEEL): $(READY) $(wildcard tools/*compile* tools/separate.py) README.md LICENSE $(shell find src -type f -not -name '*.pyc')
	@echo "Compiling: some two minutes …"
	@rm -rf dist/compiled
	@HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/hatchling build --target wheel --directory dist/compiled/untagged > /dev/null
	@if [ "$$(uname)" = Linux ]; \
	then PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir dist/compiled dist/compiled/untagged/*.whl; \
	else mv dist/compiled/untagged/*.whl dist/compiled; fi
	@rm -r dist/compiled/untagged
	@touch $@

dist: $(COMPILED_WHEEL) ## what a release gives, in dist/: the source, the wheel for everybody and the compiled one for this platform
	@rm -f dist/*.whl dist/*.tar.gz
	@$(BIN)/hatchling build --target sdist --target wheel --directory dist > /dev/null
	@cp dist/compiled/*.whl dist
	@ls dist/*.tar.gz dist/*.whl

# One puts its own method in the place of a compiled one, which cannot be. What mypyc makes of an
# `await` hands on exceptions in a way that Python deprecates since 3.12.
test-compiled: $(COMPILED)/.ready ## the tests, of the compiled wheel
	$(COMPILED)/bin/pytest -m 'not client' $(PROCESSES) -W 'ignore:the (type, exc, tb) signature of throw:DeprecationWarning' --deselect tests/iam/test_declared_keys.py::test_a_start_reads_none_of_those_that_stay_as_they_are

generate: $(READY) ## wire shapes from botocore's service models, and the compatibility table
	$(BIN)/python tools/gen_shapes.py
	$(BIN)/python tools/compatibility.py

bench: $(READY) ## what must stay fast, as ratios against a reference in the same run
	$(BIN)/python -m benchmarks
	@if [ -e $(COMPILED)/.ready ]; then $(COMPILED)/bin/python -m benchmarks in_process requests_per_second converse metering; fi

load: $(READY) ## the runtime under load: Converse beside two bare proxies, smg and LiteLLM's, and 500 streams
	$(BIN)/python -m benchmarks converse streams

clean: ## forget the virtual environment and every cache
	rm -rf $(VENV) $(COMPILED) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

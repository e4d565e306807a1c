# Everything a person or a pipeline does here. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export VIRTUAL_ENV := $(abspath $(VENV))

RUST_SOURCES := $(shell find rust_core -name '*.rs' -o -name Cargo.toml -not -path '*/target/*') Cargo.toml Cargo.lock
CONSOLE_SOURCES := $(shell find console -type f -not -path '*/node_modules/*' -not -path '*/dist/*')
CONSOLE := python/fleetwire/console_dist/index.html

# Node 20 or newer if the machine has it, else the one from a wheel in the virtual environment.
NODE_MAJOR := $(shell node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
ifeq ($(shell test "$(or $(NODE_MAJOR),0)" -ge 20 && command -v npm >/dev/null && echo yes),yes)
NPM := npm
NODE_STAMP :=
else
NODE_STAMP := $(VENV)/.node
NPM := PATH="$(abspath $(BIN)):$$PATH" $(abspath $(BIN))/npm
endif

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# -- set-up ---------------------------------------------------------------------------------------------------------

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fleetwire needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "Fleetwire needs a stable Rust toolchain (cargo)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: $(VENV)/.created requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

$(VENV)/.node: $(VENV)/.created requirements-node.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-node.lock
	touch $@

$(VENV)/.core: $(VENV)/.run $(RUST_SOURCES) pyproject.toml
	@echo "Building the core (release mode; the first time takes a minute)."
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

console/node_modules/.package-lock.json: console/package-lock.json $(NODE_STAMP)
	cd console && $(NPM) ci --no-audit --no-fund --loglevel=error

$(CONSOLE): console/node_modules/.package-lock.json $(CONSOLE_SOURCES)
	@echo "Building the console."
	cd console && $(NPM) run --silent build

# -- use ------------------------------------------------------------------------------------------------------------

.PHONY: build run
build: $(VENV)/.core $(CONSOLE) ## Build the core (release), the console and the virtual environment

run: build ## Start Fleetwire with a simulated fleet of 200 vehicles; Ctrl-C stops it, the data stays
	@exec $(BIN)/fleetwire demo

# -- check ----------------------------------------------------------------------------------------------------------

.PHONY: test test-rust test-python test-console lint fmt types all
test: test-rust test-console test-python ## Run every test, with all set-up

test-rust: ## Run the core's tests
	cargo test --quiet --workspace --locked

test-console: console/node_modules/.package-lock.json ## Run the console's tests
	cd console && $(NPM) run --silent check

test-python: $(VENV)/.dev build ## Run the Python, contract, integration, end-to-end and adversity tests
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.dev build ## Check style, types and stubs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python .ci/house_rules.py
	$(BIN)/lint-imports --no-logo
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --workspace --locked
	$(MAKE) --no-print-directory types

types: $(VENV)/.dev build ## Check the Python types and the core's stub
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest fleetwire._core

.PHONY: bench-micro bench-ingest bench-report bench-cache
$(VENV)/.bench: $(VENV)/.run requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	touch $@

bench-micro: build ## Time the core alone, compared with Python
	cargo bench --quiet --locked -p fleetwire_core
	$(BIN)/python -m bench.micro

bench-ingest: build $(VENV)/.bench ## Measure ingest, compared with bare COPY, an empty route and a rival
	cargo build --quiet --release --locked -p loadgen
	$(BIN)/python -m bench.ingest $(BENCH_ARGS)

bench-report: build $(VENV)/.bench ## Measure the standard set: drivers, watchers, a reconnect storm, two workers
	cargo build --quiet --release --locked -p loadgen
	$(BIN)/python -m bench.report $(BENCH_ARGS)

bench-cache: build $(VENV)/.bench ## Measure cached reads, the cache's map and compression
	$(BIN)/python -m bench.cache $(BENCH_ARGS)

fmt: $(VENV)/.dev ## Format everything
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format --quiet
	cargo fmt --all

all: lint test ## What the pipeline runs

# -- upkeep ---------------------------------------------------------------------------------------------------------

.PHONY: lock clean
lock: $(VENV)/.dev ## Renew the locked Python dependencies from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	for part in ":build" "-dev:dev"; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	    --python-version 3.11 pyproject.toml --group "$${part##*:}" -o "requirements$${part%%:*}.lock"; \
	done
	for part in node bench; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-header --python-version 3.11 --group "$$part" -o "requirements-$$part.lock"; \
	done

clean: ## Remove what was built; keeps the data of `make run`
	rm -rf $(VENV) target console/node_modules python/fleetwire/console_dist python/fleetwire/*.so

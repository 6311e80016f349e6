# Two commands matter: `make demo` runs the chat, `make test` passes the tests. Each sets up what it needs.
# uv is used when it is there; plain venv and pip otherwise.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PINS := .ci/constraints.txt
WORKERS ?= 4
ALL := app,openai,anthropic,google,search,telemetry,worker,demo

.PHONY: nightly demo test check docs bench durability load mutants setup setup-demo browser parsers servers clean coverage

demo: $(VENV)/.demo
	@exec $(BIN)/resumable-stream demo $(ARGS)

test: $(VENV)/.dev browser parsers servers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

coverage: $(VENV)/.dev browser parsers servers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

durability: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.durability $(ARGS)

load: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.conversations $(ARGS)

nightly: $(VENV)/.dev
	PROPERTY_EXAMPLES=$${PROPERTY_EXAMPLES:-2000} SCHEMATHESIS_EXAMPLES=$${SCHEMATHESIS_EXAMPLES:-200} \
		$(BIN)/python -m pytest tests/core/property tests/app/test_schemathesis.py -n $(WORKERS) $(ARGS)

mutants: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m promises.mutants $(ARGS)

setup: $(VENV)/.dev

browser:
	@sh tests/browser/ensure_chromium.sh

parsers:
	@sh tests/sse/ensure_parsers.sh

servers:
	@sh tests/promises/ensure_redis.sh

clean:
	rm -rf $(VENV) tests/sse/node_modules site .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

# An environment of its own, of a Python that is new enough.
$(VENV)/.made:
ifdef UV
	$(UV) venv --quiet --allow-existing --python '>=3.11' $(VENV)
else
	@$(PYTHON) -c 'import sys; sys.exit("resumable_stream needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
endif
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml $(PINS)
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python -c $(PINS) -e '.[demo]'
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(PINS) -e '.[demo]'
endif
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml $(PINS)
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python -c $(PINS) -e '.[$(ALL)]' --group check --group test --group docs
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(PINS) -e '.[$(ALL)]' --group check --group test --group docs
endif
	@touch $@ $(VENV)/.demo

# `make run` and `make test` set up everything they need in ./.venv.
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 2
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test test-slow check docs constraints clean

run: .venv/.run
	$(BIN)/harness run --plugin seal

# `make test TEST_PROCESSES=8` on a larger machine: each process keeps a core busy.
test: .venv/.dev
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(TEST_PROCESSES) --dist worksteal

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/harness leaderboard build --check

# The documentation as a site, in build/site; every link is checked.
docs: .venv/.dev
	$(BIN)/python docs/build_plugins.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

.venv/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -e '.[dev,docs,hub,openai,pandas,rag]'
	touch $@ .venv/.run

# Pins the exact version of everything that set-up may install, without local labels such as +cpu, which are not portable.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet -e '.[dev,docs,hub,openai,pandas,rag]' torch==2.13.0
	.venv-constraints/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

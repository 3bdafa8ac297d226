# Everything is made in .venv in this checkout. Python 3.11 or newer, make and git are all it takes.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-strip-extras --no-annotate --no-header
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Nothing is written outside the checkout, pip's cache neither.
export PIP_NO_CACHE_DIR = 1

.PHONY: run plan test lint format lock bench clean

run: .venv/run.stamp  ## one whole night on the sandbox
	$(BIN)/nightshift run

plan: .venv/run.stamp  ## what a night would change, without changing it
	$(BIN)/nightshift plan

test: .venv/dev.stamp  ## every test, two files at a time; WORKERS=4 for more
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: .venv/dev.stamp  ## ruff, mypy --strict, sqlfluff, dbt parse
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint -q dbt_project
	$(BIN)/dbt -q parse --project-dir dbt_project --profiles-dir profiles --target-path ../var/dbt/lint --log-path var/dbt/logs

format: .venv/dev.stamp  ## rewrite files as ruff and sqlfluff want them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix -q dbt_project

bench: .venv/dev.stamp  ## the figures of docs/figures.md, measured here
	$(BIN)/python -m bench

lock:  ## resolve the dependencies anew (needs uv)
	$(COMPILE) --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) -c requirements-dev.lock pyproject.toml -o requirements.lock

clean:  ## forget everything that was made here
	rm -rf .venv var

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Nightshift needs Python 3.11 to 3.13; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 run" if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv/dev.stamp: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@ .venv/run.stamp

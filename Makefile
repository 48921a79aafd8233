# Every target sets up what it needs. CI runs `make check` and `make test` and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
export ENVELOPE_HOME ?= $(CURDIR)/.demo
unexport PYTHONDONTWRITEBYTECODE  # every process of a cluster imports the same gigabyte

.PHONY: install demo down check format test test-unit test-frameworks coverage fuzz simulate bench constraints clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' constraints.txt)
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt -e '.[controller,s3,postgres,demo,dev]'
	@touch $@

demo: install          ## train, save, deploy by a tag, hot swap under load, batch
	@$(BIN)/envelope demo

down: install          ## stop what `make demo` started
	@$(BIN)/envelope down

test-frameworks: install ## each framework in an environment of its own; downloads gigabytes
	$(BIN)/pytest tests/frameworks

check: install         ## format, lint, types, import direction, the built wheel
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_wheel.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: install          ## everything; about 20 minutes on 2 cores
	$(BIN)/pytest -n auto tests/unit
	$(BIN)/pytest -n auto tests/integration tests/simulation
	$(BIN)/pytest tests/browser
	for module in tests/cluster/test_*.py; do $(BIN)/pytest $$module || exit 1; done

test-unit: install     ## seconds
	$(BIN)/pytest -n auto tests/unit

coverage: install      ## branch coverage of the schema code, at least 95 %; every property with 1,000 examples
	$(BIN)/coverage run -m pytest --hypothesis-profile=thorough tests/unit/schema
	$(BIN)/coverage report
	$(BIN)/pytest -n auto --hypothesis-profile=thorough -m hypothesis tests/unit --ignore tests/unit/schema

fuzz: install          ## 1,000 cases on each of four envelopes, and on the registry's API
	FUZZ_CASES=84 $(BIN)/pytest -n 4 --timeout 1200 tests/integration/replica/test_fuzz.py
	API_FUZZ_CASES=20 $(BIN)/pytest --timeout 3600 tests/integration/test_api_fuzz.py

simulate: install      ## 10,000 random histories of the controller, and whether the real Serve is as the fake one
	$(BIN)/pytest tests/cluster/real_serve_contract.py
	HISTORIES=10000 HISTORIES_PARTS=100 $(BIN)/pytest -n auto --timeout 0 tests/simulation/test_histories.py

bench: install         ## the figures of docs/benchmarks.md, one after the other
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/savers.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/hot_swap.py
	$(BIN)/python benchmarks/controller_kills.py
	$(BIN)/python benchmarks/controller.py
	$(BIN)/python benchmarks/pages.py
	$(BIN)/python benchmarks/batch.py

constraints: install   ## pin what is installed now; names and versions only
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -E '^[A-Za-z0-9_.-]+==' > constraints.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

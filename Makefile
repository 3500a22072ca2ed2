# Two commands do all on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
LANGUAGE ?= en
DATA ?=
# A folder for each text: a trained run is never removed. The same call again resumes what is there.
QUICK := runs/quickstart$(if $(filter zh,$(LANGUAGE)),-zh)$(if $(DATA),-$(shell printf %s '$(DATA)' | tr -c 'A-Za-z0-9._' -)-$(firstword $(shell printf %s '$(DATA)' | cksum)))
CONFIG := configs/quickstart$(if $(filter zh,$(LANGUAGE)),_zh).yaml

.PHONY: install quickstart check test test-slow gpu clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -e '.[dev]'
	touch $@

# Text -> corpus -> three stages -> evaluation -> export -> report -> a filled mask. DATA=path LANGUAGE=en|zh takes your own text.
quickstart: $(QUICK)/corpus/manifest.json
	@echo "corpus $(QUICK)/corpus; remove that folder to prepare it anew"
	$(BIN)/python launch.py pretrain $(CONFIG) run=$(QUICK)/run corpus=$(QUICK)/corpus
	$(BIN)/python launch.py evaluate $(QUICK)/run
	$(BIN)/python launch.py export $(QUICK)/run --output $(QUICK)/export
	$(BIN)/python launch.py report $(QUICK)/run --output $(QUICK)/report.html
	$(BIN)/python -m ernie_cmtl.export.fill_mask $(QUICK)/export --language $(LANGUAGE)

$(QUICK)/corpus/manifest.json: | install
	$(if $(DATA),,$(BIN)/python -m ernie_cmtl.corpus.sample --language $(LANGUAGE) --output $(QUICK)/text/sample.jsonl)
	$(BIN)/python launch.py prepare --input '$(or $(DATA),$(QUICK)/text)' --output $(QUICK)/corpus --language $(LANGUAGE) --vocabulary-size 8192

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs configs benchmarks ernie_cmtl pretrain_tasks
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: install
	$(BIN)/python -m pytest -n 2 -m slow

# What needs a GPU: its tests and measurements, in under eight minutes; the results are small files in OUTPUT.
OUTPUT ?= runs/gpu
gpu: install
	$(BIN)/python benchmarks/gpu.py --output $(OUTPUT)

# Runs stay.
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info

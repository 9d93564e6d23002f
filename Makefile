# Everything runs in .venv, which the first target that needs it creates; a second call installs nothing.
PYTHON ?= python3
# More for pytest, as in: make test ARGS="-k maml"
ARGS ?=
RUN := .venv/bin/python
STAMP := .venv/.installed
CODE := src tests $(wildcard benchmarks docs/*.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-oldest test-newest check docs bench release clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## train on drawn letters, judge on alphabets never seen, write a report (90 seconds)
	$(RUN) -m mapwise demo

test: $(STAMP) ## run every test but the slow ones
	$(RUN) -m pytest -q -n auto --maxprocesses=4 --dist worksteal -m "not slow" $(ARGS)

test-all: $(STAMP) ## run every test, the slow ones too
	$(RUN) -m pytest -q -n auto --maxprocesses=4 --dist worksteal $(ARGS)

# Other releases than those of constraints.txt have deprecations of their own.
OTHER := -m pytest -q -p no:cacheprovider -n auto --maxprocesses=4 --dist worksteal -m "not slow" -W default

test-oldest: .cache/oldest/.installed ## run them with the oldest releases that pyproject.toml allows (3 GB of torch, once)
	OMP_NUM_THREADS=1 .cache/oldest/bin/python $(OTHER) --ignore tests/house --ignore tests/engine/test_ranks.py $(ARGS)

test-newest: .cache/newest/.installed ## run them with the newest release of everything but torch
	OMP_NUM_THREADS=1 .cache/newest/bin/python $(OTHER) --ignore tests/house $(ARGS)

check: $(STAMP) ## format, lint, types, floors
	$(RUN) -m ruff format --check $(CODE)
	$(RUN) -m ruff check $(CODE)
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/house/test_floors.py

docs: $(STAMP) ## write the measured numbers into the pages, and the notebooks, run their code, follow every link
	$(RUN) -m benchmarks.tables
	$(RUN) docs/api_page.py
	$(RUN) docs/walk_notebooks.py
	$(RUN) -m pytest -q tests/house/test_docs.py tests/house/test_numbers.py tests/house/test_api_page.py tests/house/test_notebooks.py $(ARGS)

bench: $(STAMP) ## measure times and memory beside the peers, on a machine with nothing else to do
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[dev,bench]'
	$(RUN) -m benchmarks.run $(ARGS)

release: $(STAMP) ## build the wheel into dist/ and run the demo from it in an empty environment
	rm -rf dist
	$(RUN) -m pip wheel --no-deps --wheel-dir dist .
	@set -eu; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
	$(PYTHON) -m venv "$$place/venv"; \
	"$$place/venv/bin/python" -m pip install --quiet -c constraints.txt dist/*.whl; \
	mkdir "$$place/work"; cd "$$place/work"; \
	XDG_CACHE_HOME="$$place/cache" "$$place/venv/bin/mapwise" demo

clean: ## remove the environment, caches and builds (your runs stay)
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.cache/oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear .cache/oldest
	.cache/oldest/bin/python -m pip install -c constraints-oldest.txt -e '.[test,serve]' httpx
	@touch $@

.cache/newest/.installed: pyproject.toml
	$(PYTHON) -m venv --clear .cache/newest
	.cache/newest/bin/python -m pip install "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	.cache/newest/bin/python -m pip install -e '.[test,hf,tune,peft,captum,onnx,photos,meaning,languages,entities,serve,tensorboard]' httpx "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	@touch $@

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	echo "mapwise needs Python 3.11 or later, and there is no $(PYTHON): name yours, as in make PYTHON=python3.11" >&2; \
	exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("mapwise needs Python 3.11 or later, and \
	$(PYTHON) is %d.%d: name a newer one, as in make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

# What the README names: make demo, make check, make test, make test-all, make test-fast, make soak. Each makes .venv first when it has to.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A file stays with one worker, since its tests share what takes long. Three for the two cores of CI: many
# tests wait for processes of their own.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder
# Each worker has one core: more threads of BLAS and OpenMP would wait for each other by spinning.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# Where it is set, each process of a test compiles all modules anew: seconds of each.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install check test test-all test-fast test-arrays test-pods soak demo evidence clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test: install
	$(PYTEST) $(WORKERS) -m "not long and not soak"

# With what is marked `long`: documented commands, several processes, signals, full disks, parts from outside.
test-all: install
	$(PYTEST) $(WORKERS)

# Without what is marked `slow`, either: whole runs.
test-fast: install
	$(PYTEST) $(WORKERS) -m "not slow and not long and not soak"

# Annotations of arrays are checked at each call, in tests that go through every room of arrays.
ARRAYS := evaluation losses models molecules phenomics retrieval screens tables tasks trained wells
test-arrays: install
	MOLPHENIX_CHECK_ARRAYS=1 $(PYTEST) $(WORKERS) -m "not slow and not long and not soak" \
		$(addprefix tests/,$(ARRAYS)) tests/repository/test_annotations.py

# A training step compiled for TPU pods; libtpu (some 700 MB on the disk) is no part of `make install`.
test-pods: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tpu-compile]'
	$(PYTEST) -n 0 tests/pods

# Random kills, races and fuzz; takes long. What is marked `soak` runs nowhere else.
soak: install
	$(PYTEST) $(WORKERS) -m soak
	MOLPHENIX_FUZZ=$${MOLPHENIX_FUZZ:-1000} $(PYTEST) -n 2 tests/fuzz

demo: install
	$(BIN)/python -m molphenix_jax.main --config=configs/siglip.py --workdir=runs/demo

# docs/reproduction.md and docs/evidence/ anew: every ablation at its small tier; takes hours.
evidence: install
	$(BIN)/python -m molphenix_jax.main --config=configs/siglip.py --workdir=runs/evidence_demo
	$(BIN)/molphenix figures runs/evidence_demo
	cp runs/evidence_demo/figures/figures.json docs/evidence/figures_built_in.json
	$(BIN)/molphenix ablate --all --tier=small --workdir=runs/evidence --report=docs/reproduction.md

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache *.egg-info

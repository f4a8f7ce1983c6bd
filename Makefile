# `make demo` and `make test` work on a bare machine with Python 3.10+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PAGES := src/anomalyvfm/server/pages

.PHONY: install demo test test-slow docs-check lint bench bench-accuracy bench-false-alarms bench-lighting acceptance bench-peers bench-performance bench-gpu bench-cluster bench-line bench-ranking bench-unlabelled bench-defects bench-metrics bench-adaptation trials words lock clean

install: $(STAMP)

# The venv is made where there is no usable one; a changed lock or pyproject installs again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or later is needed; name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: install
	$(BIN)/anomalyvfm demo --out demo-out

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# With the machine's own threads, as users have them; then with one the rooms that divide work among threads.
THREADED := tests/adapted/training tests/adapted/test_adapters.py tests/adapted/test_in_encoder.py tests/adapted/test_scorer.py \
  tests/features tests/runtime tests/statistical/test_gaussian.py tests/statistical/test_memory_bank.py \
  tests/statistical/test_sufficient_statistics.py tests/test_detector.py

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(THREADED)
	@echo "left out: make test-slow (minutes each), make docs-check (what the docs show), make acceptance (a real"
	@echo "station, half an hour), make bench-* (against peers), and tests skipped above for what is not installed"

test-slow: install
	$(BIN)/pytest -m slow

# Every transcript in the docs, run again; one page: make docs-check PAGE=inspect
docs-check: install
	$(BIN)/pytest -m docs tests/docs -k "$(PAGE)"

# Long runs against a real station; one: make acceptance PART=kills OPTIONS="--kills 5"
acceptance: install
	$(BIN)/pytest -s -m acceptance tests/acceptance -k "$(PART)" $(OPTIONS)

bench: install
	$(BIN)/python benchmarks/accuracy.py --methods v2

# Beside v1.1 to v1.4 and anomalib, which is installed in an environment of its own; rows are kept.
bench-accuracy: install
	$(BIN)/python benchmarks/accuracy.py

bench-false-alarms: install
	$(BIN)/python benchmarks/false_alarms.py

bench-lighting: install
	$(BIN)/python benchmarks/lighting.py

# The peers' environments, for bench-accuracy and bench-performance: three, of several GB each.
bench-peers: install
	$(BIN)/python benchmarks/peers.py

# Beside the peers; alone on the machine, an hour. It goes on from what it finds measured.
bench-performance: bench-peers
	$(BIN)/python benchmarks/performance.py --markdown docs/performance.md

# Where there is a GPU.
bench-gpu: install
	$(BIN)/python benchmarks/gpu.py --markdown docs/gpu.md

# Parts as files, 20 a second, a kill in the middle, failing sinks; needs mosquitto.
bench-line: install
	PYTHONPATH=. $(BIN)/python benchmarks/line.py

# Seven runs on 5,000 images, most of an hour; rows are kept.
bench-cluster: install
	$(BIN)/python benchmarks/cluster.py

bench-ranking: install
	$(BIN)/python benchmarks/ranking.py

bench-unlabelled: install
	$(BIN)/python benchmarks/unlabelled.py

bench-defects: install
	$(BIN)/python benchmarks/confirmed_defects.py --unseen

bench-metrics: install
	$(BIN)/python benchmarks/metrics.py

bench-adaptation: install
	$(BIN)/python benchmarks/adaptation.py

trials: install
	$(BIN)/python benchmarks/trials.py --table

# Texts of the pages, new ones with no translation yet: fill in what is empty, the tests say which.
words: install
	cd $(PAGES) && $(CURDIR)/$(BIN)/pybabel -q extract -F $(CURDIR)/pyproject.toml --add-location=file --no-wrap -o $(CURDIR)/words.pot .
	for file in $(PAGES)/languages/*.po; do $(BIN)/pybabel -q update --ignore-obsolete --no-fuzzy-matching --no-wrap \
	  --omit-header -l $$(basename $$file .po) -i words.pot -o $$file; done
	rm words.pot

# Exact versions for every Python from 3.10 on. torch pins its own CUDA packages, so they are left to it:
# a CPU build of torch then installs none.
lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.10 --all-extras --group dev --quiet --upgrade --constraint constraints.txt \
	  --no-annotate --no-header \
	  pyproject.toml | grep -vE '^(nvidia-|cuda-|triton)' > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

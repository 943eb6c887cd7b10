# make demo: new pictures from one photograph, in three minutes; make demo PHOTO=me.jpg: from yours.
# make check: lint and the fast tests, under a minute.   make test: lint and every test.
# make docs: the documentation as a site in site/.
# All of them install what is missing into .venv and need Python 3.10 or newer.
PYTHON ?= python3
# The CPU build of PyTorch is a tenth of the CUDA one. A PyTorch that is already in .venv is kept.
TORCH ?= torch==2.13.0
BIN = .venv/bin
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
FAST = tests/test_rules.py tests/test_losses.py tests/test_penalties.py tests/test_text.py tests/test_docs.py \
  tests/test_nn.py

# Without PHOTO, the photograph is one that scikit-learn ships.
PHOTO ?= photo:china:whole

demo: .venv/installed
	$(BIN)/gankit train singan --data "$(PHOTO)" --preset small --most 96 --scales 4 --lr 1.5e-3 --rec-weight 30 --time 2m
	$(BIN)/gankit explore latest sizes --shapes 1x1,1x3
	$(BIN)/gankit explore latest sizes --start 1 --shapes 1x2,2x1 --outdir out/same
	$(BIN)/gankit explore latest animate
	@echo "open out/same/sizes.png, the photograph beside its scene, wider and higher; out/sizes.png, new pictures in two"
	@echo "shapes; out/animate.webp, the photograph in motion; and the report.html named above. A busy machine draws more"
	@echo "coarsely: train longer with $(BIN)/gankit train singan --data $(PHOTO) --preset small --time 10m"

check: lint
	$(PYTEST) $(FAST)

test: lint
	$(PYTEST)

# Types are checked once pyproject.toml configures mypy.
lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if grep -q '^\[tool.mypy\]' pyproject.toml; then $(BIN)/python -m mypy; fi

# The build loads nothing from the network; --strict makes a broken link an error.
docs: .venv/installed
	$(PIP) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "gankit needs Python 3.10 or newer: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv .venv; \
	  else echo "Python's venv module is missing. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; fi; }

.venv/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) $(TORCH)
	$(PIP) -e .
	@touch $@

.venv/tested: .venv/installed
	$(PIP) -e '.[test]'
	@touch $@

clean:
	rm -rf .venv site

.PHONY: demo check test lint docs clean

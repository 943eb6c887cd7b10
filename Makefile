# make demo: from nothing to pictures.  make test: everything, from nothing.  Both need Python 3.10 or newer.
PYTHON ?= python3
# The CPU build of PyTorch is a tenth of the CUDA one. A PyTorch that is already in .venv is left alone.
TORCH ?= torch==2.13.0
BIN = .venv/bin

demo: .venv/installed
	$(BIN)/gankit train dcgan --data digits --preset small
	@echo "pictures and report: open the report.html named above; more samples: $(BIN)/gankit sample latest -o grid.png"

test: .venv/tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "gankit needs Python 3.10 or newer: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv .venv; \
	  else echo "Python's venv module is missing. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; fi; }

.venv/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

clean:
	rm -rf .venv

.PHONY: demo test clean

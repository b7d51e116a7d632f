# make demo | test | test-all | check-tpu | check-gpu | lint | readme | benchmark. Needs
# Python 3.11 to 3.13, make and a package index.

VENV ?= .venv
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
ARGS ?=

.PHONY: demo test test-all check-tpu check-gpu lint readme benchmark

demo: $(VENV)/installed
	$(VENV)/bin/softmax-jax run scalable_softmax --size demo --seeds 3

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow or not slow" $(ARGS)

check-tpu: $(VENV)/installed
	$(VENV)/bin/pip install --quiet --editable '.[tpu]'
	$(VENV)/bin/python -m pytest -n 2 -m "slow or not slow" tests/kernels

check-gpu: $(VENV)/installed
	$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo \
	"The kernels for GPUs need Python 3.12 or 3.13: make check-gpu PYTHON=python3.12"; exit 1; }
	$(VENV)/bin/pip install --quiet --editable '.[gpu]'
	JAX_PLATFORMS=cpu $(VENV)/bin/python -m pytest -n 2 -m "slow or not slow" \
		tests/kernels/test_gpu_*.py

lint: $(VENV)/installed
	$(VENV)/bin/python -m pytest tests/test_lint.py

readme: $(VENV)/installed
	$(VENV)/bin/python docs/tables.py

benchmark: $(VENV)/installed
	$(VENV)/bin/python -m benchmarks

$(VENV)/installed: pyproject.toml
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { echo "softmax_jax needs Python 3.11, \
	3.12 or 3.13; name one, as in: make test PYTHON=python3.12"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@echo "Installing JAX, Flax and the tools into $(VENV); this takes a few minutes."
	$(VENV)/bin/pip install --quiet --editable '.[text,dev]'
	@touch $@

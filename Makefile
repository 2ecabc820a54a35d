PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
C_FILES := $(shell find csrc -name '*.[ch]')

.DEFAULT_GOAL := help
.PHONY: help build demo test bench asan lint format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(READY)  ## make $(VENV) and build the extension in place, if anything changed

demo: $(READY)  ## explain digits with every method; pictures in out/index.html
	$(PY) -m fastattr demo --out out

test: $(READY)  ## run the tests; PYTEST_ARGS="-k name -x" goes to pytest
	$(PY) -m pytest $(PYTEST_ARGS)

bench: $(READY)  ## compare with Captum, speed and memory; BENCH_ARGS goes to it
	$(PY) -m benchmarks $(BENCH_ARGS)

# ---- the environment ---------------------------------------------------------
# One stamp. When the requirements changed everything is installed (which compiles
# too), when only C files changed they are compiled in place.

PIP := $(PY) -m pip --disable-pip-version-check -qq

define install
@test -x $(PY) || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
@echo "installing the requirements into $(VENV) (minutes the first time)"
@$(PIP) install -r requirements-dev.txt
@echo "building and installing fastattr, editable"
@$(PIP) install --no-build-isolation -e '.[bench,demo,plot,test]'
endef

define compile
@echo "building the extension"
@$(PY) setup.py --quiet build_ext --inplace
endef

$(READY): requirements-dev.txt pyproject.toml setup.py $(C_FILES)
	$(if $(filter requirements-dev.txt pyproject.toml,$?),$(install),$(compile))
	@touch $@

# ---- checks ------------------------------------------------------------------

# NumPy only: torch is slow under a sanitizer, so files without a native test are not even
# collected. Capturing stderr at its descriptor would swallow the report of a crash.
ASAN_CC     := gcc
ASAN_CFLAGS := -O1 -g -UNDEBUG -fsanitize=address,undefined -fno-omit-frame-pointer
ASAN_ENV     = PYTHONPATH=build/asan/lib PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	LD_PRELOAD="$$($(ASAN_CC) -print-file-name=libasan.so):$$($(ASAN_CC) -print-file-name=libubsan.so)"

asan: $(READY)  ## run the native tests under the address and undefined-behaviour sanitizers
	CC=$(ASAN_CC) CFLAGS="$(ASAN_CFLAGS)" $(PY) setup.py --quiet build --build-base build/asan --build-lib build/asan/lib
	@$(ASAN_ENV) $(PY) -c 'import fastattr._core as core; assert "build/asan" in core.__file__, core.__file__'
	$(ASAN_ENV) $(PY) -m pytest -m native -p no:faulthandler --capture=sys $$(grep -rl --include='*.py' 'mark\.native' tests) $(PYTEST_ARGS)

lint: $(READY)  ## ruff, mypy, clang-format, the C files with warnings as errors, gcc's analyzer
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/clang-format --dry-run --Werror $(C_FILES)
	FASTATTR_WERROR=1 CFLAGS="$(ANALYZER)" $(PY) setup.py --quiet build_ext --force --build-temp build/lint --build-lib build/lint

ANALYZER = $(shell $(CC) -fanalyzer -x c -fsyntax-only /dev/null 2>/dev/null && echo -fanalyzer)

format: $(READY)  ## rewrite Python and C files in the house format
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format
	$(VENV)/bin/clang-format -i $(C_FILES)

clean:  ## remove what was built and left by runs; $(VENV) stays
	rm -rf build dist out $(READY) python/*.egg-info python/fastattr/_core*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find python tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

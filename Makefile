PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
C_FILES := $(shell find csrc -name '*.[ch]')
CUDA_FILES := $(shell find cuda -name '*.h' -o -name '*.cuh' -o -name '*.cu')
C_TESTS := $(shell find tests benchmarks -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu')

.DEFAULT_GOAL := help
.PHONY: help build demo test bench asan fuzz tsan cuda-host gpu-check lint format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(READY)  ## make $(VENV) and build the extension in place, if anything changed

demo: $(READY)  ## explain digits with every method; pictures in out/index.html
	$(PY) -m fastattr demo --out out

test: $(READY)  ## run the tests, those of a backend by the CUDA kernels too; PYTEST_ARGS="-k name -x" goes to pytest
	$(PY) -m pytest $(PYTEST_ARGS)
	$(on_kernels)

bench: $(READY)  ## compare with Captum, speed and memory; BENCH_ARGS goes to it
	@$(PIP) install --no-build-isolation -e '.[bench]'
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
@$(PIP) install --no-build-isolation -e '.[demo,plot,test]'
endef

define compile
@echo "building the extension"
@$(PY) setup.py --quiet build_ext --inplace
endef

$(READY): requirements-dev.txt pyproject.toml setup.py $(C_FILES) $(CUDA_FILES)
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

# Plain C without Python: a compiler is all that these need.
C_CHECK    = -std=c11 -g -O1 -fno-omit-frame-pointer -Icsrc $(C_WARNINGS)
C_WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes $(if $(FASTATTR_WERROR),-Werror)

CLANG     ?= clang
FUZZ_RUNS ?= 1000000
FUZZ_SEED ?= 1
FUZZ_C    := -fsanitize=address,undefined -fno-sanitize-recover=all tests/fuzz/fuzz_check.c csrc/check.c csrc/error.c
LIBFUZZER  = $(shell mkdir -p build/fuzz && echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | \
	$(CLANG) -fsanitize=fuzzer,address,undefined -x c - -o build/fuzz/probe 2>/dev/null && echo yes)

define libfuzzer
$(CLANG) $(C_CHECK) -DFA_LIBFUZZER -fsanitize=fuzzer $(FUZZ_C) -o build/fuzz/libfuzzer
build/fuzz/libfuzzer -runs=$(FUZZ_RUNS) -seed=$(FUZZ_SEED) -max_len=128 -artifact_prefix=build/fuzz/ 2>build/fuzz/log || \
	{ cat build/fuzz/log; exit 1; }
@tail -n 1 build/fuzz/log
endef

fuzz:  ## descriptions that lie against csrc/check.c; FUZZ_RUNS, FUZZ_SEED
	@mkdir -p build/fuzz
	$(CC) $(C_CHECK) $(FUZZ_C) -o build/fuzz/mutate
	build/fuzz/mutate $(FUZZ_RUNS) $(FUZZ_SEED)
	$(if $(LIBFUZZER),$(libfuzzer),@echo "$(CLANG) with libFuzzer is not here; that was all")

# setarch: some versions of the sanitizer cannot live with all address layouts
TSAN_C  := tests/tsan/pool.c csrc/threads.c csrc/quadrature.c csrc/error.c
NO_ASLR  = $(shell setarch -R true 2>/dev/null && echo setarch -R)

tsan:  ## run the thread pool, the quadrature cache and the CUDA kernels under the thread sanitizer
	@mkdir -p build/tsan
	$(CC) $(C_CHECK) -fsanitize=thread -pthread $(TSAN_C) -lm -o build/tsan/pool
	$(NO_ASLR) build/tsan/pool
	$(watch_kernels)

# The CUDA kernels compiled for the CPU, in place of the CPU's own. The seed draws the order of
# their threads. Exit status 5: PYTEST_ARGS select no test of a backend.
CUDA_HOST      := $(MAKE) -s -C tests/cuda_host
CUDA_HOST_SEED ?= 1
CUDA_HOST_ENV   = FASTATTR_STAND_IN=$(CURDIR)/build/cuda_host/libfastattr_cuda_host.so \
	CUDA_HOST_MANAGED=1 CUDA_HOST_DEFER=1 CUDA_HOST_SEED=$(CUDA_HOST_SEED)

ifeq ($(shell uname -s):$(if $(shell command -v g++),g++),Linux:g++)
define on_kernels
@echo "tests of a backend, by the CUDA kernels on the CPU"
@$(CUDA_HOST) -j$$(nproc) library
@$(CUDA_HOST_ENV) $(PY) -m pytest -m 'backend and not slow' -p no:cacheprovider $(PYTEST_ARGS) || test $$? -eq 5
endef
define watch_kernels
$(CUDA_HOST) -j$$(nproc) tsan
$(CUDA_HOST) check-tsan SEEDS=1
endef
else
on_kernels = @echo "g++ on Linux is not here: no tests by the CUDA kernels on the CPU"
watch_kernels = $(on_kernels)
endif

cuda-host:  ## run every CUDA operation and engine on the CPU under the sanitizers; SEEDS=20 ONLY=points
	$(CUDA_HOST) -j$$(nproc) asan portable
	$(CUDA_HOST) check-asan check-portable

# On a machine with a GPU of one of FASTATTR_CUDA_ARCHS.
gpu-check: $(READY)  ## build for this GPU, tests marked gpu, compute-sanitizer, benchmarks
	@nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader
	FASTATTR_CUDA=1 FASTATTR_CUDA_ARCHS=$$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .) \
		$(PY) setup.py --quiet build_ext --inplace
	$(PY) -m pytest -m gpu -p no:cacheprovider $(PYTEST_ARGS)
	for tool in memcheck racecheck initcheck synccheck; do \
		compute-sanitizer --tool $$tool --error-exitcode 1 --target-processes all \
			$(PY) -m pytest -q -m "gpu and native" -p no:cacheprovider || exit 1; \
	done
	$(PY) -m benchmarks $(BENCH_ARGS)

lint: $(READY)  ## ruff, mypy, clang-format, the C files with warnings as errors, gcc's analyzer
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	@$(VENV)/bin/clang-format --dry-run --Werror $(C_FILES) $(CUDA_FILES) $(C_TESTS)
	FASTATTR_WERROR=1 CFLAGS="$(ANALYZER)" $(PY) setup.py --quiet build_ext --force --build-temp build/lint --build-lib build/lint

ANALYZER = $(shell $(CC) -fanalyzer -x c -fsyntax-only /dev/null 2>/dev/null && echo -fanalyzer)

format: $(READY)  ## rewrite Python and C files in the house format
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format
	$(VENV)/bin/clang-format -i $(C_FILES) $(CUDA_FILES) $(C_TESTS)

clean:  ## remove what was built and left by runs; $(VENV) stays
	rm -rf build dist out $(READY) python/*.egg-info python/fastattr/_core*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find python tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

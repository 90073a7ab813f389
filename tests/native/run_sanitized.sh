#!/bin/sh
# Builds the kernels with AddressSanitizer and UndefinedBehaviorSanitizer beside the ordinary build, and runs the kernel tests on them, fuzzing longer,
# and random programs as whole actions: what arrives, waits, is read again and freed on several threads.
#
#   tests/native/run_sanitized.sh [pytest arguments]          PYTHON=... chooses the interpreter, FUZZ_ROUNDS the length (default 200)
#
# Exit status 0 only when every test passed and no sanitizer spoke.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
build=$PWD/build/sanitized
HPCFLOW_SANITIZE=address,undefined "$python" setup.py -q build --build-lib "$build" --build-temp "$PWD/build/temp-sanitized"
runtime=$(${CXX:-g++} -print-file-name=libasan.so):$(${CXX:-g++} -print-file-name=libubsan.so)
# Python and Polars keep memory until the end, so leaks are not counted; a pattern fills what arenas hand out again.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:detect_odr_violation=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export FUZZ_ROUNDS="${FUZZ_ROUNDS:-200}"
LD_PRELOAD=$runtime PYTHONPATH=$build PYTHONSAFEPATH=1 PYTHONMALLOC=malloc "$python" -X faulthandler -c '
import sys, pytest, hpcflow.native as native
assert native.__file__.startswith(sys.argv[1]), f"these are not the sanitized kernels: {native.__file__}"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/native", "tests/api/test_graphs.py", "tests/api/test_random_chains.py", *sys.argv[2:]]))' "$build" "$@"

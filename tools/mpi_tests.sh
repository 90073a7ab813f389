#!/usr/bin/env bash
# tools/mpi_tests.sh VENV RANKS [pytest arguments]: tests/mpi (or the given paths) in one MPI world of RANKS ranks, with the MPI wheel of VENV.
# Rank 0's pytest speaks; the other ranks write to build/mpi-logs/, shown when the run fails. A run without an end is ended after HANG_LIMIT_S seconds.
set -uo pipefail
venv=$(realpath "$1") ranks=$2
shift 2
cd "$(dirname "$0")/.."
logs=build/mpi-logs/$(basename "$venv")-$ranks
rm -rf "$logs"
mkdir -p "$logs"
limit=${HANG_LIMIT_S:-240}
[ $# -gt 0 ] || set -- tests/mpi
# THOROUGH=1: exhaustive cases too; a later -m of the caller counts instead.
[ "${THOROUGH:-0}" -eq 0 ] || set -- -m "not big and not wheel and not faults and not slurm" "$@"

launch=("$venv/bin/mpirun" -n "$ranks")
if "$venv/bin/mpirun" --version 2>&1 | grep -q "Open MPI"; then
    launch=("$venv/bin/mpirun" --oversubscribe --bind-to none -n "$ranks")
    [ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export POLARS_MAX_THREADS=1 PYTHONFAULTHANDLER=1 LOGS=$logs
# There are more ranks than cores: a rank that waits in MPI sleeps (MPICH; else it asks for its turn again and again) or gives its turn away (Open MPI).
export MPIR_CVAR_ENABLE_HEAVY_YIELD=1 OMPI_MCA_mpi_yield_when_idle=1
echo "== tests/mpi: $(basename "$venv"), $ranks ranks"
# The rank's number comes from PMI (MPICH) or the Open MPI variable. -p no:cacheprovider: ranks would write one cache together.
run() {
    timeout --kill-after=10 "$limit" "${launch[@]}" bash -c '
        rank=${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-0}}
        if [ "$rank" = 0 ]; then exec "$@"; fi
        exec "$@" >"$LOGS/rank-$rank.log" 2>&1' rank "$venv/bin/python" -m pytest --with-mpi -q -p no:cacheprovider "$@"
}
run "$@"
status=$?
if [ $status -ne 0 ] && [ "${AGAIN:-1}" -ne 0 ]; then  # worlds of more ranks than cores suffer on a busy machine: once more, and it is said
    for log in "$logs"/*.log; do [ -e "$log" ] && { echo "-- $log"; tail -n 25 "$log"; }; done
    echo "== tests/mpi: $(basename "$venv"), $ranks ranks ended with status $status: once more"
    run "$@"
    status=$?
fi
if [ $status -ne 0 ]; then
    [ $status -ne 124 ] || echo "hpcflow: no end after $limit s: ended by the hang limit"
    for log in "$logs"/*.log; do
        [ -e "$log" ] && { echo "-- $log"; tail -n 40 "$log"; }
    done
fi
exit $status

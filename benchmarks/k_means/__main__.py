"""k-means on all systems in one run on the same points, in turns.

    python -m benchmarks.k_means [--points 2000000] [--centres 100] [--iterations 20] [--rounds 3] [--systems hpcflow,by_hand]

Timed is from points held in memory to the centres after the last iteration, with two computing processes of one thread each. Round 0 warms up and is
not counted. By hand runs from the columns of a table, as hpcflow does, from a matrix made before the clock starts, and with hpcflow's compiled step.
hpcflow runs as one bsp step and as dataflow; its centres, those found by hand and those of Dask must agree. Spark draws its own first centres. Exit
status 1 when results differ, or a system failed or was left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.k_means.data import make
from benchmarks.peers.report import mismatches
from benchmarks.peers.systems import ROOT, System
from benchmarks.peers.turns import parse_options, print_medians, take_turns

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

KEEP_FREED = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))
"""glibc keeps what is freed: on a virtual machine the first touch of a page takes long, and whoever comes after a pause would pay it."""


def systems(iterations: int) -> tuple[System, ...]:
    """hpcflow and by_hand run in this environment, the others in their own."""
    env = {**ONE_THREAD, **KEEP_FREED, "K_MEANS_ITERATIONS": str(iterations)}
    mpirun = str(Path(sys.executable).parent / "mpirun")
    many = ("--oversubscribe", "--bind-to", "none") if "OMPI_ALLOW_RUN_AS_ROOT" in os.environ else ()
    return (
        System("hpcflow", None, (sys.executable, "-m", "hpcflow", "run", "-n", "3"), env, "k_means"),
        System("by_hand", None, (mpirun, *many, "-n", "2", sys.executable), env | {"POLARS_MAX_THREADS": "1"}, "k_means"),
        System("spark", "pyspark numpy", env=env | {"PYSPARK_PYTHON": "python3", "SPARK_LOCAL_IP": "127.0.0.1"}, folder="k_means"),
        System("dask", "dask[distributed] dask-ml pyarrow", env=env, folder="k_means"),
    )


def main() -> int:
    options = _options()
    data = ROOT / ".benchmarks" / f"k-means-{options.points}x{options.dimensions}-{options.centres}"
    make(data, options.points, options.dimensions, options.centres)
    chosen = [system for system in systems(options.iterations) if system.name in options.systems]
    runs, problems = take_turns(chosen, data, "k_means", options.rounds, options.limit)
    problems += mismatches([run for run in runs if run.system != "spark" and not run.error])
    what = f"{options.points:,} x {options.dimensions} doubles, {options.centres} centres, {options.iterations} iterations; {options.rounds} rounds"
    medians = print_medians(what, runs)
    if {"hpcflow", "by_hand"} <= medians.keys():
        print(f"hpcflow (bsp) takes {medians['hpcflow'] / medians['by_hand']:.3f} of the time of the program by hand; aim: at most 1.1")
    print("\n".join(problems) or "all results agree")
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.k_means", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--dimensions", type=int, default=10)
    parser.add_argument("--centres", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=20)
    return parse_options(parser, [system.name for system in systems(1)])


if __name__ == "__main__":
    sys.exit(main())

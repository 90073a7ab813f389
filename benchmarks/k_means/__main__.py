"""k-means on all systems in one run on the same points, in turns.

    python -m benchmarks.k_means [--points 2000000] [--centres 100] [--iterations 20] [--rounds 3] [--systems hpcflow,by_hand]

Timed is from points held in memory to the centres after the last iteration, with two computing processes of one thread each. Round 0 warms up and is
not counted. hpcflow runs as one bsp step and as dataflow; its centres, those found by hand and those of Dask must agree. Spark draws its own first
centres. Exit status 1 when results differ, or a system failed or was left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from statistics import median

from benchmarks.k_means.data import make
from benchmarks.peers.report import Run, mismatches
from benchmarks.peers.runner import Runner, RunnerError
from benchmarks.peers.systems import ROOT, System

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def systems(iterations: int) -> tuple[System, ...]:
    """hpcflow and by_hand run in this environment, the others in their own."""
    env = {**ONE_THREAD, "K_MEANS_ITERATIONS": str(iterations)}
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
    runs: list[Run] = []
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        runners: list[Runner] = []
        for system in (s for s in systems(options.iterations) if s.name in options.systems):
            why = system.missing()
            if why is None:
                try:
                    runners.append(stack.enter_context(contextlib.closing(Runner(system, data, options.limit))))
                    print(runners[-1].versions, flush=True)
                except (RunnerError, OSError) as error:
                    why = str(error)
            if why is not None:
                problems.append(f"{system.name} was left out: {why}")
        for number in range(options.rounds + 1):
            for runner in runners:
                for workload in runner.workloads:
                    name = runner.system.name if workload == "k_means" else f"{runner.system.name} {workload}"
                    try:
                        run = Run(name, "k_means", number, **runner.run(workload))
                    except RunnerError as error:
                        run = Run(name, "k_means", number, error=str(error))
                    runs.append(run)
                    print(f"round {number} {name:18} {run.error or f'{run.seconds:.3f} s'}", flush=True)
    problems += [f"{run.system} failed: {run.error}" for run in runs if run.error]
    problems += mismatches([run for run in runs if run.system != "spark" and not run.error])
    _print(runs, options)
    print("\n".join(problems) or "all results agree")
    return 1 if problems else 0


def _print(runs: list[Run], options: argparse.Namespace) -> None:
    what = f"{options.points:,} x {options.dimensions} doubles, {options.centres} centres, {options.iterations} iterations"
    print(f"\n{what}; {options.rounds} rounds; load now {os.getloadavg()[0]:.1f}")
    names = list(dict.fromkeys(run.system for run in runs if not run.error))
    times = {name: [run.seconds for run in runs if run.system == name and run.round > 0 and not run.error] for name in names}
    base = median(times["hpcflow"]) if times.get("hpcflow") else None
    for name in names:
        if times[name]:
            ratio = "" if base is None else f"   {median(times[name]) / base:6.2f} x hpcflow's time"
            cpu_s = median(run.cpu_s for run in runs if run.system == name and run.round > 0 and not run.error)
            print(f"{name:18} {median(times[name]):8.3f} s   (least {min(times[name]):.3f} s)   {cpu_s:7.2f} s of CPU{ratio}")
    if base is not None and times.get("by_hand"):
        print(f"hpcflow (bsp) takes {base / median(times['by_hand']):.3f} of the time of the program by hand; aim: at most 1.1")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.k_means", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--dimensions", type=int, default=10)
    parser.add_argument("--centres", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds after the warm-up")
    parser.add_argument("--systems", default="hpcflow,by_hand,spark,dask")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one answer")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    known = [system.name for system in systems(1)]
    if unknown := set(options.systems) - set(known):
        parser.error(f"--systems: no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())

"""PageRank by hpcflow and Spark in one run on the same links, in turns.

    python -m benchmarks.page_rank [--vertices 1000000] [--edges 10000000] [--iterations 10] [--rounds 3] [--systems hpcflow,spark]

Timed is from links held in memory to the ranks held in memory after the last iteration, out-degrees and first shuffles included. Round 0 warms up and
is not counted. Exit status 1 when the ranks differ, or a system failed or was left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from statistics import median

from benchmarks.page_rank.data import make
from benchmarks.peers.report import Run, mismatches
from benchmarks.peers.runner import Runner, RunnerError
from benchmarks.peers.systems import ROOT, System


def systems(iterations: int) -> tuple[System, ...]:
    """hpcflow runs in this environment, Spark in its own."""
    env = {"PAGE_RANK_ITERATIONS": str(iterations)}
    return (
        System("hpcflow", None, (sys.executable, "-m", "hpcflow", "run", "-n", "3"), env, "page_rank"),
        System("spark", "pyspark", env=env | {"PYSPARK_PYTHON": "python3", "SPARK_LOCAL_IP": "127.0.0.1"}, folder="page_rank"),
    )


def main() -> int:
    options = _options()
    data = ROOT / ".benchmarks" / f"page-rank-{options.vertices}-{options.edges}"
    make(data, options.vertices, options.edges)
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
                try:
                    run = Run(runner.system.name, "page_rank", number, **runner.run("page_rank"))
                except RunnerError as error:
                    run = Run(runner.system.name, "page_rank", number, error=str(error))
                runs.append(run)
                print(f"round {number} {run.system:10} {run.error or f'{run.seconds:.3f} s'}", flush=True)
    problems += [f"{run.system} failed: {run.error}" for run in runs if run.error]
    problems += mismatches([run for run in runs if not run.error])
    _print(runs, options)
    print("\n".join(problems) or "all results agree")
    return 1 if problems else 0


def _print(runs: list[Run], options: argparse.Namespace) -> None:
    what = f"{options.vertices:,} vertices, {options.edges:,} links, {options.iterations} iterations"
    print(f"\n{what}; {options.rounds} rounds; load now {os.getloadavg()[0]:.1f}")
    times = {name: [r.seconds for r in runs if r.system == name and r.round > 0 and not r.error] for name in dict.fromkeys(r.system for r in runs)}
    for name, seconds in times.items():
        if seconds:
            ratio = f"   {median(seconds) / median(times['hpcflow']):6.2f} x hpcflow's time" if times.get("hpcflow") else ""
            print(f"{name:10} {median(seconds):8.3f} s   (least {min(seconds):.3f} s){ratio}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_rank", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vertices", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds after the warm-up")
    parser.add_argument("--systems", default="hpcflow,spark")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one answer")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    known = [system.name for system in systems(1)]
    if unknown := set(options.systems) - set(known):
        parser.error(f"--systems: no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())

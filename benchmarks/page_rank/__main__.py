"""PageRank by hpcflow and Spark in one run on the same links, in turns.

    python -m benchmarks.page_rank [--vertices 1000000] [--edges 10000000] [--iterations 10] [--rounds 3] [--systems hpcflow,spark]

Timed is from links held in memory to the ranks held in memory after the last iteration, out-degrees and first shuffles included. Round 0 warms up and
is not counted. Exit status 1 when the ranks differ, or a system failed or was left out.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.page_rank.data import make
from benchmarks.peers.report import mismatches
from benchmarks.peers.systems import ROOT, System
from benchmarks.peers.turns import parse_options, print_medians, take_turns


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
    chosen = [system for system in systems(options.iterations) if system.name in options.systems]
    runs, problems = take_turns(chosen, data, "page_rank", options.rounds, options.limit)
    problems += mismatches([run for run in runs if not run.error])
    print_medians(f"{options.vertices:,} vertices, {options.edges:,} links, {options.iterations} iterations; {options.rounds} rounds", runs)
    print("\n".join(problems) or "all results agree")
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_rank", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vertices", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--iterations", type=int, default=10)
    return parse_options(parser, [system.name for system in systems(1)])


if __name__ == "__main__":
    sys.exit(main())

"""The 22 questions of TPC-H on hpcflow and on Polars in one run on the same files, in turns.

    python -m benchmarks.tpch [--scale 1] [--rounds 3] [--systems hpcflow,polars] [--questions 1,6,21]

Timed is from Parquet files to the answer in the program. The files are made by `tpchgen-cli` (PyPI), in an environment of its own. Round 0 warms up
and is checked but not counted. Not an audited TPC-H result. Exit status 1 when answers differ, or a system failed or was left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from statistics import geometric_mean

from benchmarks.peers.report import Run, cells, mismatches, table
from benchmarks.peers.runner import Runner, RunnerError
from benchmarks.peers.systems import ROOT, System
from benchmarks.peers.turns import parse_options
from benchmarks.tpch.queries import QUESTIONS, TABLES

SYSTEMS = (
    System("hpcflow", None, (sys.executable, "-m", "hpcflow", "run", "-n", "3"), folder="tpch"),
    System("polars", None, (sys.executable,), {"POLARS_MAX_THREADS": "2"}, "tpch"),
)
GENERATOR = System("generator", "tpchgen-cli", folder="tpch")


def main() -> int:
    options = _options()
    data = ROOT / ".benchmarks" / f"tpch-{options.scale:g}"
    make(data, options.scale)
    runs: list[Run] = []
    with contextlib.ExitStack() as stack:
        runners = [
            stack.enter_context(contextlib.closing(Runner(system, data, options.limit))) for system in SYSTEMS if system.name in options.systems
        ]
        print(*(runner.versions for runner in runners), sep="\n", flush=True)
        for number in range(options.rounds + 1):
            for question in options.questions:
                runs += [_run(runner, question, number) for runner in runners]
    names = [runner.system.name for runner in runners]
    for title, what in (("Seconds, median (minimum)", "seconds"), ("Ratio of medians to hpcflow's: above 1 hpcflow is faster", "ratio")):
        print(f"\n{title}; scale {options.scale:g}, {options.rounds} rounds, load now {os.getloadavg()[0]:.1f}\n")
        print(table(runs, names, options.questions, what))
    found = cells(runs)
    for name in names:
        medians = [found[question, name].median_s for question in options.questions if (question, name) in found]
        print(f"{name}: {sum(medians):.2f} s in all, geometric mean {geometric_mean(medians):.3f} s")
    problems = mismatches(runs) + [f"{run.workload}: {run.system} failed: {run.error}" for run in runs if run.error]
    print("\n".join(problems) or "all answers agree")
    return 1 if problems else 0


def make(data: Path, scale: float) -> None:
    """The eight tables, a Parquet file each, unless they are there."""
    if all((data / f"{name}.parquet").exists() for name in TABLES):
        return
    if (why := GENERATOR.missing()) is not None:
        raise SystemExit(why)
    subprocess.run([GENERATOR.environment / "bin" / "tpchgen-cli", "parquet", "-s", f"{scale:g}", "--output-dir", data], check=True)


def _run(runner: Runner, question: str, number: int) -> Run:
    try:
        return Run(runner.system.name, question, number, **runner.run(question))
    except RunnerError as error:
        return Run(runner.system.name, question, number, error=str(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="scale factor: GB of data as text (default 1)")
    parser.add_argument("--questions", default=",".join(map(str, QUESTIONS)), help="their numbers (default all)")
    options = parse_options(parser, [system.name for system in SYSTEMS])
    options.questions = [f"q{int(number)}" for number in options.questions.split(",")]
    return options


if __name__ == "__main__":
    sys.exit(main())

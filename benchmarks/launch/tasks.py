"""Seconds that tracking costs: ten local scripts, three local Python tasks, a dry run of 1,000 tasks, the status of 1,000 jobs.

    python -m benchmarks.launch.tasks [--rounds 5]

Aims: 0.5 s, 1.5 s, 2 s; the status of 1,000 Slurm jobs by one query (squeue is a program of our own here that counts its calls). The median of the
rounds is shown beside the least; the aims are for the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hpcflow import launch
from hpcflow.launch.executors.base import JobHandle
from hpcflow.launch.executors.slurm_query import SEPARATOR
from hpcflow.launch.experiment.records import Records

JOBS = 1000


def square(x: int) -> int:
    """What a Python task does."""
    return x * x


def ten_scripts() -> None:
    with launch.Experiment("ten", executor=launch.LocalExecutor()) as exp:
        for i in range(10):
            exp.add(launch.Script(inline=f"echo {i}"), name=f"t{i}")
        assert exp.run(quiet=True).exit_status() == 0


def three_functions() -> None:
    with launch.Experiment("three", executor=launch.LocalExecutor()) as exp:
        found = [exp.add(launch.Partial(square, i), name=f"t{i}") for i in range(3)]
        exp.run(quiet=True)
        assert [task.result() for task in found] == [0, 1, 4]


def dry_run() -> None:
    """Ten layers of a hundred tasks, each after two of the layer before: no two are one array."""
    exp = launch.Experiment("dag", executor=launch.SlurmExecutor(mem="1G", time="00:10:00"))
    before: list[launch.Experiment] = []
    for layer in range(10):
        before = [
            exp.add(
                launch.Script(inline=f"echo {layer} {i}"),
                name=f"{layer}-{i}",
                mem=f"{100 + i}M",
                dependencies=[before[i], before[i - 1]] if before else [],
            )
            for i in range(100)
        ]  # type: ignore[misc]
    text = exp.dryrun()
    assert text.count("\n# task ") + text.startswith("# task ") == JOBS


def status_of_jobs(folder: Path) -> tuple[float, int]:
    """(seconds, calls of squeue) of `exp.status(refresh=True)` with 1,000 open jobs."""
    exp = launch.Experiment("thousand", executor=launch.SlurmExecutor())
    for i in range(JOBS):
        exp.add(launch.Script(inline="true"), name=f"t{i}")
    records = Records.create(exp.directory, exp.spec())
    lines = []
    for i, task in enumerate(records.spec().tasks):
        key = f"{exp.id}-0_{i}"
        directory = records.write_intent(task, 1, key)
        records.write_submitted(JobHandle(key, str(directory), f"7_{i}"))
        lines.append(SEPARATOR.join((f"7_{i}", "7", "RUNNING", "None", "N/A", f"t0.{exp.id}-0")))
    (folder / "answer").write_text("\n".join(lines) + "\n")
    squeue = folder / "squeue"
    squeue.write_text(f"#!/bin/sh\necho call >>{folder}/calls\ncat {folder}/answer\n")
    squeue.chmod(0o755)
    opened = launch.Experiment.open(exp.directory)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{path}"
    try:
        begin = time.perf_counter()
        states = opened.status(refresh=True)
        took = time.perf_counter() - begin
    finally:
        os.environ["PATH"] = path
    assert {state.value for state in states.values()} == {"running"}
    return took, len((folder / "calls").read_text().split())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launch.tasks")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default 5)")
    rounds = parser.parse_args().rounds
    wanted: dict[str, tuple[Callable[[], None], float]] = {
        "ten local scripts": (ten_scripts, 0.5),
        "three local Python tasks": (three_functions, 1.5),
        "dry run of 1,000 tasks": (dry_run, 2.0),
    }
    met = True
    for name, (run, aim) in wanted.items():
        times = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as home:
                os.environ["HPCFLOW_LAUNCH_HOME"] = home
                begin = time.perf_counter()
                run()
                times.append(time.perf_counter() - begin)
        median = statistics.median(times)
        met &= median < aim
        print(f"{name:<26} {median:6.3f} s (least {min(times):.3f})   aim {aim} s: {'met' if median < aim else 'MISSED'}")
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        os.environ["HPCFLOW_LAUNCH_HOME"] = home
        took, calls = status_of_jobs(Path(folder))
    met &= calls == 1
    print(f"{'status of 1,000 jobs':<26} {took:6.3f} s, {calls} question(s)   aim 1 question: {'met' if calls == 1 else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""One workload on several systems in turns: what the benchmarks of a single algorithm share.

Invariant: every system is started once and stays up; a round asks each of them, so that noise hits all alike; round 0 warms up and is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.peers.report import Run
from benchmarks.peers.runner import Runner, RunnerError
from benchmarks.peers.systems import System


def take_turns(systems: Sequence[System], data: Path, workload: str, rounds: int, limit_s: float) -> tuple[list[Run], list[str]]:
    """All runs, and a line for each system that was left out or failed. Variants that a system offers beside `workload` run as "system variant"."""
    runs: list[Run] = []
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        runners: list[Runner] = []
        for system in systems:
            why = system.missing()
            if why is None:
                try:
                    runners.append(stack.enter_context(contextlib.closing(Runner(system, data, limit_s))))
                    print(runners[-1].versions, flush=True)
                except (RunnerError, OSError) as error:
                    why = str(error)
            if why is not None:
                problems.append(f"{system.name} was left out: {why}")
        for number in range(rounds + 1):
            for runner in runners:
                for variant in runner.workloads:
                    name = runner.system.name if variant == workload else f"{runner.system.name} {variant}"
                    try:
                        run = Run(name, workload, number, **runner.run(variant))
                    except RunnerError as error:
                        run = Run(name, workload, number, error=str(error))
                    runs.append(run)
                    print(f"round {number} {name:18} {run.error or f'{run.seconds:.3f} s'}", flush=True)
    return runs, problems + [f"{run.system} failed: {run.error}" for run in runs if run.error]


def print_medians(what: str, runs: Sequence[Run]) -> dict[str, float]:
    """A line a system: median and least seconds, CPU seconds, ratio to hpcflow's median. Returns system -> median seconds."""
    print(f"\n{what}; load now {os.getloadavg()[0]:.1f}")
    counted = [run for run in runs if run.round > 0 and not run.error]
    times = {name: [run.seconds for run in counted if run.system == name] for name in dict.fromkeys(run.system for run in counted)}
    medians = {name: median(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        ratio = f"   {medians[name] / medians['hpcflow']:6.2f} x hpcflow's time" if "hpcflow" in medians else ""
        cpu_s = median(run.cpu_s for run in counted if run.system == name)
        print(f"{name:18} {medians[name]:8.3f} s   (least {min(seconds):.3f} s)   {cpu_s:7.2f} s of CPU{ratio}")
    return medians


def parse_options(parser: argparse.ArgumentParser, known: Sequence[str]) -> argparse.Namespace:
    """The options that all of them have beside those of `parser`; `systems` is a list of known names."""
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds after the warm-up")
    parser.add_argument("--systems", default=",".join(known), help=f"of {','.join(known)} (default all)")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one answer")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    if unknown := set(options.systems) - set(known):
        parser.error(f"--systems: no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options

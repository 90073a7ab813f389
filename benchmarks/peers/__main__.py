"""All systems in one run on the same files, in turns.

    python -m benchmarks.peers [--rows 10000000] [--rounds 3] [--systems hpcflow,polars] [--workloads join,sort]

Every system is started once and stays up. A round does every workload on every system, one after the other, so that noise hits all alike; round 0
warms up (page cache, compilers, arenas) and is checked but not counted. Results are compared by row count and by sums; single runs are kept as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.data import ROWS, make
from benchmarks.peers.report import Run, as_json, mismatches, table, targets
from benchmarks.peers.runner import Runner, RunnerError
from benchmarks.peers.serve import SUMS
from benchmarks.peers.systems import ROOT, SYSTEMS


def main() -> int:
    """Exit status 1 when results differ, or a system failed or was left out."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # systems are ended, as after Ctrl-C
    options = _options()
    data = options.data.resolve() / f"rows-{options.rows}"
    make(data, options.rows)
    facts = {"rows": options.rows, "rounds": options.rounds, "began": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": _machine()}
    load_before = os.getloadavg()[0]
    kept = ROOT / ".benchmarks" / time.strftime("peers-%Y%m%d-%H%M%S.json")
    runs: list[Run] = []
    with contextlib.ExitStack() as stack:
        runners, left_out = _start(options, data, stack)
        versions = {r.system.name: r.versions for r in runners.values()}
        for number in range(options.rounds + 1):
            runs += _round(number, runners, options.workloads)
            wrong = mismatches(runs) + [f"{r.workload}: {r.system} failed: {r.error}" for r in runs if r.error]
            load = (load_before, os.getloadavg()[0])
            _keep(kept, {**facts, "load": load, "versions": versions, "left_out": left_out, "wrong": wrong, "runs": as_json(runs)})
    for title, what in (
        ("Seconds, median (minimum)", "seconds"),
        ("Ratio of medians to hpcflow's: above 1 hpcflow is faster", "ratio"),
        ("CPU seconds, median", "cpu"),
    ):
        print(f"\n{title}, {options.rows:,} rows, {options.rounds} rounds\n\n{table(runs, list(versions), options.workloads, what)}")
    print("\n" + "\n".join(targets(runs, options.workloads)))
    print("\nresults: " + ("rows and sums of all systems agree" if not wrong else "\n".join(["THEY DIFFER", *wrong])))
    for line in left_out:
        print(f"left out: {line}")
    print(f"machine: {facts['machine']}; load {load[0]:.1f} before, {load[1]:.1f} after\nversions: {versions}\nkept: {kept}")
    return 1 if wrong or left_out else 0


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of every table (default {ROWS})")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds after the warm-up (default 3)")
    parser.add_argument("--systems", default=",".join(names), help=f"of {','.join(names)} (default all)")
    parser.add_argument("--workloads", default=",".join(SUMS), help=f"of {','.join(SUMS)} (default all)")
    parser.add_argument("--data", type=Path, default=ROOT / ".benchmarks" / "peers-data", help="where the Parquet files are or will be")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one answer of one system (default 300)")
    options = parser.parse_args()
    for option, known in (("systems", names), ("workloads", list(SUMS))):
        chosen = getattr(options, option).split(",")
        if unknown := [name for name in chosen if name not in known]:
            parser.error(f"--{option}: no {', '.join(unknown)}; there are {', '.join(known)}")
        setattr(options, option, [name for name in known if name in chosen])
    if options.rounds < 1 or options.rows < 1000:
        parser.error("--rounds must be at least 1 and --rows at least 1000")
    return options


def _start(options: Any, data: Path, stack: contextlib.ExitStack) -> tuple[dict[str, Runner], list[str]]:
    """The systems that are up, and a line for each that is not."""
    runners: dict[str, Runner] = {}
    left_out: list[str] = []
    for system in (s for s in SYSTEMS if s.name in options.systems):
        if (why := system.missing()) is not None:
            left_out.append(f"{system.name}: {why}")
            continue
        try:
            runners[system.name] = stack.enter_context(contextlib.closing(Runner(system, data, options.limit)))
        except (RunnerError, OSError) as error:
            left_out.append(f"{system.name} did not start: {error}")
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr, flush=True)
    return runners, left_out


def _round(number: int, runners: dict[str, Runner], workloads: list[str]) -> list[Run]:
    """Every workload on every system in turn. A system that ends or does not answer is taken out of `runners`."""
    runs: list[Run] = []
    for workload in workloads:
        for name, runner in list(runners.items()):
            if workload not in runner.workloads:
                continue
            try:
                run = Run(name, workload, number, **runner.run(workload))
            except RunnerError as error:
                run = Run(name, workload, number, error=str(error))
                del runners[name]
            runs.append(run)
            told = run.error or f"{run.seconds:8.3f} s {run.rows:>11,} rows"
            print(f"round {number} {workload:22} {name:8} {told}", file=sys.stderr, flush=True)
    return runs


def _machine() -> str:
    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {cpu}, Python {platform.python_version()}"


def _keep(path: Path, facts: dict[str, Any]) -> None:
    """Written after each round: what was measured survives an interruption."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    sys.exit(main())

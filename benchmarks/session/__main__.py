"""What a session costs: an empty job beside an MPI program with the same imports, small actions, idle ranks.

    python -m benchmarks.session [--rounds 5] [--ranks 3]

The two programs run in turns under the same mpirun. Aims: an empty job at most 1 s above the other, an idle worker below 2 % of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from hpcflow.cli.start import command_line, place, request_for
from hpcflow.resources import usable_cores

HERE = Path(__file__).parent
EMPTY_AIM_S, IDLE_AIM_PERCENT = 1.0, 2.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.session")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each of the two programs (default 5)")
    parser.add_argument("--ranks", type=int, default=3, help="MPI ranks, the master included (default 3)")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"same_imports": [], "empty_job": []}
    for number in range(options.rounds + 1):
        for name, kept in seconds.items():
            took, _ = run(f"{name}.py", options.ranks)
            kept += [took] if number else []  # the first round fills the page cache
    plain, empty = (median(kept) for kept in seconds.values())
    actions = json.loads(next(line for line in run("small_actions.py", options.ranks)[1].splitlines() if line.startswith("{")))
    idle = {int(rank): share for rank, share in actions.pop("idle_percent_of_a_core").items()}
    worst = max(share for rank, share in idle.items() if rank > 0)
    print(f"{options.ranks} ranks, medians of {options.rounds} rounds; load {os.getloadavg()[0]:.1f}")
    print(f"MPI program with the same imports  {plain:6.2f} s (minimum {min(seconds['same_imports']):.2f})")
    print(f"empty job                          {empty:6.2f} s (minimum {min(seconds['empty_job']):.2f})")
    print(f"{verdict(empty - plain <= EMPTY_AIM_S)} difference                  {empty - plain:6.2f} s (at most {EMPTY_AIM_S:.0f} s)")
    for name, milliseconds in actions.items():
        print(f"{name.removesuffix('_ms').replace('_', ' '):34} {milliseconds:6.2f} ms")
    print(f"{verdict(worst < IDLE_AIM_PERCENT)} idle worker                 {worst:6.2f} % of a core (below {IDLE_AIM_PERCENT:.0f} %); ranks: {idle}")
    return 0


def run(program: str, ranks: int) -> tuple[float, str]:
    """Seconds from start to end of a program on `ranks` ranks, and what it printed."""
    where = place(os.environ, usable_cores())
    words = command_line(request_for([sys.executable, str(HERE / program)], ranks, 1, where), "mpirun", where)
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{program} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def verdict(met: bool) -> str:
    return "met   " if met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())

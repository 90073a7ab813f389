"""Time above interpreter start of importing the launch layer, naming Config, and checking a first value.

    python -m benchmarks.launch.import_time [--rounds 15]

Aim: `import hpcflow.launch` below 100 ms. The programs run in turns; the least of the rounds counts, since everything else is noise of the machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

AIM_MS = 100.0
PROGRAMS = {
    "import": "import hpcflow.launch",
    "Config": "from hpcflow.launch import Config, Partial, Script",
    "first check": "from hpcflow.launch import Config; Config(complex, 1.0, 2.0)",
    "load": "from hpcflow.launch import loads; loads('_target_: builtins:complex')",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launch.import_time")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each program (default 15)")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in ("start", *PROGRAMS)}
    for _ in range(rounds):
        for name, code in {"start": "pass", **PROGRAMS}.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append((time.perf_counter() - begin) * 1e3)
    start = min(times["start"])
    print(f"interpreter start {start:.1f} ms; above it:")
    for name in PROGRAMS:
        print(f"  {name:<12} {min(times[name]) - start:6.1f} ms   {PROGRAMS[name]}")
    return 0 if min(times["import"]) - start < AIM_MS else 1


if __name__ == "__main__":
    sys.exit(main())

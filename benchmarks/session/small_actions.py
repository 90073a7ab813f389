"""The program that `python -m benchmarks.session` runs on 3 ranks: latency of small actions, and CPU time of ranks that have nothing to do.

    hpcflow run benchmarks/session/small_actions.py -n 3

Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import polars as pl

import hpcflow as hf

IDLE_S = 10.0
REPEATS = 50


def milliseconds(action: Callable[[], object]) -> float:
    """Median of REPEATS runs, after 5 that are not counted."""
    seconds = []
    for number in range(REPEATS + 5):
        start = time.perf_counter()
        action()
        if number >= 5:
            seconds.append(time.perf_counter() - start)
    return round(median(seconds) * 1e3, 2)


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def idle_shares(pids: dict[int, int]) -> dict[str, float]:
    """Rank -> share of a core over IDLE_S, in per cent, counted from 2 s after the last action."""
    time.sleep(2)
    before = {rank: cpu_ticks(pid) for rank, pid in pids.items()}
    time.sleep(IDLE_S)
    return {str(rank): round((cpu_ticks(pid) - before[rank]) / os.sysconf("SC_CLK_TCK") / IDLE_S * 100, 2) for rank, pid in pids.items()}


def main() -> None:
    with hf.Session(progress="off") as s:
        table = s.from_dict({"k": [1, 2, 1], "v": [1.0, 2.0, 3.0]})
        cached = table.cache()
        figures: dict[str, object] = {
            "count_of_a_cached_table_ms": milliseconds(cached.count),
            "collect_of_3_rows_ms": milliseconds(table.collect),
            "group_by_of_3_rows_ms": milliseconds(lambda: table.group_by("k").agg(pl.col("v").sum()).collect()),
            "sort_of_3_rows_ms": milliseconds(lambda: table.sort("v").collect()),
        }
        workers = {rank: hello.pid for rank, hello in s._master.hellos.items()}  # no public face names the workers' processes
        figures["idle_percent_of_a_core"] = idle_shares({0: os.getpid(), **workers})
    print(json.dumps(figures), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()

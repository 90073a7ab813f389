"""hpcflow: from file to result kept on the workers and its count known. Run under mpirun -n 3; prints one JSON line a run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import polars as pl

import hpcflow as hf


def workloads(s: hf.Session, data: str) -> dict[str, Callable[[], hf.Dataset]]:
    """Name -> the lazy result."""

    def group(key: str) -> Callable[[], hf.Dataset]:
        return lambda: s.read_parquet(f"{data}/groups.parquet").group_by(key).agg(pl.col("v").sum().alias("s"), pl.col("v").mean().alias("m"), pl.len())

    return {
        "group_by_100_strings": group("k100"),
        "group_by_100k_strings": group("k100k"),
        "group_by_100k_ints": group("i100k"),
        "join": lambda: s.read_parquet(f"{data}/left.parquet").join(s.read_parquet(f"{data}/right.parquet"), on="k"),
        "sort": lambda: s.read_parquet(f"{data}/order.parquet").sort("k"),
        "repartition": lambda: s.read_parquet(f"{data}/left.parquet").repartition(by="k"),
    }


def main() -> None:
    """python run_hpcflow.py DATA REPEATS [WORKLOAD ...]"""
    data, repeats, chosen = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    with hf.Session(progress="off") as s:
        for name, make in workloads(s, data).items():
            for _ in range(repeats if not chosen or name in chosen else 0):
                start = time.perf_counter()
                kept = make().cache()
                rows = kept.count()
                seconds = time.perf_counter() - start
                kept.unpersist()
                print(json.dumps({"system": "hpcflow", "workload": name, "seconds": seconds, "rows": rows}), flush=True)


if __name__ == "__main__":
    main()

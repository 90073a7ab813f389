"""Polars, streaming engine, 2 threads: from file to a DataFrame. Prints one JSON line a run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import polars as pl


def workloads(data: str) -> dict[str, Callable[[], pl.LazyFrame]]:
    """Name -> the lazy result."""

    def group(key: str) -> Callable[[], pl.LazyFrame]:
        return lambda: pl.scan_parquet(f"{data}/groups.parquet").group_by(key).agg(pl.col("v").sum().alias("s"), pl.col("v").mean().alias("m"), pl.len())

    return {
        "group_by_100_strings": group("k100"),
        "group_by_100k_strings": group("k100k"),
        "group_by_100k_ints": group("i100k"),
        "join": lambda: pl.scan_parquet(f"{data}/left.parquet").join(pl.scan_parquet(f"{data}/right.parquet"), on="k"),
        "sort": lambda: pl.scan_parquet(f"{data}/order.parquet").sort("k"),
    }


def main() -> None:
    """python run_polars.py DATA REPEATS [WORKLOAD ...]"""
    data, repeats, chosen = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    for name, make in workloads(data).items():
        for _ in range(repeats if not chosen or name in chosen else 0):
            start = time.perf_counter()
            rows = make().collect(engine="streaming").height
            print(json.dumps({"system": "polars", "workload": name, "seconds": time.perf_counter() - start, "rows": rows}), flush=True)


if __name__ == "__main__":
    main()

"""Polars, streaming engine, 2 threads: from file to a DataFrame (`collect`), whose height is its count. One process: no repartition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import polars as pl

from benchmarks.peers.serve import GROUP_BY, SUMS, Workload, serve


def workloads(data: str) -> dict[str, Workload]:
    """Name -> workload."""

    def group(key: str) -> Callable[[], pl.LazyFrame]:
        return lambda: pl.scan_parquet(f"{data}/groups.parquet").group_by(key).agg(
            pl.col("v").sum().alias("s"), pl.col("v").mean().alias("m"), pl.len().alias("n")
        )  # fmt: skip

    made: dict[str, Callable[[], pl.LazyFrame]] = {name: group(key) for name, key in GROUP_BY.items()}
    made["join"] = lambda: pl.scan_parquet(f"{data}/left.parquet").join(pl.scan_parquet(f"{data}/right.parquet"), on="k")
    made["sort"] = lambda: pl.scan_parquet(f"{data}/order.parquet").sort("k")
    return {name: Workload(_keep(make), _sums(name)) for name, make in made.items()}


def _keep(make: Callable[[], pl.LazyFrame]) -> Callable[[], tuple[pl.DataFrame, int]]:
    def run() -> tuple[pl.DataFrame, int]:
        kept = make().collect(engine="streaming")
        return kept, kept.height

    return run


def _sums(name: str) -> Callable[[pl.DataFrame], Mapping[str, float]]:
    def sums(kept: pl.DataFrame) -> Mapping[str, float]:
        found: dict[str, float] = kept.select(pl.col(SUMS[name]).cast(pl.Float64).sum()).row(0, named=True)
        return found | ({"first": kept["k"][0], "last": kept["k"][-1]} if name == "sort" else {})

    return sums


if __name__ == "__main__":
    serve(f"polars {pl.__version__}, {pl.thread_pool_size()} threads", workloads(sys.argv[1]))

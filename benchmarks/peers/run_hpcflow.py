"""hpcflow: from file to result kept on the workers (`cache`) and its count known. For `hpcflow run benchmarks/peers/run_hpcflow.py DATA -n 3`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import polars as pl

import hpcflow as hf
from benchmarks.peers.serve import GROUP_BY, SUMS, Workload, serve


def workloads(s: hf.Session, data: str) -> dict[str, Workload]:
    """Name -> workload."""

    def group(key: str) -> Callable[[], hf.Dataset]:
        return lambda: s.read_parquet(f"{data}/groups.parquet").group_by(key).agg(
            pl.col("v").sum().alias("s"), pl.col("v").mean().alias("m"), pl.len().alias("n")
        )  # fmt: skip

    made: dict[str, Callable[[], hf.Dataset]] = {name: group(key) for name, key in GROUP_BY.items()}
    made["join"] = lambda: s.read_parquet(f"{data}/left.parquet").join(s.read_parquet(f"{data}/right.parquet"), on="k")
    made["sort"] = lambda: s.read_parquet(f"{data}/order.parquet").sort("k")
    made["repartition"] = lambda: s.read_parquet(f"{data}/left.parquet").repartition(by="k")
    return {name: Workload(_keep(make), _sums(name), hf.Dataset.unpersist) for name, make in made.items()}


def _keep(make: Callable[[], hf.Dataset]) -> Callable[[], tuple[hf.Dataset, int]]:
    def run() -> tuple[hf.Dataset, int]:
        kept = make().cache()
        return kept, kept.count()

    return run


def _sums(name: str) -> Callable[[hf.Dataset], Mapping[str, float]]:
    def sums(kept: hf.Dataset) -> Mapping[str, float]:
        found: dict[str, float] = kept.select(pl.col(SUMS[name]).cast(pl.Float64).sum()).collect().row(0, named=True)
        if name == "sort":
            found |= {"first": kept.head(1).collect()["k"].item(), "last": kept.tail(1).collect()["k"].item()}
        return found

    return sums


if __name__ == "__main__":
    with hf.Session(progress="off") as session:
        serve(f"hpcflow {hf.__version__}, {session.workers} workers", workloads(session, sys.argv[1]))

"""Dask, 2 worker processes of one thread: from file to a collection held by the workers (`persist`), then its length (`len`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import dask
import dask.dataframe as dd
from distributed import Client, LocalCluster, wait

from benchmarks.peers.serve import GROUP_BY, SUMS, Workload, serve


def workloads(data: str) -> dict[str, Workload]:
    """Name -> workload."""

    def group(key: str) -> Callable[[], Any]:
        return lambda: dd.read_parquet(f"{data}/groups.parquet", split_row_groups=True).groupby(key).agg(
            s=("v", "sum"), m=("v", "mean"), n=("v", "count")
        )  # fmt: skip

    def read(name: str) -> Any:
        return dd.read_parquet(f"{data}/{name}.parquet", split_row_groups=True)

    made: dict[str, Callable[[], Any]] = {name: group(key) for name, key in GROUP_BY.items()}
    made["join"] = lambda: read("left").merge(read("right"), on="k")
    made["sort"] = lambda: read("order").sort_values("k")
    made["repartition"] = lambda: read("left").shuffle(on="k")
    return {name: Workload(_keep(make), _sums(name)) for name, make in made.items()}


def _keep(make: Callable[[], Any]) -> Callable[[], tuple[Any, int]]:
    def run() -> tuple[Any, int]:
        kept = make().persist()
        wait(kept)
        return kept, len(kept)

    return run


def _sums(name: str) -> Callable[[Any], Mapping[str, float]]:
    def sums(kept: Any) -> Mapping[str, float]:
        found = dict(zip(SUMS[name], dask.compute(*(kept[c].sum() for c in SUMS[name])), strict=True))
        if name == "sort":
            found |= {"first": kept.head(1)["k"].iloc[0], "last": kept.tail(1)["k"].iloc[-1]}
        return found

    return sums


if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, memory_limit="6GiB", dashboard_address=None) as cluster, Client(cluster):
        serve(f"dask {dask.__version__}, 2 processes", workloads(sys.argv[1]))

"""Bodo, 2 MPI ranks: a jitted function returns the distributed frame (each rank holds its part) and its global length. Run under mpiexec -n 2.

Every rank runs this program (spawn mode off). Compiled functions are cached on disk, and rounds that compile are not counted.
Bodo has no public hash repartition: that workload is left out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import bodo
import pandas as pd
from mpi4py import MPI

from benchmarks.peers.serve import GROUP_BY, SUMS, Workload, from_stdin, serve, to_stdout

WORLD = MPI.COMM_WORLD


@bodo.jit(distributed=["kept"], cache=True)  # type: ignore[untyped-decorator]
def group_k100(path: str) -> Any:
    df = pd.read_parquet(path)
    kept = df.groupby("k100", as_index=False).agg(s=pd.NamedAgg("v", "sum"), m=pd.NamedAgg("v", "mean"), n=pd.NamedAgg("v", "count"))
    return kept, len(kept)


@bodo.jit(distributed=["kept"], cache=True)  # type: ignore[untyped-decorator]
def group_k100k(path: str) -> Any:
    df = pd.read_parquet(path)
    kept = df.groupby("k100k", as_index=False).agg(s=pd.NamedAgg("v", "sum"), m=pd.NamedAgg("v", "mean"), n=pd.NamedAgg("v", "count"))
    return kept, len(kept)


@bodo.jit(distributed=["kept"], cache=True)  # type: ignore[untyped-decorator]
def group_i100k(path: str) -> Any:
    df = pd.read_parquet(path)
    kept = df.groupby("i100k", as_index=False).agg(s=pd.NamedAgg("v", "sum"), m=pd.NamedAgg("v", "mean"), n=pd.NamedAgg("v", "count"))
    return kept, len(kept)


@bodo.jit(distributed=["kept"], cache=True)  # type: ignore[untyped-decorator]
def join(left: str, right: str) -> Any:
    kept = pd.read_parquet(left).merge(pd.read_parquet(right), on="k")
    return kept, len(kept)


@bodo.jit(distributed=["kept"], cache=True)  # type: ignore[untyped-decorator]
def sort(path: str) -> Any:
    kept = pd.read_parquet(path).sort_values("k")
    return kept, len(kept)


def workloads(data: str) -> dict[str, Workload]:
    """Name -> workload. Column names are constants of a compiled function, so each key has a function of its own."""
    groups = {"k100": group_k100, "k100k": group_k100k, "i100k": group_i100k}
    made: dict[str, Callable[[], tuple[Any, int]]] = {name: partial(groups[key], f"{data}/groups.parquet") for name, key in GROUP_BY.items()}
    made["join"] = lambda: join(f"{data}/left.parquet", f"{data}/right.parquet")
    made["sort"] = lambda: sort(f"{data}/order.parquet")
    return {name: Workload(run, _sums(name)) for name, run in made.items()}


def _sums(name: str) -> Callable[[Any], Mapping[str, float]]:
    def sums(kept: Any) -> Mapping[str, float]:
        found = {c: WORLD.allreduce(float(kept[c].sum())) for c in SUMS[name]}
        if name == "sort":
            found |= {"first": WORLD.bcast(kept["k"].iloc[0], root=0), "last": WORLD.bcast(kept["k"].iloc[-1], root=WORLD.size - 1)}
        return found

    return sums


def lines() -> Iterator[str]:
    """Rank 0 hears the parent and tells the others, who ask and sleep by turns: a waiting MPI broadcast would keep a core from the system whose turn
    it is."""
    if WORLD.rank == 0:
        for line in from_stdin():
            for rank in range(1, WORLD.size):
                WORLD.send(line, dest=rank)
            yield line
        for rank in range(1, WORLD.size):
            WORLD.send("quit", dest=rank)
        return
    while True:
        while not WORLD.iprobe(source=0):
            time.sleep(1e-3)
        yield WORLD.recv(source=0)


if __name__ == "__main__":
    versions = f"bodo {bodo.__version__}, {WORLD.size} ranks, MPI {MPI.Get_library_version().splitlines()[0][:40].strip()}"
    serve(versions, workloads(sys.argv[1]), lines(), to_stdout if WORLD.rank == 0 else lambda answer: None)
    sys.stdout.flush()
    os._exit(0)  # ranks leave together; nothing is left to finalize

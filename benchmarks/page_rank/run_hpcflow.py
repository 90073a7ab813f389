"""hpcflow, 1 master and 2 workers: examples/page_rank.py on links that the workers hold."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import polars as pl

import hpcflow as hf
from benchmarks.peers.serve import Workload, serve
from benchmarks.peers.systems import ROOT


def example() -> ModuleType:
    """examples/page_rank.py"""
    spec = importlib.util.spec_from_file_location("page_rank", ROOT / "examples" / "page_rank.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(os.environ["PAGE_RANK_ITERATIONS"])
    page_rank = example().page_rank
    with hf.Session(progress="off") as session:
        links = session.read_parquet(str(folder / "links.parquet")).cache()
        links.count()

        def run() -> tuple[hf.Dataset, int]:
            ranks = page_rank(links, tolerance=None, max_iterations=iterations)
            return ranks, ranks.count()

        def sums(ranks: hf.Dataset) -> dict[str, float]:
            found: dict[str, float] = ranks.select(rank=pl.col("rank").sum(), most=pl.col("rank").max()).collect().row(0, named=True)
            return found

        serve(f"hpcflow {hf.__version__}, {session.workers} workers", {"page_rank": Workload(run, sums)})

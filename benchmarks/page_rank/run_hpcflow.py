"""hpcflow, 1 master and 2 workers: examples/page_rank.py on links that the workers hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl

import hpcflow as hf
from benchmarks.examples import example
from benchmarks.peers.serve import Workload, serve

if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(os.environ["PAGE_RANK_ITERATIONS"])
    page_rank = example("page_rank").page_rank
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

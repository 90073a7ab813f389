"""Polars, streaming engine, 2 threads."""

from __future__ import annotations

import sys

import polars as pl

from benchmarks.peers.serve import serve
from benchmarks.tpch.queries import TABLES
from benchmarks.tpch.serve import workloads

if __name__ == "__main__":
    tables = {name: pl.scan_parquet(f"{sys.argv[1]}/{name}.parquet") for name in TABLES}
    serve(f"polars {pl.__version__}, {pl.thread_pool_size()} threads", workloads(tables, lambda question: question.collect(engine="streaming")))

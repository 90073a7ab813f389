"""hpcflow, 1 master and 2 workers of one thread."""

from __future__ import annotations

import sys

import hpcflow as hf
from benchmarks.peers.serve import serve
from benchmarks.tpch.queries import TABLES
from benchmarks.tpch.serve import workloads

if __name__ == "__main__":
    with hf.Session(progress="off") as session:
        tables = {name: session.read_parquet(f"{sys.argv[1]}/{name}.parquet") for name in TABLES}
        serve(f"hpcflow {hf.__version__}, {session.workers} workers", workloads(tables, lambda question: question.collect()))

"""hpcflow, 1 master and 2 workers of one thread: the example's two variants on a cached table of the workers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import hpcflow as hf
from benchmarks.examples import example
from benchmarks.k_means.sums import sums_of
from benchmarks.peers.serve import Workload, serve

if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(os.environ["K_MEANS_ITERATIONS"])
    variants = example("k_means")
    with hf.Session(progress="off") as session:
        points = session.read_parquet(str(folder / "points.parquet")).cache()
        points.count()
        centres = np.load(folder / "centres.npy")

        def workload(k_means) -> Workload:  # type: ignore[no-untyped-def]
            def run() -> tuple[np.ndarray, int]:
                found = k_means(points, centres, iterations)
                return found, len(found)

            return Workload(run, sums_of)

        both = {"k_means": workload(variants.k_means_bsp), "dataflow": workload(variants.k_means_dataflow)}
        serve(f"hpcflow {hf.__version__}, {session.workers} workers", both)

"""Dask's k-means (dask-ml), 2 worker processes of one thread, on an array that the workers hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pyarrow.parquet as pq
from dask_ml.cluster import KMeans
from distributed import Client, LocalCluster, wait

from benchmarks.k_means.sums import sums_of
from benchmarks.peers.serve import Workload, serve

if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(os.environ["K_MEANS_ITERATIONS"])
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, memory_limit="6GiB", dashboard_address=None) as cluster, Client(cluster):
        table = pq.read_table(folder / "points.parquet")
        matrix = np.column_stack([column.to_numpy() for column in table.columns])
        points = da.from_array(matrix, chunks=(-(-len(matrix) // 2), matrix.shape[1])).persist()
        wait(points)
        centres = np.load(folder / "centres.npy")

        def run() -> tuple[np.ndarray, int]:
            model = KMeans(n_clusters=len(centres), init=centres, max_iter=iterations, tol=0.0).fit(points)
            return model.cluster_centers_, len(model.cluster_centers_)

        serve(f"dask {dask.__version__} with dask-ml, 2 processes", {"k_means": Workload(run, sums_of)})

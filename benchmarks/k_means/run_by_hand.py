"""k-means as an MPI programmer writes it: mpi4py and NumPy, no hpcflow. 2 ranks, each computes on its rows as one matrix, a row a coordinate.

Three times: from the columns of a table, as hpcflow starts; from the matrix, made before the clock starts; and with the function that the example
has Numba compile in place of NumPy, from the columns: what is left between that and hpcflow is hpcflow.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from mpi4py import MPI

from benchmarks.examples import example
from benchmarks.k_means.sums import sums_of
from benchmarks.peers.serve import Workload, from_stdin, serve, to_stdout

WORLD = MPI.COMM_WORLD
CHUNK = 512
NUMBA = example("k_means")


def k_means(points: np.ndarray, centres: np.ndarray, iterations: int) -> np.ndarray:
    """float64[k, d]: the centres after `iterations`; points: float64[d + 1, n], the last row ones."""
    k, d = centres.shape
    n = points.shape[1]
    scores, nearest, weights = np.empty((CHUNK, k)), np.empty(n, dtype=np.intp), np.empty((d + 1, k))
    for _ in range(iterations):
        weights[:d] = centres.T
        weights[d] = -0.5 * np.einsum("ij,ij->i", centres, centres)
        for start in range(0, n, CHUNK):
            chunk = points[:, start : start + CHUNK].T
            np.matmul(chunk, weights, out=scores[: len(chunk)]).argmax(axis=1, out=nearest[start : start + CHUNK])
        totals = np.array([np.bincount(nearest, row, k) for row in points], dtype=np.float64)
        WORLD.Allreduce(MPI.IN_PLACE, totals, MPI.SUM)
        centres = np.where(totals[d] > 0, totals[:d] / np.maximum(totals[d], 1), centres.T).T.copy()
    return centres


def compiled(columns: tuple[np.ndarray, ...], centres: np.ndarray, iterations: int) -> np.ndarray:
    """The same with the example's compiled function; columns: d times float64[n]."""
    d = len(columns)
    for _ in range(iterations):
        totals = NUMBA.sums_of_nearest(columns, centres)
        WORLD.Allreduce(MPI.IN_PLACE, totals, MPI.SUM)
        centres = np.where(totals[:, d:] > 0, totals[:, :d] / np.maximum(totals[:, d:], 1), centres)
    return centres


def lines() -> Iterator[str]:
    """Rank 0 hears the parent and tells the others, who ask and sleep by turns: a waiting broadcast would keep a core from the others."""
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
    folder, iterations = Path(sys.argv[1]), int(os.environ["K_MEANS_ITERATIONS"])
    table = pl.read_parquet(folder / "points.parquet")
    first, stop = table.height * WORLD.rank // WORLD.size, table.height * (WORLD.rank + 1) // WORLD.size
    columns = [column.to_numpy() for column in table.slice(first, stop - first)]
    del table

    def matrix() -> np.ndarray:
        return np.stack([*columns, np.ones(stop - first)])

    held = matrix()
    start_centres = np.load(folder / "centres.npy")

    def workload(find: Callable[[], np.ndarray]) -> Workload:
        def run() -> tuple[np.ndarray, int]:
            found = find()
            return found, len(found)

        return Workload(run, sums_of)

    ways = {
        "k_means": workload(lambda: k_means(matrix(), start_centres, iterations)),
        "matrix": workload(lambda: k_means(held, start_centres, iterations)),
        "compiled": workload(lambda: compiled(tuple(columns), start_centres, iterations)),
    }
    versions = f"mpi4py and NumPy {np.__version__}, {WORLD.size} ranks, {MPI.Get_library_version().splitlines()[0][:40].strip()}"
    serve(versions, ways, lines(), to_stdout if WORLD.rank == 0 else lambda answer: None)
    sys.stdout.flush()
    os._exit(0)

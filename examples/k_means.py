"""k-means (Lloyd's algorithm) on a table of points, twice: as one bsp step that loops with MPI, and as dataflow, one action an iteration.

    python examples/k_means.py                                  # in-process workers
    mpirun -n 3 python examples/k_means.py --points 2000000     # one master and two workers
    hpcflow run examples/k_means.py -n 3                        # the same, with the right words for this mpirun or srun

Both give the same centres. The points stay where they are: the columns come as NumPy views, and a function that Numba compiles goes over them
once an iteration, block by block in the first-level cache (`pip install 'hpcflow-mpi[numba]'`). The bsp step adds the sums of the clusters up with
one Allreduce an iteration, the dataflow with a group-by.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numba
import numpy as np
import polars as pl

import hpcflow as hf

BLOCK = 512
"""Points at a time: 512 x 10 coordinates x 8 bytes stay in the first-level cache while all centres go over them."""


@numba.njit(fastmath={"contract", "reassoc"}, nogil=True, cache=True)  # type: ignore[untyped-decorator]  # Numba has no types
def sums_of_nearest(columns: tuple[np.ndarray, ...], centres: np.ndarray) -> np.ndarray:
    """float64[k, d + 1]: for each centre the sum of the points that are nearest to it, and their number in the last column.

    columns: d times float64[n], the coordinates; centres: float64[k, d]. The nearest centre has the largest x.c - |c|^2 / 2.
    """
    n, k, d = len(columns[0]), len(centres), len(columns)
    sums = np.zeros((k, d + 1))
    block, best, nearest = np.empty((d, BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        for j in range(d):
            block[j, :rows] = columns[j][start : start + rows]
        best[:] = -np.inf
        nearest[:] = 0.0  # of a point that is nearest to none, since it is NaN
        for c in range(k):
            half = 0.0
            for j in range(len(columns)):  # of a tuple this is a constant, and the loops over it are unrolled
                half += 0.5 * centres[c, j] * centres[c, j]
            for i in range(BLOCK):
                score = -half
                for j in range(len(columns)):
                    score += centres[c, j] * block[j, i]
                better = score > best[i]
                best[i] = score if better else best[i]
                nearest[i] = c if better else nearest[i]
        for i in range(rows):
            c = int(nearest[i])
            for j in range(d):
                sums[c, j] += block[j, i]
            sums[c, d] += 1.0
    return sums


def moved(centres: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """The means of the clusters; a centre that no point is nearest to stays."""
    counts = totals[:, -1:]
    return np.where(counts > 0, totals[:, :-1] / np.maximum(counts, 1), centres)


def lloyd(ctx: Any, columns: dict[str, np.ndarray], centres: np.ndarray, iterations: int) -> dict[str, np.ndarray] | None:
    """On every worker at once: its share of the points, the same centres everywhere."""
    points = tuple(columns.values())
    for _ in range(iterations):
        totals = sums_of_nearest(points, centres)
        ctx.comm.Allreduce(ctx.MPI.IN_PLACE, totals, op=ctx.MPI.SUM)
        centres = moved(centres, totals)
    return dict(zip(columns, centres.T, strict=True)) if ctx.rank == 0 else None


def k_means_bsp(points: hf.Dataset, centres: np.ndarray, iterations: int) -> np.ndarray:
    """float64[k, d]: the centres after `iterations`, found by one bsp step."""
    step = points.bsp(lloyd, schema=points.schema, format="numpy", arguments={"centres": centres, "iterations": iterations})
    return np.asarray(step.collect().to_numpy(), dtype=np.float64)


def k_means_dataflow(points: hf.Dataset, centres: np.ndarray, iterations: int) -> np.ndarray:
    """The same by dataflow: each task sums its rows by nearest centre, a group-by adds the sums up, the driver moves the centres."""
    names = points.columns
    schema = {"centre": pl.Int64, **dict.fromkeys(names, pl.Float64), "count": pl.Float64}
    for _ in range(iterations):
        sums = points.map_batches(_Partial(centres), schema=schema, format="numpy")
        found = sums.group_by("centre").agg(pl.col(*names, "count").sum()).collect()
        totals = np.zeros((len(centres), len(names) + 1))
        totals[found["centre"].to_numpy()] = found.drop("centre").to_numpy()
        centres = moved(centres, totals)
    return centres


class _Partial:
    """What a task of the dataflow variant does with its rows."""

    def __init__(self, centres: np.ndarray) -> None:
        self.centres = centres

    def __call__(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        totals = sums_of_nearest(tuple(columns.values()), self.centres)
        return {"centre": np.arange(len(totals)), **dict(zip([*columns, "count"], totals.T, strict=True))}


def make_points(rows: int, dimensions: int, clusters: int, seed: int = 1) -> tuple[pl.DataFrame, np.ndarray]:
    """Points around `clusters` places, and `clusters` of them as first centres."""
    random = np.random.default_rng(seed)
    places = random.uniform(-10, 10, (clusters, dimensions))
    points = places[random.integers(0, clusters, rows)] + random.normal(0, 1.5, (rows, dimensions))
    table = pl.DataFrame({f"x{i}": np.ascontiguousarray(points[:, i]) for i in range(dimensions)})
    return table, points[random.choice(rows, clusters, replace=False)].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--dimensions", type=int, default=10)
    parser.add_argument("--centres", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()

    with hf.Session() as s:
        table, centres = make_points(options.points, options.dimensions, options.centres)
        points = s.from_polars(table).cache()
        print(f"{points.count():,} points on {s.workers} workers")
        results = {}
        for name, k_means in {"bsp": k_means_bsp, "dataflow": k_means_dataflow}.items():
            start = time.perf_counter()
            results[name] = k_means(points, centres, options.iterations)
            print(f"{name}: {time.perf_counter() - start:.3f} s for {options.iterations} iterations")
        assert np.allclose(results["bsp"], results["dataflow"])
        print(pl.DataFrame(results["bsp"], schema=points.columns).head())


if __name__ == "__main__":
    main()

"""C = A B on a grid of ranks: each holds a block of the three matrices, and panels of A and B travel along the grid's rows and columns (SUMMA).

python examples/matrix_multiplication.py --size 500 --check
mpirun -n 3 python examples/matrix_multiplication.py
hpcflow run --mode distributed examples/matrix_multiplication.py:MatrixMultiplication -n 4 -- --size 4000

          columns of B ->                   For each panel of the inner dimension, the ranks that hold it in A broadcast it along their row of the
rows   +------+------+       +--+--+        grid, those that hold it in B along their column, and every rank adds their product to its block of C.
of A   | A00  | A01  |   x   |B0|B0|        Each rank sends and keeps a share of the matrices that shrinks with the square root of the ranks.
  |    +------+------+       +--+--+        The algorithm: R. van de Geijn, J. Watts, "SUMMA: scalable universal matrix multiplication algorithm",
  v    | A10  | A11  |       |B1|B1|        1997.
       +------+------+       +--+--+
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

import hpcflow as hf

Matrix = npt.NDArray[np.float64]


def options_of(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="rows of A, columns of B")
    parser.add_argument("--inner", type=int, default=None, help="columns of A, rows of B; as --size by default")
    parser.add_argument("--panel", type=int, default=128, help="width of a panel, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="multiply on rank 0 alone too, and compare")
    return parser.parse_args(words)


class MatrixMultiplication(hf.Program):
    """Gives C, float64[size, size], on rank 0."""

    def execute(self, ctx):
        options = options_of(ctx.arguments)
        inner = options.size if options.inner is None else options.inner
        grid = ctx.comm.Create_cart(ctx.MPI.Compute_dims(ctx.size, 2), periods=[False, False])
        (p, q), (i, j) = grid.dims, grid.Get_coords(ctx.rank)
        along_row, along_column = ctx.comm.Split(i, j), ctx.comm.Split(p + j, i)
        rows, columns = cuts(options.size, p), cuts(options.size, q)
        inner_of_a, inner_of_b = cuts(inner, q), cuts(inner, p)
        a = block(options.seed, rows[i : i + 2], inner_of_a[j : j + 2])
        b = block(options.seed + 1, inner_of_b[i : i + 2], columns[j : j + 2])
        c = np.zeros((a.shape[0], b.shape[1]))
        ctx.comm.Barrier()
        started = time.perf_counter()
        for low, high in panels(inner_of_a, inner_of_b, options.panel):
            owner_of_a, owner_of_b = (np.searchsorted(limits, low, side="right") - 1 for limits in (inner_of_a, inner_of_b))
            a_panel, b_panel = np.empty((a.shape[0], high - low)), np.empty((high - low, b.shape[1]))
            if j == owner_of_a:
                a_panel[:] = a[:, low - inner_of_a[j] : high - inner_of_a[j]]
            if i == owner_of_b:
                b_panel[:] = b[low - inner_of_b[i] : high - inner_of_b[i]]
            along_row.Bcast(a_panel, root=owner_of_a)
            along_column.Bcast(b_panel, root=owner_of_b)
            c += a_panel @ b_panel
        seconds = ctx.comm.allreduce(time.perf_counter() - started, op=ctx.MPI.MAX)
        ctx.metrics.gauge("gflops").set(2e-9 * options.size**2 * inner / seconds)
        blocks = ctx.comm.gather((i, j, c))
        if not ctx.is_root:
            return None
        whole = np.empty((options.size, options.size))
        for i, j, part in blocks:
            whole[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = part
        if options.check:
            want = block(options.seed, (0, options.size), (0, inner)) @ block(options.seed + 1, (0, inner), (0, options.size))
            np.testing.assert_allclose(whole, want, rtol=1e-11)
        print(f"{options.size} x {inner} x {options.size} on a {p} x {q} grid: {seconds:.3f} s, {ctx.metrics.values()['gflops']:.2f} GFLOP/s")
        return whole


def cuts(length: int, parts: int) -> list[int]:
    """Bounds of `parts` neighbouring ranges of near equal length."""
    return [length * part // parts for part in range(parts + 1)]


def panels(of_a: Sequence[int], of_b: Sequence[int], width: int) -> list[tuple[int, int]]:
    """Ranges of the inner dimension, at most `width` wide, each within one block of A and one of B."""
    limits = sorted({*of_a, *of_b})
    return [(start, min(start + width, high)) for low, high in itertools.pairwise(limits) for start in range(low, high, width)]


def block(seed: int, rows: Sequence[int], columns: Sequence[int]) -> Matrix:
    """Rows and columns (first, end) of the random matrix of this seed: the same numbers whoever makes them."""
    lines = [np.random.default_rng((seed, row)).random(columns[1])[columns[0] :] for row in range(*rows)]
    return np.array(lines).reshape(rows[1] - rows[0], columns[1] - columns[0])


if __name__ == "__main__":
    MatrixMultiplication().run()

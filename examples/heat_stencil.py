"""Heat that spreads over a plate: a five-point stencil on a grid of ranks, each with a block of the plate and a halo of its neighbours' edges.

    python examples/heat_stencil.py --rows 200 --columns 300           # one rank, in this process; HPCFLOW_WORKERS=4: four of them
    mpirun -n 3 python examples/heat_stencil.py
    hpcflow run --mode distributed examples/heat_stencil.py:HeatStencil -n 3 -- --rows 2000

The plate's upper edge is held at 100 degrees, the others at 0. Each step exchanges four edges with the neighbours; the run ends when no point changes
by more than `--tolerance` in a step, which all ranks ask together every `CHECK_EVERY` steps. The temperatures do not depend on the number of ranks,
to the last bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

import hpcflow as hf

Plate = npt.NDArray[np.float64]

CHECK_EVERY = 50
HOT = 100.0


def options_of(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200, help="points from the hot edge to the cold one")
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--steps", type=int, default=2000, help="steps at most")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="degrees; a smaller change of all points in one step ends the run")
    return parser.parse_args(words)


class HeatStencil(hf.Program):
    """Gives (temperatures float64[rows, columns], steps taken) on rank 0."""

    def execute(self, ctx):
        options = options_of(ctx.arguments)
        grid = ctx.comm.Create_cart(ctx.MPI.Compute_dims(ctx.size, 2), periods=[False, False])
        rows, columns = (
            range(count * place // parts, count * (place + 1) // parts)
            for count, place, parts in zip((options.rows, options.columns), grid.Get_coords(ctx.rank), grid.dims, strict=True)
        )
        now = np.zeros((len(rows) + 2, len(columns) + 2))  # a halo of one point on every side; at the plate's rim it holds the edge's temperature
        if rows.start == 0:
            now[0, :] = HOT
        then = now.copy()
        steps = 0
        while steps < options.steps:
            with ctx.metrics.timer("halo"):
                exchange_halos(grid, now)
            step(now, then)
            now, then = then, now
            steps += 1
            if steps % CHECK_EVERY == 0:
                change = float(np.abs(now - then).max(initial=0.0))
                change = ctx.comm.allreduce(change, op=ctx.MPI.MAX)
                ctx.metrics.gauge("change").set(change)
                if change < options.tolerance:
                    break
        blocks = ctx.comm.gather((rows, columns, now[1:-1, 1:-1].copy()))
        if not ctx.is_root:
            return None
        plate = np.empty((options.rows, options.columns))
        for rows, columns, block in blocks:
            plate[rows.start : rows.stop, columns.start : columns.stop] = block
        return plate, steps


def exchange_halos(grid, block: Plate) -> None:
    """Fill the halo with the neighbours' edges. Beyond the plate's rim there is no neighbour (PROC_NULL), and the halo stays as it is."""
    up, down = grid.Shift(0, 1)
    left, right = grid.Shift(1, 1)
    grid.Sendrecv(block[1, 1:-1], up, recvbuf=(below := block[-1, 1:-1].copy()), source=down)
    grid.Sendrecv(block[-2, 1:-1], down, recvbuf=(above := block[0, 1:-1].copy()), source=up)
    block[-1, 1:-1], block[0, 1:-1] = below, above
    to_left, to_right = block[1:-1, 1].copy(), block[1:-1, -2].copy()  # columns lie in strides: copied into lines to send and back
    from_right, from_left = block[1:-1, -1].copy(), block[1:-1, 0].copy()
    grid.Sendrecv(to_left, left, recvbuf=from_right, source=right)
    grid.Sendrecv(to_right, right, recvbuf=from_left, source=left)
    block[1:-1, -1], block[1:-1, 0] = from_right, from_left


def step(now: Plate, then: Plate) -> None:
    """One explicit step of the heat equation at the limit of stability: every point becomes the mean of its four neighbours."""
    np.add(now[:-2, 1:-1], now[2:, 1:-1], out=then[1:-1, 1:-1])
    then[1:-1, 1:-1] += now[1:-1, :-2]
    then[1:-1, 1:-1] += now[1:-1, 2:]
    then[1:-1, 1:-1] *= 0.25


def main() -> None:
    result = HeatStencil().run()
    if result is not None:  # rank 0, or the only process
        plate, steps = result
        rows, columns = plate.shape
        print(f"{rows} x {columns} points, {steps} steps; mean {plate.mean():.4f} degrees, in the middle {plate[rows // 2, columns // 2]:.4f}")


if __name__ == "__main__":
    main()

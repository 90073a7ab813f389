"""Every table and array call as a method of Context, against Polars and NumPy: the same body as a program and as a bsp step.

run_program(every_call, workers=3);   session.range(3).bsp(every_call)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal


def every_call(ctx: Any, table: pl.DataFrame | None = None) -> None:
    """Raises AssertionError on the rank where a call gives something else; collective."""
    rows = 40
    whole = pl.DataFrame({"k": [n * 7 % 11 for n in range(rows)], "n": range(rows)})
    mine = ctx.from_polars(whole)
    assert_frame_equal(ctx.allgather(mine), whole)
    assert_frame_equal(ctx.bcast(whole if ctx.rank == 0 else None), whole)
    assert_frame_equal(ctx.scatter(whole if ctx.rank == 0 else None), mine)
    assert (ctx.gather(mine) is None) == (ctx.rank != 0)
    assert [one.height for one in ctx.alltoall([mine] * ctx.size)] == [one.height for one in ctx.alltoall([mine.select("n")] * ctx.size)]
    requests = [ctx.iallgather(mine), ctx.ibcast(whole if ctx.rank == 0 else None), ctx.iscatter(whole if ctx.rank == 0 else None)]
    requests += [ctx.igather(mine), ctx.ialltoall([mine] * ctx.size)]
    assert_frame_equal(requests[0].wait(30), whole)
    assert_frame_equal(requests[1].wait(30), whole)
    assert_frame_equal(requests[2].wait(30), mine)
    assert (requests[3].wait(30) is None) == (ctx.rank != 0)
    assert len(requests[4].wait(30)) == ctx.size
    assert ctx.allreduce(mine, [pl.col("n").sum(), pl.len()]).row(0) == (780, 40)
    assert (ctx.reduce(mine, pl.col("n").max()) is None) == (ctx.rank != 0)

    def together(share: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame(ctx.allgather(share))

    assert_frame_equal(together(ctx.sort(mine, "k")), whole.sort("k", maintain_order=True))
    assert_frame_equal(together(ctx.keyed_partition(mine, "k")).sort("n"), whole)
    assert_frame_equal(together(ctx.partition(mine, "k", 5)).sort("n"), whole)
    assert_frame_equal(together(ctx.keyed_reduce(mine, "k", pl.col("n").sum())).sort("k"), whole.group_by("k").agg(pl.col("n").sum()).sort("k"))
    assert_frame_equal(together(ctx.keyed_gather(mine, "k")).sort("k"), whole.group_by("k", maintain_order=True).all().sort("k"))
    assert_frame_equal(together(ctx.join(mine, mine, "k")).sort("n", "n_right"), whole.join(whole, on="k").sort("n", "n_right"))
    assert_frame_equal(ctx.broadcast(mine), whole)
    assert_frame_equal(together(ctx.direct(mine, ctx.size - 1 - ctx.rank)).sort("n"), whole)
    assert ctx.union(mine, mine).height == 2 * mine.height
    assert_frame_equal(ctx.rebalance(mine), mine)
    with ctx.open_flow(whole.schema, "k", 3) as flow:
        flow.insert(mine)
        assert_frame_equal(together(flow.collect()).sort("n"), whole)
    with ctx.open_keyed_reduce(whole.schema, "k", pl.len()) as reducer:
        reducer.insert(mine)
        assert together(reducer.result())["len"].sum() == rows

    shared = ctx.node_bcast(np.arange(5.0) if ctx.rank == 0 else None)
    assert shared.array.tolist() == [0, 1, 2, 3, 4]
    counts = ctx.node_shared_array(ctx.local_size, np.int64)
    counts.array[ctx.local_rank] = ctx.rank
    counts.fence()
    assert counts.array.sum() >= ctx.rank
    assert ctx.node_allreduce(np.ones(3)).tolist() == [ctx.size] * 3
    longest = ctx.reduction(np.maximum, np.int64, commutative=True)
    assert longest.allreduce(ctx.comm, np.array([ctx.rank]))[0] == ctx.size - 1
    longest.free()
    grid = ctx.cartesian((0,), periodic=True)
    cells = np.array([-1, ctx.rank, -1])
    grid.exchange_halo(cells)
    assert cells.tolist() == [(ctx.rank - 1) % ctx.size, ctx.rank, (ctx.rank + 1) % ctx.size]
    grid.close()

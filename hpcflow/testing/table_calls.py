"""Every collective call on tables, against Polars: a check for each, which takes the rank (or its grid) and the call.

TABLE_CALLS["scan"](ctx, ctx.scan)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from hpcflow.testing.array_calls import Call, Check, around

_AGGS = (pl.len().alias("n"), pl.col("v").sum(), pl.col("v").mean().alias("mean"))
_WHOLE_AGGS = (pl.col("v").median(),)  # does not decompose: columns travel


def _table(rank: int) -> pl.DataFrame:
    """A rank's rows: one more than the rank before, and texts."""
    return pl.DataFrame({"v": [float(rank * 10 + n) for n in range(rank + 1)], "text": [f"row {n} of {rank}" for n in range(rank + 1)]})


def _tables(ranks: range | list[int]) -> pl.DataFrame:
    return pl.concat([_table(0).clear(), *map(_table, ranks)])


def _bcast_table(ctx: Any, call: Call) -> None:
    root = ctx.size - 1
    assert_frame_equal(call(_table(root) if ctx.rank == root else None, root), _table(root))


def _scatter_table(ctx: Any, call: Call) -> None:
    assert_frame_equal(call([_table(rank) for rank in range(ctx.size)] if ctx.rank == 0 else None), _table(ctx.rank))


def _gather_table(ctx: Any, call: Call) -> None:
    found = call(_table(ctx.rank), 0)
    if ctx.rank == 0:
        assert_frame_equal(found, _tables(range(ctx.size)))
    else:
        assert found is None


def _allgather_table(ctx: Any, call: Call) -> None:
    assert_frame_equal(call(_table(ctx.rank)), _tables(range(ctx.size)))


def _alltoall_table(ctx: Any, call: Call) -> None:
    for source, found in enumerate(call([_table(ctx.rank).head(target) for target in range(ctx.size)])):
        assert_frame_equal(found, _table(source).head(ctx.rank))


def _reduce_table(ctx: Any, call: Call) -> None:
    for aggs in (_AGGS, _WHOLE_AGGS):
        found = call(_table(ctx.rank), aggs, 0)
        if ctx.rank == 0:
            assert_frame_equal(found, _tables(range(ctx.size)).select(aggs))
        else:
            assert found is None


def _allreduce_table(ctx: Any, call: Call) -> None:
    for aggs in (_AGGS, _WHOLE_AGGS):
        assert_frame_equal(call(_table(ctx.rank), aggs), _tables(range(ctx.size)).select(aggs))


def _reduce_scatter_table(ctx: Any, call: Call) -> None:
    for aggs in (_AGGS, _WHOLE_AGGS):
        found = call([_table(ctx.rank).head(target + 1) for target in range(ctx.size)], aggs)
        assert_frame_equal(found, pl.concat([_table(rank).head(ctx.rank + 1) for rank in range(ctx.size)]).select(aggs))


def _reduce_scatter_block_table(ctx: Any, call: Call) -> None:
    def whole(rank: int) -> pl.DataFrame:
        return pl.DataFrame({"v": np.arange(2.0 * ctx.size) + 10 * rank})

    for aggs in (_AGGS, _WHOLE_AGGS):
        wanted = pl.concat([whole(rank).slice(2 * ctx.rank, 2) for rank in range(ctx.size)]).select(aggs)
        assert_frame_equal(call(whole(ctx.rank), aggs), wanted)


def _scan_table(ctx: Any, call: Call) -> None:
    for aggs in (_AGGS, _WHOLE_AGGS):
        assert_frame_equal(call(_table(ctx.rank), aggs), _tables(range(ctx.rank + 1)).select(aggs))


def _exscan_table(ctx: Any, call: Call) -> None:
    for aggs in (_AGGS, _WHOLE_AGGS):
        assert_frame_equal(call(_table(ctx.rank), aggs), _tables(range(ctx.rank)).select(aggs))


def _from_sides(found: list[pl.DataFrame | None], wanted: list[pl.DataFrame | None]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        if other is None or one is None:
            assert one is other
        else:
            assert_frame_equal(one, other)


def _neighbor_allgather_table(grid: Any, call: Call) -> None:
    _from_sides(call(_table(grid.rank)), [None if rank is None else _table(rank) for rank in around(grid)])


def _neighbor_alltoall_table(grid: Any, call: Call) -> None:
    left, right = around(grid)
    found = call([_table(grid.rank).head(1), _table(grid.rank)])
    _from_sides(found, [None if left is None else _table(left), None if right is None else _table(right).head(1)])


def _exchange_tables(grid: Any, call: Call) -> None:
    left = around(grid)[0]
    found = call({(1,): _table(grid.rank).tail(1)})
    assert list(found) == ([] if left is None else [(-1,)])
    if left is not None:
        assert_frame_equal(found[(-1,)], _table(left).tail(1))


def _halo_rows(grid: Any, call: Call) -> None:
    def rows(rank: int) -> pl.DataFrame:
        return pl.DataFrame({"x": [rank + part / 8 for part in range(8)], "text": [f"{rank}: {part}" for part in range(8)]})

    left, right = around(grid)
    found = call(rows(grid.rank), ["x"], [(grid.rank, grid.rank + 1)], 0.25)
    wanted = {} if left is None else {(-1,): rows(left).tail(2)}
    wanted |= {} if right is None else {(1,): rows(right).head(2)}
    assert list(found) == list(wanted)
    for offset, table in wanted.items():
        assert_frame_equal(found[offset], table)


_TABLES: dict[str, Check] = {
    "bcast": _bcast_table,
    "scatter": _scatter_table,
    "scatterv": _scatter_table,
    "gather": _gather_table,
    "gatherv": _gather_table,
    "allgather": _allgather_table,
    "allgatherv": _allgather_table,
    "alltoall": _alltoall_table,
    "alltoallv": _alltoall_table,
    "reduce": _reduce_table,
    "allreduce": _allreduce_table,
    "reduce_scatter": _reduce_scatter_table,
    "reduce_scatter_block": _reduce_scatter_block_table,
    "scan": _scan_table,
    "exscan": _exscan_table,
}
_GRID_TABLES: dict[str, Check] = {"neighbor_allgather": _neighbor_allgather_table, "neighbor_alltoall": _neighbor_alltoall_table}

TABLE_CALLS: dict[str, Check] = {
    **_TABLES,
    **{f"i{name}": check for name, check in _TABLES.items()},
    **{f"grid.{name}": check for name, check in _GRID_TABLES.items()},
    **{f"grid.i{name}": check for name, check in _GRID_TABLES.items()},
    "grid.exchange_tables": _exchange_tables,
    "grid.start_tables": _exchange_tables,
    "grid.exchange_halo_rows": _halo_rows,
    "grid.start_halo_rows": _halo_rows,
}
"""The same for tables."""

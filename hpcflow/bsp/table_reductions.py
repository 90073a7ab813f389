"""Reductions of tables: aggregations over the rows of all ranks, of the ranks up to this one, or of what all ranks hold for this one.

    reduce, allreduce       select(aggs) over the rows of all ranks
    scan, exscan            ... of ranks 0 to this one;  of ranks 0 to the one before
    reduce_scatter          ... of what every rank gives for this one

Invariant: one row of partial aggregates travels where all aggregations decompose (sum, mean, min, var, ...), else the columns that they need. These
are merged in rank order, so results repeat bit for bit. The calls with an i do not block: they pack at once and give a request.

    totals = allreduce(group, df, [pl.len(), pl.col("v").mean()])
    before = exscan(group, df, pl.len())["len"][0]                  # rows on the ranks before this one
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from hpcflow.bsp.announcing import AnnouncedCall, announce
from hpcflow.bsp.flow import NO_LIMIT_BYTES, Flow
from hpcflow.bsp.group import Group
from hpcflow.bsp.table_messages import Table
from hpcflow.bsp.table_requests import TableRequest, gathering
from hpcflow.bsp.tables import checked_root, move_allgather, move_alltoall, move_gather, parts_of
from hpcflow.errors import ConfigError
from hpcflow.expressions import check_right_when_whole, decompose_all
from hpcflow.native.tables import as_frame

Aggregations = pl.Expr | str | Iterable[pl.Expr | str]


def allreduce(group: Group, df: Table, aggs: Aggregations) -> pl.DataFrame:
    """`select(aggs)` over the rows of all ranks, on every rank.

    Raises:
        UnsupportedExpressionError: an expression that is wrong even on all rows in one place.
    """
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    announce(group.comm, "ctx.allreduce")
    return reduction.after(move_allgather(group, reduction.before(table), "allreduce"))


def reduce(group: Group, df: Table, aggs: Aggregations, root: int = 0) -> pl.DataFrame | None:
    """As `allreduce`, on the root; None elsewhere."""
    root = checked_root(group, root, "reduce")
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    announce(group.comm, "ctx.reduce", root)
    rows = move_gather(group, reduction.before(table), root, "reduce")
    return None if rows is None else reduction.after(rows)


def scan(group: Group, df: Table, aggs: Aggregations) -> pl.DataFrame:
    """`select(aggs)` over the rows of ranks 0 to this one. Errors as of `allreduce`."""
    return _scanned(group, df, aggs, "scan", 0)


def exscan(group: Group, df: Table, aggs: Aggregations) -> pl.DataFrame:
    """`select(aggs)` over the rows of the ranks before this one; rank 0 has what the aggregations give for no rows. Errors as of `allreduce`."""
    return _scanned(group, df, aggs, "exscan", 1)


def reduce_scatter(group: Group, tables: Table | Sequence[Table], aggs: Aggregations) -> pl.DataFrame:
    """`select(aggs)` over what every rank gives for this one: rank r's result is over all ranks' `tables[r]`.

    Args:
        tables: one table a rank, of any heights; or one table, cut into equal shares of neighbouring rows.
    """
    parts = parts_of(tables, group.size, "reduce_scatter")
    reduction = _Reduction(aggs, parts[0].schema)
    announce(group.comm, "ctx.reduce_scatter")
    return reduction.after(pl.concat(move_alltoall(group, [reduction.before(part) for part in parts], "reduce_scatter"), rechunk=False))


def reduce_scatter_block(group: Group, df: Table, aggs: Aggregations) -> pl.DataFrame:
    """As `reduce_scatter` of one table a rank, each cut into equal shares of neighbouring rows (equal to within one)."""
    return reduce_scatter(group, _one_table(df, "reduce_scatter_block"), aggs)


def iallreduce(group: Group, df: Table, aggs: Aggregations) -> TableRequest[pl.DataFrame]:
    """`allreduce` that does not block."""
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    flow = gathering(group, reduction.before(table), None, "iallreduce")
    return TableRequest(flow, lambda done: reduction.after(done.collect()), call=AnnouncedCall(group.comm, "ctx.iallreduce"))


def ireduce(group: Group, df: Table, aggs: Aggregations, root: int = 0) -> TableRequest[pl.DataFrame | None]:
    """`reduce` that does not block; the others' requests are complete at once and give None."""
    root = checked_root(group, root, "ireduce")
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    flow = gathering(group, reduction.before(table), root, "ireduce")

    def read(done: Flow) -> pl.DataFrame | None:
        return reduction.after(done.collect()) if group.rank == root else None

    return TableRequest(flow, read, call=AnnouncedCall(group.comm, "ctx.ireduce", root))


def iscan(group: Group, df: Table, aggs: Aggregations) -> TableRequest[pl.DataFrame]:
    """`scan` that does not block."""
    return _scanning(group, df, aggs, "iscan", 0)


def iexscan(group: Group, df: Table, aggs: Aggregations) -> TableRequest[pl.DataFrame]:
    """`exscan` that does not block."""
    return _scanning(group, df, aggs, "iexscan", 1)


def ireduce_scatter(group: Group, tables: Table | Sequence[Table], aggs: Aggregations) -> TableRequest[pl.DataFrame]:
    """`reduce_scatter` that does not block."""
    parts = parts_of(tables, group.size, "ireduce_scatter")
    reduction = _Reduction(aggs, parts[0].schema)
    flow = _dealing(group, [reduction.before(part) for part in parts], range(group.size), "ireduce_scatter")
    return TableRequest(flow, lambda done: reduction.after(done.collect()), call=AnnouncedCall(group.comm, "ctx.ireduce_scatter"))


def ireduce_scatter_block(group: Group, df: Table, aggs: Aggregations) -> TableRequest[pl.DataFrame]:
    """`reduce_scatter_block` that does not block."""
    return ireduce_scatter(group, _one_table(df, "ireduce_scatter_block"), aggs)


class _Reduction:
    """Aggregations over all rows as two steps: on each rank's rows, and on what came of that, in rank order."""

    def __init__(self, aggs: Aggregations, schema: pl.Schema) -> None:
        self._aggs = check_right_when_whole([aggs] if isinstance(aggs, pl.Expr | str) else list(aggs), schema)
        parts = decompose_all(self._aggs, schema)
        self._parts = parts if parts.complete else None
        self._needed = list(dict.fromkeys(name for agg in self._aggs for name in agg.meta.root_names())) or schema.names()[:1]

    def before(self, df: pl.DataFrame) -> pl.DataFrame:
        """What travels of one rank's rows."""
        return df.select(self._needed if self._parts is None else self._parts.partial)

    def after(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The result, from what came of at least one rank."""
        if self._parts is None:
            return rows.select(self._aggs)
        return rows.select(self._parts.merge).select(one for one in self._parts.final if one is not None)


def _scanned(group: Group, df: Table, aggs: Aggregations, what: str, skip: int) -> pl.DataFrame:
    """Every rank sends to those that count it: itself and the ones after it, or from `skip` after it on."""
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    announce(group.comm, f"ctx.{what}")
    mine = reduction.before(table)
    parts = move_alltoall(group, [mine if rank >= group.rank + skip else mine.clear() for rank in range(group.size)], what)
    return _up_to_here(reduction, parts, table)


def _scanning(group: Group, df: Table, aggs: Aggregations, what: str, skip: int) -> TableRequest[pl.DataFrame]:
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    targets = range(group.rank + skip, group.size)
    flow = _dealing(group, [reduction.before(table)] * group.size, targets, what)
    return TableRequest(flow, lambda done: _up_to_here(reduction, [done.collect()], table), call=AnnouncedCall(group.comm, f"ctx.{what}"))


def _up_to_here(reduction: _Reduction, parts: Sequence[pl.DataFrame], table: pl.DataFrame) -> pl.DataFrame:
    rows = pl.concat(parts, rechunk=False)
    return reduction.after(rows if rows.height else reduction.before(table.clear()))


def _dealing(group: Group, parts: Sequence[pl.DataFrame], targets: Iterable[int], what: str) -> Flow:
    """An exchange that brings `parts[rank]` to each rank of `targets`, where those of all ranks lie in rank order."""
    flow = Flow(group, parts[0].schema, group.size, window_bytes=NO_LIMIT_BYTES, what=what)
    for rank in targets:
        flow.insert(parts[rank], np.full(parts[rank].height, rank, np.uint32))
    flow.finish()
    return flow


def _one_table(df: Table, what: str) -> pl.DataFrame:
    if not isinstance(df, pl.DataFrame) and not hasattr(df, "__arrow_c_stream__"):
        raise ConfigError(f"{what}: give one table, which is cut into equal shares; for a table a rank there is {what.removesuffix('_block')}")
    return as_frame(df)

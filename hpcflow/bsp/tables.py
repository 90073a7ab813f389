"""Table collectives: the MPI collectives, on polars DataFrames of any types and sizes. A table travels as frames, in one message.

    rows -> frames written straight into one 64-byte aligned arena -> MPI_Allgatherv, counted in 64-byte units -> columns over the arena, not copied

Invariant: every rank of the group makes the call, with tables of one schema (where the others have none, the root's schema travels along); the result
is Polars' `concat` of the ranks' tables in rank order, cut as the call says. These block and use `group.comm`; `hpcflow.bsp.table_requests` has the
calls that do not.

    everything = allgather(group, df)                    # on every rank
    mine = scatter(group, df if group.rank == 0 else None)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.bsp.flow import concat
from hpcflow.bsp.group import Group
from hpcflow.comm.base import UNIT_BYTES
from hpcflow.errors import ConfigError, SchemaError
from hpcflow.expressions import check_right_when_whole, decompose_all
from hpcflow.native import Arena, FramePlan, read_header, unpack_frame
from hpcflow.native.tables import ArrowStream, as_frame, kernel_schema

Table = pl.DataFrame | ArrowStream
_FEW_CHUNKS, _CHUNK_BYTES = 64, 1 << 16  # a table of so many chunks, this large on average, is packed chunk by chunk and not made one chunk first
_units: dict[int, Any] = {}  # datatype of 64 bytes, by module


def bcast(group: Group, df: Table | None, root: int = 0) -> pl.DataFrame:
    """The root's table on every rank; the other ranks' `df` is not looked at. The root gets its own table, not a copy."""
    root = checked_root(group, root, "bcast")
    if group.rank == root:
        if df is None:
            raise ConfigError(f"bcast: rank {root} is the root and has no table: give it one")
        table = as_frame(df)
        plans = _plans(table)
        group.comm.bcast((table.schema, _units_of(plans)), root)
        group.comm.Bcast(_message(group, _packed(group, plans), _units_of(plans)), root)
        return table
    schema, units = group.comm.bcast(None, root)
    arena = group.pool.acquire(units * UNIT_BYTES)
    group.comm.Bcast(_message(group, arena, units), root)
    return concat(_unpacked(arena, schema, 0, units), schema)


def scatter(group: Group, tables: Table | Sequence[Table] | None, root: int = 0) -> pl.DataFrame:
    """Rank r gets the root's `tables[r]`, or its share of the root's one table: neighbouring rows, equal to within one; the others give None."""
    root = checked_root(group, root, "scatter")
    if group.rank != root:
        schema, units = group.comm.scatter(None, root)
        arena = group.pool.acquire(units * UNIT_BYTES)
        group.comm.Scatterv(None, _message(group, arena, units), root)
        return concat(_unpacked(arena, schema, 0, units), schema)
    parts = parts_of(tables, group.size, "scatter")
    plans = [_plans(part) if rank != root else [] for rank, part in enumerate(parts)]
    units = np.array([_units_of(one) for one in plans])
    group.comm.scatter([(parts[0].schema, int(one)) for one in units], root)
    arena = _packed(group, [plan for one in plans for plan in one])
    group.comm.Scatterv(_blocks(group, arena, units), group.MPI.IN_PLACE, root)
    return parts[root]


def gather(group: Group, df: Table, root: int = 0) -> pl.DataFrame | None:
    """The ranks' tables under each other, in rank order, on the root; None elsewhere."""
    root = checked_root(group, root, "gather")
    table = as_frame(df)
    plans = _plans(table)
    mine = _facts(plans, table)
    if group.rank != root:
        group.comm.Gather(mine, None, root)
        group.comm.Gatherv(_message(group, _packed(group, plans), _units_of(plans)), None, root)
        return None
    facts = np.empty((group.size, 2), np.uint64)
    group.comm.Gather(mine, facts, root)
    _check_schemas(group, facts[:, 1], mine[1], table.schema, "gather")
    units = facts[:, 0].astype(np.int64)
    arena = _packed(group, plans, before=int(units[:root].sum()), total=int(units.sum()))
    group.comm.Gatherv(group.MPI.IN_PLACE, _blocks(group, arena, units), root)
    return _under_each_other(group, arena, units, table)


def allgather(group: Group, df: Table) -> pl.DataFrame:
    """The ranks' tables under each other, in rank order, on every rank. This rank's own rows are its table's, not copied.

    Raises:
        SchemaError: on every rank, when the ranks' schemas are not the same.
    """
    table = as_frame(df)
    plans = _plans(table)
    mine = _facts(plans, table)
    facts = np.empty((group.size, 2), np.uint64)
    group.comm.Allgather(mine, facts)
    _check_schemas(group, facts[:, 1], mine[1], table.schema, "allgather")
    units = facts[:, 0].astype(np.int64)
    arena = _packed(group, plans, before=int(units[: group.rank].sum()), total=int(units.sum()))
    group.comm.Allgatherv(group.MPI.IN_PLACE, _blocks(group, arena, units))
    return _under_each_other(group, arena, units, table)


def alltoall(group: Group, tables: Sequence[Table]) -> list[pl.DataFrame]:
    """Table r to rank r; returns what the ranks sent here, by source rank. This rank's own table is handed over as it is."""
    parts = parts_of(tables, group.size, "alltoall")
    schema = parts[0].schema
    plans = [_plans(part) if rank != group.rank else [] for rank, part in enumerate(parts)]
    outgoing = np.array([_facts(one, parts[0]) for one in plans])
    incoming = np.empty_like(outgoing)
    group.comm.Alltoall(outgoing, incoming)
    _check_schemas(group, incoming[:, 1], outgoing[0, 1], schema, "alltoall")
    sent, received = outgoing[:, 0].astype(np.int64), incoming[:, 0].astype(np.int64)
    source = _packed(group, [plan for one in plans for plan in one])
    arena = group.pool.acquire(int(received.sum()) * UNIT_BYTES)
    group.comm.Alltoallv(_blocks(group, source, sent), _blocks(group, arena, received))
    starts = np.cumsum(received) - received
    results = [concat(_unpacked(arena, schema, int(a), int(n)), schema) for a, n in zip(starts, received, strict=True)]
    results[group.rank] = parts[group.rank]
    return results


def allreduce(group: Group, df: Table, aggs: pl.Expr | str | Iterable[pl.Expr | str]) -> pl.DataFrame:
    """`select(aggs)` of aggregations over the rows of all ranks, on every rank.

    One row of partial aggregates a rank travels where all of them decompose (sum, mean, min, var, ...), else the columns that they need.

    Raises:
        UnsupportedExpressionError: an expression that is wrong even on all rows in one place.
    """
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    return reduction.after(allgather(group, reduction.before(table)))


def reduce(group: Group, df: Table, aggs: pl.Expr | str | Iterable[pl.Expr | str], root: int = 0) -> pl.DataFrame | None:
    """As `allreduce`, on the root; None elsewhere."""
    table = as_frame(df)
    reduction = _Reduction(aggs, table.schema)
    rows = gather(group, reduction.before(table), root)
    return None if rows is None else reduction.after(rows)


def parts_of(tables: Table | Sequence[Table] | None, size: int, what: str) -> list[pl.DataFrame]:
    """One table a rank, of one schema; one table is cut into equal shares."""
    if tables is None:
        raise ConfigError(f"{what}: this rank has to give tables: a sequence of {size}, one a rank")
    if isinstance(tables, pl.DataFrame) or hasattr(tables, "__arrow_c_stream__"):
        whole = as_frame(tables)
        cuts = [whole.height * rank // size for rank in range(size + 1)]
        return [whole.slice(cuts[rank], cuts[rank + 1] - cuts[rank]) for rank in range(size)]
    parts = [as_frame(table) for table in tables]
    if len(parts) != size:
        raise ConfigError(f"{what}: {len(parts)} tables for {size} ranks: give one a rank, empty where there is nothing")
    for rank, part in enumerate(parts):
        if part.schema != parts[0].schema:
            raise SchemaError(f"{what}: the table for rank {rank} has schema {dict(part.schema)}, the one for rank 0 {dict(parts[0].schema)}")
    return parts


class _Reduction:
    """Aggregations over all rows as two steps: on each rank's rows, and on what came of that, in rank order."""

    def __init__(self, aggs: pl.Expr | str | Iterable[pl.Expr | str], schema: pl.Schema) -> None:
        self._aggs = check_right_when_whole([aggs] if isinstance(aggs, pl.Expr | str) else list(aggs), schema)
        parts = decompose_all(self._aggs, schema)
        self._parts = parts if parts.complete else None
        self._needed = list(dict.fromkeys(name for agg in self._aggs for name in agg.meta.root_names())) or schema.names()[:1]

    def before(self, df: pl.DataFrame) -> pl.DataFrame:
        return df.select(self._needed if self._parts is None else self._parts.partial)

    def after(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self._parts is None:
            return rows.select(self._aggs)
        return rows.select(self._parts.merge).select(one for one in self._parts.final if one is not None)


def _plans(table: pl.DataFrame) -> list[FramePlan]:
    """Frames to be: one, or one for each of the chunks that all columns have in common."""
    lengths = [column.chunk_lengths() for column in table.get_columns()]
    chunks = lengths[0] if lengths else []
    if 1 < len(chunks) <= _FEW_CHUNKS and all(one == chunks for one in lengths) and table.estimated_size() >= len(chunks) * _CHUNK_BYTES:
        ends = np.cumsum(chunks).tolist()
        return [FramePlan(table.slice(end - length, length)) for end, length in zip(ends, chunks, strict=True)]
    return [FramePlan(table)]


def _units_of(plans: Sequence[FramePlan]) -> int:
    return sum(plan.sizes[0] for plan in plans) // UNIT_BYTES


def _facts(plans: Sequence[FramePlan], table: pl.DataFrame) -> npt.NDArray[np.uint64]:
    """uint64[2]: units of 64 bytes, and a number that is equal for equal schemas."""
    return np.array([_units_of(plans), kernel_schema(table.schema).fingerprint], np.uint64)


def _packed(group: Group, plans: Sequence[FramePlan], before: int = 0, total: int | None = None) -> Arena:
    """An arena of `total` units with these frames one after another from unit `before` on."""
    arena = group.pool.acquire((_units_of(plans) if total is None else total) * UNIT_BYTES)
    view = memoryview(arena)
    start = before * UNIT_BYTES
    for plan in plans:
        plan.write([view[start : start + plan.sizes[0]]])
        start += plan.sizes[0]
    return arena


def _unpacked(arena: Arena, schema: pl.Schema, start: int, units: int) -> list[pl.DataFrame]:
    """The frames that lie one after another in these units."""
    tables = []
    offset, end = start * UNIT_BYTES, (start + units) * UNIT_BYTES
    view = memoryview(arena)
    while offset < end:
        length = read_header(view[offset:end]).total_bytes
        tables.append(unpack_frame(arena, schema, offset=offset, length=length))
        offset += length
    return tables


def _under_each_other(group: Group, arena: Arena, units: npt.NDArray[np.int64], own: pl.DataFrame) -> pl.DataFrame:
    """The ranks' tables in rank order; this rank's is its table itself, which need not be read back."""
    before, mine, end = (int(units[part].sum()) for part in (slice(0, group.rank), slice(0, group.rank + 1), slice(None)))
    return concat([*_unpacked(arena, own.schema, 0, before), own, *_unpacked(arena, own.schema, mine, end - mine)], own.schema)


def _message(group: Group, arena: Arena, units: int) -> list[Any]:
    return [memoryview(arena), units, _unit(group.MPI)]


def _blocks(group: Group, arena: Arena, units: npt.NDArray[np.int64]) -> list[Any]:
    return [memoryview(arena), units.tolist(), (np.cumsum(units) - units).tolist(), _unit(group.MPI)]


def _unit(module: Any) -> Any:
    """The datatype of 64 bytes: byte counts above 2 GiB do not fit MPI's int."""
    found = _units.get(id(module))
    if found is None:
        found = _units[id(module)] = module.BYTE.Create_contiguous(UNIT_BYTES).Commit()
    return found


def _check_schemas(group: Group, fingerprints: npt.NDArray[np.uint64], own: np.uint64, schema: pl.Schema, what: str) -> None:
    others = np.flatnonzero(fingerprints != own).tolist()
    if others:
        raise SchemaError(
            f"{what}: the tables of ranks {others} have another schema than this one of rank {group.rank}: {dict(schema)}. Every rank has to pass "
            f"the same columns and dtypes (give empty tables a schema)"
        )


def checked_root(group: Group, root: int, what: str) -> int:
    """`root` when it is a rank."""
    if not 0 <= root < group.size:
        raise ConfigError(f"{what}: root={root}: there are the ranks 0 to {group.size - 1}")
    return root

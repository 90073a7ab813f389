"""Table collectives: the MPI collectives, on polars DataFrames of any types and sizes. A table travels as frames, in one message.

    rows -> frames written straight into one 64-byte aligned arena -> MPI_Allgatherv, counted in 64-byte units -> columns over the arena, not copied

Invariant: every rank of the group makes the call, with tables of one schema (where the others have none, the root's schema travels along); the result
is Polars' `concat` of the ranks' tables in rank order, cut as the call says. These block and use `group.comm`; `hpcflow.bsp.table_requests` has the
calls that do not, `hpcflow.bsp.table_reductions` those that aggregate.

    everything = allgather(group, df)                    # on every rank
    mine = scatter(group, df if group.rank == 0 else None)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.bsp.announcing import announce
from hpcflow.bsp.flow import concat
from hpcflow.bsp.group import Group
from hpcflow.bsp.table_messages import Table, blocks, check_schemas, facts_of, message, packed, plans_of, units_of, unpacked
from hpcflow.comm.base import UNIT_BYTES
from hpcflow.errors import ConfigError, SchemaError
from hpcflow.native import Arena
from hpcflow.native.tables import as_frame


def bcast(group: Group, df: Table | None, root: int = 0) -> pl.DataFrame:
    """The root's table on every rank; the other ranks' `df` is not looked at. The root gets its own table, not a copy."""
    root = checked_root(group, root, "bcast")
    if group.rank == root and df is None:
        raise ConfigError(f"bcast: rank {root} is the root and has no table: give it one")
    announce(group.comm, "ctx.bcast", root)
    if group.rank == root:
        assert df is not None
        table = as_frame(df)
        plans = plans_of(table)
        group.comm.bcast((table.schema, units_of(plans)), root)
        group.comm.Bcast(message(group.MPI, packed(group.pool, plans), units_of(plans)), root)
        return table
    schema, units = group.comm.bcast(None, root)
    arena = group.pool.acquire(units * UNIT_BYTES)
    group.comm.Bcast(message(group.MPI, arena, units), root)
    return concat(unpacked(arena, schema, 0, units), schema)


def scatter(group: Group, tables: Table | Sequence[Table] | None, root: int = 0) -> pl.DataFrame:
    """Rank r gets the root's `tables[r]`, or its share of the root's one table: neighbouring rows, equal to within one; the others give None."""
    root = checked_root(group, root, "scatter")
    parts = parts_of(tables, group.size, "scatter") if group.rank == root else []
    announce(group.comm, "ctx.scatter", root)
    if group.rank != root:
        schema, units = group.comm.scatter(None, root)
        arena = group.pool.acquire(units * UNIT_BYTES)
        group.comm.Scatterv(None, message(group.MPI, arena, units), root)
        return concat(unpacked(arena, schema, 0, units), schema)
    plans = [plans_of(part) if rank != root else [] for rank, part in enumerate(parts)]
    units = np.array([units_of(one) for one in plans])
    group.comm.scatter([(parts[0].schema, int(one)) for one in units], root)
    arena = packed(group.pool, [plan for one in plans for plan in one])
    group.comm.Scatterv(blocks(group.MPI, arena, units), group.MPI.IN_PLACE, root)
    return parts[root]


def gather(group: Group, df: Table, root: int = 0) -> pl.DataFrame | None:
    """The ranks' tables under each other, in rank order, on the root; None elsewhere."""
    root = checked_root(group, root, "gather")
    announce(group.comm, "ctx.gather", root)
    return move_gather(group, as_frame(df), root, "gather")


def allgather(group: Group, df: Table) -> pl.DataFrame:
    """The ranks' tables under each other, in rank order, on every rank. This rank's own rows are its table's, not copied.

    Raises:
        SchemaError: on every rank, when the ranks' schemas are not the same.
    """
    announce(group.comm, "ctx.allgather")
    return move_allgather(group, as_frame(df), "allgather")


def alltoall(group: Group, tables: Sequence[Table]) -> list[pl.DataFrame]:
    """Table r to rank r; returns what the ranks sent here, by source rank. This rank's own table is handed over as it is."""
    parts = parts_of(tables, group.size, "alltoall")
    announce(group.comm, "ctx.alltoall")
    return move_alltoall(group, parts, "alltoall")


def move_gather(group: Group, table: pl.DataFrame, root: int, what: str) -> pl.DataFrame | None:
    """`gather` under the name of a call that is more."""
    plans = plans_of(table)
    mine = facts_of(plans, table.schema)
    if group.rank != root:
        group.comm.Gather(mine, None, root)
        group.comm.Gatherv(message(group.MPI, packed(group.pool, plans), units_of(plans)), None, root)
        return None
    facts = np.empty((group.size, 2), np.uint64)
    group.comm.Gather(mine, facts, root)
    check_schemas(group.rank, facts[:, 1], mine[1], table.schema, what)
    units = facts[:, 0].astype(np.int64)
    arena = packed(group.pool, plans, before=int(units[:root].sum()), total=int(units.sum()))
    group.comm.Gatherv(group.MPI.IN_PLACE, blocks(group.MPI, arena, units), root)
    return _under_each_other(group, arena, units, table)


def move_allgather(group: Group, table: pl.DataFrame, what: str) -> pl.DataFrame:
    """`allgather` under the name of a call that is more."""
    plans = plans_of(table)
    mine = facts_of(plans, table.schema)
    facts = np.empty((group.size, 2), np.uint64)
    group.comm.Allgather(mine, facts)
    check_schemas(group.rank, facts[:, 1], mine[1], table.schema, what)
    units = facts[:, 0].astype(np.int64)
    arena = packed(group.pool, plans, before=int(units[: group.rank].sum()), total=int(units.sum()))
    group.comm.Allgatherv(group.MPI.IN_PLACE, blocks(group.MPI, arena, units))
    return _under_each_other(group, arena, units, table)


def move_alltoall(group: Group, parts: Sequence[pl.DataFrame], what: str) -> list[pl.DataFrame]:
    """`alltoall` of one table a rank, under the name of a call that is more."""
    schema = parts[0].schema
    plans = [plans_of(part) if rank != group.rank else [] for rank, part in enumerate(parts)]
    outgoing = np.array([facts_of(one, schema) for one in plans])
    incoming = np.empty_like(outgoing)
    group.comm.Alltoall(outgoing, incoming)
    check_schemas(group.rank, incoming[:, 1], outgoing[0, 1], schema, what)
    sent, received = outgoing[:, 0].astype(np.int64), incoming[:, 0].astype(np.int64)
    source = packed(group.pool, [plan for one in plans for plan in one])
    arena = group.pool.acquire(int(received.sum()) * UNIT_BYTES)
    group.comm.Alltoallv(blocks(group.MPI, source, sent), blocks(group.MPI, arena, received))
    starts = np.cumsum(received) - received
    results = [concat(unpacked(arena, schema, int(a), int(n)), schema) for a, n in zip(starts, received, strict=True)]
    results[group.rank] = parts[group.rank]
    return results


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


def _under_each_other(group: Group, arena: Arena, units: npt.NDArray[np.int64], own: pl.DataFrame) -> pl.DataFrame:
    """The ranks' tables in rank order; this rank's is its table itself, which need not be read back."""
    before, mine, end = (int(units[part].sum()) for part in (slice(0, group.rank), slice(0, group.rank + 1), slice(None)))
    return concat([*unpacked(arena, own.schema, 0, before), own, *unpacked(arena, own.schema, mine, end - mine)], own.schema)


def checked_root(group: Group, root: int, what: str) -> int:
    """`root` when it is a rank."""
    if not 0 <= root < group.size:
        raise ConfigError(f"{what}: root={root}: there are the ranks 0 to {group.size - 1}")
    return root

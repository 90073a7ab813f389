"""Tables as messages of MPI: frames one after another in one 64-byte aligned arena, counted in units of 64 bytes.

    rows -> frames written straight into an arena -> one message -> columns over the arena, not copied

Invariant: a message is a whole number of units, so that 128 GiB fit MPI's int; what was received keeps its arena as long as a column of it lives.

    plans = plans_of(df)
    comm.Isend(message(MPI, packed(pool, plans), units_of(plans)), dest)
    df = pl.concat(unpacked(arena, schema, 0, units))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hpcflow.comm.base import UNIT_BYTES
from hpcflow.errors import SchemaError
from hpcflow.native import Arena, ArenaPool, FramePlan, read_header, unpack_frame
from hpcflow.native.tables import ArrowStream, kernel_schema

Table = pl.DataFrame | ArrowStream
_FEW_CHUNKS, _CHUNK_BYTES = 64, 1 << 16  # a table of so many chunks, this large on average, is packed chunk by chunk and not made one chunk first
_units: dict[int, Any] = {}  # datatype of 64 bytes, by module


def plans_of(table: pl.DataFrame) -> list[FramePlan]:
    """Frames to be: one, or one for each of the chunks that all columns have in common."""
    lengths = [column.chunk_lengths() for column in table.get_columns()]
    chunks = lengths[0] if lengths else []
    if 1 < len(chunks) <= _FEW_CHUNKS and all(one == chunks for one in lengths) and table.estimated_size() >= len(chunks) * _CHUNK_BYTES:
        ends = np.cumsum(chunks).tolist()
        return [FramePlan(table.slice(end - length, length)) for end, length in zip(ends, chunks, strict=True)]
    return [FramePlan(table)]


def units_of(plans: Sequence[FramePlan]) -> int:
    """Length of these frames, in units of 64 bytes."""
    return sum(plan.sizes[0] for plan in plans) // UNIT_BYTES


def facts_of(plans: Sequence[FramePlan], schema: pl.Schema) -> npt.NDArray[np.uint64]:
    """uint64[2]: units of 64 bytes, and a number that is equal for equal schemas."""
    return np.array([units_of(plans), kernel_schema(schema).fingerprint], np.uint64)


def packed(pool: ArenaPool, plans: Sequence[FramePlan], before: int = 0, total: int | None = None) -> Arena:
    """An arena of `total` units with these frames one after another from unit `before` on."""
    arena = pool.acquire((units_of(plans) if total is None else total) * UNIT_BYTES)
    view = memoryview(arena)
    start = before * UNIT_BYTES
    for plan in plans:
        plan.write([view[start : start + plan.sizes[0]]])
        start += plan.sizes[0]
    return arena


def unpacked(arena: Arena, schema: pl.Schema, start: int, units: int) -> list[pl.DataFrame]:
    """The frames that lie one after another in these units."""
    tables = []
    offset, end = start * UNIT_BYTES, (start + units) * UNIT_BYTES
    view = memoryview(arena)
    while offset < end:
        length = read_header(view[offset:end]).total_bytes
        tables.append(unpack_frame(arena, schema, offset=offset, length=length))
        offset += length
    return tables


def message(module: Any, arena: Arena, units: int) -> list[Any]:
    """An arena as mpi4py's calls take it."""
    return [memoryview(arena), units, unit_type(module)]


def blocks(module: Any, arena: Arena, units: npt.NDArray[np.int64]) -> list[Any]:
    """An arena of one block a rank, as mpi4py's calls take it."""
    return [memoryview(arena), units.tolist(), (np.cumsum(units) - units).tolist(), unit_type(module)]


def unit_type(module: Any) -> Any:
    """The datatype of 64 bytes: byte counts above 2 GiB do not fit MPI's int."""
    found = _units.get(id(module))
    if found is None:
        found = _units[id(module)] = module.BYTE.Create_contiguous(UNIT_BYTES).Commit()
    return found


def check_schemas(rank: int, fingerprints: npt.NDArray[np.uint64], own: np.uint64, schema: pl.Schema, what: str) -> None:
    """SchemaError where a rank's table has another schema than this one's."""
    others = np.flatnonzero(fingerprints != own).tolist()
    if others:
        raise SchemaError(
            f"{what}: the tables of ranks {others} have another schema than this one of rank {rank}: {dict(schema)}. Every rank has to pass "
            f"the same columns and dtypes (give empty tables a schema)"
        )

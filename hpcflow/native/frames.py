"""Frames: tables as bytes that travel, and bytes as tables again without copying. docs/frame_format.md draws the layout.

Invariant: reading never trusts the bytes. Any buffer gives either a valid table or `FrameError`; never a crash, never a read outside the buffer. A
table unpacked from an `Arena` keeps that arena out of its pool until the last of its columns is gone.

    >>> import polars as pl
    >>> from hpcflow.native import ArenaPool
    >>> table = pl.DataFrame({"k": [1, 2, 3]})
    >>> even, odd = pack_frames(table, table["k"].to_numpy() % 2, [0, 1, 2], pool=ArenaPool())
    >>> unpack_frame(odd, table.schema)["k"].to_list()
    [1, 3]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hpcflow.errors import FrameError
from hpcflow.native import _kernels
from hpcflow.native.hashing import as_ids
from hpcflow.native.tables import ArrowStream, categorical_columns, kernel_schema, kernel_table

BODY_CHECKSUM = 1


@dataclass(frozen=True)
class FrameHeader:
    """What a frame says of itself."""

    version: int
    step: int
    """Number of the exchange in the master's one sequence."""
    source_task: int
    attempt: int
    sequence: int
    """Which frame of this task to this destination."""
    rows: int
    columns: int
    """Top-level columns."""
    partitions: tuple[int, int]
    """First partition and how many follow one another in the frame."""
    flags: int
    """1: the buffers carry a checksum."""
    total_bytes: int
    """Length of the frame, a multiple of 64."""
    checksum: int
    """Of the buffers; 0 without flag 1."""
    fingerprint: int
    """Equal for equal schemas."""

    @property
    def first_partition(self) -> int:
        return self.partitions[0]

    @property
    def partition_count(self) -> int:
        return self.partitions[1]


def pack_frames(
    frame_df: pl.DataFrame | ArrowStream,
    partition_ids: NDArray[np.uint32],
    partition_bounds: Sequence[int] | NDArray[np.integer],
    *,
    step: int = 0,
    source_task: int = 0,
    attempt: int = 0,
    sequence: int = 0,
    pool: _kernels.ArenaPool,
    checksum: bool = False,
) -> list[_kernels.Arena | None]:
    """One frame per destination, `None` where it gets no rows: destination d receives partitions [bounds[d], bounds[d + 1]).

    `partition_ids`: integer[rows], each in [bounds[0], bounds[-1]). Rows are scattered straight into the frames and keep their order within
    a partition. Raises `SchemaError` for a column that cannot travel, `ValueError` for ids or bounds out of range.
    """
    bounds = as_ids(np.asarray(partition_bounds))
    if bounds.ndim != 1 or len(bounds) < 2:
        raise ValueError("partition_bounds needs one number more than there are destinations, at least two")
    table = kernel_table(frame_df)
    return _kernels.pack(table, as_ids(partition_ids), bounds, pool, step, source_task, attempt, sequence, checksum, False)


def pack_frame(
    frame_df: pl.DataFrame | ArrowStream,
    *,
    partition: int = 0,
    step: int = 0,
    source_task: int = 0,
    attempt: int = 0,
    sequence: int = 0,
    pool: _kernels.ArenaPool,
    checksum: bool = False,
) -> _kernels.Arena:
    """The whole table, rows or none, as one frame of one partition."""
    bounds = np.array([partition, partition + 1], dtype=np.uint32)
    frames = _kernels.pack(kernel_table(frame_df), None, bounds, pool, step, source_task, attempt, sequence, checksum, True)
    assert frames[0] is not None
    return frames[0]


class FramePlan:
    """Packing in two steps, for frames that lie in the caller's memory: `sizes`, then `write`. The table must not change in between.

    >>> import polars as pl
    >>> from hpcflow.native import ArenaPool
    >>> plan = FramePlan(pl.DataFrame({"k": [1, 2, 3]}))
    >>> arena = ArenaPool().acquire(plan.sizes[0] + 64)
    >>> plan.write([memoryview(arena)[64:]])
    >>> unpack_frame(arena, {"k": pl.Int64()}, offset=64)["k"].to_list()
    [1, 2, 3]
    """

    def __init__(
        self,
        frame_df: pl.DataFrame | ArrowStream,
        partition_ids: NDArray[np.uint32] | None = None,
        partition_bounds: Sequence[int] | NDArray[np.integer] = (0, 1),
    ) -> None:
        """As `pack_frames`; without ids, as `pack_frame`: one frame, also of no rows."""
        bounds = as_ids(np.asarray(partition_bounds))
        ids = None if partition_ids is None else as_ids(partition_ids)
        table = kernel_table(frame_df)
        sizes = np.empty(len(bounds) - 1, dtype=np.uint64)
        self._plan = _kernels.PackPlan(table, ids, bounds, keep_empty=ids is None)
        self._plan.sizes(sizes)
        self.sizes: tuple[int, ...] = tuple(sizes.tolist())
        """Bytes of each frame, a multiple of 64; 0 where a destination gets no rows and no frame."""
        self.rows = table.rows
        self.fingerprint: int = table.schema.fingerprint
        """Equal for equal schemas; also in the frame's header."""

    def write(
        self, targets: Sequence[Any], *, step: int = 0, source_task: int = 0, attempt: int = 0, sequence: int = 0, checksum: bool = False
    ) -> None:
        """Fill the frames: one writable, 64-byte aligned buffer of its size each, None where there is no frame. Once."""
        self._plan.write(targets, step, source_task, attempt, sequence, checksum)


def read_header(buffer: object) -> FrameHeader:
    """The checked header of the frame at the start of any readable buffer. Raises `FrameError`."""
    return _header(_kernels.Frame(buffer, False))


def partition_row_offsets(buffer: object) -> NDArray[np.uint64]:
    """uint64[partitions + 1]: partition first + i has rows [offsets[i], offsets[i + 1]) of the frame. Raises `FrameError`."""
    return _row_offsets(_kernels.Frame(buffer, False))


def unpack_frame(
    buffer: object,
    schema: Mapping[str, pl.DataType],
    partition: int | None = None,
    *,
    pool: _kernels.ArenaPool | None = None,
    offset: int = 0,
    length: int | None = None,
) -> pl.DataFrame:
    """The frame's rows, or those of one of its partitions, as a DataFrame over the buffer's own memory.

    Works on arenas and on any readable buffer (bytes, a memoryview of a memory map); one that is not 16-byte aligned is copied once, into `pool`
    when given. With `offset` and `length` the frame is that part of the buffer. Categoricals are cast back from the strings they travelled as.
    Raises `FrameError` for damaged bytes or a frame of another schema, `ValueError` for a partition it has not.
    """
    frame = _kernels.Frame(buffer) if offset == 0 and length is None else _kernels.Frame(buffer, True, offset, length)
    if not frame.aligned:
        end = None if length is None else offset + length
        frame = _kernels.Frame(_aligned_copy(memoryview(buffer).cast("B")[offset:end], pool))  # type: ignore[arg-type]
    header = _header(frame)
    begin, rows = 0, header.rows
    if partition is not None:
        first, count = header.partitions
        if not first <= partition < first + count:
            raise ValueError(f"partition {partition} is not in this frame: it holds {first} to {first + count - 1}")
        offsets = _row_offsets(frame)
        begin = int(offsets[partition - first])
        rows = int(offsets[partition - first + 1]) - begin
    if not schema:
        if header.columns:
            raise FrameError(f"unpack a frame: it has {header.columns} columns, the schema none")
        return pl.DataFrame(height=rows)
    wire = kernel_schema(schema)
    df = pl.DataFrame(_Capsules(*frame.export(wire, begin, rows)))
    if wire.has_categorical:
        df = df.cast(categorical_columns(tuple(schema.items())))  # type: ignore[arg-type]
    return df


class _Capsules:
    """An Arrow schema and array, as Polars asks for them."""

    def __init__(self, schema: object, array: object) -> None:
        self._capsules = (schema, array)

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return self._capsules


def _header(frame: _kernels.Frame) -> FrameHeader:
    version, step, source_task, attempt, sequence, rows, columns, first, count, flags, total_bytes, checksum, fingerprint = frame.header()
    return FrameHeader(version, step, source_task, attempt, sequence, rows, columns, (first, count), flags, total_bytes, checksum, fingerprint)


def _row_offsets(frame: _kernels.Frame) -> NDArray[np.uint64]:
    offsets = np.empty(_header(frame).partition_count + 1, dtype=np.uint64)
    frame.row_offsets(offsets)
    return offsets


def _aligned_copy(buffer: object, pool: _kernels.ArenaPool | None) -> _kernels.Arena:
    source = memoryview(buffer).cast("B")  # type: ignore[arg-type]
    arena = (pool or _kernels.ArenaPool()).acquire(len(source))
    memoryview(arena)[:] = source
    return arena

"""What every source promises: a schema fixed once on rank 0, splits decided on rank 0, rows read on a worker as one LazyFrame.

Rank 0 builds it (paths are listed, footers read, dtypes inferred), asks it for `splits`, and sends the operator without its rows to the workers; each
task there calls `scan(split)`, and Polars fuses what follows on that LazyFrame.

Invariants: concatenating `scan(split)` over the splits in order of `index` gives the rows of the source in their order, whatever the hint; every
`scan(split)` has exactly `schema`; there is always at least one split; what a pushed predicate leaves out, the filter behind the source removes too.

    source = Range.of(0, 10)
    splits = source.splits(SplitHint(target_tasks=2, target_bytes=1 << 20))
    pl.concat([source.scan(split) for split in splits]).collect()
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import polars as pl

from hpcflow.errors import ColumnNotFoundError, HpcflowError, near_names
from hpcflow.ir.operators.base import Operator, TaskInfo

_FEW_BYTES = 1 << 20
MOST_SPLITS = 1 << 16
"""Of a source that is not asked for more: the driver lists them all."""


@dataclass(frozen=True)
class SplitHint:
    """What the planner wishes for; a source comes as near as its format allows."""

    target_tasks: int
    """Wished number of splits, at least 1."""
    target_bytes: int
    """Wished bytes of one split in memory; more splits than `target_tasks` are made to stay below it."""
    halved: int = 0
    """How many of the last splits to cut in two, so that workers end at nearly the same time; Parquet and IPC files do."""

    def splits_for(self, size_bytes: int | None, units: int) -> int:
        """How many splits to make of `units` indivisible units of together `size_bytes` bytes; 1 when there are none."""
        by_size = 0 if size_bytes is None else math.ceil(size_bytes / max(1, self.target_bytes))
        return max(1, min(units, max(self.target_tasks, min(by_size, MOST_SPLITS))))

    def splits_of_window(self, size_bytes: int, units: int) -> int:
        """`splits_for` of some rows out of many: a few rows are one split, since no more of them are to come."""
        return 1 if size_bytes <= min(_FEW_BYTES, self.target_bytes) else self.splits_for(size_bytes, units)


@dataclass(frozen=True)
class SourceStatistics:
    """What is known about a whole source without reading its rows; None where it is not known."""

    rows: int | None
    """Rows, exact when given."""
    size_bytes: int | None
    """Estimated bytes in memory."""


@dataclass(frozen=True, eq=False)
class Split:
    """What one task reads: small and picklable (only a driver-held source puts rows into the payload)."""

    index: int
    """Position of the split in the source's row order, from 0."""
    payload: Any
    """What `scan` of the same source understands."""
    rows: int | None
    """Rows of the split, exact when given."""
    bytes: int | None
    """Estimated bytes in memory."""


@dataclass(frozen=True, eq=False)
class Source(Operator):
    """Base of all sources."""

    schema: pl.Schema
    """Names and dtypes of what `scan` gives, fixed when the source was built."""

    @abstractmethod
    def statistics(self) -> SourceStatistics:
        """Rows and size of the whole source. Rank 0 only."""

    @abstractmethod
    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        """Cut the source into at least one split. Rank 0 only."""

    @abstractmethod
    def scan(self, split: Split) -> pl.LazyFrame:
        """The rows of one split; runs on a worker, reads nothing until collected."""

    @abstractmethod
    def describe(self) -> str:
        """One line for explain."""

    def with_pushdown(self, columns: tuple[str, ...] | None, predicate: pl.Expr | None) -> Self:
        """The same source reading only `columns` (in that order; None: all) and free to drop rows for which the row-wise `predicate` is not true.

        The filter itself still runs behind the source, and both speak of the present schema. One column stays when `columns` is empty, so that rows
        can be counted. ColumnNotFoundError for a column that is not there.
        """
        return self if columns is None else replace(self, schema=narrow(self.schema, columns, self.describe()))

    def with_rows(self, offset: int, length: int) -> Self:
        """The same source, free to leave out rows outside of `length` rows from `offset` on (negative: from the end), of those that it gives now.

        A source that does not know how many rows it has stays as it is: what asks for so few of its rows takes them out itself.
        """
        return self

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        """A source has no inputs: the fixed schema."""
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        """Sources are not applied to inputs; the task's first frame is `scan(split)`."""
        raise TypeError(f"{self.name} is a source: call scan(split)")

    def diagnose(self, split: Split, error: BaseException) -> HpcflowError | None:
        """After a task on `split` failed with `error`: the SourceError naming the file and the damaged part, or None when the split reads well.

        Runs on the worker that failed; may read the split again.
        """
        return None


READ_ERRORS = (Exception, pl.exceptions.PanicException)
"""What reading a damaged file may raise: Polars' decoders panic on some, and that is no `Exception`."""


def named_source_error(error: BaseException, reads: Iterable[tuple[Source, Split]]) -> HpcflowError | None:
    """For a task over these splits that failed with `error`: the error that names the damaged file, or None when the files are not to blame.

    Reads the splits again, so only after errors that reading can cause.
    """
    if isinstance(error, HpcflowError) or not isinstance(error, pl.exceptions.PolarsError | pl.exceptions.PanicException | OSError):
        return None
    return next((found for source, split in reads if (found := source.diagnose(split, error)) is not None), None)


def even_ranges(total: int, parts: int) -> list[tuple[int, int]]:
    """`parts` neighbouring ranges (start, stop) over `total` units whose lengths differ by at most one."""
    return [(total * part // parts, total * (part + 1) // parts) for part in range(parts)]


def window_of(total: int, offset: int, length: int) -> tuple[int, int]:
    """(start, stop) of `length` rows from `offset` on (negative: from the end) within `total` rows.

    >>> window_of(10, 3, 4), window_of(10, -2, 2), window_of(1, 0, 5), window_of(1, -5, 5)
    ((3, 7), (8, 10), (0, 1), (0, 1))
    """
    start = offset if offset >= 0 else total + offset
    return min(max(start, 0), total), max(0, min(start + length, total))


def fixed_width_bytes(dtype: pl.DataType) -> float | None:
    """Bytes of one value in memory, or None for dtypes of variable length."""
    if isinstance(dtype, pl.Struct):
        fields = [fixed_width_bytes(pl.Field(field.name, field.dtype).dtype) for field in dtype.fields]  # type: ignore[arg-type]
        return None if any(width is None for width in fields) else sum(width for width in fields if width is not None)
    if isinstance(dtype, pl.Array):
        inner = fixed_width_bytes(dtype.inner)  # type: ignore[arg-type]
        return None if inner is None else inner * math.prod(dtype.shape)
    if isinstance(dtype, pl.Boolean | pl.Null):
        return 0.125
    widths = {pl.Int8: 1, pl.UInt8: 1, pl.Int16: 2, pl.UInt16: 2, pl.Int32: 4, pl.UInt32: 4, pl.Float32: 4, pl.Date: 4, pl.Categorical: 4, pl.Enum: 4}
    widths |= {pl.Int64: 8, pl.UInt64: 8, pl.Float64: 8, pl.Datetime: 8, pl.Duration: 8, pl.Time: 8, pl.Int128: 16, pl.UInt128: 16, pl.Decimal: 16}
    return widths.get(dtype.base_type())


def narrow(schema: pl.Schema, columns: tuple[str, ...], what: str) -> pl.Schema:
    """`schema` with only `columns`, in their order; its cheapest column when there are none. ColumnNotFoundError for one that is not there."""
    for name in columns:
        if name not in schema:
            there = ", ".join(map(repr, schema)) or "no columns"
            raise ColumnNotFoundError(f"{what} has no column {name!r}{near_names(name, schema)}; it has {there}")
    if not columns and schema:
        columns = (min(schema, key=lambda name: fixed_width_bytes(schema[name]) or math.inf),)
    return pl.Schema({name: schema[name] for name in columns})

"""Rows that the driver holds: a Polars, Arrow, pandas or NumPy table or a list of items.

The frame stays on rank 0: a pickled `FromMemory` has none. The payload of each split is the slice itself, cut so that no slice passes the hint's
`target_bytes` (a single row excepted); the runtime scatters the slices once.

    FromMemory.of(pl.DataFrame({"a": [1, 2, 3]}))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import polars as pl

from hpcflow.errors import SourceError
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.source import Source, SourceStatistics, Split, SplitHint, even_ranges, narrow


class Held:
    """Lives as long as some operator holds rows of one table: by it a far master knows which rows it has got already, and when to forget them."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, eq=False)
class FromMemory(Source):
    """A table of the driver."""

    name: ClassVar[str] = "from_memory"

    frame: pl.DataFrame | None = field(repr=False)
    """The rows; None on the workers, which get theirs with their splits."""
    held: Held = field(default_factory=Held, repr=False)
    """One for a table and all its selections of columns."""

    @classmethod
    def of(cls, data: Any, schema: Any = None) -> Self:
        """Take a table (polars, pandas, anything with `__arrow_c_stream__`), a NumPy array, a dict of columns, or a list of dicts, tuples or scalars.

        Scalars become the column "value". `schema` is Polars' (names, or names and dtypes). SourceError when the data is no table.
        """
        frame = to_frame(data, schema)
        return cls(frame.schema, frame)

    def statistics(self) -> SourceStatistics:
        frame = self._held()
        return SourceStatistics(frame.height, int(frame.estimated_size()))

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        frame = self._held()
        ranges = even_ranges(frame.height, hint.splits_for(int(frame.estimated_size()), frame.height))
        slices = [part for low, high in ranges for part in _bounded(frame.slice(low, high - low), hint.target_bytes)]
        return tuple(Split(index, part, part.height, int(part.estimated_size())) for index, part in enumerate(slices))

    def scan(self, split: Split) -> pl.LazyFrame:
        frame: pl.DataFrame = split.payload
        return frame.lazy()

    def with_pushdown(self, columns: tuple[str, ...] | None, predicate: pl.Expr | None) -> Self:
        if columns is None:
            return self
        schema = narrow(self.schema, columns, "the table of the driver")
        return replace(self, schema=schema, frame=None if self.frame is None else self.frame.select(list(schema)))

    def describe(self) -> str:
        rows = "" if self.frame is None else f", {self.frame.height:,} rows"
        return f"table of the driver, {len(self.schema)} columns{rows}"

    def fingerprint(self) -> object:
        return (type(self), *(fingerprint_of(value) for value in (self.schema, self.frame)))

    def _held(self) -> pl.DataFrame:
        if self.frame is None:
            raise SourceError("a driver-held table was asked for its rows on a worker; only rank 0 has them")
        return self.frame

    def __getstate__(self) -> dict[str, Any]:
        return {"schema": self.schema, "frame": None, "held": Held()}


def to_frame(data: Any, schema: Any = None) -> pl.DataFrame:
    """`data` as a DataFrame without copying where the kind allows; SourceError names the kinds that are taken."""
    try:
        if isinstance(data, pl.LazyFrame):
            raise SourceError("a LazyFrame holds no rows; collect it first, or use the matching read_* source")
        if isinstance(data, pl.DataFrame) and schema is None:
            return data
        if isinstance(data, pl.Series) and schema is None:
            return data.to_frame()
        if _is_pandas(data):
            return pl.from_pandas(data, schema_overrides=schema)
        if isinstance(data, Sequence) and not isinstance(data, str) and data:
            if isinstance(data[0], str | bytes) or not isinstance(data[0], Mapping | Sequence | pl.Series):
                return pl.DataFrame({"value": data}, schema=schema)
            if isinstance(data[0], Sequence):
                return pl.DataFrame(data, schema=schema, orient="row", infer_schema_length=None)
        return pl.DataFrame(data, schema=schema, infer_schema_length=None)
    except SourceError:
        raise
    except Exception as error:
        takes = "give a polars, Arrow, pandas or NumPy table, a dict of columns, or a list of dicts, tuples or scalars"
        raise SourceError(f"cannot make a table of {type(data).__name__}: {error}; {takes}") from error


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.split(".")[0] == "pandas"


def _bounded(frame: pl.DataFrame, target_bytes: int) -> list[pl.DataFrame]:
    """`frame` in halves, and those again, until each is at most `target_bytes` or one row: rows may differ much in size."""
    if frame.height <= 1 or int(frame.estimated_size()) <= target_bytes:
        return [frame]
    half = frame.height // 2
    return _bounded(frame.slice(0, half), target_bytes) + _bounded(frame.slice(half), target_bytes)

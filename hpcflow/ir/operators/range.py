"""A column of integers counted, not read: `Range.of(0, 10, 2)` is 0, 2, 4, 6, 8 in the column "value".

Invariant: equals `pl.select(pl.int_range(start, end, step, dtype=dtype).alias(column))`.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import polars as pl
from polars._typing import PolarsIntegerType

from hpcflow.errors import SourceError
from hpcflow.ir.operators.source import Source, SourceStatistics, Split, SplitHint, even_ranges, fixed_width_bytes, window_of


@dataclass(frozen=True, eq=False)
class Range(Source):
    """Integers from `start` (included) to `end` (excluded) by `step`, in the one column of `schema`."""

    name: ClassVar[str] = "range"

    start: int
    end: int
    step: int

    @classmethod
    def of(cls, start: int, end: int | None = None, step: int = 1, *, name: str = "value", dtype: PolarsIntegerType = pl.Int64) -> Self:
        """As Python's `range`: one argument is the end. SourceError for a step of 0, a non-integer dtype, or values that it cannot hold."""
        if end is None:
            start, end = 0, start
        if step == 0:
            raise SourceError("range: step must not be 0")
        instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
        if not instance.is_integer():
            raise SourceError(f"range: dtype must be an integer type, got {instance}")
        values = builtins.range(start, end, step)
        try:
            count = len(values)
        except OverflowError:
            raise SourceError(f"range: {start} to {end} by {step} has more than 2**63 - 1 values") from None
        if count < 2:  # the bounds and the step may be larger than the value
            start, end, step = (start, start + 1, 1) if count else (0, 0, 1)
        if count:
            try:
                pl.Series([values[0], values[-1]], dtype=instance, strict=True)
            except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
                raise SourceError(f"range: {values[0]} to {values[-1]} does not fit {instance}; choose a wider dtype") from error
        return cls(pl.Schema({name: instance}), start, end, step)

    def statistics(self) -> SourceStatistics:
        rows = len(self._values())
        return SourceStatistics(rows, rows * self._width())

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        rows, width = len(self._values()), self._width()
        ranges = even_ranges(rows, hint.splits_for(rows * width, rows))
        return tuple(Split(index, (low, high), high - low, (high - low) * width) for index, (low, high) in enumerate(ranges))

    def scan(self, split: Split) -> pl.LazyFrame:
        low, high = split.payload
        ((column, dtype),) = self.schema.items()
        part = self._values()[low:high]
        return pl.LazyFrame().select(pl.int_range(part.start, part.stop, part.step, dtype=cast(PolarsIntegerType, dtype)).alias(column))

    def with_rows(self, offset: int, length: int) -> Self:
        values = self._values()[slice(*window_of(len(self._values()), offset, length))]
        return replace(self, start=values.start, end=values.stop, step=values.step)

    def describe(self) -> str:
        ((column, dtype),) = self.schema.items()
        return f"{self.start} to {self.end} by {self.step}, column {column!r} {dtype}"

    def _values(self) -> builtins.range:
        return builtins.range(self.start, self.end, self.step)

    def _width(self) -> int:
        return int(fixed_width_bytes(next(iter(self.schema.values()))) or 8)

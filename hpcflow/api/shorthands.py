"""Methods of `polars.LazyFrame` that say in short what others do: aggregates of whole columns, unpivot, remove, ...

Invariant: each is built of `select`, `filter`, `with_row_index` and `concat`, and gives the rows and dtypes of Polars; unpivot has the order of
`polars.DataFrame.unpivot`, one column after the other.

    dataset.sum().collect()                                     # one row
    dataset.unpivot(["jan", "feb"], index="town").collect()     # town, variable, value
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api import building
from hpcflow.api.schemas import known_columns, polars_errors
from hpcflow.arguments import AtLeastOne, Count, checked

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset


@checked
class Shorthands:
    """Base of `Dataset`."""

    if TYPE_CHECKING:

        @property
        def schema(self) -> pl.Schema: ...
        @property
        def columns(self) -> list[str]: ...
        def select(self, *exprs: Any, **named_exprs: Any) -> Dataset: ...
        def filter(self, *predicates: Any, **constraints: Any) -> Dataset: ...
        def with_row_index(self, name: str = "index", offset: Count = 0) -> Dataset: ...

    def sum(self) -> Dataset:
        """One row: the sum of each column, null where the type has none."""
        return self._aggregated("sum")

    def mean(self) -> Dataset:
        """One row: the mean of each column, null where the type has none."""
        return self._aggregated("mean")

    def min(self) -> Dataset:
        """One row: the least value of each column."""
        return self._aggregated("min")

    def max(self) -> Dataset:
        """One row: the greatest value of each column."""
        return self._aggregated("max")

    def median(self) -> Dataset:
        """One row: the median of each column, null where the type has none."""
        return self._aggregated("median")

    def std(self, ddof: int = 1) -> Dataset:
        """One row: the standard deviation of each column, with n - ddof; null where the type has none."""
        return self._aggregated("std", ddof)

    def var(self, ddof: int = 1) -> Dataset:
        """One row: the variance of each column, with n - ddof; null where the type has none."""
        return self._aggregated("var", ddof)

    def null_count(self) -> Dataset:
        """One row: how many values of each column are null."""
        return self._aggregated("null_count")

    def drop_nans(self, subset: Any = None) -> Dataset:
        """Rows without NaN in the subset (default: the floating point columns); nulls stay."""
        floats = [name for name, dtype in self.schema.items() if dtype.is_float()]
        names = floats if subset is None else known_columns(subset, self.schema, "drop_nans")
        return self.filter(pl.all_horizontal(pl.col(n).is_not_nan().fill_null(True) for n in names)) if names else self.select(pl.all())

    def remove(self, *predicates: Any, **constraints: Any) -> Dataset:
        """Rows for which not all predicates are true: what `filter` leaves out, rows with null included."""
        parsed = building.parse(predicates, {})
        parsed += [pl.col(name) == value for name, value in constraints.items()]
        return self.filter(~pl.all_horizontal(parsed).fill_null(False)) if parsed else self.filter(pl.lit(True))

    def gather_every(self, n: AtLeastOne, offset: Count = 0) -> Dataset:
        """Every n-th row, from row `offset` on."""
        index = building.fresh_name("index")
        position = pl.col(index).cast(pl.Int64) - offset
        return self.with_row_index(index).filter(position >= 0, position % n == 0).drop(index)

    def unpivot(self, on: Any = None, *, index: Any = None, variable_name: str | None = None, value_name: str | None = None) -> Dataset:
        """From columns to rows: for each column of `on` its name and its values, beside the `index` columns. See `polars.LazyFrame.unpivot`."""
        from hpcflow.api.functions import concat

        kept = [] if index is None else known_columns(index, self.schema, "unpivot")
        turned = [n for n in self.columns if n not in kept] if on is None else known_columns(on, self.schema, "unpivot")
        with polars_errors(self.schema):
            wanted = pl.LazyFrame(schema=self.schema).unpivot(turned, index=kept, variable_name=variable_name, value_name=value_name).collect_schema()
        variable, value = list(wanted)[-2:]
        parts = [self.select(*kept, pl.lit(name, dtype=pl.String).alias(variable), pl.col(name).cast(wanted[value]).alias(value)) for name in turned]
        return concat(parts)

    def _aggregated(self, name: str, *arguments: Any) -> Dataset:
        with polars_errors(self.schema):
            wanted = getattr(pl.LazyFrame(schema=self.schema), name)(*arguments).collect_schema()
        one_row = pl.DataFrame({column: [None] for column in self.schema}, schema=self.schema)  # schemas alone do not tell what a type cannot do
        expressions = []
        for column, dtype in wanted.items():
            expression = getattr(pl.col(column), name)(*arguments)
            try:
                same = one_row.select(expression).schema[column] == dtype
            except pl.exceptions.PolarsError:
                same = False
            expressions.append(expression if same else pl.lit(None, dtype=dtype).alias(column))
        return self.select(expressions)

"""User functions over the rows of a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from hpcflow.errors import SchemaError
from hpcflow.ir.operators.bare_arrays import from_array, to_array
from hpcflow.ir.operators.base import Operator, TaskInfo

Format = Literal["polars", "arrow", "numpy", "array", "pandas"]


@dataclass(frozen=True, eq=False)
class MapBatches(Operator):
    """`function(batch) -> batch`, once a non-empty partition; the result is checked against `schema`."""

    function: Callable[[Any], Any]
    schema: pl.Schema
    format: Format = "polars"
    is_deterministic: bool = False
    name = "map_batches"
    runs_user_code = True

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        df = inputs[0].collect()
        if df.height == 0:
            return pl.LazyFrame(schema=self.schema)
        return conform(from_format(self.function(to_format(df, self.format)), self.name, self.schema), self.schema, self.name).lazy()

    @property
    def deterministic(self) -> bool:
        return self.is_deterministic


@dataclass(frozen=True, eq=False)
class FlatMap(Operator):
    """`function(row: dict) -> iterable of dicts`: any number of rows for each row."""

    function: Callable[[dict[str, Any]], Iterable[dict[str, Any]]]
    schema: pl.Schema
    is_deterministic: bool = False
    name = "flat_map"
    runs_user_code = True

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        df = inputs[0].collect()
        rows = [out for row in df.iter_rows(named=True) for out in self.function(row)]
        if not rows:
            return pl.LazyFrame(schema=self.schema)
        return conform(pl.DataFrame(rows, schema_overrides=self.schema, infer_schema_length=None), self.schema, self.name).lazy()

    @property
    def deterministic(self) -> bool:
        return self.is_deterministic


def to_format(df: pl.DataFrame, format: Format) -> Any:
    """The batch as the user asked for it: a table, for "numpy" a dict of column name -> array (views where the type allows), "array" one array."""
    if format == "arrow":
        return df.to_arrow()
    if format == "pandas":
        return df.to_pandas()
    if format == "numpy":
        return {column.name: column.to_numpy() for column in df.get_columns()}
    if format == "array":
        return to_array(df)
    return df


def from_format(result: Any, operator: str, schema: pl.Schema | None = None) -> pl.DataFrame:
    """A Polars, Arrow or pandas table, a mapping of columns, or an array of the columns of `schema`, as a DataFrame."""
    if isinstance(result, pl.DataFrame):
        return result
    if isinstance(result, np.ndarray):
        return from_array(result, schema or pl.Schema(), operator)
    if isinstance(result, pl.LazyFrame):
        return result.collect()
    if isinstance(result, dict):
        return pl.DataFrame(result)
    if hasattr(result, "__arrow_c_stream__") or hasattr(result, "__arrow_c_array__"):
        return pl.DataFrame(result)
    if type(result).__module__.partition(".")[0] == "pandas":
        return pl.from_pandas(result)
    if type(result).__module__.partition(".")[0] == "pyarrow":
        converted = pl.from_arrow(result)
        assert isinstance(converted, pl.DataFrame)
        return converted
    raise SchemaError(
        f"the function of {operator} returned {type(result).__name__}; return a polars.DataFrame, a pyarrow.Table, a pandas.DataFrame, a "
        f"dict of columns or an array"
    )


def conform(df: pl.DataFrame, schema: pl.Schema, operator: str) -> pl.DataFrame:
    """`df` with exactly `schema`: equal types as they are, Null columns cast, anything else an error."""
    if df.schema == schema:
        return df
    if set(df.columns) != set(schema.names()):
        raise SchemaError(
            f"the function of {operator} returned the columns {df.columns}, declared or inferred were {schema.names()}; pass schema={{...}}"
        )
    casts = []
    for name, dtype in schema.items():
        if df.schema[name] != dtype and df.schema[name] != pl.Null:
            raise SchemaError(
                f"the function of {operator} returned column {name!r} as {df.schema[name]}, declared or inferred was {dtype}; pass schema={{...}}"
            )
        casts.append(pl.col(name).cast(dtype))
    return df.select(casts)

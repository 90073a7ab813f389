"""Tables on their way into kernels: any Arrow producer -> one chunk of Arrow columns, viewed and not copied.

Invariant: what cannot travel (Polars' Object) is refused here by column name, before any kernel sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import polars as pl

from hpcflow.errors import SchemaError
from hpcflow.native import _kernels


class ArrowStream(Protocol):
    """What has the Arrow PyCapsule interface: Polars, pyarrow, pandas, DuckDB, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def as_frame(data: pl.DataFrame | ArrowStream) -> pl.DataFrame:
    """A Polars DataFrame over the same memory. Raises `SchemaError` for what is no table."""
    if isinstance(data, pl.DataFrame):
        return data
    if not hasattr(data, "__arrow_c_stream__"):
        raise SchemaError(
            f"{type(data).__module__}.{type(data).__qualname__} is no table: give a polars.DataFrame, or what has the Arrow C stream interface "
            "(pyarrow, pandas). Arrays go through the communicator's own calls (ctx.comm.Allgather), or as columns of a table"
        )
    return pl.DataFrame(data)


def kernel_table(data: pl.DataFrame | ArrowStream) -> _kernels.Table:
    """The columns as kernels take them. Raises `SchemaError` for a column that cannot travel. Several chunks are made one first."""
    df = as_frame(data)
    schema = kernel_schema(df.schema)
    if df.n_chunks("first") > 1:
        df = df.rechunk()
    return _kernels.Table(schema, df.__arrow_c_stream__())


def kernel_schema(schema: Mapping[str, pl.DataType]) -> _kernels.Schema:
    """The wire layout of a schema; cached."""
    return _build_schema(tuple(schema.items()))


@lru_cache(maxsize=512)
def _build_schema(fields: tuple[tuple[str, pl.DataType], ...]) -> _kernels.Schema:
    for name, dtype in fields:
        if "\0" in name:  # Arrow's C interface has names as C strings, and Polars ends the process
            raise SchemaError(f"column {name!r} has a NUL character in its name and cannot travel between workers: rename it")
        if _contains(dtype, pl.Object):
            message = f"column {name!r} has dtype {dtype}: Python objects cannot travel between workers; cast it, or drop it before the shuffle"
            raise SchemaError(message)
    return _kernels.Schema(pl.DataFrame(schema=dict(fields)).__arrow_c_stream__())


@lru_cache(maxsize=512)
def categorical_columns(fields: tuple[tuple[str, pl.DataType], ...]) -> dict[str, pl.DataType]:
    """The columns in which a Categorical occurs: they travel as strings and are cast back."""
    return {name: dtype for name, dtype in fields if _contains(dtype, pl.Categorical)}


def _contains(dtype: pl.DataType, wanted: type[pl.DataType]) -> bool:
    if isinstance(dtype, wanted) or dtype == wanted:
        return True
    if isinstance(dtype, pl.Struct):
        return any(_contains(field.dtype, wanted) for field in dtype.fields)  # type: ignore[arg-type]
    parts = [getattr(dtype, name, None) for name in ("inner", "key", "value")]
    return any(_contains(part, wanted) for part in parts if part is not None)


def without_categoricals(df: pl.DataFrame) -> pl.DataFrame:
    """The table with categories, nested ones too, as their strings."""
    columns = categorical_columns(tuple(df.schema.items()))
    return df.cast({name: _as_strings(dtype) for name, dtype in columns.items()}) if columns else df


def _as_strings(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Categorical):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_as_strings(dtype.inner))  # type: ignore[arg-type]
    if isinstance(dtype, pl.Array):
        return pl.Array(_as_strings(dtype.inner), dtype.size)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _as_strings(field.dtype) for field in dtype.fields})  # type: ignore[arg-type]
    return dtype

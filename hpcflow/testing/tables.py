"""A table with one column of every dtype that rows may have, for tests of everything that stores or sends rows.

    table_of_every_type(100).schema

Invariant: a function of `rows` alone; every column has nulls, empty values and values at the edge of its range; no column is of dtype Object.
"""

from __future__ import annotations

import datetime as dt
import math

import polars as pl

INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128)


def table_of_every_type(rows: int) -> pl.DataFrame:
    """`rows` rows, one column a dtype, named after it."""
    number = pl.int_range(rows, dtype=pl.Int64)
    base = pl.DataFrame({"n": range(rows)}, schema={"n": pl.Int64})
    text = pl.when(number % 3 == 0).then(pl.lit("")).otherwise(pl.lit("text that is longer than twelve bytes, é ") + number.cast(pl.String))
    label = pl.lit("label ") + (number % 5).cast(pl.String)
    columns = {
        "bool": number % 2 == 0,
        **{str(dtype): _edges(number, dtype) for dtype in INTEGERS},
        "f32": (number / 7).cast(pl.Float32),
        "f64": pl.when(number % 4 == 0).then(pl.lit(math.nan)).when(number % 4 == 1).then(pl.lit(-0.0)).otherwise(number / 7),
        "string": text,
        "binary": text.cast(pl.Binary),
        "categorical": label.cast(pl.Categorical),
        "enum": label.cast(pl.Enum([f"label {n}" for n in range(5)])),
        "decimal": number.cast(pl.Decimal(38, 4)),
        "date": pl.lit(dt.date(1969, 12, 31)) + pl.duration(days=number),
        "time": number.cast(pl.Time),
        "datetime_ms": number.cast(pl.Datetime("ms")),
        "datetime_ns": number.cast(pl.Datetime("ns", "Europe/Vienna")),
        "duration": number.cast(pl.Duration("us")),
        "null": pl.lit(None, dtype=pl.Null),
    }
    flat = base.select(pl.when(number % 7 != 6).then(expr).alias(name) for name, expr in columns.items())
    return flat.with_columns(
        pl.when(number % 7 != 5).then(pl.concat_list("string", "string")).alias("list"),
        pl.when(number % 7 != 5).then(pl.concat_list("Int64", "Int64").cast(pl.Array(pl.Int64, 2))).alias("array"),
        pl.when(number % 7 != 5).then(pl.struct("f64", "string", "enum", "decimal")).alias("struct"),
    ).with_columns(pl.when(number % 7 != 4).then(pl.concat_list(pl.struct("Int64", "list"))).alias("nested"))


def _edges(number: pl.Expr, dtype: type[pl.DataType]) -> pl.Expr:
    lowest, highest = dtype.min(), dtype.max()  # type: ignore[attr-defined]
    return pl.when(number % 5 == 0).then(lowest).when(number % 5 == 1).then(highest).otherwise((number % 100).cast(dtype))

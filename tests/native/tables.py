"""Small tables of every type, for the tests of kernels."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl

ENUM = pl.Enum(["low", "middle", "a level with a long name"])
DAY = dt.date(2024, 2, 29)

# dtype -> some values without nulls; every list holds at least three different ones
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "int8": (pl.Int8, [1, -128, 127]),
    "int16": (pl.Int16, [1, -(2**15), 300]),
    "int32": (pl.Int32, [1, -(2**31), 70000]),
    "int64": (pl.Int64, [1, -(2**63), 2**62]),
    "int128": (pl.Int128, [1, -(2**127), 2**100]),
    "uint8": (pl.UInt8, [1, 255, 0]),
    "uint16": (pl.UInt16, [1, 65535, 0]),
    "uint32": (pl.UInt32, [1, 2**32 - 1, 0]),
    "uint64": (pl.UInt64, [1, 2**64 - 1, 0]),
    "uint128": (pl.UInt128, [1, 2**128 - 1, 2**70]),
    "float16": (pl.Float16, [1.5, -0.25, float("inf")]),
    "float32": (pl.Float32, [1.5, -0.0, float("nan")]),
    "float64": (pl.Float64, [1.5, -1e300, float("nan")]),
    "boolean": (pl.Boolean, [True, False, True]),
    "string": (pl.String, ["", "short", "a string of more than twelve bytes", "größer als zwölf Bytes", "exactly 12 b"]),
    "binary": (pl.Binary, [b"", b"\xff\x00", b"\xff" * 40]),
    "decimal": (pl.Decimal(20, 3), [Decimal("1.500"), Decimal("-7.001"), Decimal(10**15)]),
    "date": (pl.Date, [DAY, dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    "time": (pl.Time, [dt.time(1), dt.time(23, 59, 59, 999999), dt.time(0)]),
    "datetime": (pl.Datetime("us"), [dt.datetime(2024, 1, 1, 1), dt.datetime(1969, 1, 1), dt.datetime(2262, 1, 1)]),
    "datetime_zone": (pl.Datetime("ms", "Europe/Paris"), [dt.datetime(2024, 1, 1, 1), dt.datetime(1969, 1, 1), dt.datetime(2100, 1, 1)]),
    "duration": (pl.Duration("ns"), [dt.timedelta(1), dt.timedelta(-3, 5), dt.timedelta(0)]),
    "categorical": (pl.Categorical, ["red", "a colour with a long name", "green"]),
    "categorical_named": (pl.Categorical(pl.Categories("shades", physical=pl.UInt8)), ["red", "a colour with a long name", "green"]),
    "enum": (ENUM, ["low", "a level with a long name", "middle"]),
    "null": (pl.Null, [None, None, None]),
    "list": (pl.List(pl.Int32), [[1, 2], [], [None, 3]]),
    "list_string": (pl.List(pl.String), [["x", None], [], ["a string of more than twelve bytes"] * 3]),
    "list_list": (pl.List(pl.List(pl.Int8)), [[[1], [], None], [], [[2, 3]]]),
    "list_categorical": (pl.List(pl.Categorical), [["red"], [], ["green", None]]),
    "list_enum": (pl.List(ENUM), [["low"], [], ["middle", None]]),
    "list_boolean": (pl.List(pl.Boolean), [[True, None], [], [False] * 9]),
    "array": (pl.Array(pl.Int16, 2), [[1, 2], [3, None], [5, 6]]),
    "array_string": (pl.Array(pl.String, 2), [["x", "y"], ["a string of more than twelve bytes", None], ["", ""]]),
    "array_two": (pl.Array(pl.Array(pl.Int8, 2), 2), [[[1, 2], [3, 4]], [[5, None], [7, 8]], [None, [1, 2]]]),
    "struct": (
        pl.Struct({"a": pl.Int64, "b": pl.String}),
        [{"a": 1, "b": "x"}, {"a": None, "b": "a string of more than twelve bytes"}, {"a": 2, "b": None}],
    ),
    "struct_nested": (
        pl.Struct({"l": pl.List(pl.Struct({"x": pl.Float32})), "e": ENUM}),
        [{"l": [{"x": 1.0}, None], "e": "low"}, {"l": None, "e": "middle"}, {"l": [], "e": None}],
    ),
    "list_struct": (pl.List(pl.Struct({"k": pl.Categorical, "v": pl.Boolean})), [[{"k": "red", "v": True}], [], [None, {"k": None, "v": False}]]),
    "map": (pl.Map(pl.String, pl.Int64), [{"a": 1, "b": 2}, {}, {"a long key of this map": None}]),
}
SHAPES = ("plain", "nulls", "all_null", "empty", "one_row", "sliced", "sliced_nulls", "chunks")


def column(type_name: str, shape: str, rows: int = 61) -> pl.Series:
    """A column of the type: `rows` rows or, by its shape, other than that."""
    dtype, values = VALUES[type_name]
    cycle = [values[(i * i + i // 3) % len(values)] for i in range(rows)]
    with_nulls = [None if i % 5 in (1, 2) else v for i, v in enumerate(cycle)]
    build = {
        "plain": cycle,
        "nulls": with_nulls,
        "all_null": [None] * rows,
        "empty": [],
        "one_row": cycle[1:2],
        "sliced": cycle,
        "sliced_nulls": with_nulls,
        "chunks": with_nulls,
    }[shape]
    series = pl.Series(type_name, build, dtype=dtype)
    if shape.startswith("sliced"):
        series = series[7:-9]
    if shape == "chunks":
        series = pl.concat([series[:10], series[10:11], series[11:]], rechunk=False)
    return series


def table(shape: str, rows: int = 61) -> pl.DataFrame:
    """All types side by side."""
    return pl.DataFrame([column(name, shape, rows) for name in VALUES])

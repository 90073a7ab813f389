"""Which row groups a predicate can be true in, by the minima and maxima that Parquet footers carry.

Invariant: never rules out a row group with a row for which the predicate is true. Only conjunctions and disjunctions of `column <op> literal`,
`is_null`, `is_not_null`, `is_between` and `is_in` are understood; anything else may match. Polars itself compares, on a small frame of minima and
maxima, so its type rules hold.

    may_match(footers, schema, pl.col("day") >= date(2024, 1, 1))     # bool[row groups]
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl

from hpcflow.ir.operators.parquet_footers import Footers

_MIRRORED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq"}


def may_match(footers: Footers, schema: pl.Schema, predicate: pl.Expr) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """bool[groups]: False where no row of the row group satisfies the row-wise `predicate`."""
    everything = np.ones(len(footers.group_rows), dtype=np.bool_)
    columns = [name for name in dict.fromkeys(predicate.meta.root_names()) if name in schema and _is_ordered(schema[name])]
    test = _test(predicate, schema, frozenset(columns))
    if test is None:
        return everything
    frame = pl.DataFrame([column for name in columns for column in _extremes(footers, name, schema[name])])
    try:
        return frame.select(test.fill_null(True).alias("keep")).to_series().to_numpy().astype(np.bool_)
    except pl.exceptions.PolarsError:  # a comparison that Polars refuses: the filter itself will say so
        return everything


def _is_ordered(dtype: pl.DataType) -> bool:
    """Dtypes whose extremes come out of a footer unrounded and in Polars' order."""
    timestamps = isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns"
    return dtype.is_integer() or dtype.is_float() or dtype in (pl.String, pl.Boolean, pl.Date) or timestamps


def _test(expr: pl.Expr, schema: pl.Schema, usable: frozenset[str]) -> pl.Expr | None:
    """An expression over the extremes that is False only where `expr` is true for no row; None when nothing can be said."""
    try:
        tree = json.loads(expr.meta.serialize(format="json"))
    except Exception:  # Python functions cannot be looked into
        return None
    inputs = list(reversed(expr.meta.pop()))
    if "BinaryExpr" in tree:
        return _binary(tree["BinaryExpr"]["op"], inputs[0], inputs[1], schema, usable)
    kind = tree.get("Function", {}).get("function", {})
    boolean = kind.get("Boolean") if isinstance(kind, dict) else None
    name = _column(inputs[0], usable) if inputs else None
    if boolean is None or name is None:
        return None
    if boolean == "IsNull":
        return pl.col(f"{name}\0nulls") > 0
    if boolean == "IsNotNull":
        return pl.col(f"{name}\0nulls") < pl.col(f"{name}\0rows")
    if isinstance(boolean, dict) and "IsBetween" in boolean:
        closed = boolean["IsBetween"]["closed"]
        low = _compare("GtEq" if closed in ("Both", "Left") else "Gt", name, inputs[1], schema)
        high = _compare("LtEq" if closed in ("Both", "Right") else "Lt", name, inputs[2], schema)
        return _both(low, high)
    if isinstance(boolean, dict) and "IsIn" in boolean and not boolean["IsIn"]["nulls_equal"]:
        return _is_in(name, inputs[1], schema)
    return None


def _is_in(name: str, values: pl.Expr, schema: pl.Schema) -> pl.Expr | None:
    """Between the least and the greatest of the values."""
    if values.meta.root_names():
        return None
    listed = pl.select(values.explode() if isinstance(pl.select(values).dtypes[0], pl.List) else values).to_series().drop_nulls()
    if len(listed) == 0 or (listed.dtype.is_float() and listed.is_nan().any()):
        return None
    return _both(_compare("GtEq", name, pl.lit(listed.min()), schema), _compare("LtEq", name, pl.lit(listed.max()), schema))


def _binary(op: str, left: pl.Expr, right: pl.Expr, schema: pl.Schema, usable: frozenset[str]) -> pl.Expr | None:
    if op in ("And", "LogicalAnd"):
        return _both(_test(left, schema, usable), _test(right, schema, usable))
    if op in ("Or", "LogicalOr"):
        first, second = _test(left, schema, usable), _test(right, schema, usable)
        return None if first is None or second is None else first.fill_null(True) | second.fill_null(True)
    if op not in _MIRRORED:
        return None
    name = _column(left, usable)
    if name is not None:
        return _compare(op, name, right, schema)
    name = _column(right, usable)
    return None if name is None else _compare(_MIRRORED[op], name, left, schema)


def _compare(op: str, name: str, literal: pl.Expr, schema: pl.Schema) -> pl.Expr | None:
    """`name <op> literal` over the extremes. Statistics leave NaN out, and Polars orders it above all numbers: a maximum of floats bounds nothing."""
    if literal.meta.root_names() or not _is_scalar(literal):
        return None
    low, high = pl.col(f"{name}\0min"), pl.col(f"{name}\0max")
    upper: pl.Expr | None = {"Gt": high > literal, "GtEq": high >= literal, "Eq": high >= literal}.get(op)
    lower: pl.Expr | None = {"Lt": low < literal, "LtEq": low <= literal, "Eq": low <= literal}.get(op)
    if schema[name].is_float():
        upper = upper if op == "Eq" else None
    return _both(lower, upper)


def _is_scalar(literal: pl.Expr) -> bool:
    """One value, neither null nor NaN."""
    try:
        value = pl.select(literal).to_series()
    except Exception:  # not a literal after all
        return False
    return len(value) == 1 and value[0] is not None and not (isinstance(value[0], float) and math.isnan(value[0]))


def _both(first: pl.Expr | None, second: pl.Expr | None) -> pl.Expr | None:
    if first is None or second is None:
        return second if first is None else first
    return first.fill_null(True) & second.fill_null(True)


def _column(expr: pl.Expr, usable: frozenset[str]) -> str | None:
    """The name, when `expr` is nothing but a column that has an order."""
    name = expr.meta.output_name(raise_if_undetermined=False)
    return name if expr.meta.is_column() and name in usable else None


def _extremes(footers: Footers, name: str, dtype: pl.DataType) -> list[pl.Series]:
    """Minimum, maximum, null count and rows of a column in every row group, null where not known."""
    rows: list[tuple[Any, Any, int | None]] = []
    where: dict[int, int | None] = {}
    for file, group in zip(footers.group_file.tolist(), footers.group_index.tolist(), strict=True):
        footer = footers.metadata[file]
        if file not in where:
            where[file] = _leaf(footer, name)
        rows.append(_group_extremes(footer, group, where[file]))
    lows, highs, nulls = ([None if row[part] != row[part] else row[part] for row in rows] for part in range(3))  # a NaN extreme says nothing
    return [
        pl.Series(f"{name}\0min", lows, dtype=dtype, strict=False),
        pl.Series(f"{name}\0max", highs, dtype=dtype, strict=False),
        pl.Series(f"{name}\0nulls", nulls, dtype=pl.Int64),
        pl.Series(f"{name}\0rows", footers.group_rows),
    ]


def _leaf(footer: Any, name: str) -> int | None:
    """Number of the column's leaf in the file; None when there is none or it is nested: a field b of a struct a has the path "a.b" too."""
    leaves = [] if footer is None else [footer.schema.column(index) for index in range(footer.num_columns)]
    return next((index for index, leaf in enumerate(leaves) if leaf.path == leaf.name == name), None)


def _group_extremes(footer: Any, group: int, leaf: int | None) -> tuple[Any, Any, int | None]:
    statistics = None if leaf is None else footer.row_group(group).column(leaf).statistics
    if statistics is None:
        return None, None, None
    nulls = statistics.null_count if statistics.has_null_count else None
    if not statistics.has_min_max:
        return None, None, nulls
    try:
        return statistics.min, statistics.max, nulls
    except (ValueError, NotImplementedError, OverflowError):  # not text, a type pyarrow does not turn into Python, a year that Python does not have
        return None, None, nulls

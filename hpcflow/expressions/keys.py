"""Keys: expressions that give one value a row, and the types in which the keys of two tables meet.

>>> import polars as pl
>>> common_key_types(pl.Schema({"a": pl.Int32}), pl.Schema({"b": pl.Int64}), [pl.col("a")], [pl.col("b")])[0][0].meta.is_column()
False
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from hpcflow.errors import UnsupportedExpressionError
from hpcflow.expressions.classify import classify
from hpcflow.expressions.expand import expand
from hpcflow.expressions.functions import Kind


def row_wise_keys(exprs: Sequence[pl.Expr | str], schema: pl.Schema, what: str) -> list[pl.Expr]:
    """Expanded expressions that must be row-wise (keys of all kinds); `what` names the operator in the error."""
    expanded = expand(exprs, schema)
    for expr in expanded:
        found = classify(expr, schema)
        if found.kind is not Kind.ROW_WISE:
            raise UnsupportedExpressionError(
                f"{what}: a key must be computed row by row, and {found.node} is not: {found.reason}; add it as a column first"
            )
    return expanded


def common_key_types(left: pl.Schema, right: pl.Schema, lefts: Sequence[pl.Expr], rights: Sequence[pl.Expr]) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """Keys of a join as they are hashed: those whose types differ (and which Polars joins all the same) as their common type."""
    result: tuple[list[pl.Expr], list[pl.Expr]] = ([], [])
    for a, b in zip(lefts, rights, strict=True):
        one = pl.LazyFrame(schema=left).select(a.alias("k")).collect_schema()["k"]
        two = pl.LazyFrame(schema=right).select(b.alias("k")).collect_schema()["k"]
        if one == two:
            result[0].append(a)
            result[1].append(b)
            continue
        common = pl.concat([pl.Series("k", [], dtype=one).to_frame(), pl.Series("k", [], dtype=two).to_frame()], how="vertical_relaxed").schema["k"]
        result[0].append(a if one == common else a.cast(common))
        result[1].append(b if two == common else b.cast(common))
    return result

"""Which aggregations look at the order of the rows that they aggregate.

Invariant: an aggregation that `reads_order` is False of gives the same value (floats up to rounding) for any order of the rows. What is not on the
list here is taken to look.

    >>> import polars as pl
    >>> schema = pl.Schema({"v": pl.Int64})
    >>> reads_order(pl.col("v").sum() / pl.len(), schema), reads_order(pl.col("v").first(), schema), reads_order(pl.col("v"), schema)
    (False, True, True)
"""

from __future__ import annotations

import polars as pl

from hpcflow.expressions.classify import classify
from hpcflow.expressions.functions import RULES, Kind
from hpcflow.expressions.schemas import SchemaLike
from hpcflow.expressions.tree import function_name, split_node, to_tree, walk

_NODES = frozenset(["Column", "Literal", "Len", "Alias", "KeepName", "RenameAlias", "BinaryExpr", "Cast", "Ternary", "Filter"])
_AGGREGATES = frozenset(["Sum", "Mean", "Min", "Max", "Median", "NUnique", "Count", "Std", "Var"])
_FUNCTIONS = frozenset(
    ["NullCount", "Product", "Quantile", "DropNulls", "DropNans"]
    + [f"Boolean.{name}" for name in ("Any", "All", "HasNulls", "IsEmpty")]
    + [f"Bitwise.{name}" for name in ("And", "Or", "Xor")]
)


def reads_order(aggregation: pl.Expr, schema: SchemaLike) -> bool:
    """Whether the value of `aggregation` over rows of `schema` may depend on their order."""
    return not classify(aggregation, schema).scalar or any(not _is_free(node) for node in walk(to_tree(aggregation)))


def _is_free(node: object) -> bool:
    name, body = split_node(node)
    if name == "Agg":
        return next(iter(body)) in _AGGREGATES
    if name == "Function":
        function = function_name(body)
        rule = RULES.get(function)
        return function in _FUNCTIONS or (rule is not None and rule.kind is Kind.ROW_WISE)
    return name in _NODES

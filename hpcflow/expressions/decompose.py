"""Decomposition of aggregations into partial, merge and final expressions: the combiner of group_by and of global aggregates.

Invariant: for any split of the rows into consecutive partitions, evaluating `partial` per partition (and group), `merge` over the partials in
partition order, and `final` gives exactly Polars' value, dtype and name (floats up to rounding). What is not on the list here does not decompose:
`None`, and the rows themselves must travel.

    >>> import polars as pl
    >>> schema = pl.Schema({"v": pl.Int8})
    >>> parts = decompose(pl.col("v").mean(), schema)
    >>> len(parts.partial), decompose(pl.col("v").median(), schema)
    (2, None)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from hpcflow.expressions import partials
from hpcflow.expressions.classify import classify_tree
from hpcflow.expressions.functions import RULES, Kind
from hpcflow.expressions.partials import Final, PartialBook
from hpcflow.expressions.schemas import SchemaLike, dtype_of
from hpcflow.expressions.tree import Tree, alias, children, from_tree, function_name, map_children, output_name, split_node, to_tree


@dataclass(frozen=True)
class Decomposition:
    """One aggregation as three steps.

    partial: evaluated in the select or group_by of one partition; columns `__p0`, `__p1`, ...
    merge: aggregates these columns into the same columns; may be repeated.
    final: over merged columns, with the output name and dtype of the aggregation.
    """

    partial: tuple[pl.Expr, ...]
    merge: tuple[pl.Expr, ...]
    final: pl.Expr


@dataclass(frozen=True)
class GroupDecomposition:
    """A list of aggregations with shared partials; `final[i]` is None where expression i does not decompose."""

    partial: tuple[pl.Expr, ...]
    merge: tuple[pl.Expr, ...]
    final: tuple[pl.Expr | None, ...]

    @property
    def complete(self) -> bool:
        """True when every expression decomposes."""
        return all(one is not None for one in self.final)


def decompose(expr: pl.Expr, schema: SchemaLike) -> Decomposition | None:
    """Partial, merge and final expressions of one aggregation over rows of `schema`, or None."""
    whole = decompose_all([expr], schema)
    return None if whole.final[0] is None else Decomposition(whole.partial, whole.merge, whole.final[0])


def decompose_all(exprs: Sequence[pl.Expr], schema: SchemaLike, prefix: str = "__p") -> GroupDecomposition:
    """Decompose several aggregations of one group_by or select; equal partials are computed once. Partial columns are named `prefix` + number,
    and `prefix` gets underscores in front while `schema` has such a column."""
    while any(name.startswith(prefix) for name in schema):
        prefix = f"_{prefix}"
    book = PartialBook(prefix)
    finals = []
    for expr in exprs:
        trial = book.copy()
        final = decompose_tree(to_tree(expr), schema, trial)
        if final is not None:
            book = trial
        finals.append(final)
    return GroupDecomposition(tuple(book.partial), tuple(book.merge), tuple(finals))


def decompose_tree(tree: Tree, schema: SchemaLike, book: PartialBook) -> pl.Expr | None:
    """The final expression of an aggregation tree, its partials noted in `book`; None (and a `book` to throw away) when it does not decompose."""
    classification = classify_tree(tree, schema)
    if classification.kind is not Kind.AGGREGATION or not classification.scalar:
        return None
    final = _final(tree, schema, book)
    return None if final is None else from_tree(final).alias(output_name(tree))


def _final(tree: Tree, schema: SchemaLike, book: PartialBook) -> Tree | None:
    """The tree over merged columns: aggregates replaced by their final expressions, row-wise functions kept."""
    name, _ = split_node(tree)
    if name == "Literal":
        return tree
    if _is_aggregate(tree):
        final = _aggregate(tree, schema, book)
        return None if final is None else to_tree(final.alias(output_name(tree)))
    parts = [_final(child, schema, book) for child in children(tree)]
    if not parts or any(part is None for part in parts):
        return None
    if name in ("KeepName", "RenameAlias"):  # these read the name of the column they were made of
        return alias(parts[0], output_name(tree))
    rest = iter(parts)
    return map_children(tree, lambda _: next(rest))


def _is_aggregate(tree: Tree) -> bool:
    name, body = split_node(tree)
    if name in ("Agg", "Len"):
        return True
    if name == "Function":
        rule = RULES.get(function_name(body))
        return rule is None or rule.kind is not Kind.ROW_WISE
    return name not in ("Alias", "KeepName", "RenameAlias", "BinaryExpr", "Cast", "Ternary")


def _aggregate(tree: Tree, schema: SchemaLike, book: PartialBook) -> pl.Expr | None:
    name, body = split_node(tree)
    if name == "Len":
        count = book.add("rows", "Len", lambda x: [x.cast(pl.UInt64)], lambda columns: [columns[0].sum()])[0]
        return count.cast(pl.get_index_type())
    found = _rule(name, body)
    if found is None:
        return None
    rule, of = found
    if not _is_rows(of, schema) and not _is_filtered_rows(of, schema):
        return None
    try:
        return rule(book, of, dtype_of(of, schema), dtype_of(tree, schema))
    except pl.exceptions.PolarsError:
        return None  # ill-typed: Polars words the error when the rows are evaluated


def _rule(name: str, body: Any) -> tuple[Final, Tree] | None:
    """The decomposition rule of an aggregate node, and its input."""
    if name == "Agg":
        ((variant, inner),) = body.items()
        if variant in ("Min", "Max"):
            return partials.extreme_of(variant.lower(), inner["propagate_nans"]), inner["input"]
        if variant == "Count":
            return (partials.length_of if inner["include_nulls"] else partials.count_of), inner["input"]
        if variant in ("Var", "Std"):
            return (partials.variance_of if variant == "Var" else partials.deviation_of)(inner[1]), inner[0]
        rule = _PLAIN_AGGREGATES.get(variant)
        return None if rule is None else (rule, inner)
    if name != "Function":
        return None
    function, of = function_name(body), body["input"][0]
    if function in ("Boolean.Any", "Boolean.All"):
        kind = function.removeprefix("Boolean.")
        ignore_nulls = body["function"]["Boolean"][kind]["ignore_nulls"]
        return partials.truth_of(kind.lower(), ignore_nulls), of
    if function in ("Bitwise.And", "Bitwise.Or", "Bitwise.Xor"):
        return partials.bitwise_of(function.removeprefix("Bitwise.")), of
    rule = _PLAIN_FUNCTIONS.get(function)
    return None if rule is None else (rule, of)


_PLAIN_AGGREGATES: dict[str, Final] = {
    "Sum": partials.sum_of,
    "Mean": partials.mean_of,
    "First": partials.end_of("first"),
    "Last": partials.end_of("last"),
    "FirstNonNull": partials.first_non_null_of,
    "LastNonNull": partials.last_non_null_of,
}
_PLAIN_FUNCTIONS: dict[str, Final] = {"NullCount": partials.null_count_of, "Product": partials.product_of, "Boolean.HasNulls": partials.has_nulls_of}


def _is_rows(tree: Tree, schema: SchemaLike) -> bool:
    """A row-wise expression with a value per row."""
    found = classify_tree(tree, schema)
    return found.kind is Kind.ROW_WISE and not found.scalar


def _is_filtered_rows(tree: Tree, schema: SchemaLike) -> bool:
    """Rows dropped or exploded one by one, and row-wise functions of that alone: a partition's result is a slice of the whole's."""
    name, body = split_node(tree)
    if name == "Filter":
        return _is_rows(body["input"], schema) and _is_rows(body["by"], schema)
    if name == "Explode" or (name == "Function" and function_name(body) in ("DropNulls", "DropNans", "ArrayExpr.Explode")):
        inner = children(tree)[0]
        return _is_rows(inner, schema) or _is_filtered_rows(inner, schema)
    if _is_aggregate(tree):
        return False
    inputs = [child for child in children(tree) if not classify_tree(child, schema).scalar]
    constants = [child for child in children(tree) if classify_tree(child, schema).scalar]
    return len(inputs) == 1 and _is_filtered_rows(inputs[0], schema) and all(classify_tree(one, schema).kind is Kind.ROW_WISE for one in constants)


def is_partition_slice(tree: Tree, schema: SchemaLike) -> bool:
    """True for a length-changing expression that may run partition by partition (`filter`, `drop_nulls`, `explode` of rows)."""
    return _is_filtered_rows(tree, schema)

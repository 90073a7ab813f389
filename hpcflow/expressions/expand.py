"""Expansion: selectors, `pl.all()`, regexes and unnested structs become one expression per output.

Invariant: the outputs are the ones of `LazyFrame.select(exprs)`; for every expression that holds a selector this is checked against Polars' own
expansion.

    >>> import polars as pl
    >>> [one.meta.output_name() for one in expand([pl.all() * 2, "k"], pl.Schema({"k": pl.Int64, "v": pl.Float64}))]
    ['k', 'v', 'k']
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from hpcflow.errors import ColumnNotFoundError, UnsupportedExpressionError, near_names
from hpcflow.expressions.functions import EXPANDS_INPUTS
from hpcflow.expressions.schemas import SchemaLike, dtype_of, empty_frame
from hpcflow.expressions.tree import Tree, children, from_tree, function_name, split_node, to_tree, walk, with_children


def expand(exprs: Iterable[pl.Expr | str], schema: SchemaLike, keys: Sequence[str] = ()) -> list[pl.Expr]:
    """One single-output expression per output of `select(exprs)`. A string is a column name.

    keys: output names of a group_by's keys: then the outputs are those of `group_by(keys).agg(exprs)`, whose `pl.all()` leaves the keys out.
    Raises ColumnNotFoundError (with near names) for unknown columns, UnsupportedExpressionError for a selector in a place that is not known here.
    """
    scope = Scope(schema, tuple(keys))
    expanded: list[pl.Expr] = []
    for expr in [exprs] if isinstance(exprs, (pl.Expr, str)) else exprs:
        expanded += _expand_one(pl.col(expr) if isinstance(expr, str) else expr if isinstance(expr, pl.Expr) else pl.lit(expr), scope)
    return expanded


@dataclass(frozen=True)
class Scope:
    """Where selectors look: all columns, or those of a group_by that are not its keys."""

    schema: SchemaLike
    keys: tuple[str, ...] = ()

    def project(self, exprs: list[pl.Expr]) -> pl.LazyFrame:
        """`select(exprs)` or `group_by(keys).agg(exprs)` on no rows. Unknown columns raise ColumnNotFoundError."""
        frame = empty_frame(self.schema)
        if not self.keys:
            return frame.select(exprs)
        return frame.group_by([pl.lit(0).alias(key) for key in self.keys]).agg(exprs)

    def columns_of(self, selector: pl.Expr) -> list[str]:
        """The columns of a selector, in order."""
        mark = "\x00"  # keeps a column that is selected by name apart from the key of that name
        try:
            names = self.project([selector.name.suffix(mark)]).collect_schema().names()
        except pl.exceptions.ColumnNotFoundError as error:
            raise ColumnNotFoundError(f"{str(error).splitlines()[0]} (columns: {_listed(self.schema)})") from error
        return [name.removesuffix(mark) for name in names[len(self.keys) :]]


def _expand_one(expr: pl.Expr, scope: Scope) -> list[pl.Expr]:
    tree = to_tree(expr)
    for node in walk(tree):
        name, body = split_node(node)
        if name == "Column":
            require_column(body, scope.schema)
    if not has_several_outputs(tree):
        return [expr]
    parts = [from_tree(part) for part in expand_tree(tree, scope)]
    if scope.project([expr]).explain(optimized=False) != scope.project(parts).explain(optimized=False):
        raise UnsupportedExpressionError(f"the selector in {expr} is in a place that cannot be expanded; name the columns")
    return parts


def require_column(name: str, schema: SchemaLike) -> None:
    """Raise ColumnNotFoundError with near names unless `name` is a column."""
    if name not in schema:
        raise ColumnNotFoundError(f"column {name!r} not found{near_names(name, schema)} (columns: {_listed(schema)})")


def _listed(schema: SchemaLike, limit: int = 12) -> str:
    names = list(schema)
    return ", ".join(names[:limit]) + (f", ... {len(names) - limit} more" if len(names) > limit else "")


def has_several_outputs(tree: Tree) -> bool:
    """True when the tree holds a selector (of columns, or of the fields of a struct)."""
    return any(_selects(*split_node(node)) for node in walk(tree))


def _selects(name: str, body: object) -> bool:
    return name == "Selector" or (name == "Function" and function_name(body) == "StructExpr.SelectFields")


def expand_tree(tree: Tree, scope: Scope) -> list[Tree]:
    """All outputs of a tree: selectors side by side advance together, as in Polars; horizontal functions take them all as inputs."""
    name, body = split_node(tree)
    if name == "Selector":
        return [{"Column": column} for column in scope.columns_of(from_tree(tree))]
    if name == "Function" and function_name(body) == "StructExpr.SelectFields":
        selector = body["function"]["StructExpr"]["SelectFields"]
        return [field for one in expand_tree(body["input"][0], scope) for field in _fields(one, selector, scope.schema)]
    below = [expand_tree(child, scope) for child in children(tree)]
    if name == "Function" and function_name(body) in EXPANDS_INPUTS:
        return [{"Function": {**body, "input": [one for part in below for one in part]}}]
    if name == "StructEval":
        fields = [one for part in below[1:] for one in part]
        return [{"StructEval": {**body, "expr": one, "evaluation": fields}} for one in below[0]]
    if any(not part for part in below):
        return []
    count = max((len(part) for part in below), default=1)
    if any(len(part) not in (1, count) for part in below):
        sizes = ", ".join(str(len(part)) for part in below)
        raise UnsupportedExpressionError(f"selectors of different sizes ({sizes} columns) meet in {from_tree(tree)}; name the columns")
    if not below:
        return [tree]
    return [with_children(tree, [part[row if len(part) > 1 else 0] for part in below]) for row in range(count)]


def _fields(struct: Tree, selector: Tree, schema: SchemaLike) -> list[Tree]:
    """`struct.field("*")` as one `FieldByName` per field."""
    dtype = dtype_of(struct, schema)
    if not isinstance(dtype, pl.Struct):
        raise UnsupportedExpressionError(f"{from_tree(struct)} is not a struct but {dtype}; only structs have fields")
    fields = {field.name: field.dtype for field in dtype.fields}
    names = pl.DataFrame(schema=fields).lazy().select(from_tree({"Selector": selector})).collect_schema().names()
    return [{"Function": {"input": [struct], "function": {"StructExpr": {"FieldByName": name}}}} for name in names]

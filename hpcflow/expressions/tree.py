"""The tree of a Polars expression as plain Python values, and back.

`expr.meta.serialize()` is MessagePack with named fields; decoded, a node is `{"BinaryExpr": {"left": ..., "op": "Plus", "right": ...}}` or the name
alone (`"Len"`). The binary form is used and not JSON: JSON loses NaN, infinities and last digits of floats. Invariant: `from_tree(to_tree(e))` is
`e`, value for value; trees are never changed in place.

    >>> import polars as pl
    >>> to_tree(pl.col("v").mean())
    {'Agg': {'Mean': {'Column': 'v'}}}
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]
import polars as pl

from hpcflow.errors import UnsupportedExpressionError

Tree = Any
"""A node: a dict with one key (the node's name), or a bare string."""

_EACH = "*"
# Where the sub-expressions of a node are: field names or positions; `_EACH` marks a list of them; None: the body itself.
_CHILDREN: dict[str, tuple[Any, ...]] = {
    "Alias": ((0, ""),),
    "KeepName": ((None, ""),),
    "RenameAlias": (("expr", ""),),
    "BinaryExpr": (("left", ""), ("right", "")),
    "Cast": (("expr", ""),),
    "Ternary": (("predicate", ""), ("truthy", ""), ("falsy", "")),
    "Filter": (("input", ""), ("by", "")),
    "Sort": (("expr", ""),),
    "SortBy": (("expr", ""), ("by", _EACH)),
    "Gather": (("expr", ""), ("idx", "")),
    "Slice": (("input", ""), ("offset", ""), ("length", "")),
    "Explode": (("input", ""),),
    "Function": (("input", _EACH),),
    "AnonymousFunction": (("input", _EACH),),
    "Over": (("function", ""), ("partition_by", _EACH)),
    "Rolling": (("function", ""), ("index_column", "")),
    "Eval": (("expr", ""),),
    "StructEval": (("expr", ""), ("evaluation", _EACH)),
    "Column": (),
    "Literal": (),
    "Selector": (),
    "Field": (),
}


def to_tree(expr: pl.Expr) -> Tree:
    """The tree of `expr`. Raises UnsupportedExpressionError for what Polars cannot serialize (object literals, unpicklable functions)."""
    try:
        return msgpack.unpackb(expr.meta.serialize(), strict_map_key=False)
    except Exception as error:
        raise UnsupportedExpressionError(
            f"{_short(expr)} cannot be sent to workers: {error}; keep Python objects and open handles out of expressions"
        ) from error


def from_tree(tree: Tree) -> pl.Expr:
    """The expression of a tree."""
    return pl.Expr.deserialize(io.BytesIO(pack(tree)))


def pack(tree: Tree) -> bytes:
    """Bytes that are equal for equal trees: a key for caches and sharing."""
    packed: bytes = msgpack.packb(tree)
    return packed


def split_node(tree: Tree) -> tuple[str, Any]:
    """`(name, body)` of a node; the body of a bare name is None."""
    if isinstance(tree, str):
        return tree, None
    ((name, body),) = tree.items()
    return name, body


def function_name(body: Any) -> str:
    """The dotted name of a `Function` node's body: `Abs`, `StringExpr.Contains`, `RollingExpr`."""
    function = body["function"]
    if isinstance(function, str):
        return function
    family, inner = next(iter(function.items()))
    if family not in FAMILIES:
        return str(family)
    if isinstance(inner, str):
        return f"{family}.{inner}"
    return f"{family}.{next(iter(inner))}" if isinstance(inner, dict) and inner else str(family)


FAMILIES = frozenset(
    [
        "Boolean",
        "Bitwise",
        "StringExpr",
        "BinaryExpr",
        "TemporalExpr",
        "ListExpr",
        "ArrayExpr",
        "StructExpr",
        "MapExpr",
        "Categorical",
        "Trigonometry",
        "Business",
        "Pow",
        "Range",
        "Extension",
    ]
)


def _slots(name: str, body: Any) -> Iterator[tuple[Any, ...]]:
    """Paths below the body to each sub-expression."""
    if name == "Agg":
        ((variant, inner),) = body.items()
        if isinstance(inner, list):
            yield (variant, 0)
        elif isinstance(inner, dict) and "input" in inner:
            yield (variant, "input")
        else:
            yield (variant,)
        return
    for field, each in _CHILDREN.get(name, ()):
        if each:
            for index in range(len(body[field])):
                yield (field, index)
        else:
            yield () if field is None else (field,)
    if name == "Over" and body["order_by"] is not None:
        yield ("order_by", 0)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def is_known(tree: Tree) -> bool:
    """True when this module knows where the node keeps its sub-expressions."""
    name, _ = split_node(tree)
    return name in _CHILDREN or name in ("Agg", "Len", "Element")


def children(tree: Tree) -> list[Tree]:
    """The direct sub-expressions, in Polars' order (an `Eval`'s inner expression, which sees elements and not rows, is not one)."""
    name, body = split_node(tree)
    return [] if body is None else [_at(body, path) for path in _slots(name, body)]


def with_children(tree: Tree, new: list[Tree]) -> Tree:
    """The node with its direct sub-expressions replaced, in the order of `children`."""
    name, body = split_node(tree)
    if body is None:
        return tree
    for path, child in zip(list(_slots(name, body)), new, strict=True):
        body = _replaced(body, path, child)
    return {name: body}


def map_children(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """The node with `change` applied to each direct sub-expression; the same object when nothing changed."""
    old = children(tree)
    new = [change(child) for child in old]
    return tree if all(a is b for a, b in zip(old, new, strict=True)) else with_children(tree, new)


def walk(tree: Tree) -> Iterator[Tree]:
    """Every node, parents first."""
    yield tree
    for child in children(tree):
        yield from walk(child)


def column(name: str) -> Tree:
    """A column node."""
    return {"Column": name}


def alias(tree: Tree, name: str) -> Tree:
    """`tree` under another name."""
    return {"Alias": [tree, name]}


def output_name(tree: Tree) -> str:
    """The output name Polars gives this node."""
    try:
        return from_tree(tree).meta.output_name()
    except pl.exceptions.PolarsError:  # Polars does not say it for `name.keep()` within an expression
        name, body = split_node(tree)
        if name == "Alias":
            return str(body[1])
        if name == "KeepName":
            return from_tree(body).meta.root_names()[0]
        return output_name(children(tree)[0])


def describe(tree: Tree) -> str:
    """A short text of a node for error messages."""
    if split_node(tree)[0] == "AnonymousFunction":
        return f"a Python function of {', '.join(describe(child) for child in children(tree))}"
    try:
        return _short(from_tree(tree))
    except Exception:
        return split_node(tree)[0]


def _short(expr: pl.Expr, limit: int = 120) -> str:
    text = " ".join(str(expr).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."

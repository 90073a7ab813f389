"""Classification: how each node of an expression depends on rows, found bottom-up over every node.

Invariant: an expression is `ROW_WISE` only when every node of it is on the allow-list of `functions.py` and every condition here holds; then
evaluating it on any slice of the rows and concatenating gives exactly what evaluating it on all rows gives. What is not known is `UNSUPPORTED`,
with the reason and the node.

    >>> import polars as pl
    >>> schema = pl.Schema({"v": pl.Float64})
    >>> classify(pl.col("v") * 2, schema).kind.value, classify(pl.col("v") - pl.col("v").mean(), schema).kind.value
    ('row-wise', 'aggregation')
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from hpcflow.expressions.expand import Scope, expand_tree, has_several_outputs
from hpcflow.expressions.functions import AGGREGATES, RULES, Kind, Rule
from hpcflow.expressions.schemas import SchemaLike, dtype_of, holds_categorical
from hpcflow.expressions.tree import Tree, children, describe, from_tree, function_name, is_known, split_node, to_tree, walk

_SEVERITY = [Kind.ROW_WISE, Kind.AGGREGATION, Kind.WINDOW, Kind.LENGTH_CHANGING, Kind.ORDER_DEPENDENT, Kind.UNSUPPORTED]
_RANK = {kind: rank for rank, kind in enumerate(_SEVERITY)}


@dataclass(frozen=True)
class Classification:
    """What one expression needs.

    kind: the strongest need of any node (`ROW_WISE` < `AGGREGATION` < `WINDOW` < `LENGTH_CHANGING` < `ORDER_DEPENDENT` < `UNSUPPORTED`).
    reason: why it is not row-wise, as the end of a sentence that starts with the node; empty when row-wise.
    tree: the offending node; `node` is its text, empty when row-wise.
    scalar: the result is one value whatever the number of rows (an aggregation, or literals only).
    right_when_whole: evaluating it on all rows (or all rows of a group) in their order, in one place, gives Polars' answer.
    """

    kind: Kind
    reason: str = ""
    tree: Tree = None
    scalar: bool = False
    right_when_whole: bool = True

    @property
    def node(self) -> str:
        """The offending node as text."""
        return "" if self.tree is None else describe(self.tree)


_ELEMENT = {"Column": ""}  # how list.filter() writes the element
_ROWS = Classification(Kind.ROW_WISE)
_LITERAL = Classification(Kind.ROW_WISE, scalar=True)


def classify(expr: pl.Expr, schema: SchemaLike) -> Classification:
    """Classify one expression over rows of `schema`. Selectors are expanded first; of several outputs the strongest need counts."""
    tree = to_tree(expr)
    if has_several_outputs(tree):
        return _strongest([classify_tree(one, schema) for one in expand_tree(tree, Scope(schema))])
    return classify_tree(tree, schema)


def classify_tree(tree: Tree, schema: SchemaLike) -> Classification:
    """`classify` for a tree without selectors."""
    name, body = split_node(tree)
    if name in ("Column", "Element", "Field"):
        return _ROWS
    if name == "Literal":
        return _literal(tree)
    if name == "Len":
        return Classification(Kind.AGGREGATION, "it is the number of all rows", tree, scalar=True)
    if name == "PipeWithDtype":
        return _refuse(tree, "its function runs inside Polars; call the function on the expression yourself", whole=False)
    if not is_known(tree):
        return _refuse(tree, f"the node {name!r} is not known to be right on partitions", whole=False)
    if name == "Function":
        return _function(tree, schema)
    if name == "Gather" and _only_literals(body["idx"]):
        inputs = [classify_tree(body["expr"], schema)]
    else:
        inputs = [classify_tree(child, schema) for child in children(tree)]
    if name in ("Alias", "KeepName", "RenameAlias", "BinaryExpr", "Cast", "Ternary"):
        return _combine(inputs)
    if name == "Agg":
        return (
            _aggregate(tree, inputs, "it is one value of all rows")
            if next(iter(body)) in AGGREGATES
            else _refuse(tree, "an aggregate not known here", whole=False)
        )
    if name == "Over":
        return _over(tree, inputs)
    if name == "Eval":
        return _eval(tree, inputs, schema)
    if name == "StructEval":
        return _struct_eval(tree, inputs)
    if name == "AnonymousFunction":
        return _udf(tree, inputs)
    if name == "Gather" and body["returns_scalar"]:
        return _aggregate(tree, inputs, "it is the value at a position among all rows")
    reasons = {
        "Filter": (Kind.LENGTH_CHANGING, "it drops rows"),
        "Explode": (Kind.LENGTH_CHANGING, "it gives a row per element"),
        "Slice": (Kind.LENGTH_CHANGING, "it takes rows by their position among all rows"),
        "Gather": (Kind.LENGTH_CHANGING, "it takes rows by their position among all rows"),
        "Sort": (Kind.ORDER_DEPENDENT, "it depends on the values of all rows; use Dataset.sort()"),
        "SortBy": (Kind.ORDER_DEPENDENT, "it depends on the values of all rows; use Dataset.sort()"),
        "Rolling": (Kind.ORDER_DEPENDENT, "it depends on the neighbouring rows"),
    }
    kind, reason = reasons[name]
    return _at_least(kind, reason, tree, inputs)


def _strongest(all_of: Iterable[Classification]) -> Classification:
    return max(all_of, key=lambda one: _RANK[one.kind], default=_ROWS)


def _combine(inputs: list[Classification]) -> Classification:
    """A row-wise function of its inputs."""
    strongest = _strongest(inputs)
    whole = all(one.right_when_whole for one in inputs)
    scalar = all(one.scalar for one in inputs)
    return Classification(strongest.kind, strongest.reason, strongest.tree, scalar, whole)


def _at_least(kind: Kind, reason: str, tree: Tree, inputs: list[Classification]) -> Classification:
    """This node needs `kind`, unless an input needs more."""
    whole = all(one.right_when_whole for one in inputs)
    strongest = _strongest(inputs)
    if _RANK[strongest.kind] > _RANK[kind]:
        return Classification(strongest.kind, strongest.reason, strongest.tree, right_when_whole=whole)
    return Classification(kind, reason, tree, right_when_whole=whole)


def _aggregate(tree: Tree, inputs: list[Classification], reason: str) -> Classification:
    """One value of all rows: right whatever its inputs need, as long as they are right when whole."""
    broken = [one for one in inputs if not one.right_when_whole]
    if broken:
        return Classification(Kind.UNSUPPORTED, broken[0].reason, broken[0].tree, scalar=True, right_when_whole=False)
    return Classification(Kind.AGGREGATION, reason, tree, scalar=True)


def _refuse(tree: Tree, reason: str, *, whole: bool) -> Classification:
    return Classification(Kind.UNSUPPORTED, reason, tree, right_when_whole=whole)


def _literal(tree: Tree) -> Classification:
    body = tree["Literal"]
    if not (isinstance(body, dict) and "Series" in body):
        return _LITERAL
    if pl.select(from_tree(tree)).height == 1:
        return _LITERAL
    return _refuse(tree, "a literal Series lines up with rows by their position; put it in a column, or use is_in/replace/join", whole=True)


def _function(tree: Tree, schema: SchemaLike) -> Classification:
    body = tree["Function"]
    name = function_name(body)
    rule = _special_rule(name, tree, schema) or RULES.get(name)
    if rule is None:
        return _refuse(tree, f"the function {name!r} is not known to be right on partitions", whole=False)
    inputs = []
    for position, child in enumerate(body["input"]):
        if position in rule.literal_inputs:
            if not _only_literals(child):
                return _refuse(tree, f"input {position} of {name!r} is read as a whole and must be a literal", whole=True)
        else:
            inputs.append(classify_tree(child, schema))
    if rule.kind is Kind.ROW_WISE:
        return _combine(inputs)
    if rule.kind is Kind.AGGREGATION:
        return _aggregate(tree, inputs, rule.reason)
    if rule.kind is Kind.UNSUPPORTED:
        return _refuse(tree, rule.reason, whole=False)
    return _at_least(rule.kind, rule.reason, tree, inputs)


def _only_literals(tree: Tree) -> bool:
    return all(split_node(node)[0] not in ("Column", "Len", "Element", "Field", "AnonymousFunction") for node in walk(tree))


def _special_rule(name: str, tree: Tree, schema: SchemaLike) -> Rule | None:
    """Functions whose rule depends on their options or on the dtype of their input."""
    function, inputs = tree["Function"]["function"], tree["Function"]["input"]
    if name == "Boolean.IsIn":
        if _only_literals(inputs[1]):
            return Rule(Kind.ROW_WISE, literal_inputs=(1,))
        if isinstance(dtype_of(inputs[1], schema), (pl.List, pl.Array)):
            return None
        return Rule(Kind.ORDER_DEPENDENT, "it looks among the values of all rows; write .is_in(other.implode())")
    if name in ("Hash", "ToPhysical", "Categorical.Physical") and holds_categorical(_element_free_dtype(inputs[0], schema)):
        return Rule(Kind.UNSUPPORTED, "the physical values of a Categorical differ from process to process; cast to String or Enum first")
    if name == "Categorical.To" and "'Categorical'" in str(function["Categorical"]["To"]):
        return Rule(Kind.UNSUPPORTED, "the physical values of a Categorical differ from process to process; cast from String")
    if name == "StringExpr.Strptime" and function["StringExpr"]["Strptime"][1]["format"] is None:
        return Rule(Kind.ORDER_DEPENDENT, "without a format it is inferred from the first rows; give format=")
    if name == "FillNullWithStrategy":
        strategy = function["FillNullWithStrategy"]
        if strategy in ("Zero", "One"):
            return Rule(Kind.ROW_WISE)
        if isinstance(strategy, str):
            return Rule(Kind.ORDER_DEPENDENT, f"strategy {strategy.lower()!r} needs all rows; write .fill_null(pl.col(...).{strategy.lower()}())")
        return Rule(Kind.ORDER_DEPENDENT, "it depends on the order of all rows")
    if name == "SearchSorted":
        scalar = classify_tree(inputs[1], schema).scalar
        return (
            Rule(Kind.AGGREGATION, "it is a position among all rows") if scalar else Rule(Kind.LENGTH_CHANGING, "it gives positions among all rows")
        )
    if name == "Bin":
        method, options = next(iter(function["Bin"]["method"].items()))
        fixed = method == "Intervals" and "Breaks" in options["spec"]
        return Rule(Kind.ROW_WISE) if fixed else Rule(Kind.ORDER_DEPENDENT, "the bins depend on the values of all rows; give the breaks")
    if name == "Range.IntRange" and all(split_node(node)[0] != "Len" for child in inputs for node in walk(child)):
        return Rule(Kind.LENGTH_CHANGING, "it has a length of its own")
    return None


def _element_free_dtype(tree: Tree, schema: SchemaLike) -> pl.DataType:
    """The dtype of an input; within `list.eval` (where rows of the schema are not in sight) it is not known, and taken for the worst."""
    if any(split_node(node)[0] in ("Element", "Field") or node == _ELEMENT for node in walk(tree)):
        return pl.Categorical()
    return dtype_of(tree, schema)


def _over(tree: Tree, inputs: list[Classification]) -> Classification:
    body = tree["Over"]
    keys = inputs[1:]
    if not all(one.right_when_whole for one in inputs):
        broken = next(one for one in inputs if not one.right_when_whole)
        return Classification(Kind.UNSUPPORTED, broken.reason, broken.tree, right_when_whole=False)
    if body["mapping"] == "Explode":
        return Classification(Kind.LENGTH_CHANGING, "mapping_strategy='explode' orders the result by groups; use group_by and explode", tree)
    if all(one.scalar for one in keys[: len(body["partition_by"])]):
        return Classification(Kind.ORDER_DEPENDENT, "a window without keys is made of all rows in order; leave .over() out of an aggregate", tree)
    if any(split_node(node)[0] == "Over" for child in children(tree) for node in walk(child)):
        return _refuse(tree, "windows within windows are not supported; compute the inner one in a with_columns() first", whole=True)
    strongest = _strongest(keys)
    if _RANK[strongest.kind] > _RANK[Kind.WINDOW]:
        return Classification(strongest.kind, strongest.reason, strongest.tree)
    return Classification(Kind.WINDOW, "it needs all rows of a key", tree)


def _eval(tree: Tree, inputs: list[Classification], schema: SchemaLike) -> Classification:
    variant, evaluation = tree["Eval"]["variant"], tree["Eval"]["evaluation"]
    name = variant if isinstance(variant, str) else next(iter(variant))
    inner = classify_tree(evaluation, schema)
    if not inner.right_when_whole:
        return Classification(Kind.UNSUPPORTED, inner.reason, inner.tree, right_when_whole=False)
    if any(node != _ELEMENT and split_node(node)[0] == "Column" for node in walk(evaluation)):
        return _refuse(tree, "columns within list.eval are not supported", whole=False)
    if name == "Cumulative":
        return _at_least(Kind.ORDER_DEPENDENT, "it depends on the order of all rows", tree, inputs)
    if name not in ("List", "ListAgg", "Array", "ArrayAgg"):
        return _refuse(tree, f"the evaluation {name!r} is not known to be right on partitions", whole=False)
    return _combine(inputs)


def _struct_eval(tree: Tree, inputs: list[Classification]) -> Classification:
    inner = _strongest(inputs[1:])
    if inner.kind is not Kind.ROW_WISE:
        whole = all(one.right_when_whole for one in inputs)
        return _refuse(
            tree, f"{inner.node} within a struct is not row-wise: {inner.reason}; take the field out with struct.field() first", whole=whole
        )
    return _combine(inputs)


@lru_cache(maxsize=1)
def _udf_flags() -> tuple[int, int]:
    """`(row-wise, scalar)`: the flag bits by which Polars marks `map_batches(is_elementwise=True)` and `(returns_scalar=True)`, read off Polars
    itself."""

    def flags(**options: bool) -> int:
        bits: int = to_tree(pl.col("x").map_batches(len, return_dtype=pl.Int64, **options))["AnonymousFunction"]["options"]["flags"]
        return bits

    plain = flags()
    return flags(is_elementwise=True) & ~plain, flags(returns_scalar=True) & ~plain


def _udf(tree: Tree, inputs: list[Classification]) -> Classification:
    flags, (row_wise, scalar) = tree["AnonymousFunction"]["options"]["flags"], _udf_flags()
    if flags & scalar == scalar:
        return _aggregate(tree, inputs, "it is one value of all rows")
    if flags & row_wise == row_wise:
        return _combine(inputs)
    return _refuse(
        tree,
        "a Python function over whole columns; declare map_batches(..., is_elementwise=True) when it works row by row, or use Dataset.map_batches()",
        whole=True,
    )

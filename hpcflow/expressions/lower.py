"""Lowering: aggregates and windows inside expressions become columns, level by level, until the rest is row-wise.

    v - v.mean()              ->  __agg_0 = v.mean();                        v - __agg_0
    (v - v.mean()).abs().sum()->  __agg_0 = v.mean(); __agg_1 = (v - __agg_0).abs().sum();    __agg_1
    v.sum().over("k").max()   ->  __win_0 = v.sum().over("k"); __agg_0 = __win_0.max();       __agg_0

Invariant: evaluating the steps in order and then the rewritten expressions gives what the expressions give on all rows at once; output names stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from hpcflow.errors import UnsupportedExpressionError
from hpcflow.expressions.classify import Classification, classify_tree
from hpcflow.expressions.decompose import decompose_all, decompose_tree
from hpcflow.expressions.functions import RULES, Kind
from hpcflow.expressions.partials import PartialBook
from hpcflow.expressions.schemas import dtype_of
from hpcflow.expressions.steps import AggregateStep, Step, WindowStep
from hpcflow.expressions.tree import (
    Tree,
    alias,
    children,
    column,
    describe,
    from_tree,
    function_name,
    output_name,
    pack,
    split_node,
    to_tree,
    walk,
    with_children,
)

_ROW_WISE_NODES = ("Alias", "KeepName", "RenameAlias", "BinaryExpr", "Cast", "Ternary")


class Lowering:
    """State of one lowering: the schema as it grows, and the columns made so far."""

    def __init__(self, schema: dict[str, pl.DataType]) -> None:
        self.schema = dict(schema)
        self.steps: list[Step] = []
        self._made: dict[bytes, str] = {}
        self._counts = {"__agg_": 0, "__win_": 0}
        self._aggregates: list[Tree] = []
        self._windows: dict[bytes, list[Tree]] = {}
        for name in schema:
            for prefix in self._counts:
                if name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                    self._counts[prefix] = max(self._counts[prefix], int(name.removeprefix(prefix)) + 1)

    def run(self, exprs: Sequence[pl.Expr]) -> list[pl.Expr]:
        """Rewrite single-output expressions until all are row-wise, noting the steps. Raises UnsupportedExpressionError."""
        trees = [to_tree(expr) for expr in exprs]
        names = [output_name(tree) for tree in trees]
        changed = [False] * len(trees)
        while True:
            found = [classify_tree(tree, self.schema) for tree in trees]
            for one in found:
                if one.kind not in (Kind.ROW_WISE, Kind.AGGREGATION, Kind.WINDOW):
                    raise refusal(one)
            todo = [index for index, one in enumerate(found) if one.kind is not Kind.ROW_WISE]
            if not todo:
                return [from_tree(alias(tree, name)) if was else expr for tree, name, was, expr in zip(trees, names, changed, exprs, strict=True)]
            for index in todo:
                trees[index] = self.lower(trees[index])
                changed[index] = True
            self._close_level()

    def run_length_changing(self, expr: pl.Expr) -> pl.Expr:
        """Rewrite what lies below an expression that drops or explodes rows (`v.filter(v > v.mean())`), level by level."""
        tree = to_tree(expr)
        if self._reads_one_value(tree):
            raise UnsupportedExpressionError(f"{describe(tree)} drops or repeats one value of all rows; select that value, and go on with its rows")
        while True:
            below = self._lower_inputs(tree)
            if below is tree:
                return from_tree(alias(tree, output_name(to_tree(expr)))) if self.steps else expr
            tree = below
            self._close_level()

    def lower(self, tree: Tree) -> Tree:
        """Replace what can be computed from the present columns; what needs those new columns stays for the next level."""
        found = classify_tree(tree, self.schema)
        if found.kind is Kind.ROW_WISE:
            return tree
        name, _ = split_node(tree)
        if name == "Over":
            return self._lower_window(tree)
        if found.kind is Kind.AGGREGATION and found.scalar and decompose_tree(tree, self.schema, PartialBook()) is not None:
            return self._aggregate(tree)
        if self._is_row_wise_node(tree):
            return self._rebuilt(tree, [self.lower(child) for child in children(tree)])
        if not found.scalar:
            raise refusal(found)
        return self._lower_nested(tree)

    @staticmethod
    def _is_row_wise_node(tree: Tree) -> bool:
        name, body = split_node(tree)
        if name == "Function":
            rule = RULES.get(function_name(body))
            return rule is not None and rule.kind is Kind.ROW_WISE
        return name in _ROW_WISE_NODES or name in ("Eval", "AnonymousFunction", "StructEval")

    def _rebuilt(self, tree: Tree, new: list[Tree]) -> Tree:
        """The node over new inputs; nodes that read the name of the column they were made of become an alias."""
        if split_node(tree)[0] in ("KeepName", "RenameAlias"):
            return alias(new[0], output_name(tree))
        return with_children(tree, new)

    def _lower_nested(self, tree: Tree) -> Tree:
        """An aggregate of what itself holds aggregates or windows: in levels if that makes it decompose, else of all rows in one place."""
        if self._reads_one_value(tree):
            return self._aggregate(tree)
        trial = self._copy()
        inner = trial._lower_inputs(tree)
        if inner is not tree and decompose_tree(inner, trial.schema_with_pending(), PartialBook()) is not None:
            self._adopt(trial)
            return inner
        return self._aggregate(tree)

    def _lower_inputs(self, tree: Tree) -> Tree:
        """Lower aggregates and windows below an aggregate or filter node, where their place is a row-wise expression over all rows."""
        old = children(tree)
        new = [child if self._is_ready(child) else self._lower_below(child) for child in old]
        return tree if all(a is b for a, b in zip(old, new, strict=True)) else self._rebuilt(tree, new)

    def _reads_one_value(self, tree: Tree) -> bool:
        """Whether an aggregate or filter works on one value of all rows, which as a column would be as long as the table: `v.sum().len()` is 1."""
        inputs = children(tree)
        found = [classify_tree(one, self.schema) for one in inputs]
        if inputs and not self._is_row_wise_node(tree) and found[0].scalar and found[0].kind is not Kind.ROW_WISE:
            return True
        return any(self._reads_one_value(one) for one, kind in zip(inputs, found, strict=True) if kind.kind is Kind.LENGTH_CHANGING)

    def _lower_below(self, tree: Tree) -> Tree:
        found = classify_tree(tree, self.schema)
        if found.kind in (Kind.AGGREGATION, Kind.WINDOW):
            return self.lower(tree)
        return self._lower_inputs(tree) if found.kind is Kind.LENGTH_CHANGING else tree

    def _is_ready(self, tree: Tree) -> bool:
        return classify_tree(tree, self.schema).kind is Kind.ROW_WISE

    def _lower_window(self, tree: Tree) -> Tree:
        body = tree["Over"]
        keys = body["partition_by"] + ([body["order_by"][0]] if body["order_by"] is not None else [])
        if any(not self._is_ready(key) for key in keys):
            below = children(tree)
            return with_children(tree, [below[0], *(self.lower(child) for child in below[1:])])
        name = self._name("__win_", tree)
        group = self._windows.setdefault(pack(body["partition_by"]), [])
        if not any(pack(one) == pack(tree) for one in group):
            group.append(tree)
        return alias(column(name), output_name(tree))

    def _aggregate(self, tree: Tree) -> Tree:
        if pack(tree) not in self._made:
            self._aggregates.append(tree)
        return alias(column(self._name("__agg_", tree)), output_name(tree))

    def _name(self, prefix: str, tree: Tree) -> str:
        key = pack(tree)
        if key not in self._made:
            self._made[key] = f"{prefix}{self._counts[prefix]}"
            self._counts[prefix] += 1
        return self._made[key]

    def schema_with_pending(self) -> dict[str, pl.DataType]:
        """The schema with the columns of the level being made."""
        pending = [*self._aggregates, *(tree for group in self._windows.values() for tree in group)]
        return self.schema | {self._made[pack(tree)]: dtype_of(tree, self.schema) for tree in pending if self._made[pack(tree)] not in self.schema}

    def _close_level(self) -> None:
        """Emit the steps of this level and let the next one see their columns."""
        extended = self.schema_with_pending()
        if self._aggregates:
            named = [from_tree(alias(tree, self._made[pack(tree)])) for tree in self._aggregates]
            self.steps.append(AggregateStep(tuple(named), decompose_all(named, self.schema)))
        for group in self._windows.values():
            keys = tuple(from_tree(key) for key in group[0]["Over"]["partition_by"])
            self.steps.append(WindowStep(keys, tuple(from_tree(alias(tree, self._made[pack(tree)])) for tree in group)))
        if not self._aggregates and not self._windows:
            raise UnsupportedExpressionError(
                "an expression with aggregates or windows could not be split into steps; compute its parts in separate with_columns() calls"
            )
        self.schema, self._aggregates, self._windows = extended, [], {}

    def _copy(self) -> Lowering:
        other = Lowering(self.schema)
        other._adopt(self)
        return other

    def _adopt(self, other: Lowering) -> None:
        self._made, self._counts = dict(other._made), dict(other._counts)
        self._aggregates, self._windows = list(other._aggregates), {key: list(group) for key, group in other._windows.items()}


def refusal(found: Classification) -> UnsupportedExpressionError:
    """The error for an expression that cannot run on partitions."""
    says = any(word in found.reason for word in ("use ", "write ", "give ", "leave "))
    hint = "; within groups, .over(keys) is supported" if found.kind is Kind.ORDER_DEPENDENT and not says else ""
    return UnsupportedExpressionError(f"{found.node} cannot run on partitions: {found.reason}{hint}")


def has_columns(tree: Tree) -> bool:
    """True when the tree reads rows."""
    return any(split_node(node)[0] in ("Column", "Len") for node in walk(tree))

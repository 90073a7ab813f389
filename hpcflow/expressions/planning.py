"""The one entry for engines: any list of expressions becomes steps that are right on partitions, or an error that says which node is not.

Invariant: running an `ExpressionPlan` over any partitioning of the rows gives Polars' answer on all rows; nothing is evaluated per partition that
may not be.

    >>> import polars as pl
    >>> plan = plan_expressions([pl.col("v") - pl.col("v").mean()], pl.Schema({"v": pl.Float64}), "with_columns")
    >>> len(plan.steps), [str(one) for one in plan.steps[0].aggregates]
    (1, ['col("v").mean().alias("__agg_0")'])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from hpcflow.errors import UnsupportedExpressionError
from hpcflow.expressions.classify import Classification, classify_tree
from hpcflow.expressions.decompose import is_partition_slice
from hpcflow.expressions.expand import expand
from hpcflow.expressions.functions import Kind
from hpcflow.expressions.lower import Lowering, refusal
from hpcflow.expressions.schemas import SchemaLike
from hpcflow.expressions.steps import AggregateStep, Context, ExpressionPlan, WindowStep
from hpcflow.expressions.tree import children, to_tree, walk


@dataclass(frozen=True)
class AggregateSplit:
    """Expressions with their scalar aggregates taken out.

    levels: aggregate steps in order; a later one may use columns of an earlier one.
    rewritten: the expressions over the extended columns, row-wise, names unchanged.
    one_row: in a select the result is one row (aggregates and literals only).
    """

    levels: tuple[AggregateStep, ...]
    rewritten: tuple[pl.Expr, ...]
    one_row: bool

    @property
    def aggregates(self) -> tuple[pl.Expr, ...]:
        """All aggregates, level by level, named `__agg_i`."""
        return tuple(one for level in self.levels for one in level.aggregates)


@dataclass(frozen=True)
class WindowSplit:
    """Windows over the same keys (see `WindowStep`)."""

    keys: tuple[pl.Expr, ...]
    windows: tuple[pl.Expr, ...]


def plan_expressions(exprs: Iterable[pl.Expr | str], schema: SchemaLike, context: Context = "select") -> ExpressionPlan:
    """Steps and final row-wise expressions for `select`, `with_columns` or `filter` (several predicates are and-ed by the caller's filter).

    Raises ColumnNotFoundError for unknown columns, UnsupportedExpressionError naming the node for what cannot run on partitions.
    """
    outputs = expand(exprs, schema)
    packed = tuple(expr.meta.serialize() for expr in outputs)
    if sum(map(len, packed)) > _LARGEST_KEPT_BYTES:
        return _plan(outputs, schema, context)
    key = (context, packed, tuple(schema.items()))
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _plan(outputs, schema, context)
        for oldest in list(_plans)[:-_KEPT_PLANS]:
            _plans.pop(oldest, None)
    return plan


_LARGEST_KEPT_BYTES = 1 << 16
_KEPT_PLANS = 256
_plans: dict[tuple[Context, tuple[bytes, ...], tuple[tuple[str, pl.DataType], ...]], ExpressionPlan] = {}


def _plan(outputs: Sequence[pl.Expr], schema: SchemaLike, context: Context) -> ExpressionPlan:
    found = [classify_tree(to_tree(expr), schema) for expr in outputs]
    one_row = context == "select" and bool(found) and all(one.scalar for one in found)
    if all(one.kind is Kind.ROW_WISE for one in found):
        return ExpressionPlan(context, (), tuple(outputs), one_row)
    changing = [one for expr, one in zip(outputs, found, strict=True) if _changes_length(expr, one, schema)]
    if changing:
        return _length_changing(outputs, found, changing[0], schema, context)
    lowering = Lowering(dict(schema))
    final = lowering.run(outputs)
    return ExpressionPlan(context, tuple(lowering.steps), tuple(final), one_row)


def _changes_length(expr: pl.Expr, found: Classification, schema: SchemaLike) -> bool:
    """Whether the rows of the result are others than those of the table: of what sorts, shifts, ... such rows (`v.unique().sort()`) too."""
    if found.kind is Kind.ORDER_DEPENDENT:
        return any(classify_tree(child, schema).kind is Kind.LENGTH_CHANGING for node in walk(to_tree(expr)) for child in children(node))
    return found.kind is Kind.LENGTH_CHANGING


def _length_changing(
    outputs: Sequence[pl.Expr], found: Sequence[Classification], first: Classification, schema: SchemaLike, context: Context
) -> ExpressionPlan:
    if context != "select":
        raise UnsupportedExpressionError(
            f"{first.node} changes the number of rows ({first.reason}), so that it lines up with no row; put it in a select()"
        )
    if len(outputs) == 1 and first.kind is Kind.LENGTH_CHANGING:
        lowering = Lowering(dict(schema))
        try:
            final = lowering.run_length_changing(outputs[0])
        except UnsupportedExpressionError:  # right when all rows are in one place
            final = None
        if final is not None and is_partition_slice(to_tree(final), lowering.schema):
            return ExpressionPlan(context, tuple(lowering.steps), (final,), length_changing=True)
    for one in found:
        if not one.right_when_whole:
            raise refusal(one)
    return ExpressionPlan(context, (), tuple(outputs), gathered=True)


def split_aggregates(exprs: Iterable[pl.Expr | str], schema: SchemaLike) -> AggregateSplit:
    """Take scalar aggregates out of otherwise row-wise expressions. Raises UnsupportedExpressionError when they hold windows or order-dependent
    nodes."""
    outputs = expand(exprs, schema)
    found = [classify_tree(to_tree(expr), schema) for expr in outputs]
    for one in found:
        if one.kind not in (Kind.ROW_WISE, Kind.AGGREGATION):
            raise refusal(one)
    lowering = Lowering(dict(schema))
    rewritten = lowering.run(outputs)
    levels = tuple(step for step in lowering.steps if isinstance(step, AggregateStep))
    if len(levels) != len(lowering.steps):
        raise UnsupportedExpressionError("the expressions hold windows; use plan_expressions()")
    return AggregateSplit(levels, tuple(rewritten), bool(found) and all(one.scalar for one in found))


def split_windows(exprs: Iterable[pl.Expr | str], schema: SchemaLike) -> tuple[WindowSplit, ...]:
    """The `.over()` nodes of the expressions by partition keys, in the order they must run."""
    plan = plan_expressions(exprs, schema, "with_columns")
    return tuple(WindowSplit(step.keys, step.windows) for step in plan.steps if isinstance(step, WindowStep))


def check_right_when_whole(exprs: Iterable[pl.Expr | str], schema: SchemaLike, keys: Sequence[str] = ()) -> list[pl.Expr]:
    """Expand expressions that will see all rows (or whole groups, in a group_by over `keys`) in order, in one place.

    Raises UnsupportedExpressionError for what is wrong even then (random numbers, functions not known here).
    """
    outputs = expand(exprs, schema, keys)
    for expr in outputs:
        found = classify_tree(to_tree(expr), schema)
        if not found.right_when_whole:
            raise refusal(found)
    return outputs

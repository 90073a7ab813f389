"""Plans of expressions as text, refusals as text, and what expansion says of wrong names."""

# ruff: noqa: SIM300
from __future__ import annotations

import polars as pl
import pytest

from hpcflow.errors import ColumnNotFoundError, UnsupportedExpressionError
from hpcflow.expressions import check_right_when_whole, classify, expand, plan_expressions, split_aggregates, split_windows
from hpcflow.expressions.functions import Kind
from hpcflow.expressions.tree import from_tree, to_tree

from .simulator import assert_same, run_plan

V, W, K = pl.col("v"), pl.col("w"), pl.col("k")
SCHEMA = pl.Schema({"k": pl.Int64, "v": pl.Float64, "w": pl.Int64, "s": pl.String})
FRAME = pl.DataFrame({"k": [1, 2, 1, None], "v": [1.0, None, 4.5, 2.0], "w": [3, 1, 2, 9], "s": ["a", "b", None, "c"]}, schema=SCHEMA)


def names(exprs: object) -> list[str]:
    return [one.meta.output_name() for one in exprs]  # type: ignore[attr-defined]


def test_row_wise_expressions_are_left_alone() -> None:
    plan = plan_expressions([V * 2], SCHEMA, "with_columns")
    assert plan.row_wise
    assert plan.final[0].meta.eq(V * 2)


def test_an_aggregate_becomes_a_broadcast_column() -> None:
    plan = plan_expressions([V - V.mean()], SCHEMA, "with_columns")
    assert plan.describe().splitlines()[0] == 'combine col("v").mean().alias("__agg_0")'
    assert names(plan.final) == ["v"]


def test_nested_aggregates_run_in_levels() -> None:
    split = split_aggregates([(V - V.mean()).abs().sum()], SCHEMA)
    assert [names(level.aggregates) for level in split.levels] == [["__agg_0"], ["__agg_1"]]
    assert split.one_row


def test_what_does_not_decompose_is_marked_to_be_gathered() -> None:
    plan = plan_expressions([V.median(), V.sum(), V.sum() / V.n_unique()], SCHEMA, "select")
    assert plan.one_row
    assert [str(one) for one in plan.steps[0].gathered] == ['col("v").median().alias("__agg_0")', 'col("v").n_unique().alias("__agg_2")']


def test_equal_aggregates_are_computed_once() -> None:
    plan = plan_expressions([V - V.mean(), V / V.mean()], SCHEMA, "select")
    assert len(plan.steps[0].aggregates) == 1


def test_windows_are_grouped_by_keys() -> None:
    exprs = [V.sum().over("k"), W.max().over("k") - V.mean().over("s"), V.cum_sum().over("k").alias("c")]
    assert [(names(one.keys), len(one.windows)) for one in split_windows(exprs, SCHEMA)] == [(["k"], 3), (["s"], 1)]


def test_a_window_below_an_aggregate_runs_first() -> None:
    plan = plan_expressions([V.sum().over("k").max()], SCHEMA, "select")
    assert [type(step).__name__ for step in plan.steps] == ["WindowStep", "AggregateStep"]


@pytest.mark.parametrize(
    "predicate", [V > V.max() / 2, V.sum() > 3, (W == W.max()) | V.is_null(), V.sum().over("k") > 2, V > V.mean().over("k"), W > W.median()], ids=str
)
@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_filters_equal_polars(predicate: pl.Expr, partitions: int) -> None:
    plan = plan_expressions([predicate], SCHEMA, "filter")
    assert_same(run_plan(plan, FRAME, partitions), FRAME.filter(predicate), str(predicate))


@pytest.mark.parametrize(
    "exprs",
    [[V.sum(), pl.len()], [V.sum(), pl.lit(1)], [V, V.mean().alias("m")], [pl.lit(1), pl.lit("a").alias("x")], [pl.all().max()], [W, pl.lit(1)]],
    ids=lambda exprs: ", ".join(map(str, exprs)),
)
def test_selects_equal_polars(exprs: list[pl.Expr]) -> None:
    for frame in (FRAME, FRAME.clear()):
        plan = plan_expressions(exprs, SCHEMA, "select")
        if plan.one_row and not plan.steps:
            assert_same(pl.select(plan.final), frame.select(exprs), "literals")
        else:
            assert_same(run_plan(plan, frame, 3), frame.select(exprs), str(exprs))


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        (V.shift(), "order of all rows"),
        (V.rank() + 1, "values of all rows"),
        (V.map_batches(lambda s: s), "is_elementwise=True"),
        (pl.fold(0, lambda a, b: a + b.sum(), [V, W]), "is_elementwise=True"),
        (V.shuffle(), "random"),
        (V.head(3), "position among all rows"),
        (W.is_in(K), "implode"),
        (V + pl.lit(pl.Series([1.0, 2.0])), "literal Series"),
        (pl.col("s").str.to_date(), "format"),
        (V.sum().over("k", mapping_strategy="explode"), "explode"),
        (pl.col("s").cast(pl.Categorical).to_physical(), "Categorical"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refusals_say_why(expr: pl.Expr, reason: str) -> None:
    with pytest.raises(UnsupportedExpressionError, match=reason):
        plan_expressions([expr], SCHEMA, "with_columns")
    assert classify(expr, SCHEMA).node


def test_an_unknown_function_is_refused_and_not_taken_for_row_wise() -> None:
    tree = to_tree(V.abs())
    tree["Function"]["function"] = "Negate"
    assert classify(from_tree(tree), SCHEMA).kind is Kind.ROW_WISE
    from hpcflow.expressions.classify import classify_tree

    tree["Function"]["function"] = "SomethingNew"
    assert classify_tree(tree, SCHEMA).kind is Kind.UNSUPPORTED


def test_unknown_columns_are_named_with_near_names() -> None:
    schema = pl.Schema({"arr_delay": pl.Float64})
    with pytest.raises(ColumnNotFoundError, match=r"'arr_dely'.*did you mean 'arr_delay'"):
        expand([pl.col("arr_dely").mean()], schema)
    with pytest.raises(ColumnNotFoundError, match="nope"):
        expand([pl.col("arr_delay", "nope")], schema)


def test_selectors_in_a_group_by_leave_its_keys_out() -> None:
    assert names(expand([pl.all().count()], SCHEMA, keys=["k"])) == ["v", "w", "s"]
    assert names(check_right_when_whole([pl.col("k", "v").sum().name.suffix("_sum")], SCHEMA, keys=["k"])) == ["k_sum", "v_sum"]


def test_floats_survive_rewriting_bit_for_bit() -> None:
    for value in (123456789.123456789, float("inf"), float("-inf"), 5e-324, 0.1 + 0.2):
        expr = V * value - V.max()
        plan = plan_expressions([expr], SCHEMA, "with_columns")
        assert run_plan(plan, FRAME, 2)["v"].equals(FRAME.with_columns(expr)["v"], null_equal=True)


def test_user_columns_that_look_like_ours_are_kept() -> None:
    frame = FRAME.with_columns(pl.lit(7).alias("__agg_0"))
    plan = plan_expressions([V - V.mean(), pl.col("__agg_0")], frame.schema, "with_columns")
    assert names(plan.steps[0].aggregates) == ["__agg_1"]

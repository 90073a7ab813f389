"""Contract: every public Polars expression method, whole against partitioned: the same answer, or a refusal with its reason."""

from __future__ import annotations

import warnings

import polars as pl
import pytest

from hpcflow.errors import UnsupportedExpressionError
from hpcflow.expressions import classify, plan_expressions
from hpcflow.expressions.functions import Kind
from tests.thorough import spread

from .samples import FUNCTIONS, NOT_EVALUATED, SAMPLES, frame
from .simulator import PARTITIONS, assert_same, run_plan

NAMESPACES = ("str", "dt", "list", "arr", "struct", "cat", "bin", "name", "ext", "map")
FRAME = frame()


def public_methods() -> list[str]:
    plain = [name for name in dir(pl.Expr) if not name.startswith("_")]
    spaced = [f"{space}.{name}" for space in NAMESPACES for name in dir(getattr(pl.col("x"), space)) if not name.startswith("_")]
    return sorted(set(plain + spaced) - set(NAMESPACES))


def cases() -> list[object]:
    named = {**SAMPLES, "composed": FUNCTIONS}
    return [pytest.param(expr, id=f"{method}-{index}") for method, exprs in named.items() for index, expr in enumerate(exprs)]


def test_every_public_method_has_a_sample() -> None:
    missing = [method for method in public_methods() if not SAMPLES.get(method) and method not in NOT_EVALUATED]
    assert missing == [], "a method without a sample: add one to samples.py and look at what functions.py says of it"


@pytest.mark.parametrize("expr", spread(cases(), every=3))
def test_whole_equals_partitioned(expr: pl.Expr) -> None:
    warnings.simplefilter("ignore")
    try:
        wanted = FRAME.select(expr)
    except Exception:
        pytest.skip("Polars itself refuses it")
    try:
        plan = plan_expressions([expr], FRAME.schema, "select")
    except UnsupportedExpressionError as error:
        assert classify(expr, FRAME.schema).kind is not Kind.ROW_WISE
        assert len(str(error)) > 30
        return
    for partitions in PARTITIONS:
        assert_same(run_plan(plan, FRAME, partitions), wanted, f"{expr} on {partitions} partitions")


@pytest.mark.parametrize("expr", spread(cases(), every=4))
def test_with_columns_equals_partitioned(expr: pl.Expr) -> None:
    warnings.simplefilter("ignore")
    try:
        plan = plan_expressions([expr], FRAME.schema, "with_columns")
        if plan.row_wise:
            return  # the same final expressions as in a select
        wanted = FRAME.with_columns(expr)
    except (pl.exceptions.PolarsError, UnsupportedExpressionError):
        pytest.skip("refused")
    for partitions in PARTITIONS[1::2]:
        assert_same(run_plan(plan, FRAME, partitions), wanted, f"with_columns({expr}) on {partitions} partitions")


@pytest.mark.parametrize("expr", spread(cases(), every=4))
def test_empty_input_gives_the_same_dtypes(expr: pl.Expr) -> None:
    empty = FRAME.clear()
    try:
        wanted = empty.select(expr)
        plan = plan_expressions([expr], empty.schema, "select")
    except (pl.exceptions.PolarsError, UnsupportedExpressionError):
        pytest.skip("refused")
    assert_same(run_plan(plan, empty, 3), wanted, str(expr))

"""Guesses of sizes: what they are made of, and which joins they decide."""

from __future__ import annotations

import polars as pl
import pytest

from hpcflow.compiler.expectations import expected_sizes, share
from hpcflow.compiler.passes.broadcast_join import broadcast_small_sides
from hpcflow.expressions.tree import to_tree
from tests.compiler.programs import after, context, dag, table

A, B = pl.col("a"), pl.col("b")
ORDERS, LINES = {"o": pl.Int64, "c": pl.Int64}, {"o": pl.Int64, "v": pl.Float64, "w": pl.Float64, "s": pl.String}


def expected(dataset):
    """Of what is collected."""
    whole = dag(dataset)
    (end,) = whole.sinks
    return expected_sizes(whole, context())[whole.inputs(end.id)[0].source]


def rows(dataset) -> float | None:
    found = expected(dataset)
    return None if found is None else found.rows


@pytest.mark.parametrize(
    ("predicate", "want"),
    [
        (A == 1, 0.1),
        ((A == 1) & (B < 2), 0.04),
        ((A == 1) | (B == 2), 0.19),
        (~(A == 1), 0.9),
        (A.is_between(1, 2), 0.25),
        (A.is_in([1, 2]), 0.25),
        (B.str.starts_with("x"), 0.1),
        (B.is_null(), 0.5),
        (A, 0.5),
    ],
    ids=str,
)
def test_a_predicate_keeps_a_share_by_its_form(predicate, want):
    assert share(to_tree(predicate)) == pytest.approx(want)


def test_tables_are_joined_on_the_keys_of_the_smaller_one():
    orders, lines = table(100, **ORDERS), table(1000, **LINES)
    assert rows(orders.join(lines, on="o")) == 1000
    assert rows(orders.filter(pl.col("c") == 1).join(lines, on="o")) == pytest.approx(100)
    assert rows(lines.join(orders.filter(pl.col("c") == 1), on="o")) == pytest.approx(100)
    assert rows(lines.join(orders.filter(pl.col("c") == 1), on="o", how="left")) == 1000
    assert rows(lines.head(5).join(orders, how="cross")) == 500


def test_nothing_is_expected_of_a_function_of_the_user():
    assert rows(table(10).map_batches(lambda t: t, schema={"k": pl.Int64})) is None
    assert rows(table(10).group_by("k").agg(pl.len()).head(3)) == 3


def test_a_join_with_a_small_guess_is_broadcast_although_it_has_no_bound():
    """Each of the 50 orders that are left meets few lines: shuffling the lines would move far more."""
    few = table(5000, **ORDERS).filter(pl.col("c") == 1).join(table(5000, c=pl.Int64, n=pl.String).filter(pl.col("n") == "x"), on="c")
    found = after(broadcast_small_sides, few.join(table(100_000, **LINES), on="o"))
    join, left = found.splitlines()[1:3]
    assert join.strip().startswith("join") and left.endswith("<- broadcast"), found


def test_a_guess_has_to_hold_when_it_is_wrong_by_a_factor():
    joined = table(1000, **ORDERS).join(table(1000, c=pl.Int64), on="c")
    lines = table(100_000, **LINES)
    guess = expected(joined).size_bytes
    for threshold, broadcast in ((int(4.1 * guess), True), (int(3.9 * guess), False)):
        found = after(broadcast_small_sides, joined.join(lines, on="o"), broadcast_threshold_bytes=threshold)
        assert found.splitlines()[2].endswith("<- broadcast") is broadcast, found

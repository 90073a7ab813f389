"""Aggregates, windows and comparisons with aggregates inside select, with_columns and filter."""

import polars as pl
import pytest

import hpcflow as hf
from tests.api.oracle import check, events, on_shapes

CASES = {
    "one_row": lambda t: t.select(pl.col("w").sum(), n=pl.len(), m=pl.col("w").mean()),
    "one_row_that_does_not_decompose": lambda t: t.select(pl.col("w").median(), n=pl.col("s").n_unique()),
    "one_row_of_nothing": lambda t: t.filter(pl.col("i") > 1000).select(pl.col("w").sum(), n=pl.len(), m=pl.col("w").max()),
    "one_row_with_literal": lambda t: t.select(pl.col("w").max(), pl.lit("x").alias("x")),
    "all_columns": lambda t: t.select("i", "w", "k").select(pl.all().max()),
    "aggregate_beside_rows": lambda t: t.select("i", pl.col("w").sum().alias("total")),
    "minus_mean": lambda t: t.with_columns(x=pl.col("w") - pl.col("w").mean()),
    "two_levels": lambda t: t.with_columns(x=((pl.col("w") - pl.col("w").mean()) / pl.col("w").std()).abs().max()),
    "filter_by_maximum": lambda t: t.filter(pl.col("w") > pl.col("w").max() / 2),
    "filter_by_mean_after_filter": lambda t: t.filter(pl.col("k") > 1).filter(pl.col("w") > pl.col("w").mean()),
    "filter_before_aggregate_is_not_moved": lambda t: t.with_columns(m=pl.col("w").max()).filter(pl.col("i") < 10),
    "over": lambda t: t.with_columns(x=pl.col("w").sum().over("k")),
    "over_several": lambda t: t.with_columns(x=pl.col("w").sum().over("k"), y=pl.col("w").rank().over("s"), z=pl.len().over("k", "e")),
    "over_in_select": lambda t: t.select("i", pl.col("w").max().over("k")),
    "over_minus": lambda t: t.with_columns(x=pl.col("w") - pl.col("w").mean().over("k")),
    "filter_over": lambda t: t.filter(pl.col("w") == pl.col("w").max().over("k")),
    "over_order": lambda t: t.with_columns(x=pl.col("i").cum_sum().over("k"), y=pl.col("w").shift(1).over("k")),
    "over_expression_key": lambda t: t.with_columns(x=pl.col("w").sum().over(pl.col("i") % 4)),
    "over_of_nothing": lambda t: t.filter(pl.col("i") > 1000).with_columns(x=pl.col("w").sum().over("k")),
    "over_hot_key": lambda t: t.with_columns(x=pl.col("w").sum().over("hot")),
    "then_row_index": lambda t: t.with_columns(x=pl.col("w").sum().over("k")).with_row_index(),
    "nan_aggregates": lambda t: t.select(a=pl.col("v").min(), b=pl.col("v").max(), c=pl.col("v").sum(), d=pl.col("v").count()),
    "first_last": lambda t: t.select(a=pl.col("s").first(), b=pl.col("s").last(), c=pl.col("l").first()),
    "unique": lambda t: t.unique("k", keep="first", maintain_order=True),
    "unique_last": lambda t: t.unique(["k", "e"], keep="last", maintain_order=True),
    "unique_none": lambda t: t.unique("w", keep="none", maintain_order=True),
    "unique_any_of_one_column": lambda t: t.select("k").unique().sort("k"),
    "unique_by_selector": lambda t: t.select("k", "e", "b").unique(pl.selectors.by_name("k", "e"), keep="first", maintain_order=True),
    "unique_by_expression": lambda t: t.unique(pl.col("i") % 4, keep="first", maintain_order=True),
    "unique_rows": lambda t: t.select("k", "b").unique(maintain_order=True),
    "unique_of_nothing": lambda t: t.head(0).unique("k"),
    "top_k": lambda t: t.top_k(7, by=["w", "i"]),
    "bottom_k": lambda t: t.bottom_k(7, by=["w", "i"]),
    "top_k_reverse": lambda t: t.top_k(7, by=["k", "i"], reverse=[True, False]),
    "top_k_by_expression": lambda t: t.top_k(5, by=-pl.col("i")),
    "top_k_more_than_rows": lambda t: t.top_k(1000, by="i"),
    "top_k_with_nulls": lambda t: t.bottom_k(58, by=["k", "i"]).select("k", "i"),
    "head": lambda t: t.head(7),
    "head_default": lambda t: t.head(),
    "head_0": lambda t: t.head(0),
    "head_all": lambda t: t.head(1000),
    "limit": lambda t: t.limit(3),
    "tail": lambda t: t.tail(7),
    "tail_0": lambda t: t.tail(0),
    "first_row": lambda t: t.first(),
    "last_row": lambda t: t.last(),
    "slice": lambda t: t.slice(13, 20),
    "slice_to_end": lambda t: t.slice(50),
    "slice_negative": lambda t: t.slice(-20, 5),
    "slice_negative_beyond": lambda t: t.slice(-100, 50),
    "slice_beyond": lambda t: t.slice(100, 5),
    "slice_of_filter": lambda t: t.filter(pl.col("k") > 2).slice(5, 9),
    "head_of_filter": lambda t: t.filter(pl.col("i") > 40).head(5),
    "filter_of_head": lambda t: t.head(20).filter(pl.col("k") > 2),
    "tail_of_head": lambda t: t.head(20).tail(3),
    "row_index": lambda t: t.with_row_index("n", 10),
    "row_index_of_filter": lambda t: t.filter(pl.col("k") > 2).with_row_index().filter(pl.col("index") % 2 == 0),
    "row_index_twice": lambda t: t.with_row_index("a").filter(pl.col("b")).with_row_index("z"),
    "row_index_not_needed": lambda t: t.with_row_index().select("w"),
}


@on_shapes(CASES)
def test_rows_equal_polars(session, name):
    check(session, CASES[name], events())


@pytest.mark.parametrize(
    "expr",
    [pl.col("w").shift(1), pl.col("w").cum_sum(), pl.col("w").rolling_mean(3), pl.col("w").sort(), pl.col("w").shuffle(), pl.col("w").interpolate()],
    ids=str,
)
def test_what_looks_at_neighbours_is_refused_with_the_reason(one_session, expr):
    dataset = one_session.from_polars(events())
    with pytest.raises(hf.UnsupportedExpressionError, match="w"):
        dataset.with_columns(x=expr)


def test_unique_any_keeps_one_of_each(session):
    got = session.from_polars(events()).unique("k").collect()
    assert sorted(got["k"], key=str) == sorted(events()["k"].unique(), key=str)
    assert got.join(events(), on="i", how="anti").height == 0


def test_sample_is_the_same_on_any_number_of_workers(session, one_session):
    def rows(on, **options):
        return on.from_polars(events()).sample(**options).collect()["i"].to_list()

    assert rows(session, n=9, seed=3) == rows(one_session, n=9, seed=3) != rows(session, n=9, seed=4)
    assert rows(session, fraction=0.3, seed=3) == rows(one_session, fraction=0.3, seed=3)
    assert len(rows(session, n=9, seed=3)) == 9 == len(set(rows(session, n=9, seed=3)))
    assert rows(session, fraction=1.0, seed=3) == list(range(60))
    assert rows(session, fraction=0.0) == [] == rows(session, n=0)
    assert rows(session, n=1000) == list(range(60))
    assert 5 < len(rows(session, fraction=0.4, seed=1)) < 45

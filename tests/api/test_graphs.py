"""Programs whose branches share rows, names or tasks: found by random graphs, each kept as the smallest that gave a wrong answer."""

from __future__ import annotations

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import check, same
from tests.thorough import spread

PAIR = pl.DataFrame({"x": [1, 2], "y": [5, 6]})
AT_POSITIONS = {
    "slice": lambda t: t.slice(0, 1),
    "index": lambda t: t.with_row_index(),
    "last": lambda t: t.slice(-1),
}


@pytest.mark.parametrize("name", AT_POSITIONS)
def test_positions_of_a_branch_of_a_concat_count_from_its_own_first_row(one_session, name):
    def chain(t):
        branch = AT_POSITIONS[name](t)
        return (pl.concat if isinstance(t, pl.LazyFrame) else hf.concat)([t, branch, t], how="diagonal")

    check(one_session, chain, PAIR)


def test_positions_of_both_sides_of_a_join_in_place_are_their_own(one_session):
    left, right = pl.DataFrame({"x": [1, 2, 3, 4]}), pl.DataFrame({"x": [4, 4, 3, 2, 1, 1]})
    sides = [one_session.from_polars(t).repartition(3, by="x").cache() for t in (left, right)]
    for side in sides:
        side.count()
    got = sides[0].with_row_index("i").join(sides[1].with_row_index("j"), on="x").collect()
    first, second = (side.collect() for side in sides)
    same(got, first.with_row_index("i").join(second.with_row_index("j"), on="x"), by=["i", "j"])


def test_a_cached_dataset_with_other_properties_is_filled_once(one_session):
    cached = one_session.from_polars(PAIR).slice(1).cache()
    got = cached.join(cached.with_property(data_flow="pull").fill_null(0), on="x").collect()
    same(got, PAIR.slice(1).join(PAIR.slice(1), on="x"))
    cached.unpersist()


LEFT, RIGHT = pl.DataFrame({"g": [1, 2, 3], "c": [4, 5, 6], "a": [0, 1, 2]}), pl.DataFrame({"c": [1, 2], "g": [7, 8], "y": [1, 1]})
JOINS = [{"how": how, "coalesce": c, "suffix": "_r"} for how in ("inner", "left", "right", "full") for c in (None, True, False)]
KEPT = [(join, kept) for join in JOINS for kept in LEFT.join(RIGHT, left_on="g", right_on="c", **join).columns]


@pytest.mark.parametrize(("join", "kept"), spread(KEPT, every=4))
def test_a_column_of_a_join_whose_keys_have_the_names_of_others_is_found(one_session, join, kept):
    def chain(t, o):
        return t.join(o, left_on="g", right_on="c", **join).select(kept).rename({kept: "g" if kept == "c" else "c"})

    check(one_session, chain, LEFT, RIGHT, by=pl.all())


OF_ONE_VALUE = {
    "sum": pl.col("x").sum().sum(),
    "count": pl.col("x").sum().len(),
    "null_count": pl.lit(5).std().null_count(),
    "of a sum": (pl.col("x").max() + 1).sum(),
    "of a choice": pl.when(pl.col("x").sum() > 2).then(pl.col("y").max()).otherwise(0).sum(),
    "filtered": pl.col("y").max().filter(pl.col("x").sum() > 2).sum(),
    "std": pl.col("y").sum().std(),
    "in a sum": pl.col("y") - pl.col("x").mean().len(),
}


@pytest.mark.parametrize("name", OF_ONE_VALUE)
def test_an_aggregate_of_an_aggregate_is_of_one_value(one_session, name):
    check(one_session, lambda t: t.select(z=OF_ONE_VALUE[name]), PAIR)
    check(one_session, lambda t: t.with_columns(z=OF_ONE_VALUE[name]), PAIR)


@pytest.mark.parametrize("properties", [{"compression": "lz4"}, {"data_store": "scratch"}, {"persistence": "keep"}, {"partition_count": 3}], ids=str)
@pytest.mark.parametrize("input", [0, 1])
def test_what_the_user_chose_of_an_edge_is_kept_when_a_join_is_broadcast(input, properties):
    with InProcessSession(workers=2, progress="off") as session:
        joined = session.from_polars(LEFT).join(session.from_polars(RIGHT), left_on="g", right_on="c").with_property(input=input, **properties)
        assert "broadcast" in joined.explain()
        same(joined.collect(), LEFT.join(RIGHT, left_on="g", right_on="c"), by="g")

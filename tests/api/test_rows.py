"""Row-wise methods: every row by itself, wherever it is."""

import polars as pl
import pytest

from hpcflow.testing.tables import table_of_every_type
from tests.api.oracle import check, events, on_shapes

CASES = {
    "filter": lambda t: t.filter(pl.col("v") > 3, pl.col("b")),
    "filter_by_constraint": lambda t: t.filter(k=3),
    "filter_list_of_predicates": lambda t: t.filter([pl.col("k") > 1, pl.col("k") < 5]),
    "filter_literal": lambda t: t.filter(False),
    "filter_to_nothing_in_some_partitions": lambda t: t.filter(pl.col("i") > 50).with_columns(x=pl.col("w") * 2),
    "select": lambda t: t.select("i", pl.col("v") * 2, x=pl.col("w") + pl.col("k")),
    "select_selectors": lambda t: t.select(pl.selectors.numeric() - 1, pl.selectors.by_name("s")),
    "select_literals": lambda t: t.select(pl.lit(1).alias("one"), pl.lit("x").alias("x")),
    "select_literal_beside_column": lambda t: t.select("i", pl.lit(1).alias("one")),
    "select_nothing_needed_below": lambda t: t.with_columns(z=pl.col("v") * 2).select(pl.lit(1).alias("one"), "i").select("one"),
    "with_columns": lambda t: t.with_columns(pl.col("v").fill_nan(0), y=pl.col("s").str.len_chars()),
    "with_columns_replaces": lambda t: t.with_columns(pl.col("i") * 2, i2=pl.col("i")),
    "with_columns_none": lambda t: t.with_columns(),
    "drop": lambda t: t.drop("v", "l"),
    "drop_selector": lambda t: t.drop(pl.selectors.temporal()),
    "drop_not_strict": lambda t: t.drop("v", "missing", strict=False),
    "rename": lambda t: t.rename({"v": "value", "k": "v"}),
    "rename_swaps": lambda t: t.rename({"v": "k", "k": "v"}).filter(pl.col("k") > 2),
    "rename_function": lambda t: t.rename(str.upper),
    "rename_not_strict": lambda t: t.rename({"v": "value", "missing": "x"}, strict=False),
    "cast": lambda t: t.cast({"i": pl.Float32, "k": pl.String}),
    "cast_selector": lambda t: t.cast({pl.selectors.signed_integer(): pl.Float64}),
    "cast_all": lambda t: t.select("i", "k", "w").cast(pl.String),
    "cast_not_strict": lambda t: t.select("s").cast(pl.Int32, strict=False),
    "fill_null": lambda t: t.select("i", "k", "v", "w").fill_null(7),
    "fill_null_by_expression": lambda t: t.select("i", "k").fill_null(pl.col("i")),
    "fill_null_zero": lambda t: t.select("i", "k", "v").fill_null(strategy="zero"),
    "fill_nan": lambda t: t.fill_nan(0.5),
    "drop_nulls": lambda t: t.drop_nulls(),
    "drop_nulls_subset": lambda t: t.drop_nulls("k"),
    "drop_nulls_subset_selector": lambda t: t.drop_nulls(pl.selectors.float()),
    "explode": lambda t: t.select("i", "l").explode("l"),
    "explode_keeps_empty": lambda t: t.select("i", "l").explode("l", empty_as_null=False),
    "explode_drops_null_lists": lambda t: t.select("i", "l").explode("l", keep_nulls=False),
    "explode_two": lambda t: t.select("i", "l", l2=pl.col("l").list.eval(pl.element() * 2)).explode("l", "l2"),
    "unnest": lambda t: t.select("i", "st").unnest("st"),
    "unnest_all": lambda t: t.select("i", "st").unnest(),
    "unnest_separator": lambda t: t.select("i", "k", "st").unnest("st", separator="."),
    "fill_null_everywhere": lambda t: t.fill_null(7),
    "fill_null_text": lambda t: t.drop("l").fill_null("x"),
    "fill_null_max": lambda t: t.select("i", "w", "k").fill_null(strategy="max"),
    "unnest_between": lambda t: t.select("st", "i").unnest("st"),
    "pipe": lambda t: t.pipe(lambda one, n: one.filter(pl.col("i") > n), 30),
}


@on_shapes(CASES)
def test_rows_equal_polars(session, name):
    check(session, CASES[name], events())


@pytest.mark.parametrize("name", ["filter", "select", "explode", "unnest", "drop_nulls", "cast", "select_literals", "select_literal_beside_column"])
def test_no_rows_equal_polars(one_session, name):
    check(one_session, CASES[name], events(0))


def test_every_type_goes_through_collect(session):
    check(session, lambda t: t.filter(pl.col("bool").fill_null(True)), table_of_every_type(40))


def test_schema_is_known_without_running(one_session):
    for name, chain in CASES.items():
        dataset = chain(one_session.from_polars(events()))
        assert dataset.schema == chain(events().lazy()).collect_schema(), name
        assert dataset.collect_schema() == dataset.schema
        assert (dataset.columns, dataset.dtypes, dataset.width) == (dataset.schema.names(), dataset.schema.dtypes(), len(dataset.schema))

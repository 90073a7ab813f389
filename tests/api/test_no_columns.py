"""A table without columns has a height, which every method carries as Polars does; keys that are constants are keys."""

import polars as pl
import pytest

import hpcflow as hf
from tests.api.oracle import check, same
from tests.thorough import spread

TABLE = pl.DataFrame({"a": [1, 2, 3] * 20, "b": range(60)})
ONE = pl.DataFrame({"n": [1, 2]})

CHAINS = {
    "drop": lambda t, s: t.drop("a", "b"),
    "drop_by_selector": lambda t, s: t.drop(pl.selectors.all()),
    "select_nothing": lambda t, s: t.select([]),
    "select_selector_of_nothing": lambda t, s: t.select(pl.selectors.string()),
    "filtered_before": lambda t, s: t.filter(pl.col("a") > 1).drop("a", "b"),
    "filter_none": lambda t, s: t.drop("a", "b").filter(pl.lit(False)),
    "filter_all": lambda t, s: t.drop("a", "b").filter(pl.lit(True)),
    "head": lambda t, s: t.drop("a", "b").head(2),
    "tail": lambda t, s: t.drop("a", "b").tail(50),
    "slice": lambda t, s: t.drop("a", "b").slice(5, 50),
    "concat": lambda t, s: (pl if isinstance(t, pl.LazyFrame) else hf).concat([t.drop("a", "b"), t.head(7).drop("a", "b")]),
    "cross": lambda t, s: s.join(t.drop("a", "b"), how="cross"),
    "cross_of_none": lambda t, s: s.drop("n").join(t.drop("a", "b"), how="cross"),
    "cache": lambda t, s: t.drop("a", "b").cache(),
    "len": lambda t, s: t.drop("a", "b").select(pl.len()),
    "with_row_index": lambda t, s: t.drop("a", "b").with_row_index(),
    "with_columns": lambda t, s: t.drop("a", "b").with_columns(x=pl.lit(1)),
    "literal": lambda t, s: t.drop("a", "b").select(pl.lit(1)),
    "group_by": lambda t, s: t.drop("a", "b").group_by(pl.lit(1)).agg(pl.len()),
    "unique": lambda t, s: t.drop("a", "b").unique(),
    "unique_in_order": lambda t, s: t.drop("a", "b").unique(keep="last", maintain_order=True),
    "unique_of_no_rows": lambda t, s: t.drop("a", "b").head(0).unique(),
    "reverse": lambda t, s: t.drop("a", "b").reverse(),
    "sort_by_nothing": lambda t, s: t.drop("a", "b").sort([]),
    "sort_by_a_constant": lambda t, s: t.drop("a", "b").sort(pl.lit(1)),
    "top_k": lambda t, s: t.drop("a", "b").top_k(2, by=pl.lit(1)),
    "rename": lambda t, s: t.drop("a", "b").rename({}),
    "cast": lambda t, s: t.drop("a", "b").cast(pl.Int8),
    "fill_null": lambda t, s: t.drop("a", "b").fill_null(1),
    "fill_nan": lambda t, s: t.drop("a", "b").fill_nan(1.0),
    "drop_nulls": lambda t, s: t.drop("a", "b").drop_nulls(),
    "unnest": lambda t, s: t.drop("a", "b").unnest(),
    "index_dropped": lambda t, s: t.drop("a", "b").with_row_index("i").filter(pl.col("i") > 5).drop("i"),
}


@pytest.mark.parametrize("name", spread(CHAINS, every=3))
def test_a_table_without_columns_has_the_height_that_it_has_in_polars(session, name):
    want = CHAINS[name](TABLE.lazy(), ONE.lazy()).collect()
    got = CHAINS[name](session.from_polars(TABLE), session.from_polars(ONE))
    same(got.collect(), want)
    assert got.collect().shape == want.shape
    assert got.count() == want.height
    assert got.to_arrow().num_rows == want.height
    assert [batch.height for batch in got.iter_batches(7)] == [min(7, want.height - start) for start in range(0, want.height, 7)]


def test_functions_take_and_give_tables_without_columns(session):
    bare = session.from_polars(TABLE).drop("a", "b")
    assert bare.repartition(3).map_batches(lambda df: df, schema={}).count() == 60
    assert bare.map_batches(lambda df: df.with_columns(x=pl.lit(1)), schema={"x": pl.Int32}).collect().height == 60
    assert bare.bsp(lambda ctx, df: df, schema={}).count() == 60
    assert bare.sample(10, seed=1).count() == 10
    assert session.from_polars(pl.DataFrame(height=7)).collect().shape == (7, 0)


CONSTANT_KEYS = {
    "sort": lambda t: t.sort(pl.lit(1), "b", descending=[False, True]),
    "group_by": lambda t: t.group_by(pl.lit(1).alias("one")).agg(pl.len()),
    "join": lambda t: t.join(t.filter(pl.col("b") < 2), on=pl.lit(1)).sort("b", "b_right"),
    "unique": lambda t: t.unique(pl.lit(1)).select(pl.len()),
    "top_k": lambda t: t.top_k(3, by=[pl.lit(1), "b"]),
    "drop_nulls_of_nothing": lambda t: t.drop_nulls([]),
}


@pytest.mark.parametrize("name", CONSTANT_KEYS)
def test_a_constant_is_a_key(session, name):
    check(session, CONSTANT_KEYS[name], TABLE)


def test_keys_that_name_no_column_are_refused(one_session):
    table = one_session.from_polars(TABLE)
    assert table.repartition(3, by=pl.lit(1)).count() == 60
    with pytest.raises(hf.SchemaError, match="subset names no column"):
        table.unique([])
    with pytest.raises(hf.ConfigError, match="by names no column"):
        table.repartition(by=[])


@pytest.mark.parametrize("kind", ["parquet", "csv", "ipc"])
def test_no_file_keeps_a_height_alone_so_none_is_written(one_session, tmp_path, kind):
    with pytest.raises(hf.SinkError, match="only a height"):
        getattr(one_session.from_polars(TABLE).drop("a", "b"), f"write_{kind}")(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sample_of_more_rows_than_a_frame_can_hold_is_all_of_them(one_session):
    assert one_session.from_polars(TABLE).sample(10**15, seed=1).count() == 60

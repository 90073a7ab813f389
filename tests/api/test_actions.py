"""concat, repartition, user functions, caches, writes and the ways to get rows out."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import hpcflow as hf
from tests.api.oracle import check, events, on_shapes, same

SLIM = ["i", "k", "s", "w"]


def _concat(items, **options):
    items = list(items)
    return (hf.concat if isinstance(items[0], hf.Dataset) else pl.concat)(items, **options)


CONCATS = {
    "vertical": lambda a, b: _concat([a, b]),
    "three_with_itself": lambda a, b: _concat([a, b, a]),
    "of_one": lambda a, b: _concat([a]),
    "filters_of_one": lambda a, b: _concat([a.filter(pl.col("k") < 2), a.filter(pl.col("k") > 4)]),
    "an_empty_one": lambda a, b: _concat([a.filter(pl.col("i") < 0), b, a.head(0)]),
    "then_group": lambda a, b: _concat([a, b]).group_by("k").agg(pl.col("w").sum(), pl.col("i").alias("all")).sort("k"),
    "then_sort": lambda a, b: _concat([a, b]).sort("w", maintain_order=True),
    "then_index": lambda a, b: _concat([a, b]).with_row_index(),
    "then_one_column": lambda a, b: _concat([a, b.filter(pl.col("w") > 3)]).select("s"),
    "then_slice": lambda a, b: _concat([a, b]).slice(55, 10),
    "relaxed": lambda a, b: _concat([a, b.cast({"k": pl.Int64, "w": pl.Float64})], how="vertical_relaxed"),
    "diagonal": lambda a, b: _concat([a.drop("k"), b.drop("w")], how="diagonal"),
    "diagonal_then_a_missing_column": lambda a, b: _concat([a.select("i"), b.select("s")], how="diagonal").select("s"),
    "diagonal_relaxed": lambda a, b: _concat([a.drop("k"), b.cast({"i": pl.Float64})], how="diagonal_relaxed"),
    "of_joins": lambda a, b: _concat([a.join(b, on="i", how="semi"), a.join(b, on="i", how="anti")]).sort("i", "w"),
    "joined_with_a_part": lambda a, b: _concat([a, b]).join(a.select("i").head(3), on="i").sort("i", "w", "s"),
}


@on_shapes(CONCATS)
def test_concat_equals_polars(session, name):
    check(session, CONCATS[name], events().select(SLIM), events().select(SLIM).sample(30, seed=1))


def test_concat_of_what_does_not_fit_is_refused(one_session):
    a, b = one_session.from_polars(events()).select("i"), one_session.from_polars(events()).select("s")
    for call in (lambda: hf.concat([a, b]), lambda: hf.concat([a, a.cast(pl.Int32)])):
        with pytest.raises(hf.SchemaError):
            call()
    with pytest.raises(hf.ConfigError, match="horizontal"):
        hf.concat([a, b], how="horizontal")
    with pytest.raises(hf.ConfigError):
        hf.concat([])


def _partition_of(df):
    return df["w"].to_numpy() % 3


def _numba_partition_of(w, i):
    return (w + i) % 5


REPARTITIONS = {
    "default": lambda t: t.repartition(),
    "one": lambda t: t.repartition(1),
    "many": lambda t: t.repartition(40),
    "by_name": lambda t: t.repartition(by="k"),
    "by_expression": lambda t: t.repartition(3, by=[pl.col("i") % 4, "s"]),
    "user_function": lambda t: t.repartition(3, partitioner=_partition_of),
}


@on_shapes(REPARTITIONS)
def test_repartition_keeps_all_rows(session, name):
    same(REPARTITIONS[name](session.from_polars(events())).collect(), events(), by="i")
    assert REPARTITIONS[name](session.from_polars(events(0))).count() == 0


@pytest.mark.thorough  # compiling takes a second; tests/shuffle/test_partitioners.py has every type
def test_repartition_by_a_compiled_function_keeps_all_rows(one_session):
    def repartitioned(rows):
        return one_session.from_polars(events(rows)).repartition(5, partitioner=_numba_partition_of, columns=["w", "i"])

    same(repartitioned(60).collect(), events(60), by="i")
    assert repartitioned(0).count() == 0


def _seen(dataset, column):
    return dataset.map_batches(lambda df: df.select(pl.col(column).unique().implode()), schema={column: pl.List(dataset.schema[column])}).collect()


def test_repartition_puts_equal_keys_together(one_session):
    table = one_session.from_polars(events())
    for dataset in (table.repartition(5, by="hot"), table.repartition(5, by=["hot"])):
        values = [v for part in _seen(dataset, "hot")["hot"] for v in part]
        assert len(values) == len(set(values)) == events()["hot"].n_unique()
    parts = [set(p) for p in _seen(table.with_columns(p=pl.col("w") % 3).repartition(3, partitioner=_partition_of), "p")["p"]]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 3


def test_round_robin_deals_evenly(one_session):
    sizes = one_session.range(600).repartition(4).map_batches(lambda df: pl.DataFrame({"n": [df.height]}), schema={"n": pl.Int64})
    sizes = sizes.with_property(slots=1).collect()["n"].to_list()
    assert sum(sizes) == 600
    assert max(sizes) <= 310


@pytest.mark.parametrize("partitioner", [lambda df: df["w"].to_numpy() * 1000, lambda df: [1.5] * df.height, lambda df: [0]])
def test_a_wrong_partitioner_is_an_error(one_session, partitioner):
    with pytest.raises(hf.HpcflowError):
        one_session.from_polars(events()).repartition(3, partitioner=partitioner).collect()


FUNCTIONS = {
    "polars": lambda df: df.select(pl.col("i") * 2, pl.col("w").cast(pl.Float64)),
    "arrow": lambda table: pl.DataFrame(table).select(pl.col("i") * 2, pl.col("w").cast(pl.Float64)).to_arrow(),
    "pandas": lambda df: df[["i", "w"]].assign(i=df["i"] * 2, w=df["w"].astype("float64")),
    "numpy": lambda columns: {"i": columns["i"] * 2, "w": columns["w"].astype(np.float64)},
}


@pytest.mark.parametrize("format", FUNCTIONS)
def test_map_batches_in_every_format(session, format):
    dataset = session.from_polars(events()).select("i", "w")
    got = dataset.map_batches(FUNCTIONS[format], schema={"i": pl.Int64, "w": pl.Float64}, format=format).collect()
    same(got, events().select(pl.col("i") * 2, pl.col("w").cast(pl.Float64)))


def test_map_batches_finds_its_schema_and_never_sees_an_empty_partition(session):
    def function(df):
        assert df.height or df.width == 2, "called with no rows"
        return df.with_columns(x=pl.col("i") + 1)

    dataset = session.from_polars(events()).select("i", "k").filter(pl.col("i") > 55).map_batches(function)
    same(dataset.collect(), events().select("i", "k").filter(pl.col("i") > 55).with_columns(x=pl.col("i") + 1))


def test_map_batches_that_returns_something_else_is_an_error(one_session):
    for function in (lambda df: df.select("i"), lambda df: 3, lambda df: df.cast({"i": pl.String})):
        with pytest.raises(hf.HpcflowError, match="map_batches"):
            one_session.from_polars(events()).select("i", "k").map_batches(function, schema={"i": pl.Int64, "k": pl.Int32}).collect()


def test_flat_map(session):
    got = session.from_polars(events()).select("i").flat_map(lambda row: [{"j": row["i"]}] * (row["i"] % 3), schema={"j": pl.Int64}).collect()
    assert got["j"].to_list() == [i for i in range(60) for _ in range(i % 3)]


def test_foreach_partition_sees_every_row_once(session, tmp_path):
    def write(df):
        df.write_parquet(tmp_path / f"{df['i'].min()}.parquet")

    session.from_polars(events().select("i", "k")).filter(pl.col("i") != 7).foreach_partition(write)
    assert sorted(pl.read_parquet(tmp_path / "*.parquet")["i"]) == [i for i in range(60) if i != 7]


def test_cache_is_computed_once_and_again_after_unpersist(session, tmp_path):
    def mark(df):
        (tmp_path / f"{df['i'][0]}-{len(list(tmp_path.iterdir()))}").touch()
        return df

    cached = session.from_polars(events()).map_batches(mark, schema=events().schema).cache()
    same(cached.collect(), events())
    calls = len(list(tmp_path.iterdir()))
    assert calls >= 1
    assert cached.count() == 60
    same(cached.group_by("k").agg(pl.col("w").sum()).sort("k").collect(), events().group_by("k").agg(pl.col("w").sum()).sort("k"))
    same(cached.sort("w", "i").collect(), events().sort("w", "i"))
    same(cached.slice(20, 10).collect(), events().slice(20, 10))
    same(hf.concat([cached, cached]).collect(), pl.concat([events(), events()]))
    same(cached.join(cached.select("i", z="w"), on="i").sort("i").collect(), events().with_columns(z="w"))
    assert len(list(tmp_path.iterdir())) == calls
    assert cached.unpersist().count() == 60
    assert len(list(tmp_path.iterdir())) > calls
    cached.unpersist()
    with pytest.raises(hf.ConfigError, match="cache"):
        session.range(3).unpersist()


def test_a_cache_in_the_middle_feeds_two_readers_in_its_first_action(session):
    cached = session.from_polars(events()).filter(pl.col("i") > 2).cache()
    one, two, three = hf.collect_all([cached.sort("w", "i"), cached.group_by("k").agg(pl.len()).sort("k"), cached])
    kept = events().filter(pl.col("i") > 2)
    same(one, kept.sort("w", "i"))
    same(two, kept.group_by("k").agg(pl.len()).sort("k"))
    same(three, kept)
    cached.unpersist()


def test_collect_all_shares_what_is_shared(session, tmp_path):
    def mark(df):
        (tmp_path / f"{df['i'][0]}-{len(list(tmp_path.iterdir()))}").touch()
        return df

    base = session.from_polars(events()).map_batches(mark, schema=events().schema)
    one, two, three = hf.collect_all([base.select("i"), base.filter(pl.col("k") == 1), base.select("i")])
    same(one, events().select("i"))
    same(two, events().filter(pl.col("k") == 1))
    same(three, one)
    first_rows = [p.name.split("-")[0] for p in tmp_path.iterdir()]
    assert len(first_rows) == len(set(first_rows))
    assert hf.collect_all([]) == []
    same(hf.collect_all([base, base])[1], events())


def test_rows_come_out_in_every_form(session):
    table = events().select("i", "w")
    dataset = session.from_polars(table)
    assert dataset.count() == 60
    assert pl.DataFrame(dataset.to_arrow()).equals(table)
    assert pl.from_pandas(dataset.to_pandas())["i"].to_list() == table["i"].to_list()
    assert (dataset.to_numpy() == table.to_numpy()).all()
    batches = list(dataset.filter(pl.col("i") < 50).iter_batches(rows=16))
    assert [b.height for b in batches] == [16, 16, 16, 2]
    assert_frame_equal(pl.concat(batches), table.head(50))
    assert list(session.from_polars(table.head(0)).iter_batches()) == []
    with pytest.raises(hf.ConfigError):
        next(dataset.iter_batches(0))


def test_sources_of_the_driver(session):
    assert session.range(5).collect()["value"].to_list() == [0, 1, 2, 3, 4]
    assert session.range(2, 11, 3, name="n").collect()["n"].to_list() == [2, 5, 8]
    assert session.from_items([{"a": 1}, {"a": 2}]).collect()["a"].to_list() == [1, 2]
    assert session.from_numpy(np.arange(6).reshape(3, 2)).collect().shape == (3, 2)
    assert session.from_dict({"a": [1, 2]}).collect()["a"].to_list() == [1, 2]
    assert session.from_arrow(pl.DataFrame({"a": ["x"]}).to_arrow()).collect()["a"].to_list() == ["x"]
    assert session.from_pandas(pl.DataFrame({"a": [1.5]}).to_pandas()).collect()["a"].to_list() == [1.5]


@pytest.mark.parametrize("kind", ["parquet", "csv", "ipc"])
def test_what_is_written_is_read_back_in_order(session, tmp_path, kind):
    table = events().select("i", "w", pl.col("s").fill_null("none"))
    path = tmp_path / "out"
    session.from_polars(table).filter(pl.col("i") != 3).sort("w", "i", descending=[True, False]).pipe(lambda d: getattr(d, f"write_{kind}")(path))
    got = getattr(session, f"read_{kind}")(path).collect()
    assert_frame_equal(got, table.filter(pl.col("i") != 3).sort("w", "i", descending=[True, False]), check_dtypes=kind != "csv")
    with pytest.raises(hf.SinkError):
        getattr(session.from_polars(table), f"write_{kind}")(path)
    getattr(session.from_polars(table.head(2)), f"write_{kind}")(path, mode="overwrite")
    assert getattr(session, f"read_{kind}")(path).count() == 2


def test_files_are_read_with_pushdown(session, tmp_path):
    events().select(SLIM).write_parquet(tmp_path / "a.parquet", row_group_size=10)
    lazy = pl.scan_parquet(tmp_path / "a.parquet")
    for chain in (
        lambda t: t.filter(pl.col("i") > 45).select("w"),
        lambda t: t.with_columns(x=pl.col("w") * 2).filter(pl.col("k") == 2).group_by("s").agg(pl.col("x").sum()).sort("s"),
        lambda t: t.sort("w", "i").filter(pl.col("i") < 12).select("s"),
    ):
        same(chain(session.read_parquet(tmp_path / "a.parquet")).collect(), chain(lazy).collect())


def test_explain_shows_program_passes_stages_and_figures(one_session):
    dataset = one_session.from_polars(events()).group_by("k").agg(pl.col("w").sum()).sort("k")
    text = dataset.explain(passes=True)
    for word in ("program", "passes", "combine_before_shuffle: changed", "stages", "range shuffle", "partial_group_by"):
        assert word in text
    assert "tasks on" in dataset.explain(analyze=True)
    assert dataset.explain(format="dot").startswith("digraph")
    assert '"vertices"' in dataset.explain(format="json")
    with pytest.raises(hf.ConfigError, match="format"):
        dataset.explain(format="svg")

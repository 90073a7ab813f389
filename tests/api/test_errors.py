"""Wrong programs fail at the line that makes them, with what to do next."""

import sys

import polars as pl
import pytest

import hpcflow as hf
from tests.api.oracle import check_refused_alike, colours, events

WRONG = {
    "filter": (lambda t: t.filter(pl.col("ww") > 1), hf.ColumnNotFoundError),
    "filter_type": (lambda t: t.filter(pl.col("w")), hf.SchemaError),
    "filter_compares_text_with_number": (lambda t: t.filter(pl.col("s") > 3), hf.HpcflowError),
    "select": (lambda t: t.select("i", "nope"), hf.ColumnNotFoundError),
    "select_twice": (lambda t: t.select("i", pl.col("w").alias("i")), hf.SchemaError),
    "with_columns": (lambda t: t.with_columns(x=pl.col("vv") + 1), hf.ColumnNotFoundError),
    "with_columns_type": (lambda t: t.with_columns(x=pl.col("s").dt.year()), hf.HpcflowError),
    "drop": (lambda t: t.drop("nope"), hf.ColumnNotFoundError),
    "rename": (lambda t: t.rename({"nope": "x"}), hf.ColumnNotFoundError),
    "rename_to_taken": (lambda t: t.rename({"w": "v"}), hf.SchemaError),
    "cast": (lambda t: t.cast({"nope": pl.Int8}), hf.ColumnNotFoundError),
    "explode": (lambda t: t.explode("nope"), hf.ColumnNotFoundError),
    "explode_type": (lambda t: t.explode("w"), hf.SchemaError),
    "unnest": (lambda t: t.unnest("nope"), hf.ColumnNotFoundError),
    "unnest_type": (lambda t: t.unnest("w"), hf.SchemaError),
    "sort": (lambda t: t.sort("nope"), hf.ColumnNotFoundError),
    "sort_flags": (lambda t: t.sort("i", "w", descending=[True, False, True]), hf.ConfigError),
    "group_by": (lambda t: t.group_by("nope").agg(pl.len()), hf.ColumnNotFoundError),
    "agg": (lambda t: t.group_by("k").agg(pl.col("nope").sum()), hf.ColumnNotFoundError),
    "unique": (lambda t: t.unique("nope"), hf.ColumnNotFoundError),
    "top_k": (lambda t: t.top_k(3, by="nope"), hf.ColumnNotFoundError),
    "drop_nulls": (lambda t: t.drop_nulls("nope"), hf.ColumnNotFoundError),
    "over": (lambda t: t.with_columns(x=pl.col("w").sum().over("nope")), hf.ColumnNotFoundError),
    "agg_type": (lambda t: t.group_by("k").agg(pl.col("d").sum()), hf.SchemaError),
    "agg_type_of_lists": (lambda t: t.group_by("k").agg(pl.col("l").min()), hf.SchemaError),
    "aggregate_type": (lambda t: t.select(pl.col("d").sum()), hf.SchemaError),
    "aggregate_type_in_a_column": (lambda t: t.with_columns(x=pl.col("st").max()), hf.SchemaError),
    "row_index_taken": (lambda t: t.with_row_index("i"), hf.SchemaError),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_refused_like_polars_does_before_it_runs(one_session, name):
    chain, error = WRONG[name]
    check_refused_alike(one_session, chain, events(), error=error)


def test_an_aggregation_that_needs_rows_is_not_refused_for_having_none_yet(one_session):
    table = one_session.from_polars(events())
    assert table.select(pl.col("w").get(2)).collect().item() == events()["w"][2]
    assert table.filter(pl.col("i") == 3).select(pl.col("w").item()).collect().item() == events()["w"][3]
    assert table.group_by(half=pl.col("i") // 30).agg(pl.col("w").get(2), pl.col("i").gather([1, 0])).collect().height == 2


def test_an_unknown_column_is_named_with_near_names_and_those_there(one_session):
    for chain in (lambda t: t.select("prise"), lambda t: t.filter(pl.col("prise") > 1), lambda t: t.group_by("prise"), lambda t: t.sort("prise")):
        with pytest.raises(hf.ColumnNotFoundError, match=r"'prise'.*did you mean 'price'.*price.*town"):
            chain(one_session.from_dict({"price": [1], "town": ["x"]}))


JOINS = {
    "unknown": (lambda a, b: a.join(b, on="nope"), hf.ColumnNotFoundError),
    "only_on_one_side": (lambda a, b: a.join(b, on="i"), hf.ColumnNotFoundError),
    "no_keys": (lambda a, b: a.join(b), hf.ConfigError),
    "cross_with_keys": (lambda a, b: a.join(b, on="k", how="cross"), hf.ConfigError),
    "unknown_how": (lambda a, b: a.join(b, on="k", how="inned"), hf.ConfigError),
    "different_numbers": (lambda a, b: a.join(b, left_on=["k", "s"], right_on="k"), hf.SchemaError),
    "left_alone": (lambda a, b: a.join(b, left_on="k"), hf.ConfigError),
    "names_clash": (lambda a, b: a.with_columns(s_right=pl.lit(1)).join(b, on="k"), hf.SchemaError),
    "unknown_order": (lambda a, b: a.join(b, on="k", maintain_order="lefft"), hf.ConfigError),
}


@pytest.mark.parametrize("name", JOINS)
def test_a_wrong_join_is_refused_before_it_runs(one_session, name):
    chain, error = JOINS[name]
    check_refused_alike(one_session, chain, events(), colours(), error=error)


def test_datasets_of_two_sessions_do_not_meet(one_session):
    with hf.Session(progress="off") as other:
        a, b = one_session.range(3), other.range(3)
        for call in (lambda: a.join(b, on="value"), lambda: hf.concat([a, b]), lambda: hf.collect_all([a, b])):
            with pytest.raises(hf.ConfigError, match="different sessions"):
                call()
    with pytest.raises(hf.HpcflowError, match="closed"):
        b.collect()


def test_a_dataset_says_what_it_is_and_has_no_truth_value(one_session):
    assert "from_memory [a: Int64]" in repr(one_session.from_dict({"a": [1]}))
    with pytest.raises(TypeError, match="lazy"):
        bool(one_session.range(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.head(-1),
        lambda d: d.tail(-1),
        lambda d: d.repartition(0),
        lambda d: d.repartition(partitioner=len),
        lambda d: d.sample(),
        lambda d: d.sample(1, fraction=0.5),
        lambda d: d.sample(fraction=1.5),
        lambda d: d.sample(1, with_replacement=True),
        lambda d: d.with_property(nope=1),
        lambda d: d.with_property(input=7, compression="lz4"),
    ],
)
def test_wrong_arguments_are_refused(one_session, call):
    with pytest.raises(hf.ConfigError):
        call(one_session.range(3))


REFUSED_VALUES = {
    "pattern": ("hash shufle", "'hash shuffle', .*did you mean 'hash shuffle'"),
    "data_flow": ("pul", "'push', 'pull'; did you mean 'pull'"),
    "data_store": ("disk", "'memory', 'scratch'"),
    "persistence": (True, "'discard', 'keep'"),
    "compression": ("lz5", "'none', 'lz4', 'zstd'; did you mean 'lz4'"),
    "partition_count": (0, "at least 1, or None"),
    "ordered": ("yes", "True or False"),
    "combiner": (1, "True or False"),
    "keys": (("k",), "Polars expressions"),
    "order": (pl.col("k"), "SortKey"),
    "function": (3, "a function"),
    "columns": ("k", "column names"),
    "parallelism": (2.0, "whole number of at least 1, or None"),
    "slots": (None, "whole number of at least 1"),
    "memory_bytes": ("1GB", "whole number of at least 0"),
    "placement": ((0, -1), "workers .*, or None"),
}


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_a_value_that_a_property_cannot_have_is_refused_with_those_it_can(one_session, name):
    value, valid = REFUSED_VALUES[name]
    with pytest.raises(hf.ConfigError, match=f"property {name} cannot be .*: expected .*{valid}"):
        one_session.range(3).repartition(2).with_property(**{name: value})


@pytest.mark.parametrize("placement", [0, "0", (), (True,), (0.5,)])
def test_a_placement_is_some_workers(one_session, placement):
    with pytest.raises(hf.ConfigError, match="placement"):
        one_session.range(3).with_property(placement=placement)


NEEDS_AN_EXTRA = {
    "from_pandas": ("pandas", lambda s: s.from_pandas(pl.DataFrame({"a": [1]}))),
    "to_pandas": ("pandas", lambda s: s.range(3).map_batches(never, schema={"value": pl.Int64}).to_pandas()),
    "map_batches": ("pandas", lambda s: s.range(3).map_batches(never, format="pandas")),
    "map_groups": ("pandas", lambda s: s.range(3).group_by("value").map_groups(never, None, "pandas")),
    "foreach_partition": ("pandas", lambda s: s.range(3).foreach_partition(never, format="pandas")),
    "repartition": ("numba", lambda s: s.range(3).repartition(2, partitioner=lambda value: value % 2, columns=["value"])),
    "with_property": ("numba", lambda s: s.range(3).repartition(2).with_property(columns=["value"])),
}


def never(df):
    raise AssertionError("called")


@pytest.mark.parametrize("name", NEEDS_AN_EXTRA)
def test_without_an_extra_the_line_that_needs_it_says_how_to_install_it(one_session, monkeypatch, name):
    library, call = NEEDS_AN_EXTRA[name]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(hf.ConfigError, match=rf"{name}.* needs {library}.*pip install 'hpcflow-mpi\[{library}\]'"):
        call(one_session)

"""What goes wrong is said with its cause, and what to do: in loops, in functions on workers, in partitioners."""

import sys

import polars as pl
import pytest

import hpcflow as hf
from tests.api.oracle import check, events

TABLE = pl.DataFrame({"k": [1, 2, 1, 3], "v": [3, 1, 4, 1]})

IN_A_BODY = {
    "collect": lambda d: d.collect(),
    "count": lambda d: d.filter(pl.col("v") > 1).count(),
    "write_parquet": lambda d: d.write_parquet("never"),
    "submit": lambda d: d.submit().result(),
}


@pytest.mark.parametrize("action", IN_A_BODY)
def test_an_action_in_the_body_of_a_loop_is_refused_with_what_to_do(one_session, action, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def body(state):
        IN_A_BODY[action](state)
        return state

    with pytest.raises(hf.ConfigError, match=r"stands for the state in the loop's body.*metrics"):
        hf.iterate(body, one_session.from_polars(TABLE), max_iterations=2)
    assert not (tmp_path / "never").exists()


def test_other_datasets_may_be_used_in_the_body_of_a_loop(one_session):
    def body(state):
        return state.with_columns(pl.col("v") + one_session.range(3).count())

    assert hf.iterate(body, one_session.from_polars(TABLE), max_iterations=2).select(pl.col("v").sum()).collect().item() == 9 + 4 * 6


def test_a_dataset_or_session_in_a_function_is_named_before_anything_runs(one_session):
    data = one_session.from_polars(TABLE)
    schema = dict(TABLE.schema)
    for call in (
        lambda: data.map_batches(lambda df: df.head(data.count()), schema=schema).collect(),
        lambda: data.flat_map(lambda row: data.collect().to_dicts(), schema=schema).collect(),
        lambda: data.bsp(lambda ctx, df, other: df, schema=schema, arguments={"other": data}).collect(),
        lambda: data.foreach_partition(lambda df: data.count()),
    ):
        with pytest.raises(hf.UnpicklableError, match=r"a Dataset is a plan of the driver.*hf\.broadcast") as error:
            call()
        assert "lock" not in str(error.value)
    with pytest.raises(hf.UnpicklableError, match="a Session belongs to the driver"):
        data.map_batches(lambda df: one_session.range(3).collect(), schema={"value": pl.Int64}).collect()


@pytest.mark.thorough  # Numba compiles for a second
def test_a_compiled_partitioner_out_of_range_is_told_with_its_row_and_what_it_returned(one_session):
    pytest.importorskip("numba")
    data = one_session.from_dict({"k": [4, 1, 0, 2]}).repartition(4, partitioner=lambda k: k - 1, columns=["k"])
    with pytest.raises(hf.SchemaError, match=r"returned partition -1 for row \d \(k=0\); partitions are 0 to 3"):
        data.collect()


def test_a_failing_task_is_placed_by_rank_and_by_worker(session):
    def fail(ctx, df):
        if ctx.rank == ctx.size - 1:
            raise ValueError("no")
        return df

    data = session.from_polars(TABLE).bsp(fail, schema=dict(TABLE.schema))
    with pytest.raises(hf.TaskError) as error:
        data.collect()
    assert error.value.worker == session.workers - 1
    assert f"rank {error.value.rank} (worker {error.value.worker}) on " in str(error.value)


def test_sys_exit_in_a_function_is_a_failure_that_names_it(one_session):
    with pytest.raises(hf.TaskError, match="SystemExit: 4"):
        one_session.from_polars(TABLE).map_batches(lambda df: sys.exit(4), schema=dict(TABLE.schema)).collect()
    assert one_session.range(3).count() == 3


WHOLE = {
    "unique": lambda t: t.select(pl.col("k").unique().sort()),
    "mode": lambda t: t.select(pl.col("hot").mode()),
    "head": lambda t: t.select(pl.col("w").head(3)),
    "tail": lambda t: t.select(pl.col("w", "i").tail(3)),
    "slice": lambda t: t.select(pl.col("s").slice(5, 9)),
    "gather": lambda t: t.select(pl.col("v").gather([3, 1, 40])),
    "gather_every": lambda t: t.select(pl.col("w").gather_every(7)),
    "top_k": lambda t: t.select(pl.col("w").top_k(4).sort()),
    "value_counts": lambda t: t.select(pl.col("k").value_counts(sort=True).struct.field("count")),
    "arg_unique": lambda t: t.select(pl.col("k").arg_unique()),
    "append": lambda t: t.select(pl.col("w").append(pl.col("i"))),
    "reshape": lambda t: t.select(pl.col("i").reshape((6, 10))),
    "two": lambda t: t.select(pl.col("i").head(4), pl.col("w").tail(4) - pl.col("w").mean()),
    "with_a_filter": lambda t: t.select(pl.col("w").filter(pl.col("b")).head(3), n=pl.len()),
    "of_a_sum": lambda t: t.select(pl.col("w").implode().explode()),
    "rle": lambda t: t.select(pl.col("k").rle()),
    "of_no_rows": lambda t: t.filter(pl.lit(False)).select(pl.col("k").unique()),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_select_whose_values_only_all_rows_give_gathers_them(session, name):
    check(session, WHOLE[name], events())


def test_gathering_is_said_by_explain_and_carries_only_the_columns_of_the_select(one_session):
    text = one_session.from_polars(events()).select(pl.col("w").unique()).explain()
    assert "gather all rows on one worker" in text
    assert "1 columns" in text.partition("optimized")[2]


REFUSED = {
    "with_columns": (lambda t: t.with_columns(x=pl.col("w").unique()), r"lines up with no row; put it in a select"),
    "filter": (lambda t: t.filter(pl.col("b").head(3)), r"lines up with no row; put it in a select"),
    "is_in": (lambda t: t.filter(pl.col("w").is_in(pl.col("i"))), r"write \.is_in\(other\.implode\(\)\)$"),
    "to_date": (lambda t: t.select(pl.col("s").str.to_date()), r"give format=$"),
    "shift": (lambda t: t.select(pl.col("w").shift()), r"within groups, \.over\(keys\) is supported$"),
    "sort": (lambda t: t.select(pl.col("w").sort()), r"use Dataset\.sort\(\)$"),
}


@pytest.mark.filterwarnings("ignore:.is_in. with a collection")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_one_thing_to_do(one_session, name):
    chain, message = REFUSED[name]
    with pytest.raises(hf.UnsupportedExpressionError, match=message):
        chain(one_session.from_polars(events()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fliter", "did you mean 'filter'"),
        ("sink_parquet", "write_parquet writes a directory"),
        ("shift", r"\.over\(keys\)"),
        ("height", r"collect\(\) first"),
        ("match_to_schema", "docs/api.md"),
        ("nothing_like_it", "docs/api.md lists its methods"),
    ],
)
def test_a_method_that_is_not_there_says_what_to_write(one_session, name, said):
    with pytest.raises(AttributeError, match=f"a Dataset has no '{name}'.*{said}"):
        getattr(one_session.range(3), name)


def test_every_method_of_polars_that_is_not_there_says_so_in_its_words(one_session):
    data = one_session.range(3)
    absent = [name for name in dir(pl.LazyFrame) if not name.startswith("_") and not hasattr(hf.Dataset, name)]
    for name in absent:
        with pytest.raises(AttributeError, match=f"a Dataset has no '{name}': "):
            getattr(data, name)
    assert "shift" in absent


def test_an_unknown_property_is_named_with_those_of_vertices_and_edges(one_session):
    for data in (one_session.range(3), one_session.range(3).sort("value")):
        with pytest.raises(hf.ConfigError, match=r"no execution property 'paralelism'; did you mean 'parallelism'\?.*compression"):
            data.with_property(paralelism=3)
    with pytest.raises(hf.ConfigError, match="range has 0 inputs, no input 0; set compression on a dataset with an input edge"):
        one_session.range(3).with_property(compression="lz4")


def test_parallelism_is_refused_where_an_exchange_says_the_number_of_tasks(one_session):
    data = one_session.range(30).with_property(parallelism=3).filter(pl.col("value") > 3).with_property(parallelism=5)
    assert "[parallelism=3]" in data.explain() and "[parallelism=5]" in data.explain()
    for behind in (data.sort("value"), data.sort("value").filter(pl.col("value") > 0), data.group_by("value").agg(pl.len())):
        with pytest.raises(hf.ConfigError, match=r"parallelism is a wish of tasks that read a source.*partition_count.*repartition\(n\)"):
            behind.with_property(parallelism=2)
        assert behind.with_property(parallelism=None).count() == 26

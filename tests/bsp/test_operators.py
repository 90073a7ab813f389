"""Dataflow operators by hand, on threads as ranks: the ranks' results one after another are Polars' result on the whole."""

from itertools import chain, pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hpcflow.bsp import keyed, operators
from hpcflow.bsp.checked_comm import CheckedComm
from hpcflow.bsp.flow import owners_of
from hpcflow.errors import CollectiveMismatchError, ConfigError, SchemaError, UnsupportedExpressionError
from hpcflow.shuffle.partitioners import RoundRobinPartitioner
from hpcflow.testing.bsp import run_on_threads
from hpcflow.testing.tables import table_of_every_type
from tests.thorough import thorough

SIZES = [3, *map(thorough, (1, 2))]
WIDE = [*SIZES, thorough(7)]


def run(job, size):
    """What each rank returns, under each other."""
    return pl.concat(run_on_threads(job, size))


def shares(df, size, skewed=False):
    """Contiguous shares; skewed: rank 0 has all rows but three, rank 1 none."""
    if skewed and size > 1:
        cuts = [0, max(df.height - 3, 0), *[max(df.height - 3, 0)] * (size - 2), df.height]
    else:
        cuts = [df.height * rank // size for rank in range(size + 1)]
    return [df.slice(start, end - start) for start, end in pairwise(cuts)]


def table(rows, seed=0):
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "k": random.integers(0, 20, rows),
            "s": [None if n % 11 == 0 else f"name {n % 13}" for n in random.integers(0, 1000, rows)],
            "v": random.normal(size=rows),
            "row": np.arange(rows),
        },
        schema={"k": pl.Int64, "s": pl.String, "v": pl.Float64, "row": pl.Int64},
    )


ALL_ROWS = table(500)
SKEWED = pytest.mark.parametrize("skewed", [False, True], ids=["even", "skewed"])


# -- partition --------------------------------------------------------------------------------------------------------------------------------------


@SKEWED
@pytest.mark.parametrize("size", WIDE)
def test_equal_keys_meet_and_rows_keep_the_order_of_rank_and_row(size, skewed):
    given = shares(ALL_ROWS, size, skewed)
    results = run_on_threads(lambda group: operators.keyed_partition(group, given[group.rank], ["k", "s"]), size)
    assert_frame_equal(pl.concat(results).sort("row"), ALL_ROWS)
    owners = [set(one.select("k", "s").unique().rows()) for one in results]
    assert sum(map(len, owners)) == ALL_ROWS.n_unique(["k", "s"])
    for one in results:
        assert one["row"].is_sorted()


@pytest.mark.parametrize("size", SIZES)
def test_explicit_ids_a_function_and_a_partitioner_send_rows_where_they_say(size):
    given, partitions = shares(ALL_ROWS, size), 2 * size + 1

    def remainder(rows):
        return rows["k"] % partitions

    for way in ("ids", "series", "function"):

        def job(group, way=way):
            mine, found = given[group.rank], {}
            by = {"ids": mine["k"].to_numpy() % partitions, "series": mine["k"] % partitions, "function": remainder}[way]
            operators.partition(group, mine, by, partitions, on_partition=found.__setitem__)
            return found

        for rank, found in enumerate(run_on_threads(job, size)):
            assert list(found) == [p for p, owner in enumerate(owners_of(partitions, size)) if owner == rank]
            for partition, rows in found.items():
                assert_frame_equal(rows, ALL_ROWS.filter(pl.col("k") % partitions == partition))
    dealt = run_on_threads(lambda group: operators.partition(group, given[group.rank], RoundRobinPartitioner(size)).height, size)
    assert max(dealt) - min(dealt) <= size


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_every_type_travel(size):
    df = table_of_every_type(60)
    given = shares(df, size)
    moved = run_on_threads(lambda group: operators.partition(group, given[group.rank], pl.col("Int64"), 4), size)
    whole = pl.concat(moved)
    assert whole.schema == df.schema
    order = ["Int32", "f32", "UInt8", "string"]
    assert_frame_equal(whole.sort(order), df.sort(order), categorical_as_str=True)


@pytest.mark.parametrize("size", SIZES)
def test_arrow_and_chunked_tables_are_taken(size):
    def job(group):
        share = shares(ALL_ROWS, group.size)[group.rank]
        return operators.partition(group, pa.table(share.to_arrow()), "k"), operators.partition(
            group, pl.concat([share[:7], share[7:]], rechunk=False), "k"
        )

    for arrow, chunked in run_on_threads(job, size):
        assert_frame_equal(arrow, chunked)


def test_a_partition_that_nobody_has_is_refused():
    with pytest.raises(SchemaError, match="returned partition 5 for row 0; partitions are 0 to 4"):
        run(lambda group: operators.partition(group, ALL_ROWS, np.full(500, 5), 5), 1)
    with pytest.raises(ConfigError, match="give column names, expressions, a partitioner"):
        run(lambda group: operators.partition(group, ALL_ROWS, 3.5), 1)


def test_ranks_with_other_schemas_are_told_so():
    def job(group):
        return operators.broadcast(group, pl.DataFrame({"a": [1]}, schema={"a": pl.Int64 if group.rank else pl.Int32}))

    with pytest.raises(SchemaError, match="every rank has to pass the same columns and dtypes"):
        run(job, 2)


@pytest.mark.parametrize("size", SIZES)
def test_rows_are_handed_out_while_others_still_insert(size):
    def job(group):
        with operators.open_flow(group, ALL_ROWS.schema, partitions=group.size) as flow:
            seen = []
            for number in range(5):
                flow.insert(shares(ALL_ROWS, 5)[number], np.full(100, (group.rank + 1) % group.size))
                if number == 0:
                    arriving = flow.arriving()
                    seen.append(next(arriving))  # nobody has finished yet
                    assert not flow.complete
            flow.finish()
            seen += arriving
        assert {partition for partition, _ in seen} == {group.rank}
        assert not group.store.frames
        return pl.concat([rows for _, rows in seen])

    for rows in run_on_threads(job, size):
        assert_frame_equal(rows, ALL_ROWS)


@pytest.mark.parametrize("size", SIZES)
def test_a_callback_gets_rows_as_they_arrive_and_its_results_are_the_result(size):
    given = shares(ALL_ROWS, size)

    def job(group):
        return operators.partition(group, given[group.rank], "k", on_arrival=lambda _, rows: rows.filter(pl.col("k") > 10))

    assert_frame_equal(run(job, size).sort("row"), ALL_ROWS.filter(pl.col("k") > 10))


def test_a_callback_that_raises_ends_the_call():
    def job(group):
        operators.partition(group, ALL_ROWS, "k", on_arrival=lambda _, rows: rows["no such column"])

    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        run(job, 1)


# -- direct, broadcast, union -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", WIDE)
def test_direct_sends_whole_tables_and_broadcast_sends_them_everywhere(size):
    given = shares(ALL_ROWS, size, skewed=True)
    turned = run_on_threads(lambda group: operators.direct(group, given[group.rank], (group.rank + 1) % group.size), size)
    for rank, rows in enumerate(turned):
        assert_frame_equal(rows, given[rank - 1])
    to_last = run_on_threads(lambda group: operators.direct(group, given[group.rank], group.size - 1 if group.rank else None), size)
    assert_frame_equal(to_last[-1], pl.concat([ALL_ROWS.clear(), *given[1:]]))
    for rows in run_on_threads(lambda group: operators.broadcast(group, given[group.rank]), size):
        assert_frame_equal(rows, ALL_ROWS)
    for rows in run_on_threads(lambda group: operators.broadcast(group, given[group.rank], root=size - 1), size):
        assert_frame_equal(rows, given[-1])


@pytest.mark.parametrize("size", WIDE)
def test_union_in_order_and_rebalance_cut_equal_shares(size):
    given, other = shares(ALL_ROWS, size, skewed=True), shares(table(77, seed=3), size)
    plain = run_on_threads(lambda group: operators.union(group, given[group.rank], other[group.rank]), size)
    assert [one.height for one in plain] == [a.height + b.height for a, b in zip(given, other, strict=True)]
    united = run_on_threads(lambda group: operators.union(group, given[group.rank], other[group.rank], maintain_order=True), size)
    assert_frame_equal(pl.concat(united), pl.concat([ALL_ROWS, table(77, seed=3)]))
    even = run_on_threads(lambda group: operators.rebalance(group, given[group.rank]), size)
    assert_frame_equal(pl.concat(even), ALL_ROWS)
    for result in (united, even):
        heights = [one.height for one in result]
        assert max(heights) - min(heights) <= 1
    with pytest.raises(SchemaError, match="union: a table of schema"):
        run(lambda group: operators.union(group, ALL_ROWS, ALL_ROWS.select("k")), 1)


# -- sort -------------------------------------------------------------------------------------------------------------------------------------------


@SKEWED
@pytest.mark.parametrize("size", WIDE)
def test_sort_is_global_and_stable(size, skewed):
    given = shares(ALL_ROWS, size, skewed)
    for by, options in (
        ("k", {}),
        (["s", "k"], {"descending": [True, False], "nulls_last": [True, False]}),
        (pl.col("v").abs(), {"descending": True}),
    ):
        found = run(lambda group, by=by, options=options: operators.sort(group, given[group.rank], by, **options), size)
        assert_frame_equal(found, ALL_ROWS.sort(by, maintain_order=True, **options))


@pytest.mark.parametrize("size", SIZES)
def test_sort_spreads_one_hot_key_and_sorts_every_type(size):
    hot = pl.DataFrame({"k": [7] * 900, "row": range(900)})
    given = shares(hot, size)
    found = run_on_threads(lambda group: operators.sort(group, given[group.rank], "k"), size)
    assert_frame_equal(pl.concat(found), hot)
    assert max(one.height for one in found) < 1.5 * 900 / size
    df = table_of_every_type(40).with_row_index("row")
    parts = shares(df, size)
    columns = ["bool", "Int128", "f64", "string", "binary", "categorical", "enum", "decimal", "date", "duration", "list", "array"]
    jobs = [(column, df.sort(column, maintain_order=True)["row"].to_list()) for column in columns]
    orders = run_on_threads(lambda group: [operators.sort(group, parts[group.rank], column)["row"].to_list() for column, _ in jobs], size)
    for index, (column, wanted) in enumerate(jobs):
        assert list(chain.from_iterable(one[index] for one in orders)) == wanted, column


@pytest.mark.parametrize("size", SIZES)
def test_more_partitions_than_ranks_are_worked_on_one_by_one(size):
    given = shares(ALL_ROWS, size)
    seen = []

    def job(group):
        return operators.sort(group, given[group.rank], "row", descending=True, partitions=8, on_partition=lambda p, rows: seen.append(p) or rows)

    assert_frame_equal(run(job, size), ALL_ROWS.sort("row", descending=True))
    assert sorted(seen) == list(range(8))


def test_wrong_sorts_are_refused():
    with pytest.raises(ConfigError, match="descending has 3 values for 1 keys"):
        run(lambda group: operators.sort(group, ALL_ROWS, "k", descending=[True] * 3), 1)
    with pytest.raises(UnsupportedExpressionError, match="must be computed row by row"):
        run(lambda group: operators.sort(group, ALL_ROWS, pl.col("v").rank()), 1)


# -- keyed operators --------------------------------------------------------------------------------------------------------------------------------

AGGREGATIONS = {
    "decomposed": [pl.len().alias("n"), pl.col("v").mean().alias("mean"), pl.col("row").sum(), pl.col("v").std().alias("std"), pl.col("s").first()],
    "whole": [pl.col("v").median().alias("median"), pl.col("row").sort_by("v").first(), pl.len()],
}


@SKEWED
@pytest.mark.parametrize("aggs", AGGREGATIONS.values(), ids=AGGREGATIONS)
@pytest.mark.parametrize("size", WIDE)
def test_keyed_reduce_is_polars_group_by(size, aggs, skewed):
    given = shares(ALL_ROWS, size, skewed)
    for keys in ("k", [pl.col("s").str.slice(5).alias("k"), pl.col("k") % 3 == 0]):
        if keys != "k":
            keys[1] = keys[1].alias("third")
        found = run(lambda group, keys=keys: keyed.keyed_reduce(group, given[group.rank], keys, aggs), size)
        wanted = ALL_ROWS.group_by(keys).agg(aggs)
        names = wanted.columns[: 1 if keys == "k" else 2]
        assert_frame_equal(found.sort(names), wanted.sort(names), rel_tol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_decomposed_aggregates_send_a_row_a_key(size):
    def job(group):
        df = pl.DataFrame({"k": np.arange(3000) % 5, "v": np.ones(3000)})
        with keyed.open_keyed_reduce(group, df.schema, "k", [pl.col("v").sum()]) as reducer:
            for start in range(0, 3000, 1000):
                reducer.insert(df.slice(start, 1000))
            result = reducer.result()
            return result, reducer.stats.rows_sent

    results = run_on_threads(job, size)
    assert pl.concat([one for one, _ in results]).sort("k").rows() == [(k, 600.0 * size) for k in range(5)]
    assert all(rows == 15 for _, rows in results)


@pytest.mark.parametrize("size", WIDE)
def test_keyed_gather_lists_values_in_order_of_rank_and_row(size):
    given = shares(ALL_ROWS, size)
    found = run(lambda group: keyed.keyed_gather(group, given[group.rank], "s", 5), size)
    assert_frame_equal(found.sort("s"), ALL_ROWS.group_by("s", maintain_order=True).all().sort("s"))


@pytest.mark.parametrize("how", ["inner", "left", "right", "full", "semi", "anti", "cross"])
@pytest.mark.parametrize("size", WIDE)
def test_join_is_polars_join(size, how):
    left, right = ALL_ROWS.head(120), table(60, seed=1).with_columns(pl.col("k").cast(pl.Int32))
    lefts, rights = shares(left, size), shares(right, size, skewed=True)
    options = {} if how == "cross" else {"on": ["k", "s"]}
    wanted = left.join(right.with_columns(pl.col("k").cast(pl.Int64)), how=how, **options)
    found = run(lambda group: keyed.join(group, lefts[group.rank], rights[group.rank], how=how, **options), size)
    columns = [c for c in wanted.columns if wanted.schema[c] == found.schema[c]]
    order = [c for c in wanted.columns if c.startswith("row")]
    assert_frame_equal(found.select(columns).sort(order), wanted.select(columns).sort(order))
    if how in ("inner", "left", "semi", "anti"):
        broadcast = {"broadcast_right": True, "nulls_equal": True, **options}
        sent = run(lambda group: keyed.join(group, lefts[group.rank], rights[group.rank], how=how, **broadcast), size)
        assert_frame_equal(sent.sort(order), left.join(right, on=["k", "s"], how=how, nulls_equal=True).sort(order), check_dtypes=True)


def test_wrong_keyed_calls_are_refused():
    def refused(error, match, call):
        with pytest.raises(error, match=match):
            run(call, 1)

    df = ALL_ROWS
    refused(ConfigError, "unknown how='iner'; did you mean 'inner'", lambda g: keyed.join(g, df, df, "k", "iner"))
    refused(ConfigError, "give on, or left_on and right_on", lambda g: keyed.join(g, df, df))
    refused(ConfigError, "needs every right row once", lambda g: keyed.join(g, df, df, "k", "full", broadcast_right=True))
    refused(SchemaError, "'k' is a key and the name of an aggregation", lambda g: keyed.keyed_reduce(g, df, "k", pl.len().alias("k")))
    refused(SchemaError, "two keys are named 'k'", lambda g: keyed.keyed_reduce(g, df, ["k", pl.col("k") % 2], pl.len()))
    refused(ConfigError, "at least one key", lambda g: keyed.keyed_reduce(g, df, [], pl.len()))
    refused(UnsupportedExpressionError, "", lambda g: keyed.keyed_reduce(g, df, "k", pl.col("v").shuffle().first()))


@pytest.mark.parametrize("size", SIZES)
def test_tables_without_rows_give_tables_without_rows(size):
    df = table_of_every_type(0)

    def job(group):
        return (
            operators.partition(group, df, "string"),
            operators.sort(group, df, "string"),
            keyed.keyed_reduce(group, df, "string", pl.col("f64").sum()),
            keyed.join(group, df, df.select("string", pl.col("f64").alias("other")), "string"),
            operators.rebalance(group, df),
        )

    for results in run_on_threads(job, size):
        assert [one.height for one in results] == [0] * 5
        assert results[0].schema == results[1].schema == results[4].schema == df.schema
        assert results[2].schema == df.group_by("string").agg(pl.col("f64").sum()).schema


# -- any small table --------------------------------------------------------------------------------------------------------------------------------

ROWS = st.lists(st.tuples(st.one_of(st.none(), st.integers(-2, 2)), st.sampled_from([0.0, -0.0, 1.5, float("nan"), None])), max_size=25)
SHAPES = {"size": st.sampled_from([1, 2, 3]), "cuts": st.lists(st.integers(0, 25), min_size=2, max_size=2)}


def cut(rows, size, cuts):
    df = pl.DataFrame(rows, schema={"k": pl.Int32, "v": pl.Float64}, orient="row").with_row_index("row")
    points = [0, *sorted(cuts[: size - 1]), 25]
    return df, [df.slice(start, end - start) for start, end in pairwise(points)]


@given(rows=ROWS, descending=st.booleans(), nulls_last=st.booleans(), **SHAPES)
def test_any_table_sorts_as_polars_does(rows, descending, nulls_last, size, cuts):
    df, given = cut(rows, size, cuts)
    found = run(lambda group: operators.sort(group, given[group.rank], ["k", "v"], descending=descending, nulls_last=nulls_last), size)
    assert_frame_equal(found, df.sort("k", "v", descending=descending, nulls_last=nulls_last, maintain_order=True))


@given(rows=ROWS, **SHAPES)
def test_any_table_reduces_as_polars_does(rows, size, cuts):
    df, given = cut(rows, size, cuts)
    aggs = [pl.len(), pl.col("row").sum().alias("sum"), pl.col("v").max(), pl.col("row").last().alias("last")]
    found = run(lambda group: keyed.keyed_reduce(group, given[group.rank], "k", aggs), size)
    assert_frame_equal(found.sort("k"), df.group_by("k").agg(aggs).sort("k"))


@given(rows=ROWS, other=ROWS, how=st.sampled_from(["inner", "left", "right", "full", "semi", "anti"]), nulls_equal=st.booleans(), **SHAPES)
def test_any_tables_join_as_polars_does(rows, other, how, nulls_equal, size, cuts):
    (left, lefts), (right, rights) = cut(rows, size, cuts), cut(other, size, cuts[::-1])
    options = {"on": ["k", "v"], "how": how, "nulls_equal": nulls_equal}
    found = run(lambda group: keyed.join(group, lefts[group.rank], rights[group.rank], **options), size)
    wanted = left.join(right, **options)
    order = [name for name in wanted.columns if name.startswith("row")]
    assert_frame_equal(found.sort(order), wanted.sort(order))


def test_ranks_in_different_operators_are_told_in_debug_mode():
    def job(group):
        group.comm = CheckedComm(group.comm, 20)
        assert operators.sort(group, ALL_ROWS, "k").schema == ALL_ROWS.schema
        with pytest.raises(CollectiveMismatchError, match=r"join \(right\)") as caught:
            if group.rank == 1:
                keyed.join(group, ALL_ROWS, ALL_ROWS, "row")
            else:
                operators.direct(group, ALL_ROWS, 0)
        return "direct" in str(caught.value) and "test_operators.py" in str(caught.value)

    assert run_on_threads(job, 3) == [True] * 3

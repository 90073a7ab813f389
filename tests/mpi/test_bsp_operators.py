"""Dataflow operators by hand over MPI, at any number of ranks: the ranks' results one after another are Polars' result on the whole."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hpcflow.bsp import keyed, operators
from hpcflow.testing.bsp import run_on_mpi
from hpcflow.testing.tables import table_of_every_type

pytestmark = pytest.mark.mpi

ROWS = 20_000


def whole(seed=0):
    random = np.random.default_rng(seed)
    keys = random.integers(0, 700, ROWS)
    return pl.DataFrame({"k": keys, "s": [f"name {key % 31}" for key in keys], "v": random.normal(size=ROWS), "row": np.arange(ROWS)})


def share(group, df, skewed=False):
    """Contiguous; skewed: all but the last three rows on rank 0."""
    if skewed and group.size > 1:
        cut = df.height - 3
        return df[:cut] if group.rank == 0 else df[cut:] if group.rank == group.size - 1 else df.clear()
    return df.slice(df.height * group.rank // group.size, df.height * (group.rank + 1) // group.size - df.height * group.rank // group.size)


def together(job):
    return pl.concat(run_on_mpi(job))


@pytest.mark.parametrize("skewed", [False, True], ids=["even", "skewed"])
def test_sorted_shares_in_rank_order_are_the_sorted_whole(skewed):
    for by, options in (("k", {}), (["s", "v"], {"descending": [True, False]})):
        found = together(lambda group, by=by, options=options: operators.sort(group, share(group, whole(), skewed), by, **options))
        assert_frame_equal(found, whole().sort(by, maintain_order=True, **options))


@pytest.mark.parametrize("skewed", [False, True], ids=["even", "skewed"])
def test_keyed_reduce_is_polars_group_by(skewed):
    aggs = [pl.len().alias("n"), pl.col("v").mean(), pl.col("row").max(), pl.col("s").n_unique().alias("names")]
    for chosen in (aggs[:3], aggs):
        found = together(lambda group, chosen=chosen: keyed.keyed_reduce(group, share(group, whole(), skewed), "k", chosen))
        assert_frame_equal(found.sort("k"), whole().group_by("k").agg(chosen).sort("k"), rel_tol=1e-9)


@pytest.mark.parametrize("how", ["inner", "left", "full", "anti"])
def test_join_is_polars_join(how):
    right = whole(seed=1).unique("k", keep="first", maintain_order=True).filter(pl.col("k") % 3 != 0)
    found = together(lambda group: keyed.join(group, share(group, whole()), share(group, right, skewed=True), "k", how))
    order = [name for name in found.columns if name.startswith("row")]
    assert_frame_equal(found.sort(order), whole().join(right, on="k", how=how).sort(order))


def test_partition_direct_broadcast_and_rebalance_keep_every_row_and_its_order():
    def job(group):
        mine = share(group, whole(), skewed=True)
        parts = operators.partition(group, mine, "k", partitions=3 * group.size)
        moved = operators.direct(group, mine, group.size - 1 - group.rank)
        assert_frame_equal(operators.broadcast(group, mine), whole())
        even = operators.rebalance(group, mine)
        return parts, operators.direct(group, moved, group.size - 1 - group.rank), even

    results = run_on_mpi(job)
    assert_frame_equal(pl.concat([parts for parts, _, _ in results]).sort("row"), whole())
    assert_frame_equal(pl.concat([back for _, back, _ in results]), whole())
    assert_frame_equal(pl.concat([even for _, _, even in results]), whole())
    keys = [set(parts["k"]) for parts, _, _ in results]
    assert sum(map(len, keys)) == whole()["k"].n_unique()


def test_rows_of_every_type_travel_and_arrive_while_others_insert():
    df = table_of_every_type(300).with_row_index("row")

    def job(group):
        seen = []
        operators.partition(group, share(group, df), "row", 5, on_arrival=lambda _, rows: seen.append(rows))
        return pl.concat([df.clear(), *seen])

    assert_frame_equal(together(job).sort("row"), df, categorical_as_str=True)

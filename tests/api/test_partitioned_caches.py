"""A dataset that was cached in hash partitions is not shuffled again by the same keys."""

import polars as pl
import pytest

from hpcflow.events import records
from hpcflow.testing.session import InProcessSession
from tests.thorough import thorough

EDGES = pl.DataFrame({"src": [n * 7 % 40 for n in range(400)], "dst": [n * 11 % 40 for n in range(400)]})
RANKS = pl.DataFrame({"v": range(40), "rank": [1.0 + n for n in range(40)]})
WANTED = EDGES.join(RANKS, left_on="src", right_on="v").group_by("dst").agg(pl.col("rank").sum()).sort("dst")


@pytest.fixture(params=[thorough((1, 1), id="(1, 1)"), pytest.param((2, 2), id="(2, 2)"), thorough((3, 1), id="(3, 1)")])
def session(request):
    workers, threads = request.param
    with InProcessSession(workers=workers, threads=threads, progress="off", broadcast_threshold_bytes=0, target_partition_bytes=400) as session:
        yield session


def shuffles(session, run):
    """Rows that went through hash shuffles while `run()` ran, and its result."""
    steps, rows = set(), []

    def seen(event):
        if isinstance(event, records.ExchangeStarted) and event.pattern == "hash shuffle":
            steps.add(event.step)
        if isinstance(event, records.ExchangeFinished) and event.step in steps:
            rows.append(event.rows_received)

    unsubscribe = session.events.subscribe(seen)
    result = run()
    unsubscribe()
    return sum(rows), result


def test_a_join_on_the_keys_of_a_cached_side_moves_the_other_side_only(session):
    edges = session.from_polars(EDGES).repartition(by="src").cache()
    edges.count()
    joined = session.from_polars(RANKS).join(edges, left_on="v", right_on="src")
    moved, result = shuffles(session, lambda: joined.group_by("dst").agg(pl.col("rank").sum()).with_property(combiner=False).sort("dst").collect())
    assert result.equals(WANTED)
    assert moved <= RANKS.height + EDGES.height  # the ranks by v, the contributions by dst


def test_a_join_of_two_cached_sides_moves_nothing(session):
    edges = session.from_polars(EDGES).repartition(by="src").cache()
    ranks = session.from_polars(RANKS).repartition(by="v").cache()
    assert edges.count() == 400 and ranks.count() == 40
    for how in ("inner", "left", "semi", "anti", "full"):
        moved, result = shuffles(session, lambda how=how: edges.join(ranks, left_on="src", right_on="v", how=how).collect())
        assert moved == 0, how
        wanted = EDGES.join(RANKS, left_on="src", right_on="v", how=how)
        assert result.sort(result.columns).equals(wanted.sort(wanted.columns)), how


def test_the_result_of_a_group_by_is_cached_in_the_partitions_of_its_keys(session):
    totals = session.from_polars(EDGES).group_by("dst").agg(pl.len().alias("n")).select(pl.col("dst").alias("v"), "n").cache()
    ranks = session.from_polars(RANKS).repartition(by="v").cache()
    totals.count(), ranks.count()
    moved, result = shuffles(session, lambda: ranks.join(totals, on="v").sort("v").collect())
    assert moved == 0
    assert result.equals(RANKS.join(EDGES.group_by("dst").agg(pl.len().alias("n")), left_on="v", right_on="dst").sort("v"))


def test_a_group_by_the_keys_of_a_cached_dataset_moves_nothing(session):
    edges = session.from_polars(EDGES).repartition(by="src").cache()
    edges.count()
    moved, result = shuffles(session, lambda: edges.group_by("src").agg(pl.col("dst").sum()).sort("src").collect())
    assert moved == 0
    assert result.equals(EDGES.group_by("src").agg(pl.col("dst").sum()).sort("src"))


def test_another_number_of_partitions_is_shuffled_again(session):
    edges = session.from_polars(EDGES).repartition(7, by="src").cache()
    ranks = session.from_polars(RANKS).repartition(5, by="v").cache()
    edges.count(), ranks.count()
    result = edges.join(ranks, left_on="src", right_on="v").group_by("dst").agg(pl.col("rank").sum()).sort("dst").collect()
    assert result.equals(WANTED)


def test_a_changed_key_column_is_shuffled_again(session):
    edges = session.from_polars(EDGES).repartition(by="src").cache()
    ranks = session.from_polars(RANKS).repartition(by="v").cache()
    edges.count(), ranks.count()
    result = edges.with_columns(pl.col("src") * 2 % 40).join(ranks, left_on="src", right_on="v").sort("src", "dst").collect()
    assert result.equals(EDGES.with_columns(pl.col("src") * 2 % 40).join(RANKS, left_on="src", right_on="v").sort("src", "dst"))


def test_balanced_partitions_are_not_taken_for_those_of_a_shuffle(session):
    hot = pl.DataFrame({"src": [0] * 300 + list(range(40)), "dst": range(340)})
    edges = session.from_polars(hot).repartition(by="src").with_property(data_flow="pull").cache()
    ranks = session.from_polars(RANKS).repartition(by="v").cache()
    edges.count(), ranks.count()
    result = edges.join(ranks, left_on="src", right_on="v").sort("dst").collect()
    assert result.equals(hot.join(RANKS, left_on="src", right_on="v").sort("dst"))


def test_a_cached_dataset_that_is_read_twice_is_not_copied(session):
    data = session.from_polars(RANKS).cache()
    data.count()
    plan = data.join(data.select("v", r2=pl.col("rank") * 2), on="v").explain()
    assert "read_cache -> " not in plan
    assert data.join(data.select("v", r2=pl.col("rank") * 2), on="v").sort("v").collect()["r2"].to_list() == [2.0 + 2 * n for n in range(40)]


@pytest.mark.parametrize("names", [{"src": "dst", "dst": "src"}, {"src": "dst", "dst": "other"}], ids=["swapped", "moved on"])
def test_a_key_that_got_its_name_from_another_column_is_shuffled(session, names):
    table = EDGES.with_columns(src=pl.col("src") % 3)
    edges = session.from_polars(table).repartition(by="dst").cache()
    assert edges.count() == 400
    result = edges.rename(names).group_by("dst").len().sort("dst").collect()
    assert result.equals(table.rename(names).group_by("dst").len().sort("dst"))

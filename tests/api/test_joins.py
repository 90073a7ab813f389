"""Joins of all kinds: nulls, names, types and order as Polars has them, shuffled and broadcast."""

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import InProcessSession
from hpcflow.testing.tables import table_of_every_type
from tests.api.oracle import check, check_keys, check_refused_alike, colours, events, on_shapes, same
from tests.thorough import spread, thorough

HOWS = ("inner", "left", "right", "full", "semi", "anti")
SLIM = ["i", "k", "s", "v"]


@pytest.mark.parametrize("how", HOWS)
def test_one_key_equals_polars(session, how):
    check(session, lambda a, b: a.join(b, on="k", how=how), events().select(SLIM), colours(), by=pl.all())


@pytest.mark.parametrize("how", HOWS)
def test_two_keys_and_nulls_equal(session, how):
    check(session, lambda a, b: a.join(b, on=["k", "s"], how=how, nulls_equal=True), events().select(SLIM), colours(), by=pl.all())


@pytest.mark.parametrize("how", spread(HOWS, every=3))
def test_maintain_order_gives_polars_rows_in_order(session, how):
    for order in ["left"] if how in ("semi", "anti") else ["left", "right", "left_right", "right_left"]:
        by = pl.all() if how in ("inner", "left", "right", "full") and order in ("left", "right") else None
        check(session, lambda a, b: a.join(b, on="k", how=how, maintain_order=order), events().select(SLIM), colours(), by=by)  # noqa: B023


@pytest.mark.parametrize("order", ["left_right", "right_left"])
def test_a_cross_join_keeps_the_order_that_is_asked_for(session, order):
    check(session, lambda a, b: a.join(b, how="cross", maintain_order=order), events().select("i", "k"), colours())


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("empty", ["left", "right", thorough("both")])
def test_an_empty_side_equals_polars(one_session, how, empty):
    left = events(0 if empty != "right" else 20).select(SLIM)
    right = colours().head(0 if empty != "left" else 6)
    check(one_session, lambda a, b: a.join(b, on="k", how=how), left, right, by=pl.all())


@pytest.mark.parametrize("how", ["left", "full", "inner", "right"])
@pytest.mark.parametrize("coalesce", [thorough(None), True, False])
def test_coalesce_and_names(one_session, how, coalesce):
    if how == "right" and coalesce is False:
        pytest.skip("the same columns as coalesce=None of a full join")
    check(
        one_session,
        lambda a, b: a.join(b, left_on="k", right_on="key", how=how, coalesce=coalesce, suffix="_b"),
        events().select(SLIM),
        colours().rename({"k": "key"}),
        by=pl.all(),
    )


OTHERS = {
    "cross": lambda a, b: a.join(b, how="cross", suffix="_2"),
    "key_expressions": lambda a, b: a.join(b, left_on=pl.col("i") % 5, right_on=pl.col("k") + 1),
    "expression_and_name": lambda a, b: a.join(b, left_on=[pl.col("i") % 5, "s"], right_on=[pl.col("k").cast(pl.Int64), "s"], how="left"),
    "self_join": lambda a, b: a.join(a, on="k", how="inner").select("i", "i_right"),
    "self_join_of_a_filter": lambda a, b: a.join(a.filter(pl.col("i") < 9), on="k", how="semi"),
    "join_then_group": lambda a, b: a.join(b, on="k").group_by("k").agg(pl.len(), pl.col("v").sum()),
    "group_then_join": lambda a, b: a.join(a.group_by("k").agg(n=pl.len()), on="k", how="left", nulls_equal=True),
    "group_then_join_on_a_filtered_branch": lambda a, b: a.group_by("k").agg(n=pl.len()).filter(pl.col("n") > 8).join(a, on="k"),
    "three": lambda a, b: a.join(b, on="k", how="left").join(b, on="s", how="left", suffix="_2"),
    "filter_after_on_left": lambda a, b: a.join(b, on="k", how="left").filter(pl.col("v") > 4),
    "filter_after_on_right": lambda a, b: a.join(b, on="k", how="left").filter(pl.col("z") == "a"),
    "filter_after_on_key_of_full": lambda a, b: a.join(b, on="k", how="full", coalesce=True).filter(pl.col("k") > 1),
    "filter_after_suffix": lambda a, b: a.join(b, on="k").filter(pl.col("s_right") == "key 1"),
    "filter_on_nulls_after_left": lambda a, b: a.join(b, on="k", how="left").filter(pl.col("z").is_null()),
    "only_suffixed_kept": lambda a, b: a.join(b, on="k").select("s_right"),
    "only_right_key_kept": lambda a, b: a.join(b, on="k", how="right").select("k"),
    "validate_m_1": lambda a, b: a.join(b.unique("k", keep="first", maintain_order=True), on="k", validate="m:1"),
    "unique_then_join": lambda a, b: a.join(a.select("k").unique(), on="k", how="inner", nulls_equal=True),
}


@on_shapes(OTHERS)
def test_other_joins_equal_polars(session, name):
    check(session, OTHERS[name], events().select(SLIM), colours(), by=pl.all())


ENUM = pl.Enum(["a", "b", "c"])
TYPES = [
    (pl.Int8, pl.Int64),
    (pl.UInt32, pl.Int64),
    (pl.Int64, pl.UInt64),
    (pl.Int32, pl.Float64),
    (pl.Float32, pl.Float64),
    (pl.Int64, pl.String),
    (pl.String, pl.Categorical),
    (pl.String, ENUM),
    (pl.Categorical, ENUM),
    (pl.Date, pl.Datetime("us")),
    (pl.Datetime("ms"), pl.Datetime("ns")),
    (pl.Decimal(10, 2), pl.Decimal(12, 4)),
    (pl.Int64, pl.Decimal(12, 2)),
    (pl.Boolean, pl.Int8),
    (pl.Null, pl.Int64),
    (pl.Int128, pl.Int64),
]


def _column(dtype, values):
    base = pl.Series("k", values, dtype=pl.Int64)
    if dtype == pl.Null:
        return pl.Series("k", [None] * len(values))
    if dtype in (pl.String, pl.Categorical, ENUM):
        base = base.replace_strict({0: "a", 1: "b", 2: "c"}, return_dtype=pl.String)
    return base.cast(dtype)


@pytest.mark.parametrize(("one", "two"), spread(TYPES, every=2), ids=str)
def test_key_types_are_cast_or_refused_as_polars_does(session, one, two):
    left = pl.DataFrame({"k": _column(one, [0, 1, 2, 1]), "i": [0, 1, 2, 3]})
    right = pl.DataFrame({"k": _column(two, [1, 2, 1, 0]), "z": [5, 6, 7, 8]})
    try:
        left.lazy().join(right.lazy(), on="k").collect()
    except Exception:
        check_refused_alike(session, lambda a, b: a.join(b, on="k"), left, right, error=hf.HpcflowError)
    else:
        check(session, lambda a, b: a.join(b, on="k"), left, right, by=["i", "z"])


@pytest.mark.thorough
def test_every_type_as_join_key(one_session):
    table = table_of_every_type(12).with_row_index("i")
    check_keys(one_session, lambda t, key: t.join(t.select(key, j="i"), on=key).select("i", "j"), table, by=["i", "j"])


def test_all_null_keys_and_one_hot_key(session):
    nulls = events().with_columns(k=pl.lit(None, dtype=pl.Int32)).select(SLIM)
    check(session, lambda a, b: a.join(b, on="k", how="left"), nulls, colours(), by="i")
    hot = events().select("i", "hot")
    check(session, lambda a, b: a.join(b, on="hot"), hot, hot.rename({"i": "j"}), by=["i", "j"])


def test_validate_is_checked_over_all_partitions(session):
    def chain(a, b):
        return a.join(b, on="k", validate="1:1")

    with pytest.raises(pl.exceptions.ComputeError):
        chain(events().lazy(), colours().lazy()).collect()
    with pytest.raises(hf.HpcflowError):
        chain(session.from_polars(events()), session.from_polars(colours())).collect()


def test_a_join_reads_shared_or_stored_groups(session):
    """The groups are partitioned like the join wants them, but lie in blocks: their shuffle may not be dropped."""
    from hpcflow.ir.properties import DataFlow, DataStore

    table, rows = session.from_polars(events()), events()
    groups, want = table.group_by("hot").agg(n=pl.len()), rows.group_by("hot").agg(n=pl.len())
    joined = want.filter(pl.col("n") > 0).join(rows, on="hot")
    shared, again = hf.collect_all([groups.filter(pl.col("n") > 0).join(table, on="hot"), groups])
    same(shared, joined, by="i")
    same(again, want, by="hot")
    stored = groups.filter(pl.col("n") > 0).with_property(data_store=DataStore.SCRATCH)
    same(stored.join(table, on="hot").collect(), joined, by="i")
    pulled = table.repartition(by="hot").with_property(data_flow=DataFlow.PULL).join(table.select("hot", j="i"), on="hot")
    same(pulled.collect(), rows.join(rows.select("hot", j="i"), on="hot"), by=["i", "j"])


@pytest.mark.parametrize("validate", ["1:1", "1:m", "m:1", "m:m"])
@pytest.mark.parametrize("how", [thorough("inner"), "left", thorough("full")])
def test_keys_that_are_not_as_unique_as_was_said_are_found_whatever_is_broadcast(how, validate):
    twice, once = pl.DataFrame({"k": [n % 20 for n in range(40)]}), pl.DataFrame({"k": range(20)})
    with InProcessSession(workers=2, progress="off", step_timeout_s=30, target_split_bytes=40) as session:
        for left, right in ((twice, once), (once, twice)):
            joined = session.from_polars(left).join(session.from_polars(right), on="k", how=how, validate=validate)
            try:
                want = left.join(right, on="k", how=how, validate=validate).height
            except pl.exceptions.ComputeError:
                with pytest.raises(hf.HpcflowError, match=f"{validate} validation"):
                    joined.count()
            else:
                assert joined.count() == want

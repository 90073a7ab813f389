"""Random chains and graphs of methods against Polars, and optimized against unoptimized."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import same
from tests.thorough import spread

NAMES = ["a", "b", "c"]
INTEGERS = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([2**31 - 1, -(2**31)]))

# A step is (name, function of a table and a second table). All keep the columns a, b (integers) and c (text), so that any step may follow any other.
STEPS = {
    "filter": lambda t, o: t.filter(pl.col("a") > 0),
    "filter_text": lambda t, o: t.filter(pl.col("c") != "x"),
    "filter_mean": lambda t, o: t.filter(pl.col("a") >= pl.col("a").mean()),
    "filter_over": lambda t, o: t.filter(pl.col("a") == pl.col("a").max().over("c")),
    "swap": lambda t, o: t.rename({"a": "b", "b": "a"}).select(NAMES),
    "add": lambda t, o: t.with_columns(a=pl.col("a") + pl.col("b")),
    "constant": lambda t, o: t.with_columns(b=pl.lit(1, dtype=pl.Int64)),
    "over": lambda t, o: t.with_columns(b=pl.col("a").sum().over("c")),
    "total": lambda t, o: t.with_columns(b=pl.col("a").min()),
    "index": lambda t, o: t.with_row_index("n").with_columns(a=pl.col("n").cast(pl.Int64)).drop("n"),
    "group": lambda t, o: t.group_by("c", maintain_order=True).agg(pl.col("a").sum(), pl.col("b").max()).select(NAMES),
    "group_whole": lambda t, o: t.group_by("b", maintain_order=True).agg(pl.col("a").last(), pl.col("c").first()).select(NAMES),
    "unique": lambda t, o: t.unique(["a", "c"], keep="first", maintain_order=True),
    "unique_none": lambda t, o: t.unique("b", keep="none", maintain_order=True),
    "sort": lambda t, o: t.sort("a", "c", maintain_order=True),
    "sort_descending": lambda t, o: t.sort("b", descending=True, nulls_last=True, maintain_order=True),
    "reverse": lambda t, o: t.reverse(),
    "head": lambda t, o: t.head(7),
    "tail": lambda t, o: t.tail(9),
    "slice": lambda t, o: t.slice(3, 11),
    "left": lambda t, o: t.join(o.select("a", d="b").head(4), on="a", how="left", maintain_order="left_right").select("a", b="d", c="c"),
    "semi": lambda t, o: t.join(o, on=["a", "b"], how="semi", maintain_order="left"),
    "anti": lambda t, o: t.join(o, on="c", how="anti", nulls_equal=True, maintain_order="left"),
    "inner": lambda t, o: t.join(o.head(6), on="a", maintain_order="left_right").select(NAMES),
    "concat": lambda t, o: (pl.concat if isinstance(t, pl.LazyFrame) else hf.concat)([t, o.head(5)]),
    "fill": lambda t, o: t.fill_null(0),
    "drop_nulls": lambda t, o: t.drop_nulls("c"),
    "explode": lambda t, o: t.with_columns(l=pl.concat_list("a", "b")).explode("l").select(pl.col("l").alias("a"), "b", "c").head(60),
}


def tables(most=20):
    row = st.tuples(INTEGERS, INTEGERS, st.one_of(st.none(), st.sampled_from(["x", "y", "text that is longer than twelve bytes"])))
    return st.lists(row, max_size=most).map(lambda rows: pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Int64, "c": pl.String}, orient="row"))


@pytest.fixture(scope="module")
def sessions():
    with (
        InProcessSession(workers=2, threads=2, target_split_bytes=200, broadcast_threshold_bytes=0, progress="off") as shuffled,
        InProcessSession(workers=3, progress="off") as optimized,
        InProcessSession(workers=3, policy="none", progress="off") as plain,
    ):
        yield shuffled, optimized, plain


@settings(suppress_health_check=list(HealthCheck), max_examples=settings.default.max_examples // 2)  # each is a program of many steps
@given(tables(), tables(8), st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
def test_a_chain_equals_polars_optimized_or_not(sessions, table, other, names):
    def chain(t, o):
        for name in names:
            t = STEPS[name](t, o)
        return t

    want = chain(table.lazy(), other.lazy()).collect()
    for session in sessions:
        same(chain(session.from_polars(table), session.from_polars(other)).collect(), want)


# A step of a graph: its name, which earlier table it reads, which other one (0: the same), and whether its result is cached, now or later.
GRAPH_STEP = st.tuples(
    st.one_of(st.just("both"), st.sampled_from(sorted(STEPS))),
    st.integers(0, 9),
    st.one_of(st.just(0), st.integers(0, 9)),
    st.sampled_from(["", "", "cache", "action"]),
)


def both(t, o):
    """All rows of both, the other's columns swapped: two branches that may read the same rows, each in its own way."""
    concat = pl.concat if isinstance(t, pl.LazyFrame) else hf.concat
    return concat([t.select(NAMES), o.select(pl.col("b").alias("a"), pl.col("a").alias("b"), "c")])


@settings(suppress_health_check=list(HealthCheck), max_examples=settings.default.max_examples // 2)  # each is a program of many steps
@given(tables(), tables(8), st.lists(GRAPH_STEP, min_size=2, max_size=7), st.sampled_from(["", "cache", "action"]))
def test_a_graph_equals_polars_optimized_or_not(sessions, table, other, steps, start):
    def made(first, keep):
        nodes = [keep(node, start) for node in first]
        for name, left, right, kept in steps:
            step = both if name == "both" else STEPS[name]
            nodes.append(keep(step(nodes[left % len(nodes)], nodes[(left + right) % len(nodes)]), kept))
        return nodes[2:][-2:]

    caches = []

    def kept(node, how):
        if how:
            caches.append(node.cache())
            node = caches[-1]
        if how == "action":
            node.count()
        return node

    wanted = pl.collect_all(made([table.lazy(), other.lazy()], lambda node, how: node))
    for session in sessions:
        datasets = made([session.from_polars(table), session.from_polars(other)], kept)
        for got, want in zip(hf.collect_all(datasets), wanted, strict=True):
            same(got, want)
        while caches:
            caches.pop().unpersist()


@pytest.mark.parametrize("name", spread(STEPS, every=2))
def test_each_step_equals_polars(sessions, name):
    table = pl.DataFrame({"a": [3, 1, None, 2, 1, 0, -1], "b": [1, 2, 2, None, 5, 1, 0], "c": ["x", "y", None, "x", "z", "y", "x"]})
    want = STEPS[name](table.lazy(), table.reverse().lazy()).collect()
    for session in sessions[1:]:
        same(STEPS[name](session.from_polars(table), session.from_polars(table.reverse())).collect(), want)

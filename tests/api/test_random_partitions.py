"""Random programs on datasets cached in hash partitions against Polars: which shuffles are dropped decides about rows, never about answers."""

from __future__ import annotations

import random

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import same

NAMES = ["a", "b", "c"]
MOST_ROWS = 2000


def ones(name):
    return pl.col(name).cast(pl.Int64)


# A step is a function of a table, another one, and two names of columns. All keep the columns a, b, c (integers), in no order that counts.
STEPS = {
    "swap": lambda t, o, x, y: t.rename({x: y, y: x}).select(NAMES) if x != y else t,
    "turn": lambda t, o, x, y: t.rename({"a": "b", "b": "c", "c": "a"}).select(NAMES),
    "alias": lambda t, o, x, y: t.select(pl.col(x).alias("a"), pl.col(y).alias("b"), "c"),
    "replace": lambda t, o, x, y: t.with_columns((pl.col(x) % 3).alias(y)),
    "fill": lambda t, o, x, y: t.with_columns(pl.col(x).fill_null(1)),
    "narrow": lambda t, o, x, y: t.with_columns(pl.col(x).cast(pl.Int32)).with_columns(ones(x)),
    "filter": lambda t, o, x, y: t.filter(pl.col(x) > 1),
    "window": lambda t, o, x, y: t.with_columns(pl.col(x).sum().over(y)),
    "group": lambda t, o, x, y: t.group_by(x).agg(*(pl.col(n).sum() for n in NAMES if n != x)).select(NAMES),
    "group_whole": lambda t, o, x, y: t.group_by(x).agg(*(pl.col(n).n_unique().cast(pl.Int64) for n in NAMES if n != x)).select(NAMES),
    "unique": lambda t, o, x, y: t.select(pl.col(x).alias("a"), pl.col(y).alias("b"), "c").unique(),
    "inner": lambda t, o, x, y: t.join(o.select(pl.col(y).alias("k"), pl.col(x).alias("z")), left_on=x, right_on="k").select("a", "b", c="z"),
    "left": lambda t, o, x, y: t.join(o, left_on=x, right_on=y, how="left", suffix="_r", coalesce=False).select("a", b=f"{y}_r", c="b"),
    "right": lambda t, o, x, y: t.join(o, left_on=x, right_on=y, how="right", suffix="_r", coalesce=False).select("a", b=f"{y}_r", c="b"),
    "full": lambda t, o, x, y: t.join(o, on=x, how="full", suffix="_r", coalesce=True, nulls_equal=True).select(NAMES),
    "semi": lambda t, o, x, y: t.join(o, left_on=x, right_on=y, how="semi", nulls_equal=True),
    "anti": lambda t, o, x, y: t.join(o, on=[x, y] if x != y else x, how="anti"),
    "both": lambda t, o, x, y: (pl.concat if isinstance(t, pl.DataFrame) else hf.concat)([t, o]),
}


def table_of(seed, rows):
    """Few values, so that keys repeat and meet, and some nulls. Numbers drawn one by one would mostly be equal."""
    draw = random.Random(seed).choice
    return pl.DataFrame({name: [draw([0, 1, 2, 3, 4, 5, 6, None]) for _ in range(rows)] for name in NAMES}, schema=dict.fromkeys(NAMES, pl.Int64))


TABLES = st.builds(table_of, st.integers(0, 1 << 20), st.sampled_from([30, 0, 1, 50]))
NAME = st.sampled_from(NAMES)
KEPT = st.sampled_from(["", "", "parts", "parts", "five parts", "cache"])
"""How the result of a step is kept: in hash partitions of its second name, or as it is."""
KIND = (
    st.sampled_from(["swap", "turn", "alias"]) | st.sampled_from(["group", "group_whole", "window", "inner", "semi"]) | st.sampled_from(sorted(STEPS))
)
STEP = st.tuples(KIND, st.just(0) | st.integers(0, 4), st.integers(0, 9), NAME, NAME, KEPT, st.booleans())


@pytest.fixture(scope="module")
def sessions():
    with (
        InProcessSession(
            workers=2, threads=2, target_split_bytes=200, target_partition_bytes=300, broadcast_threshold_bytes=0, progress="off"
        ) as cut,
        InProcessSession(workers=3, broadcast_threshold_bytes=0, progress="off") as plain,
    ):
        yield cut, plain


@settings(suppress_health_check=list(HealthCheck), max_examples=settings.default.max_examples // 2)  # each is a program of many steps
@given(TABLES, TABLES, NAME, st.lists(STEP, min_size=2, max_size=7))
def test_programs_on_partitioned_caches_equal_polars(sessions, table, other, start, steps):
    caches = []

    def kept(dataset, name, how, filled):
        if how:
            parts = {"parts": None, "five parts": 5}
            caches.append((dataset.repartition(parts[how], by=name) if how in parts else dataset).cache())
            dataset = caches[-1]
            if filled:
                dataset.count()
        return dataset

    tables, taken = [table, other], []
    for step in steps:
        name, left, right, x, y, _, _ = step
        new = STEPS[name](tables[-1 - min(left, len(tables) - 1)], tables[right % len(tables)], x, y)
        if new.height <= MOST_ROWS:
            taken.append((step, len(tables)))
            tables.append(new)
    for session in sessions:
        nodes = [kept(session.from_polars(t), start, "parts", True) for t in (table, other)]
        for (name, left, right, x, y, how, filled), there in taken:
            nodes.append(kept(STEPS[name](nodes[there - 1 - min(left, there - 1)], nodes[right % there], x, y), y, how, filled))
        for got, want in zip(hf.collect_all(nodes[-1:]), tables[-1:], strict=True):
            same(got, want, by=pl.all())
        while caches:
            caches.pop().unpersist()

"""Every property a user can set, on every operator: the rows are Polars', or the line that sets it is refused. Never other rows, never later."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import polars as pl
import pytest

import hpcflow as hf
import hpcflow.ir.operators
from hpcflow.ir.edge_needs import EVERY_ROW_ONCE
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.source import Source
from hpcflow.ir.properties import Pattern, SortKey
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import same
from tests.thorough import spread, thorough

TABLE = pl.DataFrame(
    {"i": range(40), "k": [n % 7 for n in range(40)], "v": [n * 37 % 101 for n in range(40)], "l": [[n] * (n % 3) for n in range(40)]}
)
SMALL = pl.DataFrame({"k": [0, 1, 2, 2, 9], "z": ["a", "b", "c", "d", "e"], "v": [0, 1, 2, 3, 4]})
BY_I = {"i": pl.Int64, "k": pl.Int64, "v": pl.Int64, "l": pl.List(pl.Int64)}
JOINS = {f"join_{how}": lambda t, s, how=how: t.join(s, on="k", how=how) for how in ("inner", "left", "right", "full", "semi", "anti")}

# Name -> chain over (table, small) of Datasets or LazyFrames, whose last operator has the properties set. Rows are compared sorted, but for IN_ORDER.
CHAINS = {
    **JOINS,
    "join_cross": lambda t, s: t.join(s, how="cross"),
    "join_checked": lambda t, s: t.join(s.filter(pl.col("z") != "d"), on="k", validate="m:1"),
    "filter": lambda t, s: t.filter(pl.col("v") > 10),
    "select": lambda t, s: t.select("k", "i", "v"),
    "select_one": lambda t, s: t.select(k=pl.col("k").sum(), v=pl.col("v").max(), i=pl.len()),
    "select_explode": lambda t, s: t.select(v=pl.col("l").explode()),
    "with_columns": lambda t, s: t.with_columns(x=pl.col("v") - pl.col("v").mean()),
    "with_columns_plain": lambda t, s: t.with_columns(x=pl.col("v") + 1),
    "over": lambda t, s: t.with_columns(x=pl.col("v").first().over("k")),
    "rename": lambda t, s: t.rename({"l": "ll"}),
    "cast": lambda t, s: t.cast({"l": pl.List(pl.Int32)}),
    "fill_null": lambda t, s: t.fill_null(0),
    "explode": lambda t, s: t.explode("l"),
    "with_row_index": lambda t, s: t.with_row_index(),
    "slice": lambda t, s: t.slice(3, 5),
    "head": lambda t, s: t.head(5),
    "tail": lambda t, s: t.tail(5),
    "top_k": lambda t, s: t.top_k(5, by="v"),
    "sort": lambda t, s: t.sort("k", "i"),
    "sort_ties": lambda t, s: t.sort("k"),
    "unique": lambda t, s: t.select("k").unique(),
    "unique_first": lambda t, s: t.unique("k", keep="first"),
    "unique_none": lambda t, s: t.unique("v", keep="none"),
    "unique_in_order": lambda t, s: t.unique("k", maintain_order=True),
    "group_by": lambda t, s: t.group_by("k").agg(pl.len(), pl.col("v").sum(), i=pl.col("i").mean()),
    "group_by_first": lambda t, s: t.group_by("k").agg(pl.col("v").first(), pl.col("i")),
    "group_by_two": lambda t, s: t.group_by("k", "v").agg(pl.col("i").max()),
    "group_by_in_order": lambda t, s: t.group_by("k", maintain_order=True).agg(pl.col("v").median()),
    "concat": lambda t, s: (pl if isinstance(t, pl.LazyFrame) else hf).concat([t, t.select(pl.all())]),
    "concat_diagonal": lambda t, s: (pl if isinstance(t, pl.LazyFrame) else hf).concat([t, s], how="diagonal"),
    "cache": lambda t, s: t.cache(),
    "repartition": lambda t, s: t if isinstance(t, pl.LazyFrame) else t.repartition(by="k"),
    "repartition_round": lambda t, s: t if isinstance(t, pl.LazyFrame) else t.repartition(3),
    "map_batches": lambda t, s: t if isinstance(t, pl.LazyFrame) else t.map_batches(lambda df: df, schema=BY_I),
    "flat_map": lambda t, s: t if isinstance(t, pl.LazyFrame) else t.flat_map(lambda row: [row], schema=BY_I),
    "bsp": lambda t, s: t if isinstance(t, pl.LazyFrame) else t.bsp(lambda ctx, df: df, schema=BY_I),
    "graph": lambda t, s: t if isinstance(t, pl.LazyFrame) else graph(t),
    "sample": lambda t, s: t if isinstance(t, pl.LazyFrame) else t.sample(fraction=1.0),
    "reverse": lambda t, s: t.reverse(),
}
IN_ORDER = {"sort", "sort_ties", "head", "tail", "slice", "unique_in_order", "group_by_in_order", "with_row_index", "reverse"}
"""Chains whose rows have an order in Polars that no property may change, where a property that moves their rows before them was not set."""
INTERNAL = {
    "Align": "within concat, before its last operator",
    "Collect": "the end of an action",
    "FinalGroupBy": "made of GroupBy by a pass",
    "ForeachPartition": "the end of an action",
    "Iterate": "has no properties",
    "Keep": "the end of an action",
    "PartialGroupBy": "made of GroupBy by a pass",
    "ReadCache": "what a cache becomes",
    "WindowColumns": "below the return of rows to their places",
    "WithOrigin": "below a join or group-by in order",
    "WithSampleHash": "below sample's filter",
    "WithScalars": "below a with_columns",
    "WithShare": "below a source of a graph",
    "WriteCsv": "the end of an action",
    "WriteIpc": "the end of an action",
    "WriteParquet": "the end of an action",
}
SHUFFLES = {
    Pattern.HASH_SHUFFLE: [{"keys": (pl.col(name),)} for name in ("k", "v")],
    Pattern.RANGE_SHUFFLE: [{"order": (SortKey(pl.col("k")),)}, {"order": (SortKey(pl.col("k")), SortKey(pl.col("i")))}],
    Pattern.USER_SHUFFLE: [{"function": lambda df: [n % 3 for n in range(df.height)], "partition_count": 3}],
}
PATTERNS = [{"pattern": pattern.value, **more} for pattern in Pattern for more in [{}, *SHUFFLES.get(pattern, [])]]
VALUES = [
    *({"partition_count": count} for count in (1, 3, 50)),
    *({"ordered": value} for value in (True, False)),
    *({"data_flow": value} for value in ("push", "pull")),
    *({"data_store": value} for value in ("memory", "scratch")),
    *({"persistence": value} for value in ("discard", "keep")),
    *({"compression": value} for value in ("none", "lz4", "zstd")),
    *({"combiner": value} for value in (True, False)),
    *({"keys": (pl.col(name),)} for name in ("k", "v")),
    {"keys": (pl.col("k") % 2, pl.col("v"))},
    *({"order": (SortKey(pl.col(name), descending),)} for name in ("k", "v") for descending in (False, True)),
    {"function": lambda df: [0] * df.height},
    {"columns": ("v",)},
    {"most_bytes": 1},
]
VERTEX_VALUES = [
    *({"parallelism": count} for count in (1, 7)),
    *({"slots": count} for count in (1, 2)),
    *({"memory_bytes": size} for size in (0, 1000)),
    {"resources": {"cores": 1}},
    *({"placement": value} for value in ((0,), "dynamic", "round_robin", "first_fit", "data_locality", lambda tasks, workers: [0] * len(tasks))),
]


PRODUCT = [
    {**pattern, **value}
    for pattern in PATTERNS
    for value in [*VALUES, *VERTEX_VALUES]
    if "function" not in pattern or not value.keys() & {"partition_count", "columns"}  # that function is of a table, and names three partitions
]


def graph(dataset: hf.Dataset) -> hf.Dataset:
    drawn = hf.Graph(dataset._session)
    rows = drawn.source("rows", dataset, parallelism=2)
    return drawn.compute("same", lambda df: df, rows.keyed_partition("k"), schema=BY_I, parallelism=3).dataset()


@pytest.fixture(scope="module")
def sessions() -> Iterator[dict[int, hf.Session]]:
    opened = {
        w: InProcessSession(workers=w, threads=2, progress="off", step_timeout_s=20, target_split_bytes=400, partitions_per_worker=2)
        for w in (1, 2, 3)
    }
    yield opened
    for session in opened.values():
        session.close()


def wanted(name: str) -> pl.DataFrame:
    """The chain in Polars."""
    return CHAINS[name](TABLE.lazy(), SMALL.lazy()).collect()


def tried(session: hf.Session, name: str, choices: list[dict]) -> tuple[int, int]:
    """Sets each of `choices` on each input of the chain's last operator: (how many gave the right rows, how many were refused)."""
    base = CHAINS[name](session.from_polars(TABLE).repartition(3, partitioner=lambda df: df["i"] // 14), session.from_polars(SMALL))
    want = wanted(name)
    right = refused = 0
    for input in range(len(base._inputs)):
        for choice in choices:
            if name == "bsp" and choice.get("pattern") == "broadcast":
                continue  # its function is asked to see all rows on every worker
            try:
                dataset = base.with_property(input=input, **choice)
            except hf.ConfigError as error:
                assert base._vertex.operator.name in str(error) or "property" in str(error) or "loop" in str(error) or "graph" in str(error)
                refused += 1
                continue
            try:
                moved = choice.get("pattern", "one-to-one") not in ("one-to-one", "gather") or choice.get("ordered") is False
                keeps = name in IN_ORDER and not (moved and base._vertex.operator.row_wise)
                same(dataset.collect(), want, by=None if keeps else want.columns)
            except BaseException as error:
                error.add_note(f"{name}, input {input}: {choice}, {session.workers} workers")
                raise
            right += 1
    return right, refused


@pytest.mark.parametrize("name", spread(CHAINS, every=10))
def test_a_pattern_gives_the_right_rows_or_is_refused(sessions, name):
    right, refused = tried(sessions[3], name, PATTERNS)
    assert refused > 0
    assert right > 0 or name in ("graph",)


@pytest.mark.parametrize("workers", [2, thorough(1), thorough(3)])
@pytest.mark.parametrize("name", spread(CHAINS, every=25, first=23))
def test_any_other_value_gives_the_right_rows_or_is_refused(sessions, name, workers):
    right, _ = tried(sessions[workers], name, [*VALUES, *VERTEX_VALUES])
    assert right > 0


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("name", CHAINS)
def test_any_pattern_with_any_other_value_gives_the_right_rows_or_is_refused(sessions, name, workers):
    tried(sessions[workers], name, PRODUCT)


def test_every_operator_is_tried_or_cannot_be_reached(one_session):
    for module in pkgutil.iter_modules(hpcflow.ir.operators.__path__):
        importlib.import_module(f"hpcflow.ir.operators.{module.name}")
    kinds, stack = set(), [Operator]
    while stack:
        kind = stack.pop()
        stack += kind.__subclasses__()
        if not inspect.isabstract(kind) and kind.__module__.startswith("hpcflow.") and not issubclass(kind, Source):
            kinds.add(kind.__name__)
    table, small = one_session.from_polars(TABLE), one_session.from_polars(SMALL)
    reached = {type(chain(table, small)._vertex.operator).__name__ for chain in CHAINS.values()}
    assert kinds - reached == set(INTERNAL)


def test_a_refused_pattern_is_named_with_those_that_work(one_session):
    table = one_session.from_polars(TABLE)
    with pytest.raises(
        hf.ConfigError, match=r"group_by#\d+ cannot have pattern='round robin' on input 0, since .*equal keys.*'hash shuffle', 'gather'"
    ):
        table.group_by("k").agg(pl.len()).with_property(pattern="round robin")
    with pytest.raises(hf.ConfigError, match=r"sort#\d+ cannot have order=.*own order, by .*\"v\""):
        table.sort("v").with_property(order=(SortKey(pl.col("i")),))
    with pytest.raises(hf.ConfigError, match=r"join#\d+ cannot have partition_count=3 and 5 on its inputs"):
        table.join(table, on="k").with_property(input=0, partition_count=3).with_property(input=1, partition_count=5)
    with pytest.raises(hf.ConfigError, match=r"ordered=False on input 0: .*depends on the order"):
        table.group_by("k").agg(pl.col("v").last()).with_property(ordered=False)


def test_rows_that_lie_by_their_keys_need_not_move(sessions):
    session = sessions[3]
    dealt = session.from_polars(TABLE).repartition(by="k")
    grouped = dealt.filter(pl.col("v") > 3).group_by("k", "i").agg(pl.col("v").sum()).with_property(pattern="one-to-one")
    want = TABLE.filter(pl.col("v") > 3).group_by("k", "i").agg(pl.col("v").sum())
    same(grouped.collect(), want, by=["k", "i"])
    with pytest.raises(hf.ConfigError, match=r"behind repartition\(by=.*\"v\""):
        dealt.group_by("v").agg(pl.len()).with_property(pattern="one-to-one")


def test_patterns_that_bring_each_row_to_one_task_are_all_but_these():
    assert set(Pattern) - set(EVERY_ROW_ONCE) == {Pattern.BROADCAST, Pattern.SHARE}

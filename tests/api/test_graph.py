"""Task graphs drawn by hand: as their evaluation in plain Python, on any number of workers."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.ir.operators.task_function import GraphTask
from hpcflow.testing.session import InProcessSession
from tests.api.graph_oracle import KEYED as KEYED_KINDS
from tests.api.graph_oracle import SCHEMA, TO_ALL, TO_ONE, Drawn, draw, evaluate
from tests.thorough import thorough


@st.composite
def drawings(pick: st.DrawFn, most: int = 4) -> list[Drawn]:
    """One or two sources, then vertices that read any of those before them."""
    sources = [Drawn(pick(st.integers(1, 3)), rows=pick(st.integers(0, 5))) for _ in range(pick(st.integers(1, 2)))]
    made = list(sources)
    for _ in range(pick(st.integers(1, most))):
        tasks = pick(st.integers(1, 3))
        edges = []
        for _ in range(pick(st.integers(1, 3))):
            source = pick(st.integers(0, len(made) - 1))
            kinds = [*TO_ALL, *KEYED_KINDS, "partition"] + (list(TO_ONE) if tasks == 1 else [])
            kinds += ["direct", "keyed_direct"] if made[source].tasks == tasks else []
            edges.append((source, pick(st.sampled_from(kinds))))
        made.append(Drawn(tasks, tuple(edges)))
    return made


@pytest.fixture(scope="module")
def sessions():
    with (
        InProcessSession(workers=1, progress="off") as one,
        InProcessSession(workers=2, threads=2, progress="off") as two,
        InProcessSession(workers=3, partitions_per_worker=1, progress="off") as three,
    ):
        yield one, two, three


@settings(suppress_health_check=list(HealthCheck))
@given(drawings())
@pytest.mark.thorough
def test_a_random_graph_gives_what_plain_python_gives(sessions, drawing):
    wanted = {f"all of {number}": [row for part in tasks for row in part] for number, tasks in enumerate(evaluate(drawing))}
    for session in sessions:
        got = draw(session, drawing).run()
        assert {name: table.rows() for name, table in got.items()} == wanted


def numbers(task):
    """Three tables for each task."""
    for part in range(3):
        yield pl.DataFrame({"k": [part, task.index], "v": [task.index * 10 + part] * 2})


def seen(task, *tables):
    """One row: the task and the v of each table."""
    return pl.DataFrame({"task": [task.index], **{f"v{n}": [table["v"].to_list()] for n, table in enumerate(tables)}})


def seen_schema(count):
    return {"task": pl.Int64, **{f"v{n}": pl.List(pl.Int64) for n in range(count)}}


PARTS = [[10 * task + part for part in (0, 0, 1, 1, 2, 2)] for task in range(3)]  # what `numbers` gives, by task
ALL = [v for part in PARTS for v in part]
EDGES = {
    "direct": PARTS,
    "partition": [[part[row] for task, part in enumerate(PARTS) for row in range(6) if ((task << 40) + task + row) % 3 == to] for to in range(3)],
    "broadcast": [ALL] * 3,
    "allgather": [ALL] * 3,
    "gather": [ALL],
}


@pytest.mark.parametrize("kind", EDGES)
def test_an_edge_brings_its_rows_to_each_task_in_order(session, kind):
    g = hf.Graph(session, parallelism=3)
    source = g.source("numbers", numbers, schema=SCHEMA)
    g.compute("seen", seen, getattr(source, kind)(), schema=seen_schema(1), with_task=True)
    g.sink("out", g.vertices["seen"].direct())
    assert g.run()["out"].rows() == list(enumerate(EDGES[kind]))


def test_edges_of_all_kinds_meet_in_one_task(session):
    g = hf.Graph(session)
    a = g.source("a", numbers, schema=SCHEMA, parallelism=3)
    b = g.source("b", numbers, schema=SCHEMA, parallelism=3)
    total = a.allreduce(pl.col("v").sum())
    g.compute("met", seen, a.direct(), b.direct(), total, schema=seen_schema(3), with_task=True)
    one = g.compute("one", seen, a.gather(), b.reduce(pl.col("v").max()), schema=seen_schema(2), with_task=True)
    assert (g.vertices["met"].parallelism, one.parallelism) == (3, 1)
    for vertex in (g.vertices["met"], one):
        g.sink(f"{vertex.name}_out", vertex.direct())
    result = g.run()
    assert result["met_out"].rows() == [(i, PARTS[i], PARTS[i], [sum(ALL)]) for i in range(3)]
    assert result["one_out"].rows() == [(0, ALL, [22])]


def with_index(task, df):
    return df.with_columns(task=pl.lit(task.index, dtype=pl.Int64))


def rows_of(tasks):
    """What `numbers` gives, put together."""
    return pl.concat(part for index in range(tasks) for part in numbers(GraphTask("", index, tasks)))


LISTS = {"k": pl.Int64, "v": pl.List(pl.Int64)}
KEYED = {
    "keyed_partition": (SCHEMA, lambda a: a.keyed_partition("k"), lambda df: df),
    "keyed_reduce": (SCHEMA, lambda a: a.keyed_reduce("k", pl.col("v").sum()), lambda df: df.group_by("k").agg(pl.col("v").sum())),
    "keyed_reduce by a function": (SCHEMA, lambda a: a.keyed_reduce(["k"], largest), lambda df: largest(df)),
    "keyed_gather": (LISTS, lambda a: a.keyed_gather("k"), lambda df: df.group_by("k", maintain_order=True).agg("v")),
    "keyed_gather by an expression": (
        LISTS,
        lambda a: a.keyed_gather((pl.col("k") % 2).alias("k")),
        lambda df: df.group_by(pl.col("k") % 2, maintain_order=True).agg("v"),
    ),
}


def largest(df):
    return df.group_by("k").agg(pl.col("v").max())


@pytest.mark.parametrize("kind", KEYED)
def test_all_rows_of_a_key_meet_in_one_task(session, kind):
    schema, edge, wanted = KEYED[kind]
    g = hf.Graph(session, parallelism=3)
    source = g.source("a", numbers, schema=SCHEMA)
    g.sink("out", g.compute("b", with_index, edge(source), schema={**schema, "task": pl.Int64}, with_task=True).gather())
    got = g.run()["out"]
    assert got.group_by("k").agg(pl.col("task").n_unique())["task"].max() == 1
    assert got.drop("task").sort("k", "v").equals(wanted(rows_of(3)).sort("k", "v"))


def test_keyed_direct_groups_within_each_task(one_session):
    g = hf.Graph(one_session, parallelism=3)
    source = g.source("a", numbers, schema=SCHEMA)
    g.sink("out", g.compute("b", with_index, source.keyed_direct("k"), schema={**LISTS, "task": pl.Int64}, with_task=True).direct())
    wanted = [with_index(GraphTask("", i, 3), pl.concat(numbers(GraphTask("", i, 3))).group_by("k").agg("v")) for i in range(3)]
    assert g.run()["out"].sort("task", "k").equals(pl.concat(wanted).sort("task", "k"))


def test_a_function_sees_its_task_whole_however_large_or_small(session):
    """Small partitions of a shuffle are otherwise put together in one task, and those above target_partition_bytes cut into pieces."""
    many = session.range(20_000).select(k=pl.col("value") % 7, v=pl.col("value"))
    g = hf.Graph(session)
    rows = g.source("rows", many, parallelism=2)
    heights = g.compute("heights", lambda df: pl.DataFrame({"n": [df.height]}), rows.keyed_partition("k"), parallelism=5, schema={"n": pl.Int64})
    g.sink("out", heights.gather())
    got = g.run()["out"]["n"].to_list()
    assert len(got) <= 5 and sum(got) == 20_000


def test_datasets_go_in_and_come_out(session, tmp_path):
    table = pl.DataFrame({"k": [i % 3 for i in range(50)], "v": range(50)})
    table.write_parquet(tmp_path / "t.parquet", row_group_size=7)
    g = hf.Graph(session)
    shared = g.source("shared", session.read_parquet(tmp_path / "t.parquet").filter(pl.col("v") != 13), parallelism=4)
    ends = g.compute("ends", lambda df: df[[0, -1]], shared.direct(), schema=table.schema)
    kept = table.filter(pl.col("v") != 13)
    shares = [kept.filter(pl.int_range(49) * 4 // 49 == i) for i in range(4)]
    assert ends.dataset().collect().equals(pl.concat(part[[0, -1]] for part in shares))
    assert ends.dataset().group_by("k").agg(pl.len()).collect()["len"].sum() == 8
    as_it_is = g.source("as_it_is", session.from_polars(table))
    assert as_it_is.parallelism is None
    doubled = g.compute("doubled", lambda df: df * 2, as_it_is.direct())
    assert doubled.dataset().collect().equals(table * 2)
    g.sink("sum", g.compute("s", lambda df: df.sum(), doubled.gather()).direct())
    assert g.run()["sum"]["v"].to_list() == [sum(range(50)) * 2]


def test_a_table_of_the_driver_is_a_source(one_session):
    g = hf.Graph(one_session)
    frame = pl.DataFrame({"k": [1, 2, 3]})
    for name, rows in {"polars": frame, "arrow": frame.to_arrow()}.items():
        g.sink(f"{name} out", g.source(name, rows, parallelism=2).direct())
    assert [table.equals(frame) for table in g.run().values()] == [True, True]


def test_a_sink_calls_its_function_in_each_task(session, tmp_path):
    def write(task, df):
        df.write_parquet(tmp_path / f"{task.vertex}-{task.index}.parquet")

    g = hf.Graph(session)
    source = g.source("a", numbers, schema=SCHEMA, parallelism=3)
    g.sink("files", source.direct(), function=write, with_task=True)
    g.sink("rows", source.direct())
    assert list(g.run()) == ["rows"]
    assert [pl.read_parquet(tmp_path / f"files-{i}.parquet")["v"].to_list() for i in range(3)] == PARTS


@pytest.mark.parametrize("format", ["polars", thorough("arrow"), thorough("pandas"), "numpy"])
def test_functions_take_and_give_tables_of_any_format(one_session, format):
    functions = {
        "polars": lambda df: df.select(pl.col("v") + 1),
        "arrow": lambda table: pl.DataFrame(table).select(pl.col("v") + 1).to_arrow(),
        "pandas": lambda df: df[["v"]] + 1,
        "numpy": lambda columns: {"v": columns["v"] + 1},
    }
    g = hf.Graph(one_session)
    b = g.compute("b", functions[format], g.source("a", numbers, schema=SCHEMA, parallelism=2).direct(), format=format, schema={"v": pl.Int64})
    g.sink("out", b.gather())
    assert g.run()["out"]["v"].to_list() == [v + 1 for v in ALL[:12]]


def test_graphs_run_beside_each_other(session):
    futures = []
    for more in range(3):
        g = hf.Graph(session, parallelism=2)
        b = g.compute("b", lambda df, more=more: df.select(pl.col("v") + more), g.source("a", numbers, schema=SCHEMA).partition())
        g.sink("out", b.reduce(pl.col("v").sum()))
        futures.append(g.submit())
    assert [future.result(30)["out"].item() for future in futures] == [sum(v + more for v in ALL[:12]) for more in range(3)]


def test_what_a_source_closes_over_is_looked_at_each_time(one_session):
    given = [1]
    g = hf.Graph(one_session)
    g.sink("out", g.source("a", lambda task: pl.DataFrame({"v": given}), schema={"v": pl.Int64}, parallelism=1).gather())
    assert g.run()["out"]["v"].to_list() == [1]
    given.append(2)
    assert g.run()["out"]["v"].to_list() == [1, 2]


def test_properties_are_those_of_the_vertex_and_the_edge(one_session):
    g = hf.Graph(one_session)
    a = g.source("a", numbers, schema=SCHEMA, parallelism=2, placement=(1,))
    b = g.compute("b", lambda df: df, a.partition().with_property(compression="zstd"), parallelism=2, slots=2)
    g.sink("out", b.direct())
    text = g.explain()
    assert "only on workers 1" in text and "round robin x2 zstd" in text
    assert "a --partition-->" in text and "b x2" in text
    with pytest.raises(hf.ConfigError, match="its kind"):
        a.partition().with_property(partition_count=3)


def test_what_fails_names_the_vertex(one_session):
    def fails(df):
        raise ValueError("not today")

    g = hf.Graph(one_session)
    a = g.source("numbers", numbers, schema=SCHEMA, parallelism=2)
    g.sink("out", g.compute("failing vertex", fails, a.direct(), schema=SCHEMA).direct())
    with pytest.raises(hf.TaskError, match="not today") as caught:
        g.run()
    assert "failing vertex" in caught.value.operator
    wrong = hf.Graph(one_session)
    wrong.sink("out", wrong.source("odd", lambda task: pl.DataFrame({"x": [1]}), schema=SCHEMA, parallelism=1).gather())
    with pytest.raises(hf.HpcflowError, match="odd"):
        wrong.run()


def test_a_wrong_graph_is_refused_where_it_is_drawn(one_session):
    g, other = hf.Graph(one_session), hf.Graph(one_session)
    a = g.source("a", numbers, schema=SCHEMA, parallelism=2)
    b = g.source("b", numbers, schema=SCHEMA, parallelism=3)
    foreign = other.source("a", numbers, schema=SCHEMA)
    loose = g.source("loose", one_session.range(4))
    refused = {
        "already": lambda: g.source("a", numbers, schema=SCHEMA),
        "what columns its function gives": lambda: g.source("c", numbers),
        "as many tasks on both sides": lambda: g.compute("c", seen, a.direct(), b.direct()),
        "allgather": lambda: g.compute("c", seen, a.gather(), parallelism=2),
        "the tasks of its dataset": lambda: g.compute("c", seen, loose.direct(), a.partition(), schema=SCHEMA),
        "no input": lambda: g.compute("c", seen),
        "another graph": lambda: g.compute("c", seen, foreign.direct()),
        "are edges": lambda: g.compute("c", seen, a),
        "does not give one row": lambda: a.reduce(pl.col("v") + 1),
        "column .z. not found": lambda: a.keyed_partition("z"),
        "pass schema=": lambda: g.compute("c", lambda df: df["z"], a.direct()),
        "at least 1": lambda: g.source("c", numbers, schema=SCHEMA, parallelism=0),
        "no execution property 'placment'": lambda: g.source("c", numbers, schema=SCHEMA, placment=(1,)),
        "no sink": lambda: g.run(),
    }
    for message, call in refused.items():
        with pytest.raises(hf.HpcflowError, match=message):
            call()
    g.sink("out", a.gather())
    with pytest.raises(hf.ConfigError, match="nothing reads 'b', 'loose'"):
        g.run()

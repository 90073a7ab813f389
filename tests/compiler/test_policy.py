"""The runner: order, checks, skipping, permanence, and where passes come from."""

from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.compiler import policy as policies
from hpcflow.compiler.default import DEFAULT, NONE
from hpcflow.compiler.policy import Pass, Policy, optimize, resolve
from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.legality import IllegalDagError
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.properties import EdgeProperties
from hpcflow.testing.session import run_session
from tests.compiler.programs import context, dag, table, text


def program():
    return dag(table().filter(pl.col("k") > 1).group_by("k").agg(pl.col("v").sum()).sort("k"))


def run(*passes, given=None):
    return optimize(given or program(), Policy(passes), context())


def insert_filter(given, _):
    edge = given.edges[0]
    schema = given.vertices[edge.source].schema
    return given.with_inserted(edge, Vertex(Filter(pl.lit(True)), schema), EdgeProperties(), edge.properties)


def zstd(given, _):
    for edge in given.edges:
        given = given.with_edge(edge, replace(edge, properties=edge.properties.with_changes(compression="zstd")))
    return given


def test_every_pass_is_reported_with_time_and_change():
    given = program()
    passes = (Pass("nothing", lambda d, c: d), Pass("zstd", zstd, annotates=("compression",)), Pass("more", insert_filter, reshapes=True))
    _, reports = run(*passes, given=given)
    assert [(r.name, r.changed, r.skipped) for r in reports] == [("nothing", False, False), ("zstd", True, False), ("more", True, False)]
    assert all(r.seconds >= 0 for r in reports)
    assert reports[2].vertices_after == reports[2].vertices_before + 1
    assert reports[0].before is given


def test_a_pass_is_skipped_where_its_condition_fails():
    optimized, reports = run(Pass("zstd", zstd, annotates=("compression",), condition=lambda d, c: c.nodes > 1))
    assert reports[0].skipped
    assert "zstd" not in text(optimized)


def test_an_annotating_pass_may_not_change_the_shape():
    with pytest.raises(IllegalDagError, match=r"'liar' .*shape"):
        run(Pass("liar", insert_filter, annotates=("compression",)))


def test_an_annotating_pass_may_set_only_what_it_declares():
    def placed(given, _):
        vertex = next(iter(given.vertices.values()))
        return given.with_vertex(replace(vertex, properties=vertex.properties.with_changes(slots=2)))

    with pytest.raises(IllegalDagError, match="'sly'"):
        run(Pass("sly", placed, annotates=("placement",)))
    with pytest.raises(IllegalDagError, match="'sly'"):
        run(Pass("sly", zstd, annotates=("ordered",)))
    run(Pass("honest", placed, annotates=("slots",)))


def test_a_pass_that_breaks_the_dag_is_named():
    def cut(given, _):
        return Dag(given.vertices, given.edges[1:])

    def no_keys(given, _):
        edge = next(e for e in given.edges if e.properties.keys)
        return given.with_edge(edge, replace(edge, properties=replace(edge.properties, keys=())))

    def lost(given, _):
        return given.pruned([v.id for v in given.vertices.values() if not given.outputs(v.id)][:0])

    for name, broken, match in (("cut", cut, "cut"), ("no_keys", no_keys, "hash shuffle needs keys"), ("lost", lost, "gone")):
        with pytest.raises(IllegalDagError, match=match) as error:
            run(Pass(name, broken, reshapes=True))
        assert f"pass {name!r}" in str(error.value)


def test_a_pass_may_not_change_what_leaves_the_dag():
    def fewer(given, _):
        sink = given.sinks[0]
        return given.with_vertex(replace(sink, schema=pl.Schema({"k": pl.Int64})))

    with pytest.raises(IllegalDagError, match="may not change what leaves"):
        run(Pass("fewer", fewer, reshapes=True))


def test_required_order_is_checked_where_both_are_there():
    first, second = Pass("first", lambda d, c: d), Pass("second", lambda d, c: d, requires=("first",))
    run(first, second)
    run(second)
    with pytest.raises(hf.ConfigError, match="must come after 'first'"):
        run(second, first)


def test_policies_are_composed_by_name():
    policy = DEFAULT.without("broadcast_join").with_pass(Pass("zstd", zstd, annotates=("compression",)), after="compression")
    assert [p.name for p in policy.passes][-3:] == ["compression", "zstd", "transport"]
    assert "broadcast_join" not in [p.name for p in policy.passes]
    with pytest.raises(hf.ConfigError, match="did you mean 'broadcast_join'"):
        DEFAULT.without("broadcast_joins")


def test_a_session_runs_the_policy_it_is_given():
    seen = []

    def look(given, context):
        seen.append(context.workers)
        return given

    def job(session):
        data = session.from_dict({"k": [1, 2, 1], "v": [1, 2, 3]})
        assert data.group_by("k").agg(pl.col("v").sum()).sort("k").collect()["v"].to_list() == [4, 2]
        return data.explain(passes=True)

    assert "look: nothing to do" in run_session(job, workers=2, policy=Policy((*DEFAULT.passes, Pass("look", look))))
    assert set(seen) == {2}


def test_what_a_user_sets_is_permanent():
    chosen = table().group_by("k").agg(pl.col("v").sum()).with_property(compression="lz4", partition_count=3)
    optimized, _ = optimize(dag(chosen), DEFAULT.with_pass(Pass("zstd", zstd, annotates=("compression",))), context())
    assert 'hash shuffle(col("k")) x3 lz4' in text(optimized)
    with pytest.raises(hf.ConfigError, match="did you mean 'compression'"):
        chosen.with_property(compresion="lz4")
    with pytest.raises(hf.ConfigError, match="no input 3"):
        chosen.with_property(input=3, compression="lz4")


def test_passes_and_policies_come_from_entry_points(monkeypatch):
    class Points(list):
        def select(self, group):
            return [p for p in self if p.group == group]

    mine = Pass("mine", zstd, annotates=("compression",))
    found = (("mine", "hpcflow.passes", mine), ("bare", "hpcflow.policies", NONE))
    points = Points(SimpleNamespace(name=name, group=group, load=lambda value=value: value) for name, group, value in found)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda: points)
    assert resolve("default").passes[-1] is mine
    assert resolve("bare") is NONE
    assert resolve(DEFAULT) is DEFAULT
    with pytest.raises(hf.ConfigError, match="default, none, bare"):
        resolve("bear")
    assert policies.resolve("none") is NONE

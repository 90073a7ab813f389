"""The Dag: immutable, acyclic, checked, and the same after a pickle."""

import pickle
from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from hpcflow.errors import ConfigError
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.legality import IllegalDagError, check
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.range import Range
from hpcflow.ir.properties import _CHECKS, DataFlow, DataStore, EdgeProperties, Pattern, Persistence, VertexProperties
from hpcflow.ir.render import to_dot, to_json, to_text

SCHEMA = pl.Schema({"value": pl.Int64})


def chain():
    source = Range.of(0, 10, 1, name="value")
    vertices = [Vertex(source, SCHEMA, id=1), Vertex(Filter(pl.col("value") > 1), SCHEMA, id=2), Vertex(Filter(pl.col("value") > 2), SCHEMA, id=3)]
    return Dag.of(vertices, [Edge(1, 2), Edge(2, 3)])


def test_transformations_leave_the_old_dag_alone():
    dag = chain()
    before = to_text(dag)
    more = dag.with_inserted(dag.edges[0], Vertex(Filter(pl.lit(True)), SCHEMA, id=4), EdgeProperties(), EdgeProperties(pattern=Pattern.ROUND_ROBIN))
    assert [v.id for v in more.topological()] == [1, 4, 2, 3]
    assert [v.id for v in dag.without(2).topological()] == [1, 3]
    assert list(dag.pruned([2]).vertices) == [1, 2]
    assert to_text(dag) == before
    with pytest.raises(TypeError):
        dag.vertices[9] = dag.vertices[1]


def test_a_cycle_is_refused():
    dag = chain()
    with pytest.raises(ValueError, match="cycle"):
        Dag.of(dag.vertices.values(), [*dag.edges, Edge(3, 1)])


def test_a_dag_survives_pickling():
    assert to_text(pickle.loads(pickle.dumps(chain()))) == to_text(chain())


def test_what_is_illegal_is_named():
    dag = chain()
    check(dag)
    wrong = {
        "needs keys": EdgeProperties(pattern=Pattern.HASH_SHUFFLE),
        "needs an order": EdgeProperties(pattern=Pattern.RANGE_SHUFFLE),
        "needs a function": EdgeProperties(pattern=Pattern.USER_SHUFFLE),
        "one partition": EdgeProperties(pattern=Pattern.GATHER, partition_count=2),
        "0 partitions": EdgeProperties(pattern=Pattern.ROUND_ROBIN, partition_count=0),
        "'nope' is not among": EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=(pl.col("nope"),)),
    }
    for message, properties in wrong.items():
        with pytest.raises(IllegalDagError, match=message) as error:
            check(dag.with_edge(dag.edges[0], Edge(1, 2, 0, properties)))
        assert "filter#2" in str(error.value)
    with pytest.raises(IllegalDagError, match="wants 1 inputs and has 0"):
        check(Dag(dag.vertices, dag.edges[1:]))


def test_a_dag_renders_as_text_dot_and_json():
    dag = chain()
    assert to_text(dag).splitlines()[0].startswith("filter#3")
    assert to_dot(dag).count("->") == 2
    assert '"operator": "range"' in to_json(dag)


def test_a_permanent_property_is_not_changed_by_passes():
    chosen = EdgeProperties().with_user_choice(compression="lz4")
    wanted = EdgeProperties(compression="lz4", ordered=False, permanent=frozenset({"compression"}))
    assert chosen.with_changes(compression="none", ordered=False) == wanted
    with pytest.raises(ConfigError, match="did you mean 'placement'"):
        VertexProperties().with_user_choice(placment=(0,))


def test_users_name_the_members_of_enums_by_their_values():
    chosen = EdgeProperties().with_user_choice(pattern="hash shuffle", data_flow="pull", data_store="scratch", persistence="keep")
    assert (chosen.pattern, chosen.data_flow, chosen.data_store) == (Pattern.HASH_SHUFFLE, DataFlow.PULL, DataStore.SCRATCH)
    assert chosen.persistence is Persistence.KEEP
    assert EdgeProperties().with_user_choice(pattern=Pattern.GATHER).pattern is Pattern.GATHER


def test_users_give_workers_as_any_sequence_of_integers():
    for placement in ([0, 2], (0, 2), np.array([0, 2]), range(0, 3, 2)):
        chosen = VertexProperties().with_user_choice(placement=placement, slots=np.int64(2))
        assert (chosen.placement, chosen.slots) == ((0, 2), 2)
        assert type(chosen.slots) is int


def test_every_property_has_a_check_that_its_default_passes():
    given = [f for kind in (EdgeProperties, VertexProperties) for f in fields(kind) if f.name != "permanent"]
    assert {f.name for f in given} == set(_CHECKS)
    assert all(_CHECKS[f.name](f.default) == f.default for f in given)

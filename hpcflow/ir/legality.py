"""What must hold of every Dag; the pass runner checks it after each pass.

Raises IllegalDagError (a bug of a pass, not of the program) naming the vertex or edge.
"""

from __future__ import annotations

import polars as pl

from hpcflow.errors import HpcflowError
from hpcflow.ir.dag import Dag, Edge
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.bsp import Bsp
from hpcflow.ir.operators.concat import Concat, ReadCache
from hpcflow.ir.operators.iterate import Iterate
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.task_function import TaskFunction
from hpcflow.ir.operators.with_columns import WithScalars
from hpcflow.ir.properties import Pattern, VertexProperties

_INTO_TOGETHER = (Pattern.SHARE, Pattern.ONE_TO_ONE, Pattern.BROADCAST)


class IllegalDagError(HpcflowError):
    """A pass made a Dag that cannot be run."""


def check(dag: Dag) -> None:
    """Structure, schemas and edge properties of `dag`."""
    for vertex in dag.vertices.values():
        inputs = dag.inputs(vertex.id)
        if [edge.index for edge in inputs] != list(range(len(inputs))):
            raise IllegalDagError(f"{vertex} has inputs numbered {[edge.index for edge in inputs]}")
        if len(inputs) != _inputs_wanted(vertex.operator):
            raise IllegalDagError(f"{vertex} wants {_inputs_wanted(vertex.operator)} inputs and has {len(inputs)}")
        if vertex.properties.slots < 1:
            raise IllegalDagError(f"{vertex}: a task takes at least one slot, not {vertex.properties.slots}")
        if vertex.operator.together and _scheduling(vertex.properties) != (None, None, None, 1):
            raise IllegalDagError(
                f"{vertex} runs on all workers at once, on a thread of its own: placement, resources, parallelism and slots are not for it"
            )
    for edge in dag.edges:
        if edge.source not in dag.vertices or edge.target not in dag.vertices:
            raise IllegalDagError(f"edge {edge.source} -> {edge.target} has an end that is not in the Dag")
        _check_edge(dag, edge)


def _scheduling(properties: VertexProperties) -> tuple[object, ...]:
    return (properties.placement, properties.resources, properties.parallelism, properties.slots)


def _inputs_wanted(operator: Operator) -> int:
    if isinstance(operator, Source | ReadCache):
        return 0
    if isinstance(operator, Concat | Bsp | TaskFunction | Iterate):
        return operator.inputs_count
    return 2 if isinstance(operator, Join | WithScalars) else 1


def _check_edge(dag: Dag, edge: Edge) -> None:
    where = f"edge {dag.vertices[edge.source]} -> {dag.vertices[edge.target]}"
    properties = edge.properties
    schema = dag.vertices[edge.source].schema
    together = dag.vertices[edge.target].operator.together
    if together and properties.pattern not in _INTO_TOGETHER:
        allowed = ", ".join(pattern.value for pattern in _INTO_TOGETHER)
        raise IllegalDagError(
            f"{where}: what runs on all workers at once reads {allowed}, not {properties.pattern.value}; put repartition(...) before it"
        )
    if properties.pattern is Pattern.SHARE and not together:
        raise IllegalDagError(f"{where}: shares are for what runs on all workers at once")
    if properties.pattern is Pattern.HASH_SHUFFLE and not properties.keys:
        raise IllegalDagError(f"{where}: a hash shuffle needs keys")
    if properties.pattern is Pattern.RANGE_SHUFFLE and not properties.order:
        raise IllegalDagError(f"{where}: a range shuffle needs an order")
    if properties.pattern is Pattern.USER_SHUFFLE and properties.function is None:
        raise IllegalDagError(f"{where}: a user shuffle needs a function")
    if properties.pattern in (Pattern.GATHER, Pattern.BROADCAST) and properties.partition_count not in (None, 1):
        raise IllegalDagError(f"{where}: {properties.pattern.value} has one partition, not {properties.partition_count}")
    if properties.partition_count is not None and properties.partition_count < 1:
        raise IllegalDagError(f"{where}: {properties.partition_count} partitions")
    for expression in (*properties.keys, *(key.expression for key in properties.order)):
        for name in expression.meta.root_names():
            if name not in schema:
                raise IllegalDagError(f"{where}: key column {name!r} is not among {schema.names()}")
    for name, dtype in schema.items():
        if properties.pattern.moves_rows and dtype == pl.Object:
            raise IllegalDagError(f"{where}: column {name!r} holds Python objects, which cannot travel between workers; cast or drop it")

"""Merge vertices that compute the same from the same inputs.

A -> f -> B            A -> f -> B
A -> f'-> C     ->           f -> C        (f and f' equal and deterministic)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.concat import Cache, Collect, Keep
from hpcflow.ir.operators.sink import Sink
from hpcflow.ir.properties import EdgeProperties


def merge_common_subexpressions(dag: Dag, context: CompileContext) -> Dag:
    """See the module."""
    same: dict[int, int] = {}
    first: dict[object, int] = {}
    for vertex in dag.topological():
        operator = vertex.operator
        if not operator.deterministic or isinstance(operator, Cache | Collect | Keep | Sink):
            continue
        inputs = tuple((same.get(e.source, e.source), _edge_fingerprint(e.properties)) for e in dag.inputs(vertex.id))
        key = (operator.fingerprint(), inputs, vertex.properties)
        try:
            kept = first.setdefault(key, vertex.id)
        except TypeError:
            continue
        if kept != vertex.id:
            same[vertex.id] = kept
    if not same:
        return dag
    edges = [replace(e, source=same.get(e.source, e.source)) for e in dag.edges if e.target not in same]
    return Dag.of([v for v in dag.vertices.values() if v.id not in same], edges)


def _edge_fingerprint(properties: EdgeProperties) -> Any:
    return (
        *(
            getattr(properties, name)
            for name in (
                "pattern",
                "columns",
                "partition_count",
                "ordered",
                "data_flow",
                "data_store",
                "persistence",
                "compression",
                "transport",
                "combiner",
            )
        ),
        fingerprint_of(properties.keys),
        tuple((fingerprint_of(k.expression), k.descending, k.nulls_last) for k in properties.order),
        id(properties.function),
    )

"""Move filters towards the sources, across row-wise operators, shuffles and joins, and into files.

scan -> with_columns(x) -> filter(y)        ->   scan[y] -> filter(y) -> with_columns(x)
join(a, b) -> filter(column of a)           ->   join(filter(a), b)
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge, Vertex, new_id
from hpcflow.ir.operators.concat import Repartition
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.sort import Sort
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.with_columns import WithColumns
from hpcflow.ir.properties import EdgeProperties


def push_predicates(dag: Dag, context: CompileContext) -> Dag:
    """See the module. A filter whose only reader path is shared with another reader stays."""
    moved = True
    while moved:
        moved = False
        for vertex in list(dag.topological()):
            if isinstance(vertex.operator, Filter):
                new = _push_one(dag, vertex)
                if new is not None:
                    dag, moved = new, True
                    break
    return _into_sources(dag)


def _push_one(dag: Dag, vertex: Vertex) -> Dag | None:
    (edge,) = dag.inputs(vertex.id)
    below = dag.vertices[edge.source]
    if len(dag.outputs(below.id)) != 1 or edge.properties.pattern.moves_rows or edge.properties.permanent:
        return None
    assert isinstance(vertex.operator, Filter)
    roots = set(vertex.operator.predicate.meta.root_names())
    operator = below.operator
    if isinstance(operator, WithColumns) and not roots & {e.meta.output_name() for e in operator.expressions}:
        return _swap(dag, vertex, edge, below, 0)
    if isinstance(operator, Select):
        passed = {e.meta.output_name() for e in operator.expressions if e.meta.is_column()}
        return _swap(dag, vertex, edge, below, 0) if roots and roots <= passed else None
    if isinstance(operator, Sort | Repartition):
        return _swap(dag, vertex, edge, below, 0)
    if isinstance(operator, Join):
        return _into_join(dag, vertex, edge, below, operator, roots)
    return None


def _into_join(dag: Dag, vertex: Vertex, edge: Edge, below: Vertex, join: Join, roots: set[str]) -> Dag | None:
    left, right = dag.input_schemas(below.id)
    if not roots:
        return None
    if roots <= set(left) and join.how in ("inner", "left", "semi", "anti", "cross"):
        return _swap(dag, vertex, edge, below, 0)
    only_right = set(right) - set(left) - {name + join.suffix for name in right if name in left}
    if roots <= only_right and join.how in ("inner", "right", "cross"):
        return _swap(dag, vertex, edge, below, 1)
    return None


def _swap(dag: Dag, vertex: Vertex, edge: Edge, below: Vertex, index: int) -> Dag:
    """X -e-> below -> filter -> Y    ->    X -> filter -e-> below -> Y"""
    incoming = dag.inputs(below.id)[index]
    source = dag.vertices[incoming.source]
    filter = Vertex(vertex.operator, source.schema, vertex.properties, new_id())
    edges: list[Edge] = []
    for e in dag.edges:
        if e is incoming:
            edges += [Edge(source.id, filter.id, 0, EdgeProperties()), replace(incoming, source=filter.id)]
        elif e.source == vertex.id:
            edges.append(replace(e, source=below.id))
        elif e is not edge:
            edges.append(e)
    return Dag.of([*(v for v in dag.vertices.values() if v.id != vertex.id), filter], edges)


def _into_sources(dag: Dag) -> Dag:
    """Tell sources of the filters that follow them, so that row groups that cannot match are not read; the filters stay."""
    for vertex in list(dag.vertices.values()):
        if not isinstance(vertex.operator, Source):
            continue
        predicates: list[pl.Expr] = []
        at = vertex.id
        while len(dag.outputs(at)) == 1:
            edge = dag.outputs(at)[0]
            reader = dag.vertices[edge.target]
            if edge.properties.pattern.moves_rows or not isinstance(reader.operator, Filter):
                break
            predicates.append(reader.operator.predicate)
            at = reader.id
        if predicates:
            combined = predicates[0]
            for predicate in predicates[1:]:
                combined = combined & predicate
            pushed = vertex.operator.with_pushdown(None, combined)
            if pushed is not vertex.operator:
                dag = dag.with_vertex(replace(vertex, operator=pushed))
    return dag

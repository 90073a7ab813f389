"""Move filters towards the sources, across row-wise operators, shuffles and joins, and into files.

scan -> with_columns(x) -> filter(y)        ->   scan[y] -> filter(y) -> with_columns(x)
join(a, b) -> filter(column of a)           ->   join(filter(a), b)
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.operators.concat import Repartition
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.sort import Sort
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.with_columns import WithColumns


def push_predicates(dag: Dag, context: CompileContext) -> Dag:
    """See the module. A filter stops where its input has other readers."""
    draft = _Draft(dag)
    for vertex in dag.topological():  # from the sources up: a filter stops at those that went before it
        if isinstance(vertex.operator, Filter):
            draft.push(vertex, vertex.operator)
    return _into_sources(draft.dag() if draft.moved else dag)


class _Draft:
    """A Dag while filters move in it."""

    def __init__(self, dag: Dag) -> None:
        self.vertices = dict(dag.vertices)
        self.inputs = {id: list(dag.inputs(id)) for id in dag.vertices}
        self.outputs = {id: list(dag.outputs(id)) for id in dag.vertices}
        self.moved = False

    def dag(self) -> Dag:
        """The Dag as it is now."""
        return Dag.of(self.vertices.values(), [edge for edges in self.inputs.values() for edge in edges])

    def push(self, filter: Vertex, operator: Filter) -> None:
        """X -e-> ... -> below -> filter -> Y    ->    X -> filter -e-> ... -> below -> Y"""
        (edge,) = self.inputs[filter.id]
        if edge.properties.pattern.moves_rows or edge.properties.permanent:
            return
        roots = set(operator.predicate.meta.root_names())
        into: Edge | None = None
        below = edge.source
        while len(self.outputs[below]) == 1 and (index := self._passes(below, roots)) is not None:
            into = self.inputs[below][index]
            below = into.source
        if into is None:
            return
        for out in self.outputs.pop(filter.id):
            self._replace(out, replace(out, source=edge.source))
        self.outputs[edge.source] = [out for out in self.outputs[edge.source] if out is not edge]
        self.inputs[filter.id] = [Edge(into.source, filter.id)]
        self.outputs[filter.id] = []
        self.outputs[into.source] = [self.inputs[filter.id][0] if out is into else out for out in self.outputs[into.source]]
        self._replace(into, replace(into, source=filter.id))
        self.vertices[filter.id] = replace(filter, schema=self.vertices[into.source].schema)
        self.moved = True

    def _replace(self, old: Edge, new: Edge) -> None:
        self.inputs[old.target] = [new if edge is old else edge for edge in self.inputs[old.target]]
        self.outputs[new.source].append(new)

    def _passes(self, id: int, roots: set[str]) -> int | None:
        """The input of this vertex that a filter on columns `roots` may go to; None: it stays above."""
        operator = self.vertices[id].operator
        if isinstance(operator, WithColumns):
            return None if roots & {e.meta.output_name() for e in operator.expressions} else 0
        if isinstance(operator, Select):
            return 0 if roots and roots <= {e.meta.output_name() for e in operator.expressions if e.meta.is_column()} else None
        if isinstance(operator, Sort | Repartition):
            return 0
        if isinstance(operator, Join):
            left, right = (self.vertices[edge.source].schema for edge in self.inputs[id])
            return _side(operator, left, right, roots)
        return None


def _side(join: Join, left: pl.Schema, right: pl.Schema, roots: set[str]) -> int | None:
    if not roots:
        return None
    if roots <= set(left) and join.how in ("inner", "left", "semi", "anti", "cross"):
        return 0
    only_right = set(right) - set(left) - {name + join.suffix for name in right if name in left}
    return 1 if roots <= only_right and join.how in ("inner", "right", "cross") else None


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

"""Read and move only the columns that are needed.

Walks from the sinks up: each vertex says which columns of its inputs its needed outputs take (`Operator.required_columns`). Sources read only
those; before an exchange a select drops the others; expressions nobody needs are not computed.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.concat import Align, Concat
from hpcflow.ir.operators.group_by import GroupBy
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.with_columns import WithColumns
from hpcflow.ir.properties import EdgeProperties


def push_projections(dag: Dag, context: CompileContext) -> Dag:
    """See the module."""
    needed = _needed(dag)
    vertices: dict[int, Vertex] = {}
    edges: list[Edge] = []
    extra: list[Vertex] = []
    readable: dict[int, Vertex] = {}
    """Vertex -> what its readers read: itself, or the select that puts its columns back in order."""
    changed = False
    for vertex in dag.topological():
        new = _narrow(vertex, needed[vertex.id])
        inputs = dag.inputs(vertex.id)
        changed = changed or new is not vertex.operator
        incoming: list[pl.Schema] = []
        for edge in inputs:
            source = readable[edge.source]
            wanted = _wanted(dag, edge, needed)
            columns = tuple(name for name in source.schema if name in wanted)
            narrow_here = edge.properties.pattern.moves_rows or isinstance(new, Concat)
            if narrow_here and len(columns) < len(source.schema):
                select = Vertex(Select(tuple(pl.col(c) for c in columns)), pl.Schema({c: source.schema[c] for c in columns}))
                extra.append(select)
                edges += [Edge(source.id, select.id, 0, EdgeProperties()), replace(edge, source=select.id)]
                incoming.append(select.schema)
                changed = True
            else:
                edges.append(edge if source.id == edge.source else replace(edge, source=source.id))
                incoming.append(source.schema)
        schema = new.output_schema(tuple(incoming)) if inputs else new.schema if isinstance(new, Source) else vertex.schema
        if isinstance(new, Align):
            new, schema = _narrow_align(new, needed[vertex.id])
        narrowed = vertex if new is vertex.operator and schema == vertex.schema else replace(vertex, operator=new, schema=schema)
        vertices[vertex.id] = readable[vertex.id] = narrowed
        order = [name for name in vertex.schema if name in schema]
        if order != list(schema):  # a column that is replaced was not read: it is now made anew, at the end
            select = Vertex(Select(tuple(pl.col(c) for c in order)), pl.Schema({c: schema[c] for c in order}))
            extra.append(select)
            edges.append(Edge(vertex.id, select.id, 0, EdgeProperties()))
            readable[vertex.id] = select
            changed = True
    return Dag.of([*vertices.values(), *extra], edges) if changed else dag


def _wanted(dag: Dag, edge: Edge, needed: dict[int, frozenset[str]]) -> frozenset[str]:
    """Columns that this edge must carry."""
    target = dag.vertices[edge.target]
    schemas = dag.input_schemas(edge.target)
    required = target.operator.required_columns(needed[edge.target], schemas)
    columns = frozenset(schemas[edge.index]) if required is None else required[edge.index]
    properties = edge.properties
    keys = {name for e in (*properties.keys, *(k.expression for k in properties.order)) for name in e.meta.root_names()}
    if properties.function is not None:
        return frozenset(schemas[edge.index]) if not properties.columns else columns | keys | set(properties.columns)
    return columns | keys


def _needed(dag: Dag) -> dict[int, frozenset[str]]:
    needed: dict[int, frozenset[str]] = {}
    for vertex in reversed(list(dag.topological())):
        readers = dag.outputs(vertex.id)
        if not readers:
            needed[vertex.id] = frozenset(vertex.schema)
            continue
        wanted: frozenset[str] = frozenset()
        for edge in readers:
            wanted = wanted | _wanted(dag, edge, needed)
        needed[vertex.id] = wanted & frozenset(vertex.schema)
    return needed


def _narrow(vertex: Vertex, needed: frozenset[str]) -> Operator:
    operator = vertex.operator
    if isinstance(operator, Source) and needed < set(operator.schema):
        return operator.with_pushdown(tuple(name for name in operator.schema if name in needed), None)
    if isinstance(operator, Select | WithColumns):
        made = {e.meta.output_name() for e in operator.expressions}
        if not made <= needed:
            return operator.narrowed(needed)
    if isinstance(operator, GroupBy):
        made = {e.meta.output_name() for e in operator.aggregations}
        if not made <= needed:
            return operator.narrowed(needed)
    return operator


def _narrow_align(align: Align, needed: frozenset[str]) -> tuple[Align, pl.Schema]:
    schema = pl.Schema({name: dtype for name, dtype in align.schema.items() if name in needed}) or align.schema
    return (align, align.schema) if len(schema) == len(align.schema) else (Align(schema), schema)

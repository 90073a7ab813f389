"""A Dag as text, Graphviz dot or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.operators.base import brief
from hpcflow.ir.properties import DataFlow, DataStore, EdgeProperties, Pattern, Persistence


def edge_text(properties: EdgeProperties) -> str:
    """The properties that differ from the defaults, in one line: `hash shuffle(k) x8 lz4`."""
    text = properties.pattern.value
    if properties.keys:
        text += "(" + ", ".join(brief(key) for key in properties.keys) + ")"
    if properties.order:
        text += "(" + ", ".join(brief(key.expression) + (" desc" if key.descending else "") for key in properties.order) + ")"
    if properties.partition_count is not None and properties.pattern.is_shuffle:
        text += f" x{properties.partition_count}"
    if properties.data_flow is not DataFlow.PUSH:
        text += f" {properties.data_flow.value}"
    if properties.data_store is not DataStore.MEMORY:
        text += f" store={properties.data_store.value}"
    if properties.persistence is not Persistence.DISCARD:
        text += f" {properties.persistence.value}"
    if not properties.ordered:
        text += " unordered"
    if properties.compression != "none":
        text += f" {properties.compression}"
    if properties.transport != "chunks":
        text += f" by {properties.transport}"
    if not properties.combiner:
        text += " no combiner"
    return text


def vertex_text(vertex: Vertex) -> str:
    """The operator, and what the user chose of its properties: `range#1 0 to 9 by 1 [parallelism=3]`."""
    chosen = [f"{name}={_value(getattr(vertex.properties, name))}" for name in vertex.properties.choices() if name in vertex.properties.permanent]
    return f"{vertex} {vertex.operator.describe()}".rstrip() + (f" [{', '.join(chosen)}]" if chosen else "")


def _value(value: Any) -> str:
    return brief(value) if callable(value) else str(value)


def to_text(dag: Dag) -> str:
    """One line a vertex, inputs below their reader; a vertex that was shown already is referred to by its id."""
    lines: list[str] = []
    shown: set[int] = set()

    def show(id: int, depth: int, edge: Edge | None) -> None:
        vertex = dag.vertices[id]
        arrow = "" if edge is None or edge.properties.pattern is Pattern.ONE_TO_ONE else f"  <- {edge_text(edge.properties)}"
        if id in shown:
            lines.append("  " * depth + f"{vertex} (above){arrow}")
            return
        shown.add(id)
        lines.append("  " * depth + vertex_text(vertex) + arrow)
        for incoming in dag.inputs(id):
            show(incoming.source, depth + 1, incoming)

    for sink in dag.sinks:
        show(sink.id, 0, None)
    return "\n".join(lines)


def to_dot(dag: Dag) -> str:
    """Graphviz source."""
    lines = ["digraph hpcflow {", "  rankdir=BT; node [shape=box];"]
    for vertex in dag.vertices.values():
        lines.append(f"  v{vertex.id} [label={json.dumps(f'{vertex}' + chr(10) + vertex_text(vertex).removeprefix(f'{vertex}').strip())}];")
    lines += [f"  v{edge.source} -> v{edge.target} [label={json.dumps(edge_text(edge.properties))}];" for edge in dag.edges]
    return "\n".join([*lines, "}"])


def to_json(dag: Dag) -> str:
    """Vertices and edges as JSON."""
    vertices: list[dict[str, Any]] = [
        {
            "id": v.id,
            "operator": v.operator.name,
            "arguments": v.operator.describe(),
            "schema": {name: str(dtype) for name, dtype in v.schema.items()},
            "properties": {
                "parallelism": v.properties.parallelism,
                "slots": v.properties.slots,
                "memory_bytes": v.properties.memory_bytes,
                "resources": None if v.properties.resources is None else asdict(v.properties.resources),
                "placement": v.properties.placement if isinstance(v.properties.placement, tuple | None) else brief(v.properties.placement),
            },
        }
        for v in dag.vertices.values()
    ]
    edges = [
        {
            "source": e.source,
            "target": e.target,
            "index": e.index,
            "pattern": e.properties.pattern.value,
            "keys": [brief(k) for k in e.properties.keys],
            "partition_count": e.properties.partition_count,
            "ordered": e.properties.ordered,
            "data_flow": e.properties.data_flow.value,
            "data_store": e.properties.data_store.value,
            "persistence": e.properties.persistence.value,
            "compression": e.properties.compression,
            "transport": e.properties.transport,
            "combiner": e.properties.combiner,
        }
        for e in dag.edges
    ]
    return json.dumps({"vertices": vertices, "edges": edges}, indent=2)

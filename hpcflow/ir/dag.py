"""The immutable Dag: vertices with operators, edges with communication properties.

Invariant: a Dag is acyclic, ids are unique, the inputs of a vertex are numbered 0..n-1, and every transformation returns a new Dag.

    source --one-to-one--> filter --hash shuffle(k)--> group_by --gather--> collect
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import polars as pl

from hpcflow.ir.operators.base import Operator
from hpcflow.ir.properties import EdgeProperties, VertexProperties

_ids = itertools.count(1)


def new_id() -> int:
    """A vertex id that no other vertex of this process has."""
    return next(_ids)


@dataclass(frozen=True, eq=False)
class Vertex:
    """One operator of the program."""

    operator: Operator
    schema: pl.Schema
    """Schema of the rows that leave the vertex."""
    properties: VertexProperties = field(default_factory=VertexProperties)
    id: int = field(default_factory=new_id)

    def __str__(self) -> str:
        return f"{self.operator.name}#{self.id}"


@dataclass(frozen=True, eq=False)
class Edge:
    """Rows of `source` become input number `index` of `target`."""

    source: int
    target: int
    index: int = 0
    properties: EdgeProperties = field(default_factory=EdgeProperties)


@dataclass(frozen=True, eq=False)
class Dag:
    """Vertices and edges; build with `Dag.of`."""

    vertices: Mapping[int, Vertex]
    edges: tuple[Edge, ...]

    @staticmethod
    def of(vertices: Iterable[Vertex], edges: Iterable[Edge]) -> Dag:
        """A checked Dag of these vertices and edges, in topological order."""
        dag = Dag(MappingProxyType({v.id: v for v in vertices}), tuple(edges))
        order = list(dag.topological())
        return Dag(MappingProxyType({v.id: v for v in order}), dag.edges)

    def __reduce__(self) -> tuple[object, ...]:
        return (Dag.of, (tuple(self.vertices.values()), self.edges))

    @cached_property
    def _inputs(self) -> dict[int, tuple[Edge, ...]]:
        found: dict[int, list[Edge]] = {id: [] for id in self.vertices}
        for edge in self.edges:
            found[edge.target].append(edge)
        return {id: tuple(sorted(edges, key=lambda e: e.index)) for id, edges in found.items()}

    @cached_property
    def _outputs(self) -> dict[int, tuple[Edge, ...]]:
        found: dict[int, list[Edge]] = {id: [] for id in self.vertices}
        for edge in self.edges:
            found[edge.source].append(edge)
        return {id: tuple(edges) for id, edges in found.items()}

    def inputs(self, id: int) -> tuple[Edge, ...]:
        """Edges into vertex `id`, by input number."""
        return self._inputs[id]

    def outputs(self, id: int) -> tuple[Edge, ...]:
        """Edges out of vertex `id`."""
        return self._outputs[id]

    def input_schemas(self, id: int) -> tuple[pl.Schema, ...]:
        """Schemas of the rows that reach vertex `id`, by input number."""
        return tuple(self.vertices[edge.source].schema for edge in self.inputs(id))

    @property
    def sinks(self) -> tuple[Vertex, ...]:
        """Vertices without a reader."""
        return tuple(v for v in self.vertices.values() if not self.outputs(v.id))

    def topological(self) -> Iterator[Vertex]:
        """Every vertex after its inputs; ties in the order of insertion. Raises ValueError on a cycle or a missing end."""
        done: set[int] = set()
        for start in self.vertices:
            stack = [(start, False)]
            path: set[int] = set()
            while stack:
                id, expanded = stack.pop()
                if id in done:
                    continue
                if expanded:
                    path.discard(id)
                    done.add(id)
                    yield self.vertices[id]
                    continue
                if id in path:
                    raise ValueError(f"the program has a cycle through vertex {id}")
                path.add(id)
                stack.append((id, True))
                stack.extend((edge.source, False) for edge in reversed(self.inputs(id)) if edge.source not in done)

    def with_vertex(self, vertex: Vertex) -> Dag:
        """The Dag with the vertex of the same id replaced."""
        return Dag(MappingProxyType({**self.vertices, vertex.id: vertex}), self.edges)

    def with_edge(self, old: Edge, new: Edge) -> Dag:
        """The Dag with `old` replaced by `new`."""
        return Dag(self.vertices, tuple(new if edge is old else edge for edge in self.edges))

    def with_inserted(self, edge: Edge, vertex: Vertex, before: EdgeProperties, after: EdgeProperties) -> Dag:
        """A -edge-> B   ->   A -before-> vertex -after-> B"""
        first = Edge(edge.source, vertex.id, 0, before)
        second = Edge(vertex.id, edge.target, edge.index, after)
        edges = [part for e in self.edges for part in ((first, second) if e is edge else (e,))]
        return Dag.of([*self.vertices.values(), vertex], edges)

    def without(self, id: int) -> Dag:
        """A -e1-> vertex -e2-> B   ->   A -e2-> B  for a vertex with one input; the output edges keep their properties."""
        (incoming,) = self.inputs(id)
        edges = [replace(e, source=incoming.source) if e.source == id else e for e in self.edges if e is not incoming]
        return Dag.of([v for v in self.vertices.values() if v.id != id], edges)

    def pruned(self, keep: Iterable[int]) -> Dag:
        """Only what the vertices `keep` need."""
        needed: set[int] = set()
        stack = list(keep)
        while stack:
            id = stack.pop()
            if id not in needed:
                needed.add(id)
                stack.extend(edge.source for edge in self.inputs(id))
        return Dag.of([v for v in self.vertices.values() if v.id in needed], [e for e in self.edges if e.target in needed])

"""Loop-invariant code motion: what does not depend on the state is computed once, in the form in which the body needs it.

    state ~hash(v)~> join <~hash(src)~ edges <- read_parquet
        once           read_parquet -> edges ~hash(src)~> kept
        each iteration state ~hash(v)~> join <- kept

Invariant: the loop's Dag reads only cached datasets (the state, and what is kept); together with what is computed once it is the body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.operators.base import Operator, fingerprint_of
from hpcflow.ir.operators.bsp import Bsp
from hpcflow.ir.operators.bsp_loop import fused
from hpcflow.ir.operators.concat import Cache, ReadCache, Repartition
from hpcflow.ir.partitioning import Partitioning, all_partitionings, partitioning_of
from hpcflow.ir.properties import EdgeProperties, Pattern


@dataclass(frozen=True)
class SplitBody:
    """A loop's body in two."""

    once: Dag | None
    """Ends in a cache for each dataset that is kept; None: nothing is."""
    each: Dag
    """Reads what is kept."""
    kept: Mapping[str, frozenset[Partitioning]] = field(default_factory=dict)
    """Key of a kept dataset -> how it is to lie on the workers."""
    kept_from: Mapping[str, int] = field(default_factory=dict)
    """Key of a kept dataset -> vertex whose rows it has."""


def split_body(dag: Dag, state: Iterable[str], prefix: str, ends: Iterable[str] = ()) -> SplitBody:
    """Cut an optimized body where rows that do not depend on the state meet those that do.

    state: keys under which the body reads the state; prefix: of the keys under which datasets are kept; ends: keys under which an iteration leaves
    the new state
    """
    variant = _variant(dag, frozenset(state), frozenset(ends))
    once: dict[int, Vertex] = {}
    once_edges: list[Edge] = []
    readers: list[Vertex] = []
    edges: list[Edge] = []
    kept: dict[str, frozenset[Partitioning]] = {}
    kept_from: dict[str, int] = {}
    key_of: dict[object, str] = {}
    for edge in dag.edges:
        if edge.target not in variant:
            continue
        source = dag.vertices[edge.source]
        shuffled = edge.properties.pattern is Pattern.HASH_SHUFFLE
        if edge.source in variant or (isinstance(source.operator, ReadCache) and not shuffled):
            edges.append(edge)
            continue
        place = (source.id, partitioning_of(edge) if shuffled else None)
        if place not in key_of:
            key = key_of[place] = f"{prefix}{source.id}" + (f"/{_short(partitioning_of(edge))}" if shuffled else "")
            kept[key] = frozenset((partitioning_of(edge),)) if shuffled else frozenset()
            kept_from[key] = source.id
            keep = Vertex(Cache(key), source.schema)
            once[keep.id] = keep
            if shuffled:
                moved = Vertex(Repartition(), source.schema)
                once[moved.id] = moved
                once_edges += [Edge(source.id, moved.id, 0, edge.properties), Edge(moved.id, keep.id)]
            else:
                once_edges.append(Edge(source.id, keep.id))
        reader = Vertex(ReadCache(key_of[place]), source.schema)
        readers.append(reader)
        edges.append(replace(edge, source=reader.id))
    needed = {edge.source for edge in edges}
    vertices = [v for v in dag.vertices.values() if v.id in variant or (v.id in needed and isinstance(v.operator, ReadCache))]
    each = Dag.of([*vertices, *readers], edges)
    if not kept:
        return SplitBody(None, each)
    whole = Dag.of([*dag.vertices.values(), *once.values()], [*dag.edges, *once_edges])
    caches = [v.id for v in once.values() if isinstance(v.operator, Cache)]
    return SplitBody(whole.pruned(caches), each, kept, kept_from)


def split_by_use(once: Dag, kept: Iterable[str], names: frozenset[str]) -> tuple[Dag | None, Dag | None]:
    """What is computed before a loop, in two: what never changes, and what depends on datasets that are read under `names`; None: nothing.

    kept: keys under which `once` keeps datasets.
    """
    ends = {v.operator.key: v.id for v in once.vertices.values() if isinstance(v.operator, Cache)}
    changing = _depending(once, names)
    found = [[ends[key] for key in kept if (ends[key] in changing) is changes] for changes in (False, True)]
    return once.pruned(found[0]) if found[0] else None, once.pruned(found[1]) if found[1] else None


def kept_keys(dag: Dag | None, among: Iterable[str]) -> frozenset[str]:
    """Those of the keys under which `dag` keeps datasets."""
    ends = () if dag is None else dag.vertices.values()
    return frozenset(v.operator.key for v in ends if isinstance(v.operator, Cache)) & frozenset(among)


def _short(partitioning: Partitioning) -> str:
    """A name for a partitioning: what is kept has one key however often the body is compiled, and another body's rows never have it."""
    return hashlib.sha256(repr(partitioning).encode()).hexdigest()[:12]


def fuse_into_one_step(dag: Dag, state: str, limit: int) -> Dag | None:
    """The body as one bsp step that runs up to `limit` iterations; None where it is more than a bsp step and aggregates of what it gives.

    state -> bsp(f) -> cache -> partial ~gather~> final -> collect      ->      state -> bsp(f, again and again until final) -> cache -> ... collect
    """
    steps = [v for v in dag.vertices.values() if isinstance(v.operator, Bsp)]
    reads = [v for v in dag.vertices.values() if isinstance(v.operator, ReadCache) and v.operator.key == state]
    if len(steps) != 1 or len(reads) != 1:
        return None
    step, read = steps[0], reads[0]
    assert isinstance(step.operator, Bsp)
    caches = [dag.vertices[edge.target] for edge in dag.outputs(step.id)]
    readers = dag.outputs(read.id)
    if len(caches) != 1 or not isinstance(caches[0].operator, Cache) or len(readers) != 1 or (readers[0].target, readers[0].index) != (step.id, 0):
        return None
    verdict: list[Operator] = []
    at = caches[0].id
    while following := dag.outputs(at):
        if len(following) != 1 or len(dag.inputs(following[0].target)) != 1:
            return None
        at = following[0].target
        verdict.append(dag.vertices[at].operator)
    names = [operator.name for operator in verdict]
    if verdict and (names[:2] != ["partial_group_by", "final_group_by"] or set(names[2:-1]) - {"select"} or names[-1] != "collect"):
        return None
    return dag.with_vertex(replace(step, operator=fused(step.operator, limit, tuple(verdict[:-1]))))


def _variant(dag: Dag, state: frozenset[str], ends: frozenset[str]) -> set[int]:
    """Vertices that depend on the state, and ends of the body that do not (others may read what is cached there): an iteration has to fill them all
    the same."""
    at_end = {v.id for v in dag.vertices.values() if not dag.outputs(v.id) or (isinstance(v.operator, Cache) and v.operator.key in ends)}
    return _depending(dag, state, at_end)


def _depending(dag: Dag, names: frozenset[str], also: Iterable[int] = ()) -> set[int]:
    """Vertices that read one of these cached datasets or one of the vertices `also`, directly or not; and `also`."""
    found = set(also)
    for vertex in dag.topological():
        reads = isinstance(vertex.operator, ReadCache) and vertex.operator.key in names
        if reads or any(edge.source in found for edge in dag.inputs(vertex.id)):
            found.add(vertex.id)
    return found


def read_through_caches(dag: Dag) -> Dag:
    """A -> cache, A -> B   ->   A -> cache -> B : what is stored anyway is computed once."""
    keeps = {edge.source: edge.target for edge in dag.edges if isinstance(dag.vertices[edge.target].operator, Cache)}

    def through(edge: Edge) -> Edge:
        fills = isinstance(dag.vertices[edge.target].operator, Cache)
        return edge if fills or edge.source not in keeps else replace(edge, source=keeps[edge.source])

    return Dag.of(dag.vertices.values(), map(through, dag.edges))


def form_of(dag: Dag, key: str, partitioned: Mapping[str, frozenset[Partitioning]]) -> frozenset[Partitioning]:
    """The hash partitionings in which `dag` leaves the dataset that it caches under `key`."""
    known = all_partitionings(dag, partitioned)
    found = next(v.id for v in dag.vertices.values() if isinstance(v.operator, Cache) and v.operator.key == key)
    return known[found].aligned


def minds_order(dag: Dag) -> bool:
    """Whether an operator sees the order of rows, so that the state may not be dealt out anew before the first iteration."""
    operators = [v.operator for v in dag.vertices.values()]
    if any(o.needs_positions or o.together or o.runs_user_code or o.name in ("with_origin", "slice") for o in operators):
        return True
    return any(edge.properties.pattern is Pattern.RANGE_SHUFFLE for edge in dag.edges)


def shuffle_into(partitioning: Partitioning) -> EdgeProperties:
    """The edge that brings rows into a partitioning of plain columns."""
    import io

    keys = tuple(pl.Expr.deserialize(io.BytesIO(key), format="binary") for key in partitioning[0] if isinstance(key, bytes))
    assert tuple(map(fingerprint_of, keys)) == partitioning[0]
    return EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=keys).with_user_choice(partition_count=partitioning[1])  # type: ignore[no-any-return]

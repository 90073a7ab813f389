"""How the rows that leave each vertex are partitioned: which shuffles of a Dag move nothing.

Only hash partitions count: equal keys may span two range partitions. A cached dataset keeps the partitions it was stored in.

    repartition(by=k) -> cache      ...      read_cache -> filter -> join on k        rows are where the join needs them
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.fusion import is_fused
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.concat import Cache, ReadCache, Repartition
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.group_by import FinalGroupBy, GroupBy
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.reshape import Rename
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.unique import Unique
from hpcflow.ir.operators.with_columns import WindowColumns, WithColumns, WithScalars
from hpcflow.ir.properties import Pattern

Partitioning = tuple[tuple[object, ...], int | None]
"""Fingerprints of the key expressions, partition count."""


@dataclass(frozen=True)
class Known:
    """How the rows that leave a vertex are partitioned."""

    together: frozenset[Partitioning] = frozenset()
    """Rows with equal keys are in one task."""
    aligned: frozenset[Partitioning] = frozenset()
    """And the tasks read the partitions of a shuffle, so that another input of that shuffle can be read in step: no blocks in between."""


def partitioning_of(edge: Edge) -> Partitioning:
    """What a hash shuffle makes of its rows."""
    return (tuple(fingerprint_of(k) for k in edge.properties.keys), edge.properties.partition_count)


def all_partitionings(dag: Dag, cached: Mapping[str, frozenset[Partitioning]]) -> dict[int, Known]:
    """Vertex -> how its rows are partitioned; `cached`: partitionings of the cached datasets that the workers hold."""
    known: dict[int, Known] = {}
    for vertex in dag.topological():
        known[vertex.id] = partitionings(dag, vertex, known, cached)
    return known


def partitionings(dag: Dag, vertex: Vertex, known: Mapping[int, Known], cached: Mapping[str, frozenset[Partitioning]]) -> Known:
    """How the rows of `vertex` are partitioned, from what is `known` of its inputs."""
    if isinstance(vertex.operator, ReadCache):
        held = cached.get(vertex.operator.key, frozenset())
        return Known(held, held)
    together: set[Partitioning] = set()
    aligned: set[Partitioning] = set()
    for edge in dag.inputs(vertex.id):
        if edge.properties.pattern is Pattern.HASH_SHUFFLE:
            here = Known(frozenset((partitioning_of(edge),)), frozenset((partitioning_of(edge),)))
        elif edge.properties.pattern is Pattern.ONE_TO_ONE:
            here = known[edge.source] if is_fused(dag, edge) else Known(known[edge.source].together)
        else:
            continue
        if isinstance(vertex.operator, Join) and not _keeps_side(vertex.operator, edge.index):
            continue
        together |= here.together
        aligned |= here.aligned
    return Known(_surviving(vertex, together), _surviving(vertex, aligned))


def _keeps_side(join: Join, index: int) -> bool:
    """Whether the key columns of that side reach the output unchanged (no nulls put in their place, no suffix)."""
    if join.how == "inner":
        return index == 0
    return {"left": 0, "semi": 0, "anti": 0}.get(join.how) == index


def _surviving(vertex: Vertex, found: Iterable[Partitioning]) -> frozenset[Partitioning]:
    """Those whose key columns are still there with the same values, under the names that they have now."""
    operator = vertex.operator
    if isinstance(operator, Filter | Unique | Join | Repartition | Cache | WithScalars):
        return frozenset(found)
    if isinstance(operator, GroupBy | FinalGroupBy):
        keys = {fingerprint_of(pl.col(k)) for k in operator.keys}
        return frozenset(p for p in found if set(p[0]) <= keys)
    if isinstance(operator, WithColumns | WindowColumns):
        return frozenset(p for p in found if not any(_mentions(p, e.meta.output_name()) for e in operator.expressions))
    if isinstance(operator, Select):
        plain = [e for e in operator.expressions if e.meta.undo_aliases().meta.is_column()]
        return _renamed(found, [(e.meta.root_names()[0], e.meta.output_name()) for e in plain])
    if isinstance(operator, Rename):
        old = {now: before for before, now in operator.mapping.items()}
        return _renamed(found, [(old.get(now, now), now) for now in vertex.schema])
    return frozenset()


def _renamed(found: Iterable[Partitioning], names: Iterable[tuple[str, str]]) -> frozenset[Partitioning]:
    new: dict[object, object] = {fingerprint_of(pl.col(old)): fingerprint_of(pl.col(now)) for old, now in names}
    return frozenset((tuple(new[key] for key in keys), count) for keys, count in found if all(key in new for key in keys))


def _mentions(partitioning: Partitioning, name: str) -> bool:
    return fingerprint_of(pl.col(name)) in partitioning[0] or any(not _is_plain(key) for key in partitioning[0])


def _is_plain(key: object) -> bool:
    import io

    try:
        return isinstance(key, bytes) and pl.Expr.deserialize(io.BytesIO(key), format="binary").meta.is_column()
    except Exception:
        return False

"""Drop a hash shuffle of rows that are already partitioned by the same keys.

    group_by(k) --hash(k) x8--> join     ->     group_by(k) --one-to-one--> join        (the other side of the join keeps 8 partitions)

Only hash partitions count: equal keys may span two range partitions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.fusion import is_fused
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.concat import Repartition
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.group_by import FinalGroupBy, GroupBy
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.unique import Unique
from hpcflow.ir.operators.with_columns import WindowColumns, WithColumns
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


def drop_redundant_shuffles(dag: Dag, context: CompileContext) -> Dag:
    """See the module."""
    known: dict[int, Known] = {}
    for vertex in list(dag.topological()):
        for edge in dag.inputs(vertex.id):
            if _is_redundant(dag, vertex, edge, known):
                stays = replace(edge.properties, pattern=Pattern.ONE_TO_ONE, keys=(), partition_count=None)
                dag = dag.with_edge(edge, replace(edge, properties=stays))
        known[vertex.id] = _partitionings(dag, vertex, known)
    return dag


def _of(edge: Edge) -> Partitioning:
    return (tuple(fingerprint_of(k) for k in edge.properties.keys), edge.properties.partition_count)


def _is_redundant(dag: Dag, vertex: Vertex, edge: Edge, known: dict[int, Known]) -> bool:
    properties = edge.properties
    if properties.pattern is not Pattern.HASH_SHUFFLE or "pattern" in properties.permanent or len(dag.outputs(edge.source)) != 1:
        return False
    if isinstance(vertex.operator, Repartition):
        return False  # the user asked for it
    # The other inputs must put partition i where this one's is: by the same hash into as many partitions.
    others = [e for e in dag.inputs(vertex.id) if e is not edge]
    if others and not is_fused(dag, replace(edge, properties=replace(properties, pattern=Pattern.ONE_TO_ONE))):
        return False
    if _of(edge) not in (known[edge.source].aligned if others else known[edge.source].together):
        return False
    return all(e.properties.pattern is Pattern.HASH_SHUFFLE and not e.properties.is_pulled for e in others)


def _partitionings(dag: Dag, vertex: Vertex, known: dict[int, Known]) -> Known:
    together: set[Partitioning] = set()
    aligned: set[Partitioning] = set()
    inputs = dag.inputs(vertex.id)
    for edge in inputs:
        if edge.properties.pattern is Pattern.HASH_SHUFFLE:
            here = Known(frozenset((_of(edge),)), frozenset((_of(edge),)))
        elif edge.properties.pattern is Pattern.ONE_TO_ONE:
            here = known[edge.source] if is_fused(dag, edge) else Known(known[edge.source].together)
        else:
            continue
        if isinstance(vertex.operator, Join) and not _keeps_side(vertex.operator, edge.index):
            continue
        together |= here.together
        aligned |= here.aligned
    return Known(frozenset(p for p in together if _survives(vertex, p)), frozenset(p for p in aligned if _survives(vertex, p)))


def _keeps_side(join: Join, index: int) -> bool:
    """Whether the key columns of that side reach the output unchanged (no nulls put in their place, no suffix)."""
    if join.how == "inner":
        return index == 0
    return {"left": 0, "semi": 0, "anti": 0}.get(join.how) == index


def _survives(vertex: Vertex, partitioning: Partitioning) -> bool:
    """Whether the key columns are still there, with the same values."""
    operator = vertex.operator
    if isinstance(operator, Filter | Unique | Join | Repartition):
        return True
    if isinstance(operator, GroupBy | FinalGroupBy):
        import polars as pl

        return set(partitioning[0]) <= {fingerprint_of(pl.col(k)) for k in operator.keys}
    if isinstance(operator, WithColumns | WindowColumns):
        return not any(_mentions(partitioning, e.meta.output_name()) for e in operator.expressions)
    if isinstance(operator, Select):
        import polars as pl

        kept = {fingerprint_of(pl.col(e.meta.output_name())) for e in operator.expressions if e.meta.is_column()}
        return set(partitioning[0]) <= kept
    return False


def _mentions(partitioning: Partitioning, name: str) -> bool:
    import polars as pl

    return fingerprint_of(pl.col(name)) in partitioning[0] or any(not _is_plain(key) for key in partitioning[0])


def _is_plain(key: object) -> bool:
    import io

    import polars as pl

    try:
        return isinstance(key, bytes) and pl.Expr.deserialize(io.BytesIO(key), format="binary").meta.is_column()
    except Exception:
        return False

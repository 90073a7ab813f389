"""Drop a hash shuffle of rows that are already partitioned by the same keys.

    group_by(k) --hash(k) x8--> join     ->     group_by(k) --one-to-one--> join        (the other side of the join keeps 8 partitions)

A dataset that was cached in hash partitions counts too: `edges.repartition(by="k").cache()` is shuffled once, however often it is joined by k.
"""

from __future__ import annotations

from dataclasses import replace

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.fusion import is_fused
from hpcflow.ir.operators.concat import ReadCache, Repartition
from hpcflow.ir.partitioning import Known, partitioning_of, partitionings
from hpcflow.ir.properties import Pattern


def drop_redundant_shuffles(dag: Dag, context: CompileContext) -> Dag:
    """See the module."""
    known: dict[int, Known] = {}
    for vertex in list(dag.topological()):
        dropped: set[int] = set()
        for edge in dag.inputs(vertex.id):
            if _is_redundant(dag, vertex, edge, known, dropped):
                dropped.add(edge.index)
                stays = replace(edge.properties, pattern=Pattern.ONE_TO_ONE, keys=(), partition_count=None)
                dag = dag.with_edge(edge, replace(edge, properties=stays))
        known[vertex.id] = partitionings(dag, vertex, known, context.partitioned)
    return dag


def _is_redundant(dag: Dag, vertex: Vertex, edge: Edge, known: dict[int, Known], dropped: set[int]) -> bool:
    properties = edge.properties
    if properties.pattern is not Pattern.HASH_SHUFFLE or "pattern" in properties.permanent:
        return False
    if len(dag.outputs(edge.source)) != 1 and not isinstance(dag.vertices[edge.source].operator, ReadCache):
        return False
    if isinstance(vertex.operator, Repartition):
        return False  # the user asked for it
    # The other inputs must put partition i where this one's is: by the same hash into as many partitions.
    others = [e for e in dag.inputs(vertex.id) if e is not edge]
    if others and not is_fused(dag, replace(edge, properties=replace(properties, pattern=Pattern.ONE_TO_ONE))):
        return False
    if partitioning_of(edge) not in (known[edge.source].aligned if others else known[edge.source].together):
        return False
    return all(e.index in dropped or (e.properties.pattern is Pattern.HASH_SHUFFLE and not e.properties.is_pulled) for e in others)

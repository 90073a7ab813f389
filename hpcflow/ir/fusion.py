"""Which one-to-one edges are fused: rows go from the one operator straight to the other within a task.

What runs on all workers at once is evaluated alone: nothing is fused before it, and after it only what keeps, counts or writes its rows.

An edge that is not fused has its rows stored as blocks in between, and the reader's tasks are the blocks: as many as the writer had tasks, not
partitions. The planner cuts stages at those edges; the compiler must know it where two inputs have to keep the same partitions.
"""

from __future__ import annotations

from hpcflow.ir.dag import Dag, Edge
from hpcflow.ir.operators.concat import Cache, Keep, ReadCache
from hpcflow.ir.operators.sink import Sink
from hpcflow.ir.properties import DataStore, Pattern, Persistence


def is_fused(dag: Dag, edge: Edge) -> bool:
    """Whether the two ends of `edge` run in the same task."""
    source, target = dag.vertices[edge.source], dag.vertices[edge.target]
    return (
        edge.properties.pattern is Pattern.ONE_TO_ONE
        and (len(dag.outputs(edge.source)) == 1 or isinstance(source.operator, ReadCache))  # what is cached may be read any number of times
        and not isinstance(source.operator, Cache)
        and not target.operator.needs_positions
        and not target.operator.together
        and (not source.operator.together or isinstance(target.operator, Cache | Keep | Sink))
        and edge.properties.data_store is DataStore.MEMORY
        and edge.properties.persistence is Persistence.DISCARD
    )

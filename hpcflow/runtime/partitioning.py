"""From an edge's properties to the partitioner that cuts its rows: the one place that knows which is which."""

from __future__ import annotations

from typing import Any

from hpcflow.ir.properties import EdgeProperties, Pattern
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.shuffle.partitioners import (
    HashPartitioner,
    NumbaPartitioner,
    Partitioner,
    RangePartitioner,
    RoundRobinPartitioner,
    SharePartitioner,
    SinglePartitioner,
    UserPartitioner,
)


def make_partitioner(properties: EdgeProperties, partitions: int, splitters: Any = None) -> Partitioner:
    """The partitioner of one edge. splitters: of a range shuffle, or the bounds of shares."""
    if properties.pattern is Pattern.HASH_SHUFFLE:
        return HashPartitioner(properties.keys, partitions)
    if properties.pattern is Pattern.RANGE_SHUFFLE:
        if splitters is None:  # no rows, nothing to cut
            return SinglePartitioner()
        order = properties.order
        return RangePartitioner(
            [k.expression for k in order], *splitters, descending=[k.descending for k in order], nulls_last=[k.nulls_last for k in order]
        )
    if properties.pattern is Pattern.SHARE:
        return SharePartitioner(splitters)
    if properties.pattern is Pattern.ROUND_ROBIN:
        return RoundRobinPartitioner(partitions)
    if properties.pattern is Pattern.USER_SHUFFLE:
        assert properties.function is not None
        if properties.columns:
            return NumbaPartitioner(properties.function, properties.columns, partitions)
        return UserPartitioner(properties.function, partitions)
    return SinglePartitioner()


def partitioner_name(plan: PhysicalPlan, edge: str) -> str:
    """How an error calls the cutting of rows for an edge: by the operator that asked for it."""
    target = next((str(plan.dag.vertices[e.target]) for e in plan.dag.edges if f"e{e.source}-{e.target}.{e.index}" == edge), edge)
    return f"partitioner of {target}"

"""From an edge's properties to the partitioner that cuts its rows: the one place that knows which is which."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from hpcflow.ir.properties import EdgeProperties, Pattern
from hpcflow.native import hash_partition_ids, range_partition_ids
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.shuffle.partitioners import NumbaPartitioner, Partitioner, RoundRobinPartitioner, SinglePartitioner, UserPartitioner


class KeyHashPartitioner:
    """Partition by the hash of row-wise key expressions."""

    def __init__(self, keys: tuple[pl.Expr, ...], partitions: int) -> None:
        self.keys = keys
        self.partitions = partitions

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> np.ndarray[Any, Any]:
        """uint32[n]"""
        return hash_partition_ids(key_table(df, self.keys), self.partitions)


class OrderPartitioner:
    """Partition by where a row falls among splitters of the sort order; ties are broken by position, so equal keys may span neighbours."""

    def __init__(self, properties: EdgeProperties, partitions: int, splitters: tuple[pl.DataFrame, np.ndarray[Any, Any]] | None) -> None:
        self.order = properties.order
        self.partitions = partitions
        self.splitters = splitters

    def partition_ids(self, df: pl.DataFrame, position_start: int) -> np.ndarray[Any, Any]:
        """uint32[n]"""
        if self.splitters is None:
            return np.zeros(df.height, dtype=np.uint32)
        keys = sort_key_table(df, tuple(key.expression for key in self.order))
        table, positions = self.splitters
        return range_partition_ids(keys, table, [k.descending for k in self.order], [k.nulls_last for k in self.order], position_start, positions)


def make_partitioner(properties: EdgeProperties, partitions: int, splitters: Any = None) -> Partitioner:
    """The partitioner of one edge."""
    if properties.pattern is Pattern.HASH_SHUFFLE:
        return KeyHashPartitioner(properties.keys, partitions)
    if properties.pattern is Pattern.RANGE_SHUFFLE:
        return OrderPartitioner(properties, partitions, splitters)
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


def sort_key_table(df: pl.DataFrame, expressions: tuple[pl.Expr, ...]) -> pl.DataFrame:
    """Sort keys as columns "0", "1", ...; types that do not compare bytewise or numerically are replaced by ones that do and sort alike."""
    table = key_table(df, expressions)
    changes = []
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.Categorical):
            changes.append(pl.col(name).cast(pl.String))
        elif isinstance(dtype, pl.Enum):
            changes.append(pl.col(name).to_physical())
    return table.with_columns(changes) if changes else table


def key_table(df: pl.DataFrame, expressions: tuple[pl.Expr, ...]) -> pl.DataFrame:
    """Key expressions as columns "0", "1", ..."""
    names = [e.meta.output_name() for e in expressions]
    if all(e.meta.is_column() for e in expressions) and len(set(names)) == len(names):
        return (
            df.select(names).rename(dict(zip(names, map(str, range(len(names))), strict=True)))
            if names != list(map(str, range(len(names))))
            else df.select(names)
        )
    return df.select(e.alias(str(i)) for i, e in enumerate(expressions))

"""Partitions too large for the memory of one task are worked on piece by piece.

    partition p (4 GB, target 1 GB)  ->  pieces 0..3, each read, evaluated and sent on before the next is read

A piece of a hash shuffle has the rows whose keys, hashed with another seed, fall to it, on all inputs alike, so equal keys stay together. A piece
of a range shuffle is a range of the partition's own order, and pieces follow each other in that order. What cannot be cut (one key) stays whole; when
that alone is over the worker's budget, the task fails and names the key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from hpcflow.errors import OutOfBudgetError
from hpcflow.ir.properties import EdgeProperties, Pattern
from hpcflow.native import hash_partition_ids, range_partition_ids
from hpcflow.plan.physical import ExchangeLeaf, PartitionRun, PhysicalPlan, Stage, TaskSpec
from hpcflow.shuffle.exchange import Exchange
from hpcflow.shuffle.key_tables import key_table, sort_key_table
from hpcflow.shuffle.partitioners import choose_splitters, sample_keys
from hpcflow.shuffle.splitters import Sample

PEAK_FACTOR = 5
"""Memory that a blocking operator takes beyond its input, in units of the input (measured: join 3.4-4.7, group-by 1.9-4.5, unique 4.6, sort
2-2.8)."""
PIECE_SEED = 0x9E3779B9
"""Any seed but the shuffle's: rows of one partition have alike hashes under that one."""
_SAMPLES_PER_FRAME = 64

Keep = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Pieces:
    """How a task's partitions are cut; `keep(edge, i)` filters rows to piece i."""

    count: int
    keep: Callable[[str, int], Keep]


def target_bytes(budget_bytes: int, slots: int) -> int:
    """Largest input of one task: what leaves room for its working memory beside the other running tasks."""
    return max(1 << 20, budget_bytes // (slots * PEAK_FACTOR))


def cut_into_pieces(plan: PhysicalPlan, stage: Stage, task: TaskSpec, exchanges: dict[str, Exchange], target: int) -> Pieces | None:
    """How to cut the input of `task`; None when it is small enough, is not made of hash or range partitions alone, or is promised whole."""
    if plan.has_whole_partitions(stage) or any(not isinstance(ref, PartitionRun) for _, ref in task.reads):
        return None
    runs = {leaf.edge: ref for leaf, ref in task.reads if isinstance(leaf, ExchangeLeaf) and isinstance(ref, PartitionRun)}
    if len(runs) != len(task.reads):
        return None
    size = 0
    for edge, run in runs.items():
        sizes = exchanges[edge].partition_sizes()
        size += sum(sizes.get(partition, (0, 0))[1] for partition in range(run.start, run.stop))
    if size <= target:
        return None
    count = -(-size // target) + 1
    properties = {edge: plan.exchanges[edge].properties for edge in runs}
    if all(p.pattern is Pattern.HASH_SHUFFLE for p in properties.values()):
        return Pieces(count, lambda edge, piece: _hash_filter(properties[edge], count, piece))
    if len(runs) == 1 and next(iter(properties.values())).pattern is Pattern.RANGE_SHUFFLE:
        (edge, run), (order,) = next(iter(runs.items())), properties.values()
        splitters = _sample_splitters(exchanges[edge], run, order, count)
        return Pieces(splitters[0].height + 1, lambda _, piece: _range_filter(order, splitters, piece))
    return None


def check_piece(df: pl.DataFrame, properties: EdgeProperties, budget_bytes: int) -> None:
    """Raises OutOfBudgetError naming the key when a piece is one key and larger than the whole budget."""
    if properties.pattern is not Pattern.HASH_SHUFFLE or df.estimated_size() <= budget_bytes:
        return
    keys = key_table(df, properties.keys)
    if keys.n_unique() == 1:
        key = ", ".join(f"{e.meta.output_name()}={value!r}" for e, value in zip(properties.keys, keys.row(0), strict=True))
        raise OutOfBudgetError(
            f"the {df.height:,} rows of the one key {key} take {df.estimated_size():,} bytes, more than the worker's memory_budget of "
            f"{budget_bytes:,}; "
            f"filter that key, add a column to the keys, or give workers more memory"
        )


def _hash_filter(properties: EdgeProperties, count: int, piece: int) -> Keep:
    def keep(df: pl.DataFrame) -> pl.DataFrame:
        ids = hash_partition_ids(key_table(df, properties.keys), count, PIECE_SEED)
        return df.filter(pl.Series(ids == piece))

    return keep


def _range_filter(properties: EdgeProperties, splitters: tuple[pl.DataFrame, np.ndarray], piece: int) -> Keep:
    descending, nulls_last = [k.descending for k in properties.order], [k.nulls_last for k in properties.order]

    def keep(df: pl.DataFrame) -> pl.DataFrame:
        keys = sort_key_table(df, tuple(k.expression for k in properties.order))
        return df.filter(pl.Series(range_partition_ids(keys, splitters[0], descending, nulls_last, None, None) == piece))

    return keep


def _sample_splitters(exchange: Exchange, run: PartitionRun, properties: EdgeProperties, count: int) -> tuple[pl.DataFrame, np.ndarray]:
    expressions = tuple(k.expression for k in properties.order)
    samples: list[Sample] = []

    def sample(df: pl.DataFrame) -> pl.DataFrame:
        keys = sort_key_table(df, expressions)
        samples.append(sample_keys(keys, keys.columns, _SAMPLES_PER_FRAME, len(samples) << 20, len(samples)))
        return df.clear()

    exchange.extract(range(run.start, run.stop), sample)
    splitters, positions = choose_splitters(samples, count, [k.descending for k in properties.order], [k.nulls_last for k in properties.order])
    distinct = splitters.unique(maintain_order=True)  # a hot key is one piece
    return distinct, positions[: distinct.height]

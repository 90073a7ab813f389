"""Make the tasks of a stage from what is known when its inputs are complete: pure functions.

A task reads one split, one run of partitions or one block; where a stage has several such inputs, those of a concat follow each other and those of
a join go in step. Broadcast inputs are read by every task and need no mention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from hpcflow.ir.operators.concat import Concat
from hpcflow.plan.physical import (
    BlockRef,
    BlocksLeaf,
    BroadcastLeaf,
    DriverLeaf,
    ExchangeLeaf,
    Leaf,
    LeafRef,
    Node,
    PartitionRun,
    PhysicalPlan,
    ShareLeaf,
    SourceLeaf,
    SplitRef,
    Stage,
    TaskSpec,
)
from hpcflow.runtime.scheduler import coalesce


@dataclass(frozen=True)
class StoredBlock:
    """One block in a worker's store."""

    index: int
    """Task that made it; the order of the dataset."""
    rank: int
    key: tuple[Any, ...]
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class KnownInputs:
    """What the master knows of the inputs of a stage."""

    splits: Callable[[int], Sequence[Any]]
    """Source vertex -> its splits."""
    owners: Mapping[str, tuple[int, ...]]
    """Exchange edge -> rank of each partition."""
    sizes: Mapping[str, Mapping[int, tuple[int, int]]]
    """Exchange edge -> partition -> (rows, bytes); partitions that are not mentioned are empty."""
    blocks: Callable[[BlocksLeaf], Sequence[StoredBlock]]
    target_bytes: int
    """Partitions are put together in one task up to this size."""
    tasks_per_owner: int
    """Wished tasks for each worker, so that its slots are busy."""


@dataclass(frozen=True)
class PlannedTask:
    """A task and the rank it is bound to (None: any)."""

    spec: TaskSpec
    rank: int | None


_Reads = list[tuple[dict[Leaf, LeafRef], int | None, int]]  # (what is read, bound rank, bytes)


def make_tasks(plan: PhysicalPlan, stage: Stage, known: KnownInputs) -> list[PlannedTask]:
    """All tasks of `stage`, in the order of its rows."""
    reads = _coalesced(_reads(plan, stage.root, known) or [], known)
    tasks = [PlannedTask(TaskSpec(stage.id, index, tuple(refs.items())), rank) for index, (refs, rank, _) in enumerate(reads)]
    return _with_positions(tasks, stage, known) if stage.uses_positions else tasks


def _reads(plan: PhysicalPlan, item: Node | Leaf, known: KnownInputs) -> _Reads | None:
    """None: nothing but broadcast inputs below, which go with any task."""
    if isinstance(item, BroadcastLeaf):
        return None
    if isinstance(item, SourceLeaf) or (isinstance(item, DriverLeaf) and item.edge not in known.owners):
        return [({item: SplitRef(split)}, None, split.bytes or 0) for split in known.splits(item.vertex)]
    if isinstance(item, BlocksLeaf):
        return [({item: BlockRef(block.key)}, block.rank, block.size_bytes) for block in known.blocks(item)]
    if isinstance(item, ExchangeLeaf | DriverLeaf):
        sizes = known.sizes[item.edge]
        return [({item: PartitionRun(p, p + 1)}, rank, sizes.get(p, (0, 0))[1]) for p, rank in enumerate(known.owners[item.edge])]
    assert not isinstance(item, ShareLeaf)  # of stages that run on all workers at once: see `runtime.shares`
    below = [reads for child in item.children if (reads := _reads(plan, child, known)) is not None]
    if not below:
        return None
    if isinstance(plan.operator(item.vertex), Concat):
        return [read for reads in below for read in reads]
    return _in_step(plan, item, below)


def _in_step(plan: PhysicalPlan, node: Node, below: list[_Reads]) -> _Reads:
    if len({len(reads) for reads in below}) != 1:
        raise RuntimeError(f"the inputs of {plan.dag.vertices[node.vertex]} have {[len(reads) for reads in below]} partitions; they must be equal")
    merged: _Reads = []
    for parts in zip(*below, strict=True):
        ranks = {rank for _, rank, _ in parts if rank is not None}
        if len(ranks) > 1:
            raise RuntimeError(f"partitions of {plan.dag.vertices[node.vertex]} that belong together are on ranks {sorted(ranks)}")
        refs = {leaf: ref for part, _, _ in parts for leaf, ref in part.items()}
        merged.append((refs, next(iter(ranks), None), sum(size for _, _, size in parts)))
    return merged


def _coalesced(reads: _Reads, known: KnownInputs) -> _Reads:
    """Adjacent tasks that read small partitions of the same exchanges on one rank become one; a source has as many splits as were asked for."""
    result: _Reads = []
    group: _Reads = []

    def flush() -> None:
        if not group:
            return
        sizes, owners = [size for _, _, size in group], [rank or 0 for _, rank, _ in group]
        for start, stop in coalesce(sizes, owners, known.target_bytes, known.tasks_per_owner):
            first, last = group[start][0], group[stop - 1][0]
            refs = {leaf: PartitionRun(first[leaf].start, last[leaf].stop) for leaf in first}  # type: ignore[union-attr]
            result.append((refs, group[start][1], sum(sizes[start:stop])))  # type: ignore[arg-type]
        group.clear()

    for read in reads:
        if not all(isinstance(ref, PartitionRun) and not isinstance(leaf, DriverLeaf) for leaf, ref in read[0].items()):
            flush()
            result.append(read)
            continue
        if group and group[-1][0].keys() != read[0].keys():
            flush()
        group.append(read)
    flush()
    return result


def _with_positions(tasks: list[PlannedTask], stage: Stage, known: KnownInputs) -> list[PlannedTask]:
    """Adds the global position of each task's first row: the sum of the rows of the blocks before it."""
    rows_of = {block.key: block.rows for leaf in stage.leaves() if isinstance(leaf, BlocksLeaf) for block in known.blocks(leaf)}
    rows = [sum(rows_of[ref.key] for _, ref in task.spec.reads if isinstance(ref, BlockRef)) for task in tasks]
    total = sum(rows)
    starts = [0, *accumulate(rows)]
    return [replace(task, spec=replace(task.spec, position_start=start, total_rows=total)) for task, start in zip(tasks, starts, strict=False)]

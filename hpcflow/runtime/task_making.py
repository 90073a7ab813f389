"""Make the tasks of a stage from what is known when its inputs are complete: pure functions.

A task reads one split, one run of partitions or one block; where a stage has several such inputs, those of a concat follow each other and those of
a join go in step. Broadcast inputs are read by every task and need no mention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from hpcflow.ir.operators.concat import Concat
from hpcflow.ir.partitioning import Partitioning
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
from hpcflow.runtime.scheduler import coalesce, partition_owners


@dataclass(frozen=True)
class StoredBlock:
    """One block in a worker's store."""

    index: int
    """Task that made it; the order of the dataset."""
    rank: int
    key: tuple[Any, ...]
    rows: int
    size_bytes: int
    partitions: tuple[int, int] | None = None
    """It holds partitions [start, stop) of a shuffle."""


@dataclass(frozen=True)
class CachedBlocks:
    """A dataset that stays on the workers."""

    blocks: tuple[StoredBlock, ...]
    partitionings: frozenset[Partitioning] = frozenset()
    """Hash partitionings whose partitions the blocks hold, each where a shuffle puts it: a join on these keys needs no shuffle."""

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return sum(block.rows for block in self.blocks)

    @property
    def size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.size_bytes for block in self.blocks)


def partition_run(blocks: Sequence[StoredBlock]) -> tuple[int, int] | None:
    """The partitions [start, stop) that these blocks hold one after the other; None where they hold others, or some twice."""
    for before, block in pairwise(blocks):
        if before.partitions is None or block.partitions is None or before.partitions[1] != block.partitions[0]:
            return None
    if not blocks or blocks[0].partitions is None or blocks[-1].partitions is None:
        return None
    return (blocks[0].partitions[0], blocks[-1].partitions[1])


def kept_partitionings(blocks: Sequence[StoredBlock], ranks: Sequence[int], made: frozenset[Partitioning]) -> frozenset[Partitioning]:
    """Those of the partitionings that a stage made of its rows which its blocks keep: each partition in one block, on the rank that owns it."""
    run = partition_run(blocks)
    if run is None or run[0] != 0:
        return frozenset()
    count = run[1]
    owners = [ranks[worker] for worker in partition_owners(count, len(ranks))]
    if any(owners[p] != block.rank for block in blocks for p in range(*(block.partitions or (0, 0)))):
        return frozenset()
    return frozenset(partitioning for partitioning in made if partitioning[1] == count)


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
    partitions: tuple[int, int] | None = None
    """Its rows are partitions [start, stop) of a shuffle, and all of these."""


@dataclass(frozen=True)
class _Read:
    """What one task reads of a part of its stage."""

    refs: dict[Leaf, LeafRef]
    rank: int | None
    """Where it has to run."""
    size_bytes: int
    partitions: tuple[int, int] | None = None
    """The partitions of a shuffle that this is."""


def make_tasks(plan: PhysicalPlan, stage: Stage, known: KnownInputs) -> list[PlannedTask]:
    """All tasks of `stage`, in the order of its rows."""
    reads = _reads(plan, stage.root, known) or []
    if not plan.has_whole_partitions(stage):
        reads = _coalesced(reads, known)
    tasks = [PlannedTask(TaskSpec(stage.id, index, tuple(read.refs.items())), read.rank, read.partitions) for index, read in enumerate(reads)]
    return _with_positions(tasks, stage, known) if stage.uses_positions else tasks


def _reads(plan: PhysicalPlan, item: Node | Leaf, known: KnownInputs) -> list[_Read] | None:
    """None: nothing but broadcast inputs below, which go with any task."""
    if isinstance(item, BroadcastLeaf):
        return None
    if isinstance(item, SourceLeaf) or (isinstance(item, DriverLeaf) and item.edge not in known.owners):
        return [_Read({item: SplitRef(split)}, None, split.bytes or 0) for split in known.splits(item.vertex)]
    if isinstance(item, BlocksLeaf):
        return [_Read({item: BlockRef((block.key,))}, block.rank, block.size_bytes, block.partitions) for block in known.blocks(item)]
    if isinstance(item, ExchangeLeaf | DriverLeaf):
        sizes = known.sizes[item.edge]
        whole = isinstance(item, ExchangeLeaf)
        owners = enumerate(known.owners[item.edge])
        return [_Read({item: PartitionRun(p, p + 1)}, rank, sizes.get(p, (0, 0))[1], (p, p + 1) if whole else None) for p, rank in owners]
    assert not isinstance(item, ShareLeaf)  # of stages that run on all workers at once: see `runtime.shares`
    below = [reads for child in item.children if (reads := _reads(plan, child, known)) is not None]
    if not below:
        return None
    if isinstance(plan.operator(item.vertex), Concat):
        return [replace(read, partitions=None) for reads in below for read in reads]
    return below[0] if len(below) == 1 else _in_step(plan, item, below)


def _in_step(plan: PhysicalPlan, node: Node, below: list[list[_Read]]) -> list[_Read]:
    """Task i reads part i of every input; inputs in runs of partitions are cut where all of them have a border."""
    if all(read.partitions is not None for reads in below for read in reads):
        below = _with_common_borders(below)
    if len({len(reads) for reads in below}) != 1:
        raise RuntimeError(f"the inputs of {plan.dag.vertices[node.vertex]} have {[len(reads) for reads in below]} partitions; they must be equal")
    merged: list[_Read] = []
    for parts in zip(*below, strict=True):
        ranks = {part.rank for part in parts if part.rank is not None}
        if len(ranks) > 1:
            raise RuntimeError(f"partitions of {plan.dag.vertices[node.vertex]} that belong together are on ranks {sorted(ranks)}")
        refs = {leaf: ref for part in parts for leaf, ref in part.refs.items()}
        merged.append(_Read(refs, next(iter(ranks), None), sum(part.size_bytes for part in parts), parts[0].partitions))
    return merged


def _with_common_borders(below: list[list[_Read]]) -> list[list[_Read]]:
    borders = [{read.partitions[1] for read in reads if read.partitions is not None} for reads in below]
    common = sorted(set.intersection(*borders))
    if any(max(own, default=0) != max(common, default=0) for own in borders):
        return below  # other partition counts: the caller says so
    return [
        [
            _joined([read for read in reads if read.partitions is not None and low <= read.partitions[0] < high])
            for low, high in pairwise([0, *common])
        ]
        for reads in below
    ]


def _joined(reads: list[_Read]) -> _Read:
    """Neighbouring parts of one input as one."""
    if len(reads) == 1:
        return reads[0]
    first, last = reads[0], reads[-1]
    refs: dict[Leaf, LeafRef] = {}
    for leaf, ref in first.refs.items():
        parts = [read.refs[leaf] for read in reads]
        if isinstance(ref, PartitionRun):
            refs[leaf] = PartitionRun(ref.start, max(part.stop for part in parts if isinstance(part, PartitionRun)))
        else:
            refs[leaf] = BlockRef(tuple(key for part in parts if isinstance(part, BlockRef) for key in part.keys))
    assert first.partitions is not None and last.partitions is not None
    return _Read(refs, first.rank, sum(read.size_bytes for read in reads), (first.partitions[0], last.partitions[1]))


def _coalesced(reads: list[_Read], known: KnownInputs) -> list[_Read]:
    """Adjacent tasks that read small partitions of the same exchanges on one rank become one; a source has as many splits as were asked for."""
    result: list[_Read] = []
    group: list[_Read] = []

    def flush() -> None:
        if not group:
            return
        sizes, owners = [read.size_bytes for read in group], [read.rank or 0 for read in group]
        runs = coalesce(sizes, owners, known.target_bytes, known.tasks_per_owner)
        result.extend(_together(group[start:stop]) for start, stop in runs)
        group.clear()

    for read in reads:
        if not all(isinstance(ref, PartitionRun) and not isinstance(leaf, DriverLeaf) for leaf, ref in read.refs.items()):
            flush()
            result.append(read)
            continue
        if group and group[-1].refs.keys() != read.refs.keys():
            flush()
        group.append(read)
    flush()
    return result


def _together(group: list[_Read]) -> _Read:
    """Runs of neighbouring partitions as one."""
    first, last = group[0], group[-1]
    refs: dict[Leaf, LeafRef] = {leaf: PartitionRun(ref.start, last.refs[leaf].stop) for leaf, ref in first.refs.items()}  # type: ignore[union-attr]
    run = None if first.partitions is None or last.partitions is None else (first.partitions[0], last.partitions[1])
    return _Read(refs, first.rank, sum(read.size_bytes for read in group), run)


def _with_positions(tasks: list[PlannedTask], stage: Stage, known: KnownInputs) -> list[PlannedTask]:
    """Adds to what each task reads of stored rows the global position of the first: of each leaf by itself, since a stage may have several (the
    branches of a concat, the sides of a join in step), and the operators above each ask for positions in their own input."""
    starts: dict[Leaf, dict[tuple[Any, ...], int]] = {}
    totals: dict[Leaf, int] = {}
    for leaf in stage.leaves():
        if isinstance(leaf, BlocksLeaf):
            blocks = known.blocks(leaf)
            *firsts, totals[leaf] = accumulate((block.rows for block in blocks), initial=0)
            starts[leaf] = dict(zip((block.key for block in blocks), firsts, strict=True))

    def placed(leaf: Leaf, ref: LeafRef) -> LeafRef:
        if leaf not in starts or not isinstance(ref, BlockRef):
            return ref
        return replace(ref, position_start=starts[leaf][ref.keys[0]] if ref.keys else 0, total_rows=totals[leaf])

    return [replace(task, spec=replace(task.spec, reads=tuple((leaf, placed(leaf, ref)) for leaf, ref in task.spec.reads))) for task in tasks]

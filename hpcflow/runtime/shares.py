"""How the rows of a dataset become one share a worker: pure functions.

Invariant: the workers' shares, one after the other, are the dataset's rows in their order. Rows that lie in worker order, and evenly enough, stay
where they are; so does every cached dataset from its second bsp step on.

    blocks on workers 0 0 1 1, 10 rows each             ->  two shares where they lie
    blocks on workers 0 1 0 1, 10 rows each             ->  rows 0..19 to worker 0, rows 20..39 to worker 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcflow.plan.physical import LeafRef, ShareLeaf, ShareRef, Stage, TaskSpec
from hpcflow.runtime.task_making import PlannedTask, StoredBlock, partition_run

UNEVEN = 1.1
"""Largest share over the mean up to which rows are left in place: all workers wait for the one with the most rows."""


@dataclass(frozen=True)
class Layout:
    """Where the rows of one input lie, and where they are to go."""

    blocks: tuple[StoredBlock, ...]
    """In the dataset's order."""
    bounds: tuple[int, ...] | None
    """Position of the first row of each worker's share but the first; None: rows stay."""
    ordered: bool
    """Blocks lie in worker order."""

    @property
    def ordered_after(self) -> bool:
        """The shares, one after the other, are the dataset in its order."""
        return self.ordered or self.bounds is not None


def lay_out(blocks: Sequence[StoredBlock], ranks: Sequence[int], moves: bool) -> Layout:
    """moves: deal out evenly what lies unevenly or out of order; else every block stays."""
    places = [ranks.index(block.rank) for block in blocks]
    ordered = places == sorted(places)
    total = sum(block.rows for block in blocks)
    largest = max((sum(b.rows for b in blocks if b.rank == rank) for rank in ranks), default=0)
    stays = not moves or (ordered and largest <= UNEVEN * -(-total // len(ranks)))
    bounds = None if stays else tuple(total * worker // len(ranks) for worker in range(1, len(ranks)))
    return Layout(tuple(blocks), bounds, ordered)


def share_tasks(stage: Stage, layouts: dict[ShareLeaf, Layout], ranks: Sequence[int], kept: dict[ShareLeaf, tuple[Any, ...]]) -> list[PlannedTask]:
    """One task a worker. kept: first two parts of the key under which the shares of a cached input are kept."""
    tasks = []
    for worker, rank in enumerate(ranks):
        reads: list[tuple[Any, LeafRef]] = []
        for leaf, layout in layouts.items():
            keep = (*kept[leaf], worker) if leaf in kept else None
            if layout.bounds is None:
                reads.append((leaf, ShareRef(tuple(block.key for block in layout.blocks if block.rank == rank), keep=keep)))
            else:
                reads.append((leaf, ShareRef(partition=worker, keep=keep)))
        tasks.append(PlannedTask(TaskSpec(stage.id, worker, tuple(reads)), rank))
    return tasks


def kept_blocks(layout: Layout, ranks: Sequence[int], reported: dict[int, StoredBlock]) -> tuple[StoredBlock, ...] | None:
    """The blocks of a cached dataset after a bsp step: a worker's new block where it reported one, its old ones elsewhere. None: nothing changed."""
    if not reported:
        return None
    old = {} if layout.bounds is not None else {rank: [b for b in layout.blocks if b.rank == rank] for rank in ranks}
    found = [block for rank in ranks for block in ([reported[rank]] if rank in reported else old.get(rank, []))]
    runs = {rank: partition_run(old[rank]) for rank in reported if old.get(rank)}  # a new block holds what the old ones did
    return tuple(replace(b, index=index, partitions=runs.get(b.rank) if b.rank in reported else b.partitions) for index, b in enumerate(found))

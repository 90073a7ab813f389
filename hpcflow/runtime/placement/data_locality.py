"""Data locality: work goes where its bytes are.

A source task goes to the worker that read the same part of the same files before in this session (its node has them in the page cache), as long as
no worker gets more than its share; a partition of a pulled shuffle (`data_flow="pull"`) to the worker that holds most of its bytes, as long as no
worker gets more than `SLACK` times its share. What nobody has is placed as by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcflow.runtime.placement.base import PartitionView, TaskView, WorkerView
from hpcflow.runtime.placement.dynamic import Dynamic

SLACK = 1.5
"""A worker with more than this times the mean load costs more time than moving bytes does."""


@dataclass(frozen=True)
class DataLocality:
    """Few bytes move."""

    def tasks(self, tasks: Sequence[TaskView], workers: Sequence[WorkerView]) -> list[int | None]:
        """Where the task's files were read before; None for the others and for what is above a worker's share."""
        share = -(-len(tasks) // len(workers))
        load = dict.fromkeys((w.number for w in workers), 0)
        places: list[int | None] = []
        for task in tasks:
            place = task.read_by if task.read_by in load and load[task.read_by] < share else None
            if place is not None:
                load[place] += 1
            places.append(place)
        return places

    def partitions(self, partitions: Sequence[PartitionView], workers: Sequence[WorkerView]) -> list[int]:
        """The largest partitions choose first."""
        if not any(p.held for p in partitions):
            return Dynamic().partitions(partitions, workers)
        numbers = [w.number for w in workers]
        limit = SLACK * sum(p.size_bytes or 0 for p in partitions) / len(numbers)
        load = dict.fromkeys(numbers, 0)
        places: dict[int, int] = {}
        for partition in sorted(partitions, key=lambda p: (-(p.size_bytes or 0), p.index)):
            size = partition.size_bytes or 0
            holders = sorted(numbers, key=lambda number: (-partition.held.get(number, 0), load[number], number))
            fits = [number for number in holders if load[number] + size <= limit or not load[number]]
            place = fits[0] if fits else min(numbers, key=lambda number: load[number])
            load[place] += size
            places[partition.index] = place
        return [places[p.index] for p in partitions]

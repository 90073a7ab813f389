"""The default: source tasks go to whoever is free, partitions in runs of neighbours, as equal in bytes as they can be where sizes are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpcflow.runtime import scheduler
from hpcflow.runtime.placement.base import PartitionView, TaskView, WorkerView


@dataclass(frozen=True)
class Dynamic:
    """Nothing is fixed before it has to be."""

    def tasks(self, tasks: Sequence[TaskView], workers: Sequence[WorkerView]) -> list[int | None]:
        """Whoever is free."""
        return [None] * len(tasks)

    def partitions(self, partitions: Sequence[PartitionView], workers: Sequence[WorkerView]) -> list[int]:
        """Runs of neighbours."""
        sizes = [p.size_bytes for p in partitions if p.size_bytes is not None]
        if partitions and len(sizes) == len(partitions):
            places = scheduler.balanced_owners(sizes, len(workers))
        else:
            places = scheduler.partition_owners(len(partitions), len(workers))
        return [workers[place].number for place in places]


@dataclass(frozen=True)
class UserDefined(Dynamic):
    """A user's function for source tasks; partitions as `Dynamic` places them."""

    function: Callable[[Sequence[TaskView], Sequence[WorkerView]], Sequence[int | None]]

    def tasks(self, tasks: Sequence[TaskView], workers: Sequence[WorkerView]) -> list[int | None]:
        """What the function says."""
        return list(self.function(tasks, workers))

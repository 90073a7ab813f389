"""Round robin: task i and partition i to worker i modulo their number. The same places in each run, whoever is slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcflow.runtime.placement.base import PartitionView, TaskView, WorkerView


@dataclass(frozen=True)
class RoundRobin:
    """In turn."""

    def tasks(self, tasks: Sequence[TaskView], workers: Sequence[WorkerView]) -> list[int | None]:
        """Task i to worker i modulo W."""
        return [workers[i % len(workers)].number for i in range(len(tasks))]

    def partitions(self, partitions: Sequence[PartitionView], workers: Sequence[WorkerView]) -> list[int]:
        """Partition i to worker i modulo W."""
        return [workers[i % len(workers)].number for i in range(len(partitions))]

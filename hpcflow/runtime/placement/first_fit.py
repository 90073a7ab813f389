"""First fit by resources: a worker is filled before the next one is used.

A worker takes as many tasks as run on it at the same time, by its task threads, cores, memory and GPUs; when all workers are full, the first is
filled for the next round. Partitions of known size go to the first worker that has them in half of its memory budget. Few workers do the work of
small stages, and the others are left to other actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcflow.ir.task_needs import TaskNeeds
from hpcflow.runtime.placement.base import PartitionView, TaskView, WorkerView
from hpcflow.runtime.placement.dynamic import Dynamic


@dataclass(frozen=True)
class FirstFit:
    """Fill one worker after another."""

    def tasks(self, tasks: Sequence[TaskView], workers: Sequence[WorkerView]) -> list[int | None]:
        """Worker by worker, round after round."""
        places: list[int | None] = []
        while len(places) < len(tasks):
            for worker in workers:
                fit = tasks_at_once(worker, tasks[min(len(places), len(tasks) - 1)].needs)
                places += [worker.number] * min(fit, len(tasks) - len(places))
        return places

    def partitions(self, partitions: Sequence[PartitionView], workers: Sequence[WorkerView]) -> list[int]:
        """By memory where sizes are known, else as the default does."""
        if any(p.size_bytes is None for p in partitions):
            return Dynamic().partitions(partitions, workers)
        load = dict.fromkeys((w.number for w in workers), 0)
        places = []
        for partition in partitions:
            size = partition.size_bytes or 0
            room = [w.number for w in workers if load[w.number] + size <= w.memory_bytes // 2]
            place = room[0] if room else min(load, key=lambda number: load[number])
            load[place] += size
            places.append(place)
        return places


def tasks_at_once(worker: WorkerView, needs: TaskNeeds) -> int:
    """How many tasks with these needs run on the worker at the same time; at least 1.

    >>> tasks_at_once(WorkerView(0, "n0", cores=8, memory_bytes=10, gpus=2, slots=8), TaskNeeds(cores=2, gpus=1))
    2
    """
    limits = [worker.slots]
    if needs.cores:
        limits.append(worker.cores // needs.cores)
    if needs.memory_bytes:
        limits.append(worker.memory_bytes // needs.memory_bytes)
    if needs.gpus:
        limits.append(worker.gpus // needs.gpus)
    return max(1, min(limits))

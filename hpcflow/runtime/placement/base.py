"""Placement: who runs which source task, and who owns which partition of a shuffle.

A strategy is a pure function of what the master knows: views of the tasks, partitions and workers, all numbered from 0. Invariant: its answers name
workers that it was shown; where the engine is not free to choose (a task whose input lies on a worker, partitions that are read with cached ones),
it is not asked, and where two shuffles must put partition i in one place, it is told no sizes.

    class EvenWorkers:                                           # a strategy of one's own: Session(placement=EvenWorkers())
        def tasks(self, tasks, workers): return [workers[0].number if task.index % 2 else None for task in tasks]
        def partitions(self, partitions, workers): return Dynamic().partitions(partitions, workers)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from hpcflow.ir.task_needs import TaskNeeds


@dataclass(frozen=True)
class WorkerView:
    """A worker that may run the tasks."""

    number: int
    """From 0, among all workers of the session."""
    host: str
    cores: int
    """Its share of the cores of its node."""
    memory_bytes: int
    """Its memory budget."""
    gpus: int
    """GPUs of its own."""
    slots: int = 1
    """Task threads."""
    queued: int = 0
    """Tasks that it has been given and not finished, over all stages of the action."""


@dataclass(frozen=True)
class TaskView:
    """A task of a source that no worker is bound to."""

    index: int
    size_bytes: int = 0
    """Estimated bytes of its rows, 0 where the source cannot say."""
    needs: TaskNeeds = field(default_factory=TaskNeeds)
    read_by: int | None = None
    """The worker that read this part of the files last in this session: its node has them in its page cache."""


@dataclass(frozen=True)
class PartitionView:
    """A partition of a shuffle."""

    index: int
    size_bytes: int | None = None
    """None where rows leave before sizes are known (data flow push)."""
    held: Mapping[int, int] = field(default_factory=dict)
    """Worker -> bytes of the partition that lie there now."""


@runtime_checkable
class Placement(Protocol):
    """A placement strategy."""

    def tasks(self, tasks: Sequence[TaskView], workers: Sequence[WorkerView]) -> Sequence[int | None]:
        """Number of the worker of each task; None: whoever is free first, and an idle worker may take it over."""
        ...

    def partitions(self, partitions: Sequence[PartitionView], workers: Sequence[WorkerView]) -> Sequence[int]:
        """Number of the worker that owns each partition."""
        ...

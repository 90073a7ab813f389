"""What a running task has for itself: cores, memory and GPUs of its worker that no other running task has.

Invariant: a GPU id is with at most one task at a time, the cores given out are at most the worker's, and what was taken is given back when the task
ends.

    def train(df):                                       # a function of map_batches, of a graph, ...
        device = hf.task_resources().gpus[0]             # with_property(resources={"gpus": 1}): "0", as CUDA_VISIBLE_DEVICES words it
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hpcflow.errors import HpcflowError
from hpcflow.ir.task_needs import TaskNeeds


@dataclass(frozen=True)
class TaskResources:
    """What the running task asked for with `with_property(resources=...)`, and got."""

    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]
    """Ids as `CUDA_VISIBLE_DEVICES` words them."""


_running = threading.local()


def task_resources() -> TaskResources:
    """What the task that runs on this thread has for itself.

    Raises:
        HpcflowError: no task runs on this thread.
    """
    given: TaskResources | None = getattr(_running, "resources", None)
    if given is None:
        raise HpcflowError("task_resources() is for functions that run in a task, on its own thread; threads they start are told by them")
    return given


@contextmanager
def running_with(resources: TaskResources) -> Iterator[None]:
    """`task_resources()` gives these on this thread."""
    _running.resources = resources
    try:
        yield
    finally:
        _running.resources = None


class ResourcePool:
    """The cores and GPUs of one worker. Not thread-safe: the worker's lock guards it."""

    def __init__(self, cores: int, gpus: tuple[str, ...]) -> None:
        self._cores = cores
        self._gpus = list(gpus)

    def has(self, needs: TaskNeeds) -> bool:
        """Whether a task with these needs can start now."""
        return needs.cores <= self._cores and needs.gpus <= len(self._gpus)

    def take(self, needs: TaskNeeds) -> TaskResources:
        """For a task that starts, after `has`."""
        self._cores -= needs.cores
        taken, self._gpus = self._gpus[: needs.gpus], self._gpus[needs.gpus :]
        return TaskResources(needs.cores, needs.memory_bytes, tuple(taken))

    def give_back(self, resources: TaskResources) -> None:
        """From a task that has ended."""
        self._cores += resources.cores
        self._gpus = sorted([*self._gpus, *resources.gpus])

"""Which communicator the steps of a worker use, and what becomes of ranks that wait in it when one fails.

Invariant: user code never shares a communicator with an engine. Over MPI it is one private duplicate for all steps, and waits in it cannot be ended
but with their process; in-process every step has a group of threads of its own, whose waits end with it, so that no step sees what another left.

    communicators.open(step, worker)             # -> (communicator of this worker, module that fits it)
    communicators.abort(step, error, worker)     # in-process: waits of that step raise; over MPI: nothing can be done
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar, Protocol

from hpcflow.bsp import thread_mpi
from hpcflow.bsp.thread_comm import ThreadComm, open_thread_group


class Communicators(Protocol):
    """Of one worker, or shared by those of one process."""

    ends_ranks: ClassVar[bool]
    """A failure inside a step ends the process, since other ranks may wait for it in a collective."""

    def open(self, step: int, worker: int) -> tuple[Any, Any]:
        """(communicator, module) of `worker` in this step; once a step and worker."""

    def abort(self, step: int, error: BaseException, worker: int | None = None) -> None:
        """End all waits of this step, those to come as well. Any thread; twice is fine."""

    def is_echo(self, step: int, error: BaseException) -> bool:
        """Whether `error` only says that another worker has failed."""

    def close(self, step: int, worker: int) -> None:
        """The worker has ended the step."""


class MpiCommunicators:
    """One communicator for all steps."""

    ends_ranks: ClassVar[bool] = True

    def __init__(self, communicator: Any, module: Any) -> None:
        self._pair = (communicator, module)

    def open(self, step: int, worker: int) -> tuple[Any, Any]:
        return self._pair

    def abort(self, step: int, error: BaseException, worker: int | None = None) -> None:
        """Nothing ends a wait in MPI."""

    def is_echo(self, step: int, error: BaseException) -> bool:
        return False

    def close(self, step: int, worker: int) -> None:
        """It serves the next step."""


class ThreadCommunicators:
    """A fresh group of threads for each step; one object for all workers of the process."""

    ends_ranks: ClassVar[bool] = False

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._groups: dict[int, list[ThreadComm]] = {}
        self._left: dict[int, int] = {}
        self._first: dict[int, BaseException] = {}

    def open(self, step: int, worker: int) -> tuple[Any, Any]:
        return self._group(step)[worker], thread_mpi

    def abort(self, step: int, error: BaseException, worker: int | None = None) -> None:
        group = self._group(step)
        with self._lock:
            self._first.setdefault(step, error)
        group[0].group.abort(error, worker)

    def is_echo(self, step: int, error: BaseException) -> bool:
        return self._first.get(step, error) is not error

    def close(self, step: int, worker: int) -> None:
        with self._lock:
            self._left[step] = self._left.get(step, self._workers) - 1
            if self._left[step] == 0:
                del self._left[step]
                self._groups.pop(step, None)
                self._first.pop(step, None)

    def _group(self, step: int) -> list[ThreadComm]:
        with self._lock:
            if step not in self._groups:
                self._groups[step] = open_thread_group(self._workers)
            return self._groups[step]

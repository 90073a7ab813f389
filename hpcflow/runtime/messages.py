"""What master and workers say to each other: frozen dataclasses, pickled, within one job's own ranks only.

Invariant: messages of one pair of ranks arrive in order. Per stage there are a few messages for each worker, none for each pair of partitions.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from hpcflow.bsp.place import Description
from hpcflow.events.records import Event
from hpcflow.plan.physical import TaskSpec
from hpcflow.shuffle.exchange import ExchangeSpec

TO_WORKER = 1
"""Tag of messages from the master."""
TO_MASTER = 3
"""Tag of messages to the master."""


# master -> worker


@dataclass(frozen=True)
class LoadPlan:
    """The compiled plan of an action; the worker checks `sha256` before it unpickles."""

    action: int
    sha256: str
    blob: bytes | None
    """None: a plan that the worker keeps."""
    caches: Mapping[str, str] = field(default_factory=dict)
    """Cached dataset as the plan calls it -> its key."""


@dataclass(frozen=True)
class KeepPlan:
    """A plan that actions to come name by its hash."""

    sha256: str
    blob: bytes


@dataclass(frozen=True)
class ForgetPlan:
    """No action to come will name this plan."""

    sha256: str


@dataclass(frozen=True)
class OpenExchange:
    """Enter exchange step `spec.step`, the rows of edge `edge`. Steps are opened in the order of these messages."""

    action: int
    edge: str
    spec: ExchangeSpec
    splitters: Any = None
    """Range shuffle: (splitters DataFrame, their positions). Shares: positions of their first rows, see `runtime.shares.Layout.bounds`."""


@dataclass(frozen=True)
class RunTasks:
    """A TaskGroup."""

    action: int
    stage: int
    tasks: tuple[TaskSpec, ...]
    last: bool = False
    """No more tasks of the stage come to this worker: it finishes its inserts by itself when those it has are done."""


@dataclass(frozen=True)
class RunStep:
    """Run this worker's task of a stage that runs on all workers at once, as step `step`: one after the other, in the order of these messages."""

    action: int
    step: int
    task: TaskSpec


@dataclass(frozen=True)
class UseResources:
    """What is the worker's own, from what all workers have told."""

    cores: int
    gpus: tuple[str, ...]
    share: tuple[int, int] | None = None
    """(place, takers): its part of CPUs that other worker processes of its node may use too; None: bind nothing."""


@dataclass(frozen=True)
class GiveBackTasks:
    """Return up to `count` source tasks of `stage` that have not started."""

    action: int
    stage: int
    count: int


@dataclass(frozen=True)
class FinishInserts:
    """All tasks that insert into this exchange have ended, everywhere."""

    action: int
    edge: str


@dataclass(frozen=True)
class CloseExchange:
    """No task will read the exchange again."""

    action: int
    edge: str


@dataclass(frozen=True)
class DropBlocks:
    """Blocks whose keys start with `prefix` are no longer needed."""

    prefix: tuple[Any, ...]


@dataclass(frozen=True)
class DropShared:
    """The broadcast value of this key is no longer needed."""

    key: str


@dataclass(frozen=True)
class AbortAction:
    """Drop the tasks and exchanges of an action, then say ActionEnded."""

    action: int
    reason: str


@dataclass(frozen=True)
class EndAction:
    """The action is complete once the tasks that the worker has are done; forget its plan and blocks then, and say ActionEnded."""

    action: int


@dataclass(frozen=True)
class DumpStacks:
    """Write the stacks of all threads to stderr."""

    reason: str


@dataclass(frozen=True)
class Shutdown:
    """The driver is done; leave `serve`."""


# both ways


@dataclass(frozen=True)
class Several:
    """Messages that travel together; each is served as if it had come alone."""

    messages: tuple[Any, ...]


# worker -> master


@dataclass(frozen=True)
class Hello:
    """A worker is there, with what must agree."""

    rank: int
    host: str
    pid: int
    versions: tuple[tuple[str, str], ...]
    cores: int
    polars_threads: int
    namespace: int = 0
    """See `resources.process_namespace`."""
    place: Description | None = None
    """Its node, CPUs and GPUs."""
    memory_bytes: int = 0
    """Its memory budget."""


@dataclass(frozen=True)
class TaskResult:
    """A task that ended well."""

    stage: int
    index: int
    rows: int
    size_bytes: int
    seconds: float
    wait_s: float = 0.0
    rows_in: int = 0
    block: tuple[Any, ...] | None = None
    """Key of the stored block, if any."""
    samples: dict[str, Any] = field(default_factory=dict)
    """Edge of a range shuffle -> (sort keys DataFrame, positions, rows) of the stored block."""
    histograms: dict[str, Any] = field(default_factory=dict)
    """Edge of a hash shuffle -> bytes of each of its partitions in the stored block."""
    sink_parts: tuple[Any, ...] = ()
    peak_memory_bytes: int = 0
    kept: dict[str, tuple[tuple[Any, ...], int, int]] = field(default_factory=dict)
    """Edge into a bsp step -> (key, rows, bytes) of the share of a cached dataset that is now one block of this worker."""
    sums: bytes = b""
    """Pickled: accumulator -> what the task has added."""
    attempt: int = 0
    """Which attempt it was; those before have failed."""


@dataclass(frozen=True)
class TasksDone:
    """Completions of one worker, batched."""

    action: int
    rank: int
    results: tuple[TaskResult, ...]


@dataclass(frozen=True)
class TaskFailed:
    """A task that raised. `error` is the pickled exception or None; the texts are always there."""

    action: int
    rank: int
    host: str
    stage: int
    index: int
    operator: str
    message: str
    remote_traceback: str
    error: bytes | None = None
    ends_rank: bool = False
    """It was user MPI code, which other ranks may wait for: this process ends after the message."""
    attempt: int = 0
    """Which attempt it was: the last."""


@dataclass(frozen=True)
class WorkerFailed:
    """A worker could not do what a message said (bad plan hash, full scratch directory)."""

    action: int
    rank: int
    host: str
    message: str
    remote_traceback: str
    error: bytes | None = None


@dataclass(frozen=True)
class TaskStalled:
    """A task that runs in a process that no longer gets on; `stacks` are those of its threads."""

    action: int
    rank: int
    host: str
    stage: int
    index: int
    stacks: str


@dataclass(frozen=True)
class Heartbeat:
    """A worker with actions lives. `activity` changes from one to the next when its process has got on meanwhile."""

    rank: int
    activity: int
    still: tuple[int, float] | None = None
    """The bsp step that runs, and for how many seconds its thread has stood at one place of the program."""


@dataclass(frozen=True)
class TasksReturned:
    """Answer to GiveBackTasks."""

    action: int
    rank: int
    stage: int
    tasks: tuple[TaskSpec, ...]


@dataclass(frozen=True)
class ExchangeDone:
    """All rows for this rank have arrived."""

    action: int
    edge: str
    rank: int
    sizes: dict[int, tuple[int, int]]
    """Owned partition -> (rows, bytes)."""
    stats: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerEvent:
    """An event record for the job's log, seen by a worker."""

    rank: int
    event: Event


@dataclass(frozen=True)
class ActionEnded:
    """The worker has let go of the action."""

    action: int
    rank: int
    peak_memory_bytes: int = 0


def encode(message: Any) -> bytes:
    """A message as bytes."""
    return pickle.dumps(message, protocol=5)


def decode(payload: Any) -> Any:
    """The message in these bytes, which come from a rank of the same job."""
    return pickle.loads(payload)


def own_versions() -> tuple[tuple[str, str], ...]:
    """What must agree between master and workers."""
    import platform

    import pyarrow as pa

    import hpcflow

    return (("hpcflow", hpcflow.__version__), ("Python", platform.python_version()), ("polars", pl.__version__), ("pyarrow", pa.__version__))

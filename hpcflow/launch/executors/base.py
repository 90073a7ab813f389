"""What an executor is: render a request, submit it, say how jobs are, cancel them. One that has arrays submits a fan-out as one batch.

Invariant: `render` is pure and contacts nothing. `states` asks the system once for any number of jobs, and raises `QueryFailedError` when it gets no
answer: no state is ever concluded from a failed query. The exit file, which the job itself writes, outranks what a scheduler says.

A further executor is one file with a subclass, and an entry point in the group `hpcflow.executors`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from hpcflow.errors import LaunchError
from hpcflow.launch.request import JobRequest


class JobState(Enum):
    """Of one attempt."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """Nobody here can tell: another host's process."""

    @property
    def final(self) -> bool:
        """Nothing more will happen."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class FailureClass(Enum):
    """Why an attempt failed, where that can be told."""

    PROGRAM = "program error"
    OUT_OF_MEMORY = "out of memory"
    TIMEOUT = "timeout"
    NODE = "node failure"
    PREEMPTED = "preempted"
    STOPPED = "stopped to be continued"
    """Exit status 75: the program saved its state when asked to stop."""


@dataclass(frozen=True)
class JobStatus:
    """How an attempt is.

    code: the exit status, 128 + signal for a killed one
    reason: what the system says, for people
    start_estimate: of a pending job, as the scheduler guesses it (ISO 8601)
    """

    state: JobState
    code: int | None = None
    failure: FailureClass | None = None
    reason: str = ""
    start_estimate: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, for journals."""
        return {**vars(self), "state": self.state.value, "failure": None if self.failure is None else self.failure.value}


def status_from_json(value: Mapping[str, Any]) -> JobStatus:
    """From a record that has what `to_json` gave, and possibly more."""
    failure = None if value["failure"] is None else FailureClass(value["failure"])
    return JobStatus(JobState(value["state"]), value["code"], failure, value["reason"], value.get("start_estimate"))


@dataclass(frozen=True)
class JobHandle:
    """A submitted attempt, as it is kept in `submitted.json`.

    id: the executor's name for it
    facts: what else the executor needs to find it again (host, boot id, start time of the process)
    """

    key: str
    directory: str
    id: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rendered:
    """What submitting would write and run.

    files: name within the attempt's directory -> text
    argv: the command that submits
    """

    request: JobRequest
    files: Mapping[str, str]
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Attempts that are submitted as one: a fan-out.

    key: of the whole; the element of index i is the job of the key `element_key(key, i)`
    directory: of the batch's own script, and of a link `elements/<i>` to the attempt's directory for each index
    elements: index -> what to run; a batch that is submitted again has those that are missing
    """

    key: str
    directory: str
    elements: Mapping[int, Rendered]


def element_key(key: str, index: int) -> str:
    """
    >>> element_key("ab-12", 3)
    'ab-12_3'
    """
    return f"{key}_{index}"


def batch_of(key: str) -> tuple[str, int] | None:
    """The batch and the index in it of an element's key; None for a job of its own.

    >>> batch_of("ab-12_3"), batch_of("ab-12-1")
    (('ab-12', 3), None)
    """
    batch, _, index = key.rpartition("_")
    return (batch, int(index)) if batch and index.isdigit() else None


class QueryFailedError(LaunchError):
    """The system gave no answer about its jobs, or about some: ask again later. told: key -> status of those that it did tell about."""

    def __init__(self, message: str, told: Mapping[str, JobStatus] | None = None) -> None:
        super().__init__(message)
        self.told = dict(told or {})


class SubmitUnclearError(LaunchError):
    """Nobody knows whether the job was taken: look for its key before it is submitted again."""


class SubmitLimitError(LaunchError):
    """The system takes no more jobs of this user for now: wait."""


class Executor(ABC):
    """Where jobs run."""

    name: ClassVar[str]

    @abstractmethod
    def render(self, request: JobRequest) -> Rendered:
        """What `submit` would do. Raises ConfigError for what this executor cannot give."""

    def admit(self, request: JobRequest) -> None:  # noqa: B027 (a scheduler decides itself)
        """Raises ConfigError for what this executor can never give, when the task is added: contacts nobody."""

    @abstractmethod
    def submit(self, rendered: Rendered) -> JobHandle:
        """Write the files and start the job. Raises SubmitLimitError, SubmitUnclearError, or LaunchError with what it said."""

    @abstractmethod
    def find(self, wanted: Mapping[str, str]) -> dict[str, JobHandle]:
        """Those of the keys (key -> the attempt's directory) under which there is a job, by one query. Raises QueryFailedError."""

    @abstractmethod
    def states(self, handles: Sequence[JobHandle]) -> dict[str, JobStatus]:
        """Key -> status, by one query. Raises QueryFailedError with those that could be told."""

    @abstractmethod
    def cancel(self, handles: Sequence[JobHandle], force: bool = False) -> None:
        """Ask the jobs to end, or with `force` end them; finished ones are left alone."""

    def tell(self, handle: JobHandle) -> None:
        """Send USR2 to the shell of a job that has claimed its attempt: it looks which of its commands were cancelled."""
        raise LaunchError(f"the executor {self.name!r} cannot cancel a single command: cancel the task")

    def facts(self) -> Mapping[str, str]:
        """What is written down before a submission, for whoever has to find its job later: a scheduler's cluster."""
        return {}

    def accept_secrets(self, given: frozenset[str], named: frozenset[str]) -> None:
        """Raises ConfigError when a job here could not read Secrets. given: variables that get them; named: those of this process that they name."""
        return

    def batch_key(self, request: JobRequest) -> Hashable | None:
        """What requests must have in common to be submitted as one batch; None: each is submitted by itself."""
        return None

    def batch_size(self) -> int:
        """How many requests one batch may have."""
        return 1

    def render_batch(self, batch: Batch) -> str:
        """The script of a batch. For executors that give a `batch_key`."""
        raise NotImplementedError(f"{self.name} has no batches")

    def submit_batch(self, batch: Batch) -> dict[str, JobHandle]:
        """Submit all elements at once; key -> handle. Raises as `submit` does, and then nothing was submitted."""
        raise NotImplementedError(f"{self.name} has no batches")

    task_needs: ClassVar[tuple[str, ...]] = ("memory_mb", "gpus")
    """What a task may ask for itself beside the executor's fields, which mean the whole job or the whole budget."""

    def place(self, request: JobRequest, running: Sequence[JobRequest]) -> JobRequest | None:
        """The request with its share of what is dealt out; None while there is no room beside those that run. (A scheduler decides itself.)"""
        return request

    def logs(self, directory: str) -> list[Path]:
        """Log files of an attempt: the job's own first, then those of its commands and ranks."""
        return sorted((Path(directory) / "logs").glob("*.txt"), key=lambda path: (path.name != "log.txt", path.name))


def ranks_of(fields: object) -> int:
    """MPI ranks of a task on an executor (or on a component of a heterogeneous job), by its fields ntasks, nodes and ntasks_per_node."""
    ntasks = getattr(fields, "ntasks", None)
    per_node, nodes = getattr(fields, "ntasks_per_node", None), getattr(fields, "nodes", None)
    if ntasks is not None:
        return int(ntasks)
    return int(per_node or 1) * int(nodes if isinstance(nodes, int) else 1)

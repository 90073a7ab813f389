"""Event records: what happened in a job, one frozen dataclass per kind.

Invariant: a record holds plain values only (numbers, text, tuples of them), so that one record is one JSON line and back: `from_json(to_json(e))
== e`. Kinds and fields are only ever added: a reader of an older version skips what it does not know, a reader of a newer one fills in defaults.
Units are in the names: `_bytes` and `bytes_` are bytes, `seconds` and `_s` are seconds, `time` is unix seconds.

    to_json(StageStarted(action=1, stage="S2", name="group_by", number=2, stages=3, tasks=32))
    # {"kind": "stage_started", "time": 1764500000.25, "job": "", "rank": 0, "action": 1, "stage": "S2", "name": "group_by", ...}
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time as clock
from dataclasses import dataclass, field
from typing import Any, ClassVar

_KINDS: dict[str, type[Event]] = {}


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every record carries. `job` is filled in by the `EventLog` when left empty."""

    kind: ClassVar[str] = "event"
    time: float = field(default_factory=clock.time)
    """When it happened, unix seconds."""
    job: str = ""
    """Id of the job (one per launched program)."""
    rank: int = 0
    """Rank that observed it; the master observes most."""

    def __init_subclass__(cls) -> None:
        cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        _KINDS[cls.kind] = cls


@dataclass(frozen=True, kw_only=True)
class SessionStarted(Event):
    """A session is ready to run actions."""

    workers: int
    ranks: int
    hosts: tuple[str, ...] = ()
    """Host of each rank."""
    memory_budget_bytes: int = 0
    """Budget of one worker."""
    versions: tuple[tuple[str, str], ...] = ()
    """Pairs of package name and version."""


@dataclass(frozen=True, kw_only=True)
class SessionStopped(Event):
    """A session was closed."""

    seconds: float
    actions: int = 0


@dataclass(frozen=True, kw_only=True)
class ActionStarted(Event):
    """The driver asked for a result: collect, count, write, ..."""

    action: int
    """Number of the action in its session, from 1."""
    name: str
    """What was called: `collect`, `write_parquet`, ..."""
    stages: int = 0
    tasks: int = 0
    plan_hash: str = ""


@dataclass(frozen=True, kw_only=True)
class ActionFinished(Event):
    """An action gave its result."""

    action: int
    seconds: float
    rows: int = 0
    """Rows of the result."""


@dataclass(frozen=True, kw_only=True)
class ActionFailed(Event):
    """An action ended with an error; the session may go on."""

    action: int
    seconds: float
    error: str
    """Class name of the error."""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class PassRun(Event):
    """One compiler pass ran, or was skipped."""

    action: int
    name: str
    seconds: float
    changed: bool = False
    skipped: bool = False
    vertices_before: int = 0
    vertices_after: int = 0


@dataclass(frozen=True, kw_only=True)
class StageStarted(Event):
    """The first tasks of a stage were handed out."""

    action: int
    stage: str
    name: str = ""
    """The stage's operators, shortened."""
    number: int = 0
    """Position among the action's stages, from 1."""
    stages: int = 0
    tasks: int = 0


@dataclass(frozen=True, kw_only=True)
class StageFinished(Event):
    """The last task of a stage committed."""

    action: int
    stage: str
    seconds: float
    tasks: int = 0
    rows_out: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, kw_only=True)
class TaskGroupSent(Event):
    """The master sent tasks to a worker, in one message."""

    action: int
    stage: str
    worker: int
    """Rank of the worker."""
    tasks: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TasksMoved(Event):
    """Queued tasks of a loaded worker went to one that had run dry."""

    action: int
    stage: str
    from_worker: int
    to_worker: int
    tasks: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TaskStarted(Event):
    """A worker began a task."""

    action: int
    stage: str
    task: int
    worker: int
    attempt: int = 0


@dataclass(frozen=True, kw_only=True)
class TaskFinished(Event):
    """A task committed."""

    action: int
    stage: str
    task: int
    worker: int
    attempt: int = 0
    rows_in: int = 0
    rows_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    """From the start of the task's code to its commit."""
    wait_s: float = 0.0
    """Of these, held by back-pressure or waiting for input."""
    queue_s: float = 0.0
    """Before that, in the worker's queue."""
    peak_memory_bytes: int = 0
    """High-water mark of the worker's budget while the task ran."""


@dataclass(frozen=True, kw_only=True)
class TaskFailed(Event):
    """An attempt of a task ended with an error."""

    action: int
    stage: str
    task: int
    worker: int
    attempt: int = 0
    operator: str = ""
    error: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class ExchangeStarted(Event):
    """The master opened an exchange step on all its ranks."""

    action: int
    step: int
    edge: str = ""
    partitions: int = 0
    pattern: str = ""
    """Communication pattern: hash, range, broadcast, gather, round_robin."""


@dataclass(frozen=True, kw_only=True)
class ExchangeFinished(Event):
    """One rank's part of an exchange closed; `rank` is that rank."""

    action: int
    step: int
    edge: str = ""
    rows_sent: int = 0
    rows_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_in_place: int = 0
    """Of those sent: what other ranks read where it was packed."""
    messages_sent: int = 0
    messages_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    blocked_s: float = 0.0
    """Producers held by back-pressure, summed over task threads."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SpillWritten(Event):
    """A block went from memory to a scratch file; `rank` is its worker."""

    owner: str
    """Account of the budget: exchange, cache, blocks."""
    resident_bytes: int
    """Memory given back."""
    stored_bytes: int
    """Size of the file, compressed."""
    seconds: float
    directory: str = ""


@dataclass(frozen=True, kw_only=True)
class SpillRead(Event):
    """A spilled block was read back; `rank` is its worker."""

    owner: str
    stored_bytes: int
    resident_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WorkerLost(Event):
    """A worker's process ended or stopped answering."""

    worker: int
    host: str = ""
    reason: str = ""
    last_seen_s: float = 0.0
    """Seconds since its last message."""


@dataclass(frozen=True, kw_only=True)
class LoopIteration(Event):
    """An iteration of a loop has ended."""

    loop: str
    """When it ends, in words."""
    iteration: int
    """From 1."""
    seconds: float
    converged: bool = False
    metrics: str = ""
    """What the iteration reported."""


@dataclass(frozen=True, kw_only=True)
class StepStalled(Event):
    """A step made no progress for `idle_s`; it is aborted when `limit_s` is reached."""

    step: int
    idle_s: float
    limit_s: float
    waiting_for: tuple[int, ...] = ()
    """Ranks that have not finished it."""


@dataclass(frozen=True, kw_only=True)
class ProgramStarted(Event):
    """A program begins on all ranks; told by rank 0."""

    name: str
    ranks: int
    nodes: int = 1
    hosts: tuple[str, ...] = ()
    """Host of each rank."""
    in_process: bool = False
    """The ranks are threads of one process."""


@dataclass(frozen=True, kw_only=True)
class ProgramFinished(Event):
    """The program has ended well on all ranks."""

    name: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ProgramFailed(Event):
    """The program has failed on rank `rank`; the other ranks end too."""

    name: str
    seconds: float
    host: str = ""
    error: str = ""
    """Class name of the error."""
    message: str = ""
    place: str = ""
    """Call site: file, line and function of the user's innermost frame."""


@dataclass(frozen=True, kw_only=True)
class MetricReported(Event):
    """A metric of a program on rank `rank`, as it is now."""

    name: str
    metric: str
    """counter, gauge or timer."""
    value: float
    """Counter: the sum; gauge: the last value; timer: seconds, summed."""
    count: int = 0
    """Updates so far."""
    least: float = 0.0
    """Smallest update so far."""
    most: float = 0.0


@dataclass(frozen=True, kw_only=True)
class UnknownEvent(Event):
    """A record of a newer version: its kind and its fields as JSON text."""

    name: str
    fields: str


def kinds() -> dict[str, type[Event]]:
    """Every kind's name and class."""
    return dict(_KINDS)


def to_json(event: Event) -> str:
    """One line of JSON without the newline; floats that are not finite are written as null and read back as NaN."""
    values = {"kind": event.kind} | {f.name: _plain(getattr(event, f.name)) for f in dataclasses.fields(event)}
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def from_json(line: str) -> Event:
    """The record of a line. `ValueError` when it is no JSON object, lacks a kind or a field without default."""
    values = json.loads(line)
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ValueError("not an event record: an object with a 'kind' was expected")
    kind = values.pop("kind")
    cls = _KINDS.get(kind)
    if cls is None:
        common = {name: values[name] for name in ("time", "job", "rank") if name in values}
        return UnknownEvent(name=kind, fields=json.dumps(values), **common)
    known = {f.name for f in dataclasses.fields(cls)}
    try:
        return cls(**{name: _frozen(value) for name, value in values.items() if name in known})
    except TypeError as error:
        raise ValueError(f"event {kind!r}: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    if value is None:
        return float("nan")
    return tuple(map(_frozen, value)) if isinstance(value, list) else value

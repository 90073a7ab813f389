"""What the driver and rank 0 say to each other: frozen dataclasses, pickled by cloudpickle, after both have proved who they are.

Invariant: rank 0 serves the driver's messages in their order; whatever an action has to say goes through `Ended`, its last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from hpcflow.config import SessionConfig
from hpcflow.events.records import Event
from hpcflow.ir.operators.source import Split
from hpcflow.runtime.action_result import ActionResult
from hpcflow.runtime.messages import Hello
from hpcflow.runtime.task_making import CachedBlocks

# driver -> rank 0


@dataclass(frozen=True)
class Open:
    """Begin the session."""

    config: SessionConfig


@dataclass(frozen=True)
class TableColumns:
    """Rows of some columns of a table of the driver, as the frame beside the message; `last`: these columns are complete."""

    table: int
    schema: pl.Schema
    last: bool


@dataclass(frozen=True)
class SharedValue:
    """A broadcast value that a function of a later action uses."""

    key: str
    value: object


@dataclass(frozen=True)
class Forget:
    """Tables, plans and broadcast values that no action of the driver will name again."""

    tables: tuple[int, ...] = ()
    plans: tuple[int, ...] = ()
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """Run an action. plan: its number; blob: the pickled plan, None when rank 0 has it; keeps_plan: it may be kept."""

    action: int
    name: str
    plan: int
    blob: bytes | None
    tables: Mapping[int, tuple[int, tuple[str, ...]]]
    """Vertex -> (table, columns)."""
    splits: Mapping[int, tuple[Split, ...]]
    """Source vertex -> its splits."""
    caches: Mapping[str, str]
    keeps_plan: bool
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cancel:
    """Cancel an action."""

    action: int
    reason: str


@dataclass(frozen=True)
class Unpersist:
    """Free a cached dataset; `number` counts these."""

    key: str
    number: int


@dataclass(frozen=True)
class Settle:
    """Cancel what runs and say so when the workers have let go."""

    patience_s: float


@dataclass(frozen=True)
class Close:
    """The session is over; end all ranks."""


# rank 0 -> driver


@dataclass(frozen=True)
class Opened:
    """The workers are there."""

    ranks: int
    worker_ranks: tuple[int, ...]
    hellos: Mapping[int, Hello]
    host: str
    pid: int
    namespace: int


@dataclass(frozen=True)
class NotOpened:
    """The session could not begin."""

    error: bytes
    text: str


@dataclass(frozen=True)
class Events:
    """What happened, in order."""

    events: tuple[Event, ...]


@dataclass(frozen=True)
class Rows:
    """Rows of a collect vertex, as the frame beside the message."""

    action: int
    vertex: int


@dataclass(frozen=True)
class CancelAnswer:
    """Whether the action will end cancelled."""

    action: int
    granted: bool


@dataclass(frozen=True)
class Ended:
    """The end of an action; its rows have been sent. result without tables, or error with text and notes."""

    action: int
    caches: Mapping[str, CachedBlocks]
    """All cached datasets."""
    unpersisted: int
    """Number of the last `Unpersist` that `caches` knows of."""
    result: ActionResult | None = None
    schemas: Mapping[int, pl.Schema] | None = None
    """Of each collect vertex."""
    sums: tuple[bytes, ...] = ()
    error: bytes | None = None
    text: str = ""
    lost: str | None = None
    """Why no more actions can run on these ranks."""


@dataclass(frozen=True)
class Settled:
    """Answer to Settle."""

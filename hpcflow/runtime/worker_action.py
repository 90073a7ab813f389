"""What a worker holds of one action.

Invariant: the worker's lock guards what its threads count (`queued`, `left`, `running`, `done`); the rest is written by the serving thread alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from hpcflow.bsp.step import Step
from hpcflow.plan.physical import PhysicalPlan, Stage, TaskSpec
from hpcflow.runtime import messages as m
from hpcflow.shuffle.exchange import Exchange
from hpcflow.shuffle.partitioners import Partitioner


@dataclass
class WorkerAction:
    """What a worker holds of one action."""

    id: int
    plan: PhysicalPlan
    stages: dict[int, Stage]
    caches: Mapping[str, str]
    """Cached dataset as the plan calls it -> its key."""
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    partitioners: dict[str, Partitioner] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    queued: deque[TaskSpec] = field(default_factory=deque)
    left: dict[int, int] = field(default_factory=dict)
    """Stage -> tasks that are here and not done."""
    last_given: set[int] = field(default_factory=set)
    """Stages of which no more tasks come."""
    running: int = 0
    served_s: float = 0.0
    """Seconds that its tasks have taken, from the level of the others at its start: what fair sharing counts."""
    ending: bool = False
    cancelled: str | None = None
    broadcasts: dict[str, pl.DataFrame] = field(default_factory=dict)
    done: list[m.TaskResult] = field(default_factory=list)
    bsp_steps: list[Step] = field(default_factory=list)
    """Submitted and not ended."""

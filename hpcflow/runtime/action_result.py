"""What an action comes to: the driver's tables, rows that reached its ends, and what each stage did."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.plan.physical import Stage
from hpcflow.runtime import messages as m
from hpcflow.runtime.action_state import ActionState


@dataclass(frozen=True)
class StageReport:
    """What one stage did, for explain(analyze=True)."""

    stage: Stage
    tasks: int
    rows: int
    size_bytes: int
    seconds: float
    busy_s: float
    """Sum of the seconds of its tasks."""
    ranks: dict[int, int]
    """Rank -> tasks it ran."""


@dataclass(frozen=True)
class ActionResult:
    """The end of an action."""

    tables: dict[int, pl.DataFrame]
    """Collect vertex -> its rows."""
    rows: dict[int, int]
    """End vertex -> rows that reached it."""
    stages: tuple[StageReport, ...]
    exchanges: dict[str, dict[int, m.ExchangeDone]]
    seconds: float
    peak_memory_bytes: dict[int, int]
    """Rank -> high-water mark."""


def stage_reports(state: ActionState) -> tuple[StageReport, ...]:
    """What every stage did, in the plan's order."""
    reports = []
    for run in state.stages.values():
        results = run.results.values()
        ranks: dict[int, int] = {}
        for index in run.results:
            ranks[run.assigned[index]] = ranks.get(run.assigned[index], 0) + 1
        rows, size = sum(r.rows for r in results), sum(r.size_bytes for r in results)
        reports.append(StageReport(run.stage, len(run.tasks), rows, size, run.ended - run.started, sum(r.seconds for r in results), ranks))
    return tuple(reports)

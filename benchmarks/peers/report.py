"""From single runs to the tables: medians and minima, ratios to hpcflow, results that differ, targets met and missed. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

RELATIVE = 1e-9


@dataclass(frozen=True)
class Run:
    """One run of one workload by one system. round 0 is the warm-up: checked, not counted."""

    system: str
    workload: str
    round: int
    seconds: float = math.nan
    rows: int = -1
    cpu_s: float = math.nan
    sums: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Cell:
    """median_s and min_s of the counted rounds; cpu_s: median CPU seconds of all the system's processes."""

    median_s: float
    min_s: float
    cpu_s: float


def cells(runs: Sequence[Run]) -> dict[tuple[str, str], Cell]:
    """(workload, system) -> figures of its counted rounds; systems that failed in any are left out."""
    failed = {(r.workload, r.system) for r in runs if r.error}
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.round > 0 and (run.workload, run.system) not in failed:
            grouped.setdefault((run.workload, run.system), []).append(run)
    return {
        key: Cell(median(r.seconds for r in rs), min(r.seconds for r in rs), median(r.cpu_s for r in rs)) for key, rs in grouped.items()
    }  # fmt: skip


def mismatches(runs: Sequence[Run]) -> list[str]:
    """One line for each run whose rows or sums differ from those of the workload's first run (relative 1e-9)."""
    first: dict[str, Run] = {}
    lines: list[str] = []
    for run in (r for r in runs if not r.error):
        want = first.setdefault(run.workload, run)
        wrong = [f"rows {run.rows}, not {want.rows}"] if run.rows != want.rows else []
        got = {column: run.sums.get(column, math.nan) for column in want.sums}
        wrong += [f"{c} {got[c]!r}, not {value!r}" for c, value in want.sums.items() if not math.isclose(got[c], value, rel_tol=RELATIVE)]
        if wrong:
            lines.append(f"{run.workload}: {run.system} (round {run.round}) differs from {want.system}: {'; '.join(wrong)}")
    return lines


def table(runs: Sequence[Run], systems: Sequence[str], workloads: Sequence[str], what: str) -> str:
    """A Markdown table, a row a workload and a column a system; what: "seconds" (median, minimum in brackets), "ratio" (to hpcflow) or "cpu"."""
    found = cells(runs)
    errors = {(r.workload, r.system) for r in runs if r.error}
    rows = [["workload", *systems], ["---", *("---:" for _ in systems)]]
    rows += [[name, *(_text(found, name, system, what, (name, system) in errors) for system in systems)] for name in workloads]
    widths = [max(len(row[i]) for row in rows) for i in range(len(systems) + 1)]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows)


def _text(found: dict[tuple[str, str], Cell], workload: str, system: str, what: str, failed: bool) -> str:
    cell, ours = found.get((workload, system)), found.get((workload, "hpcflow"))
    if cell is None:
        return "failed" if failed else "-"
    if what == "seconds":
        return f"{cell.median_s:.3f} ({cell.min_s:.3f})"
    if what == "cpu":
        return f"{cell.cpu_s:.2f}"
    return f"{cell.median_s / ours.median_s:.2f}" if ours else "-"


def targets(runs: Sequence[Run], workloads: Sequence[str]) -> list[str]:
    """One line a target: met or missed, with the figure. Faster than Bodo, Dask and Spark; join and sort at most half of Bodo's time; at most the
    larger of 1.5 times Polars and Polars + 60 ms."""
    found = cells(runs)
    lines: list[str] = []
    for name in workloads:
        if (ours := found.get((name, "hpcflow"))) is None:
            continue
        limits = {other: found[name, other].median_s for other in ("bodo", "dask", "spark") if (name, other) in found}
        if name in ("join", "sort") and "bodo" in limits:
            limits["bodo / 2"] = limits.pop("bodo") / 2
        if (polars := found.get((name, "polars"))) is not None:
            limits["polars x 1.5 or + 60 ms"] = max(1.5 * polars.median_s, polars.median_s + 0.06)
        for other, limit in limits.items():
            verdict = "met   " if ours.median_s <= limit else "MISSED"
            lines.append(f"{verdict} {name}: {ours.median_s:.3f} s; at most {limit:.3f} s ({other})")
    return lines


def as_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every run, in order."""
    return [asdict(run) for run in runs]

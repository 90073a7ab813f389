"""What a user sees of a plan: the program, what the compiler made of it, the stages, and after a run what each did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.ir.dag import Dag
from hpcflow.ir.operators.base import brief
from hpcflow.ir.properties import Pattern
from hpcflow.ir.render import edge_text, to_dot, to_json, to_text
from hpcflow.plan.physical import (
    BlocksLeaf,
    BroadcastLeaf,
    DriverLeaf,
    ExchangeLeaf,
    ExchangeOutput,
    Leaf,
    PhysicalPlan,
    ShareLeaf,
    SinkOutput,
    SourceLeaf,
    Stage,
    StoreOutput,
)


def explain(
    logical: Dag,
    optimized: Dag,
    reports: Sequence[Any],
    plan: PhysicalPlan,
    *,
    passes: bool = False,
    result: Any = None,
    format: str = "text",
    workers: int | None = None,
) -> str:
    """Text, Graphviz dot (the optimized Dag) or JSON (the optimized Dag).

    Args:
        reports: a `hpcflow.compiler.policy.PassReport` for each pass.
        result: the `hpcflow.runtime.action_result.ActionResult` of a run, for its figures.
        workers: of the session that will run it.
    """
    if format == "dot":
        return to_dot(optimized)
    if format == "json":
        return json.dumps(json.loads(to_json(optimized)) | {"stages": [_stage_json(s) for s in plan.stages]}, indent=2)
    if format != "text":
        raise ConfigError(f"explain: unknown format {format!r}; there are text, dot, json")
    parts = ["program", _indent(to_text(logical))]
    if passes:
        parts += ["passes", _indent("\n".join(_pass_text(r) for r in reports))]
    else:
        changed = [r.name for r in reports if r.changed]
        parts.append(f"passes that changed it: {', '.join(changed) or 'none'}")
    parts += ["optimized", _indent(to_text(optimized)), "stages", _indent(stages_text(plan, result, workers))]
    return "\n".join(parts)


def stages_text(plan: PhysicalPlan, result: Any = None, workers: int | None = None) -> str:
    """One line a stage: what it reads, its operators, what it fills; with figures of a run."""
    figures = {} if result is None else {report.stage.id: report for report in result.stages}
    lines = []
    for stage in plan.stages:
        reads = ", ".join(_leaf_text(leaf, plan) for leaf in stage.leaves())
        writes = ", ".join(_output_text(output, plan) for output in stage.outputs) or "rows stay where they are"
        lines.append(f"S{stage.id}  {stage.label}\n    reads {reads}\n    -> {writes}")
        if stage.together:
            lines.append(f"    on all {workers or ''} workers at once".replace("  workers", " workers"))
        if stage.properties.placement is not None:
            lines.append(f"    {_placement_text(stage.properties.placement)}")
        if stage.properties.resources is not None:
            lines.append(f"    each task has {stage.properties.resources} for itself")
        if stage.id in figures:
            r = figures[stage.id]
            lines.append(
                f"    {r.tasks} tasks on {len(r.ranks)} workers, {r.rows:,} rows, {r.size_bytes / 1e6:,.1f} MB, {r.seconds:.3f} s "
                f"({r.busy_s:.3f} s in tasks)"
            )
    if result is not None:
        lines.append(f"total {result.seconds:.3f} s")
    return "\n".join(lines)


def _placement_text(placement: Any) -> str:
    return f"only on workers {', '.join(map(str, placement))}" if isinstance(placement, tuple) else f"placed by {brief(placement)}"


def _leaf_text(leaf: Leaf, plan: PhysicalPlan) -> str:
    if isinstance(leaf, SourceLeaf):
        return plan.operator(leaf.vertex).describe()
    if isinstance(leaf, DriverLeaf):
        return f"rows of the driver ({plan.operator(leaf.vertex).describe()})"
    if isinstance(leaf, ShareLeaf):
        where = "the workers' shares, dealt out unless they lie so" if leaf.moves else "rows of each worker, where they are"
        return f"{where} ({plan.dag.vertices[leaf.source]})"
    if isinstance(leaf, ExchangeLeaf):
        return f"partitions of {leaf.edge}"
    if isinstance(leaf, BroadcastLeaf):
        return f"all of {leaf.edge}"
    assert isinstance(leaf, BlocksLeaf)
    return f"cached blocks {leaf.cache[:8]}" if leaf.cache is not None else f"blocks of S{leaf.stage}"


def _output_text(output: object, plan: PhysicalPlan) -> str:
    if isinstance(output, ExchangeOutput):
        exchange = plan.exchanges[output.edge]
        if exchange.to_driver:
            return f"{output.edge}: gather all rows on the driver"
        if exchange.properties.pattern is Pattern.GATHER:
            return f"{output.edge}: gather all rows on one worker"
        return f"{output.edge}: {edge_text(exchange.properties)}" + ("" if exchange.properties.partition_count else f" x{exchange.partitions}")
    if isinstance(output, StoreOutput):
        kept = f"cache {output.cache[:8]}" if output.cache is not None else "block store"
        words = {"sample": " + sample of the sort keys", "histogram": " + histogram of the partitions"}
        return kept + "".join(dict.fromkeys(words[kind] for _, kind in output.statistics))
    assert isinstance(output, SinkOutput)
    return plan.operator(output.vertex).describe()


def _pass_text(report: Any) -> str:
    head = f"{report.name}: {'skipped' if report.skipped else 'changed' if report.changed else 'nothing to do'} ({report.seconds * 1e3:.2f} ms)"
    return head if not report.changed else f"{head}\n{_indent(to_text(report.after))}"


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {"id": stage.id, "operators": stage.label, "depends": list(stage.depends), "outputs": [type(o).__name__ for o in stage.outputs]}


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())

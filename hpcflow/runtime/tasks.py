"""Turn a task's description and the plan into rows: the fused operators of a stage as one LazyFrame.

Invariant: `evaluate` only reads; where rows come from is behind `read(leaf, ref)`, so that it can be tested without a runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import polars as pl

from hpcflow.ir.depth import make_room
from hpcflow.ir.operators.base import TaskInfo
from hpcflow.ir.operators.concat import Concat
from hpcflow.plan.physical import BlockRef, BroadcastLeaf, DriverLeaf, Leaf, LeafRef, Node, PhysicalPlan, SourceLeaf, Stage, TaskSpec


@dataclass
class OperatorTrace:
    """The operator that is being built or run, for the error message."""

    name: str = ""
    built: list[tuple[str, pl.LazyFrame]] = field(default_factory=list)
    """Operators whose lazy rows have been built and not been collected for good, inputs first: what a failure of the whole is traced back to."""
    attempt: int = 0
    """Which one it is: those before have failed for reasons that may pass (runtime/retries.py)."""
    handed_over: bool = False
    """Rows of this attempt have left the task, or its inputs are gone: it cannot be repeated."""


def evaluate(
    plan: PhysicalPlan, stage: Stage, task: TaskSpec, info: TaskInfo, read: Callable[[Leaf, LeafRef | None], pl.LazyFrame], trace: OperatorTrace
) -> pl.LazyFrame:
    """The rows of one task, lazily."""
    make_room(len(plan.dag.vertices))
    refs = dict(task.reads)
    trace.built = []

    def build(item: Node | Leaf) -> pl.LazyFrame | None:
        if not isinstance(item, Node):
            if item in refs:
                trace.name = str(plan.dag.vertices[item.vertex]) if isinstance(item, SourceLeaf | DriverLeaf) else stage.label.split(" > ")[0]
                return built(read(item, refs[item]))
            return read(item, None) if isinstance(item, BroadcastLeaf) else None
        inputs = [build(child) for child in item.children]
        vertex = plan.dag.vertices[item.vertex]
        trace.name = str(vertex)
        if isinstance(vertex.operator, Concat):
            present = [frame for frame in inputs if frame is not None]
            return present[0] if present else None
        if any(frame is None for frame in inputs):
            return None
        if vertex.operator.gathers_rows:  # what came through an exchange has a chunk a frame
            inputs = [
                frame if frame is None or isinstance(child, Node) else frame.collect().rechunk().lazy()
                for frame, child in zip(inputs, item.children, strict=True)
            ]
        place = _positions(item, refs, info) if vertex.operator.needs_positions else info
        return built(vertex.operator.apply(tuple(frame for frame in inputs if frame is not None), place))

    def built(frame: pl.LazyFrame) -> pl.LazyFrame:
        trace.built.append((trace.name, frame))
        return frame

    result = build(stage.root)
    if result is None:
        raise RuntimeError(f"task {task.index} of stage {stage.id} ({stage.label}) reads nothing")
    return result


def _positions(node: Node, refs: dict[Leaf, LeafRef], info: TaskInfo) -> TaskInfo:
    """`info` with the positions of the rows that `node` reads: its input is stored (hpcflow/ir/fusion.py)."""
    ref = next((refs[child] for child in node.children if not isinstance(child, Node) and child in refs), None)
    return replace(info, position_start=ref.position_start, total_rows=ref.total_rows) if isinstance(ref, BlockRef) else info

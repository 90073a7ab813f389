"""What became of a program on its way to the workers, and sessions that stop there (`hpcflow explain`).

Invariant: with `PlansOnly` nothing is read but what compiling reads, and nothing is written; every action gives an empty result of the right schema.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import ClassVar

from hpcflow.compiler.policy import PassReport
from hpcflow.ir.dag import Dag
from hpcflow.plan.explain import explain
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.runtime.action_result import ActionResult

_VERTEX_IDS = re.compile(r"#\d+|\be\d+-\d+")


@dataclass(frozen=True)
class Compiled:
    """One program, from its Dag to its plan."""

    logical: Dag
    optimized: Dag
    passes: tuple[PassReport, ...]
    plan: PhysicalPlan
    seconds: float


class PlansOnly:
    """Prints the plan of every action in place of running it; a plan that was printed before is named by its number."""

    shown: ClassVar[int] = 0
    """Actions of this process whose plans were printed."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}
        self._actions = 0

    def show(self, name: str, compiled: Compiled) -> ActionResult:
        """Print, and give what an action over no rows gives."""
        self._actions += 1
        PlansOnly.shown += 1
        plan = compiled.plan
        text = explain(compiled.logical, compiled.optimized, compiled.passes, plan)
        before = self._shown.setdefault(_VERTEX_IDS.sub("", text), self._actions)
        _print(f"action {self._actions}: {name}" + (f", the plan of action {before}" if before != self._actions else f"\n{text}\n"))
        tables = {vertex: plan.dag.vertices[vertex].schema.to_frame() for vertex in plan.results}
        return ActionResult(tables, dict.fromkeys(plan.ends, 0), (), {}, 0.0, {})


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `hpcflow explain job.py | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at the end goes nowhere
        sys.exit(1)

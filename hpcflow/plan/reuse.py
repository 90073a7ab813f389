"""Plans that are used again: a program that was compiled before runs on the plan that it got then, with its own tables and cached datasets.

Invariant: a plan is given out only to a program with an equal key (`ir.program`), in a session whose configuration cannot change, and keeps no rows
of the driver alive.

    ready = plans.find(program, sinks) or plans.add(program, sinks, plan)
    master.run(ready.plan, "collect", ready.bindings)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.program import Program
from hpcflow.plan.physical import PhysicalPlan

KEPT_PLANS = 64
"""Plans of a session that are kept, those used last."""


@dataclass(frozen=True)
class Bindings:
    """What an action puts into the places that its plan leaves open."""

    tables: Mapping[int, FromMemory] = field(default_factory=dict)
    """Vertex of a table of the driver -> the table."""
    caches: Mapping[str, str] = field(default_factory=dict)
    """Cached dataset as the plan calls it -> its key on the workers; others are called by their own."""
    keeps_plan: bool = False
    """Workers may keep the plan for the next action: nothing in it can change."""

    def cache(self, name: str) -> str:
        """The key on the workers of a cached dataset of the plan."""
        return self.caches.get(name, name)


@dataclass(frozen=True)
class ReadyPlan:
    """A plan for one program."""

    plan: PhysicalPlan
    bindings: Bindings
    sinks: tuple[int, ...]
    """Vertex of the plan for each sink of the program."""


@dataclass(frozen=True)
class _Kept:
    plan: PhysicalPlan
    program: Program
    sinks: tuple[int, ...]


class PlanCache:
    """The plans of a session. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, program: Program) -> ReadyPlan | None:
        """The plan of an equal program, bound to this one; None: there is none."""
        with self._lock:
            kept = self._kept.get(program.key)
            if kept is None:
                return None
            self._kept.move_to_end(program.key)
        return _bound(kept, program)

    def add(self, program: Program, sinks: Sequence[int], plan: PhysicalPlan) -> ReadyPlan:
        """Keep the plan of a program."""
        kept = _Kept(_without_rows(plan), replace(program, tables=tuple((v, replace(t, frame=None)) for v, t in program.tables)), tuple(sinks))
        with self._lock:
            self._kept[program.key] = kept
            if len(self._kept) > KEPT_PLANS:
                self._kept.popitem(last=False)
        return _bound(kept, program)


def _bound(kept: _Kept, program: Program) -> ReadyPlan:
    vertices = kept.plan.dag.vertices
    tables = {}
    for (vertex, _), (_, table) in zip(kept.program.tables, program.tables, strict=True):
        if vertex in vertices:  # else merged with another that reads the same table
            wanted = vertices[vertex].operator.output_schema(())
            tables[vertex] = table if wanted == table.schema else table.with_pushdown(tuple(wanted), None)
    caches = dict(zip(kept.program.caches, program.caches, strict=True))
    return ReadyPlan(kept.plan, Bindings(tables, caches, not program.runs_user_code), kept.sinks)


def _without_rows(plan: PhysicalPlan) -> PhysicalPlan:
    dag = plan.dag
    for vertex in list(dag.vertices.values()):
        if isinstance(vertex.operator, FromMemory):
            dag = dag.with_vertex(replace(vertex, operator=replace(vertex.operator, frame=None)))
    return replace(plan, dag=dag)

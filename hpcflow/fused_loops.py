"""Loop fusion: loops that an action needs together, and that run equally often, run as one: one action an iteration, whatever their number.

    a = iterate(f, x, max_iterations=20);  b = iterate(g, y, max_iterations=20);  a.join(b, ...)      ->      one loop of state (a, b), 20 times

Invariant: the fused loop leaves exactly what the loops leave one by one. Loops with a condition, a checkpoint or metrics, loops that start from or
use each other, and bodies that see the order of rows run alone: they would wait for each other, or lose the partitions that their states lie in.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace

from hpcflow.api import building
from hpcflow.api.loops import Loop
from hpcflow.compiler.loops import minds_order
from hpcflow.nested_loops import loops_used


def groups_of(loops: Sequence[Loop]) -> list[list[Loop]]:
    """The loops in groups that run as one, in the order of their first loops."""
    groups: list[list[Loop]] = []
    may_fuse = {loop for loop in loops if _may_fuse(loop)} if len(loops) > 1 else set()
    for loop in loops:
        fitting = (group for group in groups if group[0] in may_fuse and all(_fit(one, loop) for one in group))
        found = next(fitting, None) if loop in may_fuse else None
        if found is None:
            groups.append([loop])
        else:
            found.append(loop)
    return groups


def fused(group: Sequence[Loop]) -> Loop:
    """One loop of all their states; part `name_in(n, part)` of it is that part of loop n of the group."""
    first, parts = group[0], [(n, loop, part) for n, loop in enumerate(group) for part in loop.initial]
    return replace(
        first,
        key=f"loop {uuid.uuid4().hex}",
        initial={name_in(n, part): loop.initial[part] for n, loop, part in parts},
        bodies={name_in(n, part): loop.bodies[part] for n, loop, part in parts},
        placeholders={name_in(n, part): loop.state_key(part) for n, loop, part in parts},
        rebuild=dict,
        lock=threading.RLock(),
        held={},
    )


def name_in(number: int, part: str) -> str:
    """What a part of loop `number` of a group is called in the fused loop."""
    return f"{number}: {part}"


def _may_fuse(loop: Loop) -> bool:
    alone = loop.has_end or loop.checkpoint is not None or loop.metrics is not None or bool(loops_used(loop.bodies.values()))
    return not alone and not minds_order(building.to_dag(list(loop.bodies.values()), {}))


def _fit(one: Loop, other: Loop) -> bool:
    """Whether two loops run equally often and neither needs the other."""
    if one.max_iterations != other.max_iterations:
        return False
    needs = loops_used([*one.initial.values(), *other.initial.values()])
    return one not in needs and other not in needs

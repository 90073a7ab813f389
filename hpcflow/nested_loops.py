"""Loops in the bodies of loops: which loop runs where, and what it sees of those around it.

    iterate(body, s)                 the loop around: runs once
      body: iterate(inner, start(s)) depends on s: runs in every iteration of the loop around, before the rest of its body
            iterate(other, table)    depends on nothing around: runs once, before the loop around

Invariant: a loop belongs to the innermost loop whose state it depends on; what it reads of the loops around it (their states, results of loops before
it) it reads under names, which are bound to what is on the workers each time that it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpcflow.api.building import behind
from hpcflow.api.dataset import Dataset
from hpcflow.api.loops import Loop
from hpcflow.ir.operators.concat import Cache, ReadCache
from hpcflow.ir.operators.iterate import Iterate


@dataclass(frozen=True)
class Around:
    """What a loop sees of the loops around it; without fields: a loop that is in no other."""

    names: frozenset[str] = frozenset()
    """Under which the body reads their states, and results of loops before it."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Name -> estimated bytes, where there is an estimate."""

    def then(self, names: Mapping[str, int | None]) -> Around:
        """With more names (and their sizes)."""
        known = {name: size for name, size in names.items() if size is not None}
        return Around(self.names | names.keys(), {**self.sizes, **known})


def result_name(loop: Loop, part: str) -> str:
    """Under which the loop around reads a part of what a loop in its body leaves."""
    return f"{loop.key}/{part}"


def inner_loops(loop: Loop) -> list[Loop]:
    """The loops that run in every iteration of `loop`, each after those that it needs."""
    below = _below(loop)
    states = {other.key: _state_names(other) for other in below}
    mine = _state_names(loop)

    def is_inner(other: Loop) -> bool:
        names = reads_of(other)
        of_others = frozenset().union(*(state for key, state in states.items() if key != other.key)) if len(states) > 1 else frozenset()
        return bool(names & mine) and not names & of_others

    return [other for other in below if is_inner(other)]


def free_loops(loop: Loop) -> list[Loop]:
    """The loops in the body of `loop` that depend on no state of a loop: they run once, before it."""
    below = _below(loop)
    states = frozenset().union(_state_names(loop), *map(_state_names, below))
    return [other for other in below if not reads_of(other) & states - _state_names(other)]


def reads_of(loop: Loop) -> frozenset[str]:
    """Names of all that a loop reads that is cached, the loops that it uses included; but for its own state, unless a loop in its body reads that."""
    own = _state_names(loop)
    names, loops = _reach(_datasets(loop))
    return (names - own) | frozenset().union(*(reads_of(other) - own for other in loops))


def loops_of(datasets: Iterable[Dataset]) -> list[Loop]:
    """The loops that these datasets come from, directly: what a loop starts from is its own matter."""
    return _reach(datasets)[1]


def loops_used(datasets: Iterable[Dataset]) -> list[Loop]:
    """All loops that these datasets come from, and those that they start from or use; each after those that it needs."""
    ordered: dict[str, Loop] = {}

    def visit(some: Iterable[Dataset]) -> None:
        for other in _reach(some)[1]:
            if other.key not in ordered:
                visit(_datasets(other))
                ordered[other.key] = other

    visit(datasets)
    return list(ordered.values())


def caches_within(datasets: Iterable[Dataset], names: Iterable[str]) -> frozenset[str]:
    """Keys of the `.cache()`s that depend on what is read under `names`: they are other rows in every iteration, and nobody else's to read."""
    changing = frozenset(names)
    depends: dict[int, bool] = {}
    found: set[str] = set()
    stack = [(dataset, False) for dataset in datasets]
    while stack:
        dataset, seen_inputs = stack.pop()
        vertex, operator = dataset._vertex, dataset._vertex.operator
        if vertex.id in depends:
            continue
        if isinstance(operator, Iterate):
            depends[vertex.id] = result_name(operator.loop, operator.part) in changing
        elif not seen_inputs:
            stack.append((dataset, True))
            stack.extend((given.dataset, False) for given in dataset._inputs)
        else:
            reads = isinstance(operator, ReadCache) and operator.key in changing
            depends[vertex.id] = reads or any(depends[given.dataset._vertex.id] for given in dataset._inputs)
            if isinstance(operator, Cache) and depends[vertex.id]:
                found.add(operator.key)
    return frozenset(found)


def _state_names(loop: Loop) -> frozenset[str]:
    return frozenset(loop.state_key(part) for part in loop.initial)


def _datasets(loop: Loop) -> list[Dataset]:
    return [*loop.initial.values(), *loop.parts.values(), *([] if loop.verdict is None else [loop.verdict])]


def _below(loop: Loop) -> list[Loop]:
    """All loops that the body of `loop` uses, in bodies of loops too; each after those that it needs."""
    return loops_used([*loop.parts.values(), *([] if loop.verdict is None else [loop.verdict])])


def _reach(datasets: Iterable[Dataset]) -> tuple[frozenset[str], list[Loop]]:
    """(names of what is read that is cached, loops whose results are used) by these datasets; not through the loops."""
    names: set[str] = set()
    loops: dict[Loop, None] = {}
    for dataset in behind(datasets, lambda operator: isinstance(operator, Iterate)):
        operator = dataset._vertex.operator
        if isinstance(operator, ReadCache):
            names.add(operator.key)
        if isinstance(operator, Iterate):
            loops[operator.loop] = None
    return frozenset(names), list(loops)

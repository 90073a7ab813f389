"""A Policy is an ordered list of passes; the runner times, checks and can skip each.

A pass is a function `(Dag, CompileContext) -> Dag` wrapped in `Pass`. An *annotating* pass changes properties only (the runner checks that vertices
and ends of edges stay); others may insert, merge or remove vertices. Add your own with `Policy.with_pass`, or by an entry point of group
`hpcflow.passes`.

    policy = DEFAULT.without("broadcast_join").with_pass(Pass("mine", my_function, annotates=("compression",)), after="compression")
    hf.Session(policy=policy)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hpcflow.config import SessionConfig
from hpcflow.errors import ConfigError, near_names
from hpcflow.ir import legality
from hpcflow.ir.dag import Dag
from hpcflow.ir.partitioning import Partitioning


@dataclass(frozen=True)
class CompileContext:
    """What passes may know of the session."""

    workers: int
    config: SessionConfig
    nodes: int = 1
    """Hosts the ranks are on; 1: no network between them."""
    cached: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Cached dataset that is already on the workers -> (rows, bytes)."""
    partitioned: Mapping[str, frozenset[Partitioning]] = field(default_factory=dict)
    """Cached dataset -> the hash partitionings that its blocks keep."""
    guesses: bool = True
    """Joins may be decided by what is only guessed of their inputs' sizes (compiler/expectations.py)."""

    @property
    def default_partitions(self) -> int:
        """Partitions of a shuffle that nobody has said anything about."""
        return self.workers * self.config.partitions_per_worker


@dataclass(frozen=True)
class Pass:
    """One named pass."""

    name: str
    run: Callable[[Dag, CompileContext], Dag]
    requires: tuple[str, ...] = ()
    """Passes that must come before it where they are in the policy."""
    annotates: tuple[str, ...] = ()
    """Execution properties it sets; a pass that only annotates leaves the shape of the Dag alone."""
    reshapes: bool = False
    """It may insert, merge, change or remove vertices."""
    condition: Callable[[Dag, CompileContext], bool] = lambda dag, context: True
    """The pass is skipped where this is False."""


@dataclass(frozen=True)
class PassReport:
    """What the runner saw of one pass."""

    name: str
    seconds: float
    changed: bool
    skipped: bool
    before: Dag
    after: Dag

    @property
    def vertices_before(self) -> int:
        """Vertices that the pass was given."""
        return len(self.before.vertices)

    @property
    def vertices_after(self) -> int:
        """Vertices that it left."""
        return len(self.after.vertices)


@dataclass(frozen=True)
class Policy:
    """Passes in the order in which they run."""

    passes: tuple[Pass, ...]

    def without(self, name: str) -> Policy:
        """The policy less one pass."""
        self._find(name)
        return Policy(tuple(p for p in self.passes if p.name != name))

    def with_pass(self, new: Pass, after: str | None = None) -> Policy:
        """The policy with one more pass, at the end or after the pass of that name."""
        at = len(self.passes) if after is None else self._find(after) + 1
        return Policy((*self.passes[:at], new, *self.passes[at:]))

    def _find(self, name: str) -> int:
        names = [p.name for p in self.passes]
        if name not in names:
            raise ConfigError(f"no pass {name!r} in the policy{near_names(name, names)}; it has {', '.join(names)}")
        return names.index(name)


def optimize(dag: Dag, policy: Policy, context: CompileContext) -> tuple[Dag, tuple[PassReport, ...]]:
    """Run the passes of `policy` in order. Raises IllegalDagError naming the pass that broke the Dag, ConfigError for an order that `requires`
    forbids."""
    legality.check(dag, context.partitioned)
    reports: list[PassReport] = []
    seen: list[str] = []
    names = [p.name for p in policy.passes]
    for current in policy.passes:
        late = [name for name in current.requires if name in names and name not in seen]
        if late:
            raise ConfigError(f"pass {current.name!r} must come after {', '.join(map(repr, late))} in the policy")
        seen.append(current.name)
        start = time.perf_counter()
        skipped = not current.condition(dag, context)
        new = dag if skipped else current.run(dag, context)
        seconds = time.perf_counter() - start
        changed = new is not dag
        if changed:
            _check_pass(current, dag, new, context)
        reports.append(PassReport(current.name, seconds, changed, skipped, dag, new))
        dag = new
    return dag, tuple(reports)


def _check_pass(current: Pass, before: Dag, after: Dag, context: CompileContext) -> None:
    try:
        legality.check(after, context.partitioned, before)
    except legality.IllegalDagError as error:
        raise legality.IllegalDagError(f"pass {current.name!r}: {error}") from error
    if not current.reshapes and _shape(before) != _shape(after):
        raise legality.IllegalDagError(f"pass {current.name!r} says that it only annotates {current.annotates}, and it changed the shape of the Dag")
    for sink in before.sinks:
        kept = after.vertices.get(sink.id)
        if kept is None or list(kept.schema.items()) != list(sink.schema.items()):
            now = "gone" if kept is None else f"now {kept.schema}"
            raise legality.IllegalDagError(f"pass {current.name!r} may not change what leaves the Dag: {sink} had {sink.schema}, and is {now}")
    if current.reshapes:
        return
    ends = {(e.source, e.target, e.index): e.properties for e in before.edges}
    pairs: list[tuple[str, Any, Any]] = [(str(v), before.vertices[v.id].properties, v.properties) for v in after.vertices.values()]
    for edge in after.edges:
        where = f"edge {after.vertices[edge.source]} -> {after.vertices[edge.target]}"
        pairs.append((where, ends[edge.source, edge.target, edge.index], edge.properties))
    for where, old, new in pairs:
        if undeclared := ", ".join(sorted(_changed(old, new) - set(current.annotates))):
            raise legality.IllegalDagError(f"pass {current.name!r} changed {undeclared} of {where}, which it does not declare in annotates")


def _shape(dag: Dag) -> object:
    return ({(v.id, id(v.operator)) for v in dag.vertices.values()}, sorted((e.source, e.target, e.index) for e in dag.edges))


def _changed(a: Any, b: Any) -> set[str]:
    return set() if a is b else {name for name in a.__dataclass_fields__ if _differ(getattr(a, name), getattr(b, name))}


def _differ(a: Any, b: Any) -> bool:
    try:
        return a is not b and bool(a != b)
    except TypeError:  # expressions, which compare to expressions
        return True


def resolve(policy: object) -> Policy:
    """A Policy from an option's value: a Policy, `"default"`, `"none"`, or the name of an entry point of group `hpcflow.policies`; passes of the
    entry points of group `hpcflow.passes` are appended to the default one."""
    from importlib.metadata import entry_points

    from hpcflow.compiler.default import DEFAULT, NONE

    if isinstance(policy, Policy):
        return policy
    if policy == "none":
        return NONE
    found = entry_points()
    if policy == "default":
        extra = tuple(point.load() for point in found.select(group="hpcflow.passes"))
        return replace(DEFAULT, passes=(*DEFAULT.passes, *extra))
    named = {point.name: point for point in found.select(group="hpcflow.policies")}
    if policy not in named:
        valid = ["default", "none", *named]
        raise ConfigError(
            f"unknown policy {policy!r}{near_names(str(policy), valid)}; there are {', '.join(valid)}, or pass a hpcflow.compiler.policy.Policy"
        )
    loaded = named[str(policy)].load()
    assert isinstance(loaded, Policy)
    return loaded

"""Loops as plans: what is computed once, what begins the state, and the plan of an iteration; with the loops in the body of a loop.

    compile_loop(session, loop)      -> stable: kept from before the first iteration;  inner: loops that run in each;  plan: of an iteration

Invariant: a plan reads the state, what is kept and what the loops around it have under names; who runs it binds them. A plan that relies on where the
state's partitions are says so in `forms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import indent
from typing import TYPE_CHECKING

from hpcflow.api import building
from hpcflow.api.actions import GATHER
from hpcflow.api.dataset import Dataset
from hpcflow.api.loops import Loop
from hpcflow.compiler.estimates import estimate_bytes
from hpcflow.compiler.loops import (
    SplitBody,
    form_of,
    fuse_into_one_step,
    kept_keys,
    minds_order,
    read_through_caches,
    shuffle_into,
    split_body,
    split_by_use,
)
from hpcflow.compiler.policy import CompileContext, PassReport, Policy, optimize
from hpcflow.errors import ConfigError
from hpcflow.ir.dag import Dag
from hpcflow.ir.operators.concat import Cache, Collect, Repartition
from hpcflow.ir.partitioning import Partitioning
from hpcflow.nested_loops import Around, caches_within, free_loops, inner_loops, result_name
from hpcflow.plan.explain import explain, stages_text
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.stages import split_stages

if TYPE_CHECKING:
    from hpcflow.session import Session

Forms = dict[str, frozenset[Partitioning]]
"""Part of the state -> the hash partitions that it is in when an iteration begins."""
ALONE = Around()
"""Of a loop that is in the body of no other."""


@dataclass(frozen=True)
class Filling:
    """Datasets that are computed before a plan needs them, and kept."""

    keys: frozenset[str]
    dag: Dag


@dataclass(frozen=True)
class Start:
    """How the state of a loop in the body of another begins."""

    stable: Filling | None
    """What does not depend on the loop around."""
    plan: PhysicalPlan


@dataclass(frozen=True)
class CompiledLoop:
    """A body in the plans that it runs as."""

    logical: Dag
    passes: tuple[PassReport, ...]
    split: SplitBody
    stable: tuple[Filling, ...]
    """What depends on no state of a loop, in the order in which it is to be filled."""
    changing: Filling | None
    """What does not depend on this loop's state, but on the loops around it."""
    start: Start | None
    inner: tuple[InnerLoop, ...]
    """Loops of the body that run before `plan` in every iteration, in this order."""
    each: Dag
    """The Dag of an iteration."""
    plan: PhysicalPlan
    """Of an iteration."""
    forms: Forms
    steps: int
    """Most iterations that one run of the plan makes: above 1 where the loop is fused into one bsp step."""
    verdict: int | None
    """Vertex that brings the verdict to the driver."""
    metrics: int | None


@dataclass(frozen=True)
class InnerLoop:
    """A loop in the body of another."""

    loop: Loop
    plans: CompiledLoop
    around: Around


@dataclass(frozen=True)
class _Cut:
    """A Dag in what is kept from before and what runs each time."""

    split: SplitBody
    passes: tuple[PassReport, ...]
    each: Dag
    context: CompileContext


def explain_loop(session: Session, loop: Loop, passes: bool) -> str:
    """The plans of a loop in words."""
    return _explained(session, loop, compile_loop(session, loop), passes)


def _explained(session: Session, loop: Loop, compiled: CompiledLoop, passes: bool) -> str:
    context = session._context()
    parts = [f"loop: {loop.describe()}"]
    fillings = [
        ("once, before the first iteration", one) for one in (*compiled.stable, *(() if compiled.start is None else (compiled.start.stable,)))
    ]
    for title, filling in [*fillings, ("each time, before the first iteration", compiled.changing)]:
        if filling is not None:
            stages = split_stages(filling.dag, context.default_partitions, context.partitioned)
            parts += [f"  {title}", indent(stages_text(stages), "    ")]
    for part, form in compiled.forms.items():
        parts.append(f"  {part} stays in {next(iter(form))[1]} hash partitions")
    for inner in compiled.inner:
        parts += ["  in each iteration, first", indent(_explained(session, inner.loop, inner.plans, passes), "    ")]
    each = explain(compiled.logical, compiled.each, compiled.passes, compiled.plan, passes=passes, workers=session.workers)
    return "\n".join([*parts, "  each iteration", indent(each, "    ")])


def compile_loop(session: Session, loop: Loop, most: int | None = None, around: Around = ALONE) -> CompiledLoop:
    """The body as plans, of which one run makes at most `most` iterations (by default as many as the next checkpoint or the limit allow).

    The state is kept in the hash partitions in which an iteration leaves it, where that saves shuffles and nobody minds.
    """
    most = allowed_steps(loop, 0) if most is None else most
    first = compile_once(session, loop, {}, most, around)
    if minds_order(first.logical) or first.inner:  # loops in the body get the state as it is
        return first
    forms = {part: frozenset(sorted(form, key=repr)[:1]) for part in loop.initial if (form := _left_in(loop, first, part))}
    while forms:
        second = compile_once(session, loop, forms, most, around)
        stable = {part: form for part, form in forms.items() if form <= _left_in(loop, second, part)}
        if stable == forms:
            return second
        forms = stable
    return first


def allowed_steps(loop: Loop, iteration: int) -> int:
    """Iterations until something has to be done between two."""
    rest = loop.max_iterations - iteration
    return rest if loop.checkpoint is None else min(rest, loop.checkpoint_every - iteration % loop.checkpoint_every)


def _left_in(loop: Loop, compiled: CompiledLoop, part: str) -> frozenset[Partitioning]:
    partitioned = {**compiled.split.kept, **{loop.state_key(p): form for p, form in compiled.forms.items()}}
    return form_of(compiled.each, out_key(loop, part), partitioned)


def compile_once(session: Session, loop: Loop, forms: Forms, most: int, around: Around = ALONE) -> CompiledLoop:
    """`compile_loop` for a state that is in these partitions. Raises ConfigError for a loop in a body that writes checkpoints."""
    if around.names and loop.checkpoint is not None:
        raise ConfigError("iterate: a loop in the body of another begins anew in every iteration: give checkpoint= to the loop around it")
    ends = {part: dataset._then(Cache(out_key(loop, part))) for part, dataset in loop.bodies.items()}
    collects = [d._then(Collect(), GATHER) for d in (loop.verdict, loop.metrics) if d is not None]
    context = _context(session, loop, forms, around)
    inner, results = _inner(session, loop, context, around)
    free = [other.result_key(part) for other in free_loops(loop) for part in other.parts]  # they have been run before this one is
    there = dict.fromkeys((*around.names, *results, *free), (0, 0))
    names = [*(loop.state_key(part) for part in loop.initial), *results]
    ours = {out_key(loop, part) for part in loop.bodies}
    logical = read_through_caches(_dag_of([*ends.values(), *collects], {**there, **context.cached}, {*names, *around.names}, ours))
    alone = len(loop.parts) == 1 and not inner
    one_step = fuse_into_one_step(logical, loop.state_key(next(iter(loop.initial))), most) if alone else None
    logical = one_step or logical
    cut = _cut(session, logical, names, f"{loop.key}/kept/", ours, context)
    stable, changing = _fillings(session, loop, cut, around)
    plan = split_stages(cut.each, context.default_partitions, cut.context.partitioned)
    ids = iter([collect._vertex.id for collect in collects])
    return CompiledLoop(
        logical=logical,
        passes=cut.passes,
        split=cut.split,
        stable=stable,
        changing=changing,
        start=_start(session, loop, forms, around) if around.names else None,
        inner=inner,
        each=cut.each,
        plan=plan,
        forms=forms,
        steps=1 if one_step is None else most,
        verdict=None if loop.verdict is None else next(ids),
        metrics=None if loop.metrics is None else next(ids),
    )


def _inner(session: Session, loop: Loop, context: CompileContext, around: Around) -> tuple[tuple[InnerLoop, ...], list[str]]:
    """The loops that run in every iteration, compiled, and the names under which the body reads what they leave."""
    sizes: dict[str, int | None] = {}
    for part in loop.initial:
        known = context.cached.get(loop.state_key(part))
        sizes[loop.state_key(part)] = None if known is None else known[1]
    found, results = [], []
    for other in inner_loops(loop):
        seen = around.then(sizes)
        found.append(InnerLoop(other, compile_loop(session, other, None, seen), seen))
        known_of = _context(session, other, {}, seen).cached  # what a loop leaves is taken to be as large as what it starts from
        for part in other.parts:
            known = known_of.get(other.state_key(part))
            sizes[result_name(other, part)] = None if known is None else known[1]
            results.append(result_name(other, part))
    return tuple(found), results


def _cut(
    session: Session, dag: Dag, names: Iterable[str], prefix: str, ends: Iterable[str], context: CompileContext, optimized: bool = False
) -> _Cut:
    """Cut what does not depend on the datasets `names` off from what does. It is cut off before joins are decided: a side that lies in the partitions
    of its keys from the first time on costs no shuffle."""
    before, after = _policies(session)
    whole, reports = (dag, ()) if optimized else optimize(dag, before, context)
    split = split_body(whole, names, prefix, ends)
    sizes = estimate_bytes(whole, context) if split.kept else {}
    kept = {key: (0, size) for key, vertex in split.kept_from.items() if (size := sizes[vertex]) is not None}
    context = replace(context, cached={**context.cached, **kept}, partitioned={**context.partitioned, **split.kept})
    each, more = optimize(split.each, after, context)
    return _Cut(split, (*reports, *more), each, context)


def _fillings(session: Session, loop: Loop, cut: _Cut, around: Around) -> tuple[tuple[Filling, ...], Filling | None]:
    """What is kept for the iterations: what never changes, and what changes with the loops around."""
    after, kept = _policies(session)[1], cut.split.kept
    if cut.split.once is None:
        return (), None
    never, changes = split_by_use(cut.split.once, kept, around.names)
    stable = [] if never is None else [Filling(kept_keys(never, kept), optimize(never, after, cut.context)[0])]
    if changes is None:
        return tuple(stable), None
    keys = kept_keys(changes, kept)
    deep = _cut(session, changes, around.names, f"{loop.key}/deep/", keys, cut.context, optimized=True)
    if deep.split.once is not None:
        stable.append(Filling(frozenset(deep.split.kept), optimize(deep.split.once, after, deep.context)[0]))
    return tuple(stable), Filling(keys, deep.each)


def _start(session: Session, loop: Loop, forms: Forms, around: Around) -> Start:
    """The plan that fills the state of a loop in the body of another."""
    ends = []
    for part, given in loop.initial.items():
        if part in forms:
            given = given._then(Repartition(), shuffle_into(next(iter(forms[part]))))
        ends.append(given._then(Cache(start_key(loop, part))))
    context = _context(session, loop, {}, around)
    ours = {start_key(loop, part) for part in loop.initial}
    dag = read_through_caches(_dag_of(ends, {**context.cached, **dict.fromkeys(around.names, (0, 0))}, around.names, ours))
    cut = _cut(session, dag, around.names, f"{loop.key}/start/", ours, context)
    once = cut.split.once
    stable = None if once is None else Filling(frozenset(cut.split.kept), optimize(once, _policies(session)[1], cut.context)[0])
    return Start(stable, split_stages(cut.each, context.default_partitions, cut.context.partitioned))


def _dag_of(datasets: Sequence[Dataset], cached: Mapping[str, tuple[int, int]], names: Iterable[str], ends: Iterable[str] = ()) -> Dag:
    """The logical Dag of datasets in a body. A `.cache()` of what changes in every iteration keeps nothing: within a plan it is computed once anyway.
    The caches `ends` are the loop's own."""
    changing = caches_within(datasets, names) - frozenset(ends)
    dag = building.to_dag(datasets, {key: facts for key, facts in cached.items() if key not in changing})
    for vertex in list(dag.vertices.values()):
        if isinstance(vertex.operator, Cache) and vertex.operator.key in changing:
            dag = dag.without(vertex.id)
    return dag


def _policies(session: Session) -> tuple[Policy, Policy]:
    """The session's policy in two: what is done before a body is cut, and after."""
    passes = session._policy.passes
    places = [place for place, one in enumerate(passes) if one.name == "broadcast_join"]
    return Policy(passes[: places[0]] if places else passes), Policy(passes[places[0] :] if places else ())


def _context(session: Session, loop: Loop, forms: Forms, around: Around) -> CompileContext:
    """What the compiler knows: of the state its size, as far as that of what the loop starts from is known."""
    context = session._context()
    context = replace(context, cached={**context.cached, **{name: (0, size) for name, size in around.sizes.items()}})
    dag = _dag_of(list(loop.initial.values()), {**context.cached, **dict.fromkeys(around.names, (0, 0))}, around.names)
    sizes = estimate_bytes(dag, context)
    cached = dict(context.cached)
    for part, dataset in loop.initial.items():
        size = sizes.get(dataset._vertex.id)
        if size is not None:
            cached[loop.state_key(part)] = (0, size)
    of_state = {loop.state_key(part): form for part, form in forms.items()}
    # No guesses: the plan has to fit every iteration, and only an action by itself is planned again.
    return replace(context, cached=cached, partitioned={**context.partitioned, **of_state}, guesses=False)


def start_key(loop: Loop, part: str) -> str:
    """Under which the state of a loop in a body is filled."""
    return f"{loop.key}/from/{part}"


def out_key(loop: Loop, part: str) -> str:
    """Under which an iteration leaves a part of the state."""
    return f"{loop.key}/out/{part}"

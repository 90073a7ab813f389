"""Runs the loops that an action needs: the body compiled once, then one action an iteration, on state that stays on the workers.

    compile_loop(session, loop)      -> once: what does not depend on the state;  each: the plan of an iteration
    run_loop(session, loop)          once, then each, each, each, ...; only the verdict (and metrics) come to the driver

Invariant: however a loop ends, the workers hold nothing of it but its result. A plan that relies on where the state's partitions are is run
on a state that is there, else the body is compiled for rows that are anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from textwrap import indent
from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api import building
from hpcflow.api.actions import GATHER
from hpcflow.api.dataset import Dataset
from hpcflow.api.loops import METRICS, Loop
from hpcflow.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from hpcflow.compiler.estimates import estimate_bytes
from hpcflow.compiler.loops import SplitBody, form_of, fuse_into_one_step, minds_order, read_through_caches, shuffle_into, split_body
from hpcflow.compiler.policy import CompileContext, PassReport, Policy, optimize
from hpcflow.errors import ActionCancelledError, ConfigError, NotConvergedError, SchemaError
from hpcflow.events import records
from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.operators.concat import Cache, Collect, ReadCache, Repartition
from hpcflow.ir.operators.iterate import Iterate
from hpcflow.ir.partitioning import Partitioning
from hpcflow.plan.explain import explain, stages_text
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.reuse import Bindings
from hpcflow.plan.stages import split_stages
from hpcflow.runtime.master import CacheGoneError

if TYPE_CHECKING:
    from hpcflow.runtime.action_result import ActionResult
    from hpcflow.runtime.futures import Future
    from hpcflow.session import Session

Forms = dict[str, frozenset[Partitioning]]
"""Part of the state -> the hash partitions that it is in when an iteration begins."""


@dataclass(frozen=True)
class CompiledLoop:
    """A body in the two plans that it runs as."""

    logical: Dag
    passes: tuple[PassReport, ...]
    split: SplitBody
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


def loops_of(datasets: Iterable[Dataset]) -> list[Loop]:
    """The loops that these datasets come from, directly."""
    found: dict[str, Loop] = {}
    seen: set[int] = set()
    stack = list(datasets)
    while stack:
        dataset = stack.pop()
        if dataset._vertex.id in seen:
            continue
        seen.add(dataset._vertex.id)
        if isinstance(dataset._vertex.operator, Iterate):
            found[dataset._vertex.operator.key] = dataset._vertex.operator.loop
            continue  # what a loop starts from is its own matter
        stack.extend(given.dataset for given in dataset._inputs)
    return list(dict.fromkeys(found.values()))


def explain_loop(session: Session, loop: Loop, passes: bool) -> str:
    """The plans of a loop in words."""
    compiled = compile_loop(session, loop)
    context = session._context()
    parts = [f"loop: {loop.describe()}"]
    if compiled.split.once is not None:
        once = split_stages(compiled.split.once, context.default_partitions, context.partitioned)
        parts += ["  once, before the first iteration", indent(stages_text(once), "    ")]
    for part, form in compiled.forms.items():
        parts.append(f"  {part} stays in {next(iter(form))[1]} hash partitions")
    each = explain(compiled.logical, compiled.each, compiled.passes, compiled.plan, passes=passes, workers=session.workers)
    return "\n".join([*parts, "  each iteration", indent(each, "    ")])


def run_loops(session: Session, sinks: Iterable[Dataset], future: Future[Any] | None = None) -> None:
    """Run the loops that these datasets need and that have not been run; cancelling the future ends them. Raises NotConvergedError."""
    for loop in loops_of(sinks):
        with loop.lock:
            cached = session._master.cached()
            if not all(loop.result_key(part) in cached for part in loop.parts):
                _LoopRun(session, loop, future).run()


def compile_loop(session: Session, loop: Loop, most: int | None = None) -> CompiledLoop:
    """The body as plans, of which one run makes at most `most` iterations (by default as many as the next checkpoint or the limit allow).

    The state is kept in the hash partitions in which an iteration leaves it, where that saves shuffles and nobody minds.
    """
    most = _allowed(loop, 0) if most is None else most
    first = _compiled(session, loop, {}, most)
    if minds_order(first.logical):
        return first
    forms = {part: frozenset(sorted(form, key=repr)[:1]) for part in loop.initial if (form := _left_in(loop, first, part))}
    while forms:
        second = _compiled(session, loop, forms, most)
        stable = {part: form for part, form in forms.items() if form <= _left_in(loop, second, part)}
        if stable == forms:
            return second
        forms = stable
    return first


def _allowed(loop: Loop, iteration: int) -> int:
    """Iterations until something has to be done between two."""
    rest = loop.max_iterations - iteration
    return rest if loop.checkpoint is None else min(rest, loop.checkpoint_every - iteration % loop.checkpoint_every)


def _left_in(loop: Loop, compiled: CompiledLoop, part: str) -> frozenset[Partitioning]:
    partitioned = {**compiled.split.kept, **{loop.state_key(p): form for p, form in compiled.forms.items()}}
    return form_of(compiled.each, _out_key(loop, part), partitioned)


def _compiled(session: Session, loop: Loop, forms: Forms, most: int) -> CompiledLoop:
    ends = {part: dataset._then(Cache(_out_key(loop, part))) for part, dataset in loop.bodies.items()}
    collects = [d._then(Collect(), GATHER) for d in (loop.verdict, loop.metrics) if d is not None]
    context = _context(session, loop, forms)
    passes = session._policy.passes
    places = [place for place, one in enumerate(passes) if one.name == "broadcast_join"]
    before, after = Policy(passes[: places[0]] if places else passes), Policy(passes[places[0] :] if places else ())
    logical = read_through_caches(building.to_dag([*ends.values(), *collects], context.cached))
    if any(isinstance(vertex.operator, Iterate) for vertex in logical.vertices.values()):
        raise ConfigError("iterate: the body of a loop uses a loop that has not been run; collect or cache that one first, or unroll it")
    one_step = fuse_into_one_step(logical, loop.state_key(next(iter(loop.initial))), most) if len(loop.parts) == 1 else None
    logical = one_step or logical
    # What is kept is cut off before joins are decided: a side that lies in the partitions of its keys from the first iteration on costs no shuffle.
    whole, reports = optimize(logical, before, context)
    outs = [_out_key(loop, part) for part in loop.bodies]
    split = split_body(whole, [loop.state_key(part) for part in loop.initial], f"{loop.key}/kept/", outs)
    sizes = estimate_bytes(whole, context) if split.kept else {}
    kept = {key: (0, size) for key, vertex in split.kept_from.items() if (size := sizes[vertex]) is not None}
    context = replace(context, cached={**context.cached, **kept}, partitioned={**context.partitioned, **split.kept})
    each, more = optimize(split.each, after, context)
    once = None if split.once is None else optimize(split.once, after, context)[0]
    plan = split_stages(each, context.default_partitions, context.partitioned)
    steps = 1 if one_step is None else most
    ids = iter([collect._vertex.id for collect in collects])
    verdict = None if loop.verdict is None else next(ids)
    metrics = None if loop.metrics is None else next(ids)
    return CompiledLoop(logical, (*reports, *more), replace(split, once=once), each, plan, forms, steps, verdict, metrics)


def _context(session: Session, loop: Loop, forms: Forms) -> CompileContext:
    """What the compiler knows: of the state its size, as far as that of what the loop starts from is known."""
    context = session._context()
    dag = building.to_dag(list(loop.initial.values()), context.cached)
    sizes = estimate_bytes(dag, context)
    cached = dict(context.cached)
    for part, dataset in loop.initial.items():
        size = sizes[dataset._vertex.id]
        if size is not None:
            cached[loop.state_key(part)] = (0, size)
    of_state = {loop.state_key(part): form for part, form in forms.items()}
    # No guesses: the plan has to fit every iteration, and only an action by itself is planned again.
    return replace(context, cached=cached, partitioned={**context.partitioned, **of_state}, guesses=False)


def _out_key(loop: Loop, part: str) -> str:
    return f"{loop.key}/out/{part}"


_MOST_COMPILATIONS = 100
"""Of one iteration, each after a dataset that it was to read had been unpersisted."""


class _LoopRun:
    """One run of a loop."""

    def __init__(self, session: Session, loop: Loop, future: Future[Any] | None) -> None:
        self.session = session
        self.loop = loop
        self.future = future
        self.master = session._master
        self.current: dict[str, str] = {}
        """Part -> key of its rows."""
        self.metrics: pl.DataFrame | None = None
        """One row: what the last iteration reported."""
        self.converged = False
        self.kept: set[str] = set()
        """Keys of what does not depend on the state and was filled for this run."""

    def run(self) -> None:
        """To the end; the result is cached under the loop's keys."""
        loop = self.loop
        found = self._checkpoint()
        iteration = 0 if found is None else found.iteration
        compiled = compile_loop(self.session, loop, max(1, _allowed(loop, iteration)))
        try:
            self._fill_state(compiled.forms, found)
            self.converged = found is not None and found.converged
            while not self.converged and iteration < loop.max_iterations:
                if compiled.steps not in (1, _allowed(loop, iteration)):
                    compiled = compile_loop(self.session, loop, _allowed(loop, iteration))
                compiled = self._iterated(compiled, iteration)
                iteration += compiled.steps
                if loop.checkpoint is not None and (iteration % loop.checkpoint_every == 0):
                    write_checkpoint(loop.checkpoint, iteration, self.converged, self._to_write())
        except BaseException:
            self._drop(self.current.values())
            raise
        finally:
            self._drop(self.kept)
        failed = loop.has_end and not self.converged and loop.on_limit == "error"
        if self.metrics is not None:
            self.current[METRICS] = f"{loop.key}/{iteration}/{METRICS}"
            self.session._execute([self.session.from_polars(self.metrics)._then(Cache(self.current[METRICS]))], "iterate")
        if failed:
            raise self._not_converged(iteration, loop.unconverged(self.current))
        loop.held.update(self.current)

    def _checkpoint(self) -> Checkpoint | None:
        loop = self.loop
        found = None if loop.checkpoint is None else read_checkpoint(loop.checkpoint)
        if found is not None and not loop.resume:
            raise ConfigError(
                f"iterate: {loop.checkpoint} holds a checkpoint of iteration {found.iteration}; pass resume=True to go on from it, or give another "
                "directory"
            )
        if found is not None and found.parts.keys() != loop.parts.keys():
            raise ConfigError(f"iterate: the checkpoint in {loop.checkpoint} has the parts {list(found.parts)}, the loop has {list(loop.parts)}")
        return found

    def _fill_state(self, forms: Forms, found: Checkpoint | None) -> None:
        ends = []
        if found is not None and self.loop.metrics is not None:
            self.metrics = self._read(found, METRICS).collect()
        for part, dataset in self.loop.initial.items():
            given = dataset if found is None else self._read(found, part)
            if part in forms:
                given = given._then(Repartition(), shuffle_into(next(iter(forms[part]))))
            ends.append(given._then(Cache(f"{self.loop.key}/0/{part}")))
            self.current[part] = ends[-1]._vertex.operator.key  # type: ignore[attr-defined]
        self.session._execute(ends, "iterate")

    def _read(self, found: Checkpoint, part: str) -> Dataset:
        data = self.session.read_parquet(found.parts[part])
        wanted = self.loop.parts[part].schema
        if data.schema != wanted:
            raise SchemaError(f"iterate: the {part} in the checkpoint {found.parts[part]} has the schema {data.schema}, and the loop has {wanted}")
        return data

    def _iterated(self, compiled: CompiledLoop, iteration: int) -> CompiledLoop:
        """Run one plan, and what it reads before it, where that is not there yet. A dataset of the user that was unpersisted since the compilation is
        computed again: the loop is compiled anew, and goes on with the state that it has."""
        for _ in range(_MOST_COMPILATIONS):
            try:
                self._fill_kept(compiled)
                formed = self._in_form(compiled)
                self._iterate(formed, iteration + compiled.steps)
                return formed
            except CacheGoneError:
                compiled = compile_loop(self.session, self.loop, _allowed(self.loop, iteration))
        raise CacheGoneError(f"the datasets that a loop reads were unpersisted {_MOST_COMPILATIONS} times while it was compiled")

    def _fill_kept(self, compiled: CompiledLoop) -> None:
        """What does not depend on the state: under keys that say what it is, so that it is filled once however often the loop is compiled."""
        if compiled.split.once is None or compiled.split.kept.keys() <= self.master.cached().keys():
            return
        self.kept |= compiled.split.kept.keys()
        context = self.session._context()
        self._run(split_stages(compiled.split.once, context.default_partitions, context.partitioned), Bindings())

    def _run(self, plan: PhysicalPlan, bindings: Bindings) -> ActionResult:
        if self.future is not None and self.future.is_cancelled:
            raise ActionCancelledError("the loop was cancelled between two iterations")
        action = self.master.prepare(plan, "iterate", bindings)
        if self.future is not None:
            self.future.attach(action)
        return action.run()

    def _in_form(self, compiled: CompiledLoop) -> CompiledLoop:
        """The loop compiled for where the rows are."""
        caches = self.master.cached()
        lies = all(form <= caches[self.current[part]].partitionings for part, form in compiled.forms.items())
        if lies and all(form <= caches[key].partitionings for key, form in compiled.split.kept.items()):
            return compiled
        split = compiled.split if not compiled.forms else _compiled(self.session, self.loop, {}, compiled.steps).split
        context = self.session._context()
        facts = {key: caches[key].partitionings for key in split.kept}
        each, _ = optimize(split.each, self.session._policy, replace(context, partitioned=facts, guesses=False))
        return replace(compiled, split=replace(compiled.split, kept=facts), forms={}, plan=split_stages(each, context.default_partitions, facts))

    def _iterate(self, compiled: CompiledLoop, iteration: int) -> None:
        loop, started = self.loop, time.monotonic()
        new = {part: f"{loop.key}/{iteration}/{part}" for part in loop.bodies}
        names = {loop.state_key(part): self.current[part] for part in loop.initial} | {_out_key(loop, part): key for part, key in new.items()}
        result = self._run(compiled.plan, Bindings(caches=names, keeps_plan=True))
        old, self.current = self.current, new
        self._drop(old.values())
        if compiled.metrics is not None:
            self.metrics = _one_row(result.tables[compiled.metrics], "the metrics of an iteration")
        if compiled.verdict is not None:
            self.converged = bool(_one_row(result.tables[compiled.verdict], "until").item())
        elif loop.until_metrics is not None and self.metrics is not None:
            self.converged = bool(self.metrics.select(loop.until_metrics).item())
        self.session.events.emit(
            records.LoopIteration(
                loop=loop.describe(), iteration=iteration, seconds=time.monotonic() - started, converged=self.converged, metrics=_words(self.metrics)
            )
        )

    def _to_write(self) -> dict[str, Dataset]:
        parts = {p: Dataset(self.session, Vertex(ReadCache(key), self.loop.bodies[p].schema)) for p, key in self.current.items()}
        return parts if self.metrics is None else {**parts, METRICS: self.session.from_polars(self.metrics)}

    def _drop(self, keys: Iterable[str]) -> None:
        if self.session.is_open and self.master.lost is None:
            for key in list(keys):
                self.master.unpersist(key)

    def _not_converged(self, iteration: int, results: Loop) -> NotConvergedError:
        last = "" if self.metrics is None else f"; the last metrics are {_words(self.metrics)}"
        return NotConvergedError(
            f"after {iteration} iterations {self.loop.condition} is not true{last}. Raise max_iterations, or pass on_limit='return' to go on with "
            "the state as it is; this error holds it as .state",
            iterations=iteration,
            metrics=None if self.metrics is None else self.metrics.row(0, named=True),
            state=results.results(),
        )


def _one_row(table: pl.DataFrame, what: str) -> pl.DataFrame:
    if table.height != 1:
        raise SchemaError(f"iterate: {what} has {table.height} rows; reduce it to one, with aggregates in select()")
    return table


def _words(metrics: pl.DataFrame | None) -> str:
    return "" if metrics is None else ", ".join(f"{name}={value}" for name, value in metrics.row(0, named=True).items())

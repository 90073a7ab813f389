"""Runs the loops that an action needs: the body compiled once, then one action an iteration, on state that stays on the workers.

    compile_loop(session, loop)      see `hpcflow.loop_plans`
    run_loop(session, loop)          what is kept, then each, each, each, ...; only the verdict (and metrics) come to the driver
        each                         the loops of the body, from where they start to their end; then the plan of the rest

Invariant: however a loop ends, the workers hold nothing of it but its result. A plan that relies on where the state's partitions are is run
on a state that is there, else the body is compiled for rows that are anywhere.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from hpcflow.api.dataset import Dataset
from hpcflow.api.loops import METRICS, Loop
from hpcflow.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from hpcflow.compiler.loops import shuffle_into
from hpcflow.compiler.policy import optimize
from hpcflow.errors import ActionCancelledError, ConfigError, NotConvergedError, SchemaError
from hpcflow.events import records
from hpcflow.fused_loops import fused, groups_of, name_in
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.concat import Cache, ReadCache, Repartition
from hpcflow.loop_plans import (
    ALONE,
    CompiledLoop,
    Filling,
    Forms,
    InnerLoop,
    allowed_steps,
    compile_loop,
    compile_once,
    explain_loop,
    out_key,
    start_key,
)
from hpcflow.nested_loops import free_loops, loops_of, result_name
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.reuse import Bindings
from hpcflow.plan.stages import split_stages
from hpcflow.runtime.master import CacheGoneError

if TYPE_CHECKING:
    from hpcflow.runtime.action_result import ActionResult
    from hpcflow.runtime.futures import Future
    from hpcflow.session import Session


def explain_loops(session: Session, sinks: Iterable[Dataset], passes: bool) -> list[str]:
    """The plans of the loops that these datasets come from, in words."""
    groups = groups_of(loops_of(sinks))
    return [explain_loop(session, group[0] if len(group) == 1 else fused(group), passes) for group in groups]


def run_loops(session: Session, sinks: Iterable[Dataset], future: Future[Any] | None = None) -> None:
    """Run the loops that these datasets need and that have not been run; cancelling the future ends them. Raises NotConvergedError."""
    for group in groups_of([loop for loop in loops_of(sinks) if not _has_run(session, loop)]):
        if len(group) == 1:
            _run_once(session, group[0], future)
        else:
            _run_fused(session, group, future)


def _run_once(session: Session, loop: Loop, future: Future[Any] | None) -> None:
    with loop.lock:
        if not _has_run(session, loop):
            _LoopRun(session, loop, future).run()


def _run_fused(session: Session, group: Sequence[Loop], future: Future[Any] | None) -> None:
    """Run the loops of a group as one. What they start from is run before: who holds the locks of several loops waits for no other."""
    run_loops(session, [dataset for loop in group for dataset in loop.initial.values()], future)
    with ExitStack() as locks:
        for loop in sorted(group, key=lambda loop: loop.key):
            locks.enter_context(loop.lock)
        left = [loop for loop in group if not _has_run(session, loop)]
        if len(left) < 2:
            for loop in left:
                _run_once(session, loop, future)
            return
        whole = fused(left)
        _LoopRun(session, whole, future).run()
        for number, loop in enumerate(left):
            loop.held.update({part: whole.held[name_in(number, part)] for part in loop.initial})


def _has_run(session: Session, loop: Loop) -> bool:
    cached = session._master.cached()
    return all(loop.result_key(part) in cached for part in loop.parts)


_MOST_COMPILATIONS = 100
"""Of one iteration, each after a dataset that it was to read had been unpersisted."""


@dataclass(frozen=True)
class _Within:
    """Where a loop runs that is in the body of another."""

    owner: _LoopRun
    """The run of the loop around all others: what does not depend on any state is kept as long as that runs."""
    inner: InnerLoop
    names: Mapping[str, str]
    """Name under which the loop reads what is around it -> key on the workers."""
    compiled: CompiledLoop
    """As it ran last in this loop around."""


class _LoopRun:
    """One run of a loop. within: in the body of another."""

    def __init__(self, session: Session, loop: Loop, future: Future[Any] | None, within: _Within | None = None) -> None:
        self.session = session
        self.loop = loop
        self.future = future
        self.within = within
        self.around = ALONE if within is None else within.inner.around
        self.inner_runs: Iterator[int] = itertools.count(1)
        self.owner: _LoopRun = self if within is None else within.owner
        self.bound: Mapping[str, str] = {} if within is None else within.names
        """Name of what is around the loop -> key on the workers."""
        self.key = loop.key if within is None else f"{loop.key}/run {next(self.owner.inner_runs)}"
        """What the keys of this run's datasets begin with."""
        self.master = session._master
        self.ran: dict[str, tuple[CompiledLoop, CompiledLoop | None]] = {}
        """Loop of the body -> as it was planned, and as it ran last: its rows may lie otherwise than they were planned to."""
        self.compiled: CompiledLoop | None = None if within is None else within.compiled
        """As it ran last."""
        self.current: dict[str, str] = {}
        """Part -> key of its rows."""
        self.metrics: pl.DataFrame | None = None
        """One row: what the last iteration reported."""
        self.converged = False
        self.kept: set[str] = set()
        """Keys of what does not depend on the state and was filled for this run."""

    def run(self) -> None:
        """To the end; the result is cached under the keys in `current`, which the loop holds where it is in no other."""
        loop = self.loop
        found = self._checkpoint()
        iteration = 0 if found is None else found.iteration
        compiled = self.compiled or self._compile(iteration)
        try:
            if compiled.start is None:
                self._fill_state(compiled.forms, found)
            else:
                self._fill(compiled.start.stable, self.owner)
                self.current = {part: f"{self.key}/0/{part}" for part in loop.initial}
                self._run(compiled.start.plan, self._bindings({start_key(loop, part): key for part, key in self.current.items()}))
            self.converged = found is not None and found.converged
            while not self.converged and iteration < loop.max_iterations:
                if compiled.steps not in (1, allowed_steps(loop, iteration)):
                    compiled = self._compile(iteration)
                compiled = self.compiled = self._iterated(compiled, iteration)
                iteration += compiled.steps
                if loop.checkpoint is not None and (iteration % loop.checkpoint_every == 0):
                    write_checkpoint(loop.checkpoint, iteration, self.converged, self._to_write())
            if self.metrics is not None:
                self.current[METRICS] = f"{self.key}/{iteration}/{METRICS}"
                self.session._execute([self.session.from_polars(self.metrics)._then(Cache(self.current[METRICS]))], "iterate")
        except BaseException:
            self._drop(self.current.values())
            raise
        finally:
            self._drop(self.kept)
        failed = loop.has_end and not self.converged and loop.on_limit == "error"
        if failed:
            raise self._not_converged(iteration, loop.unconverged(self.current))
        if self.within is None:
            loop.held.update(self.current)

    def _compile(self, iteration: int) -> CompiledLoop:
        if self.within is None:  # loops of the body that need nothing of this one
            for other in free_loops(self.loop):
                _run_once(self.session, other, self.future)
        return compile_loop(self.session, self.loop, max(1, allowed_steps(self.loop, iteration)), self.around)

    def _bindings(self, names: Mapping[str, str]) -> Bindings:
        return Bindings(caches={**self.bound, **names}, keeps_plan=True)

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
        if found is not None and found.iteration > loop.max_iterations:
            raise ConfigError(
                f"iterate: the checkpoint in {loop.checkpoint} is of iteration {found.iteration}, which is beyond max_iterations="
                f"{loop.max_iterations}; raise max_iterations, or begin anew in another directory"
            )
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
                compiled = self._compile(iteration)
        raise CacheGoneError(f"the datasets that a loop reads were unpersisted {_MOST_COMPILATIONS} times while it was compiled")

    def _fill_kept(self, compiled: CompiledLoop) -> None:
        """What does not depend on the state, under keys that say what it is: filled once, however often the loop is compiled, unless that failed."""
        for filling in compiled.stable:
            self._fill(filling, self.owner)
        self._fill(compiled.changing, self, self.bound)

    def _fill(self, filling: Filling | None, keeper: _LoopRun, names: Mapping[str, str] | None = None) -> None:
        """What is not there yet; it stays as long as `keeper` runs. names: where what it reads of the loops around is."""
        if filling is not None and not filling.keys <= self.master.cached().keys():
            keeper.kept |= filling.keys
            self._run(self._plan_of(filling), Bindings(caches=names or {}))

    def _plan_of(self, filling: Filling) -> PhysicalPlan:
        context = self.session._context()
        return split_stages(filling.dag, context.default_partitions, context.partitioned)

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
        split = compiled.split if not compiled.forms else compile_once(self.session, self.loop, {}, compiled.steps, self.around).split
        context = self.session._context()
        facts = {key: caches[key].partitionings for key in split.kept}
        each, _ = optimize(split.each, self.session._policy, replace(context, partitioned=facts, guesses=False))
        return replace(compiled, split=replace(compiled.split, kept=facts), forms={}, plan=split_stages(each, context.default_partitions, facts))

    def _iterate(self, compiled: CompiledLoop, iteration: int) -> None:
        loop, started = self.loop, time.monotonic()
        new = {part: f"{self.key}/{iteration}/{part}" for part in loop.bodies}
        state = {loop.state_key(part): self.current[part] for part in loop.initial}
        inner = self._run_inner(compiled, state)
        try:
            names = state | inner | {out_key(loop, part): key for part, key in new.items()}
            result = self._run(compiled.plan, self._bindings(names))
        finally:
            self._drop(inner.values())
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

    def _run_inner(self, compiled: CompiledLoop, state: Mapping[str, str]) -> dict[str, str]:
        """Run the loops of the body on this state; name under which the body reads a result -> key on the workers."""
        results: dict[str, str] = {}
        try:
            for inner in compiled.inner:
                planned, ran = self.ran.get(inner.loop.key, (None, None))
                plans = ran if planned is inner.plans and ran is not None else inner.plans
                run = _LoopRun(self.session, inner.loop, self.future, _Within(self.owner, inner, {**self.bound, **state, **results}, plans))
                run.run()
                self.ran[inner.loop.key] = inner.plans, run.compiled
                results |= {result_name(inner.loop, part): key for part, key in run.current.items()}
        except BaseException:
            self._drop(results.values())
            raise
        return results

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

"""One action: a physical plan on its way from the first source task to the result.

Invariant: all state is changed by one thread, the caller's, in `_handle` of one message at a time; what is decided there is computed by the pure
functions of `task_making` and `scheduler`. However it ends, every worker has let go of it (ActionEnded) before `run` returns or raises, unless a
worker is lost.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import polars as pl

from hpcflow.errors import HpcflowError, StepTimeoutError, UnpicklableError, WorkerLostError
from hpcflow.events import records
from hpcflow.ir.operators.sink import Sink
from hpcflow.ir.operators.source import Source, Split, SplitHint
from hpcflow.ir.properties import Pattern, Persistence
from hpcflow.plan.physical import (
    BlocksLeaf,
    DriverLeaf,
    ExchangeLeaf,
    ExchangeOutput,
    ExchangePlan,
    PhysicalPlan,
    SinkOutput,
    Stage,
    StoreOutput,
    TaskSpec,
)
from hpcflow.runtime import messages as m
from hpcflow.runtime import scheduler
from hpcflow.runtime.failures import error_of, worker_error
from hpcflow.runtime.states import StageState, check_transition
from hpcflow.runtime.task_making import KnownInputs, PlannedTask, StoredBlock, make_tasks
from hpcflow.runtime.vitals import heartbeat_interval_s
from hpcflow.shuffle.exchange import Exchange, ExchangeSpec

if TYPE_CHECKING:
    from hpcflow.runtime.master import Master

END_TIMEOUT_S = 60.0
"""For running tasks of an action to return after its failure; what they do cannot be interrupted."""
HASTY_END_TIMEOUT_S = 2.5
"""The same after Ctrl-C, SIGTERM and when a task is stuck."""


def _patience_s(error: BaseException) -> float:
    hasty = isinstance(error, KeyboardInterrupt | SystemExit | StepTimeoutError)
    return HASTY_END_TIMEOUT_S if hasty else END_TIMEOUT_S


@dataclass
class StageRun:
    """What is known of one stage while the action runs."""

    stage: Stage
    state: StageState = StageState.WAITING
    tasks: list[PlannedTask] = field(default_factory=list)
    unassigned: deque[TaskSpec] = field(default_factory=deque)
    """Tasks that any (allowed) worker may run and nobody has."""
    assigned: dict[int, int] = field(default_factory=dict)
    """Task -> rank."""
    results: dict[int, m.TaskResult] = field(default_factory=dict)
    stealing_from: set[int] = field(default_factory=set)
    started: float = 0.0
    ended: float = 0.0

    def move(self, state: StageState) -> None:
        """Change state along a drawn arrow."""
        check_transition(self.state, state)
        self.state = state


@dataclass
class ExchangeRun:
    """What is known of one exchange while the action runs."""

    plan: ExchangePlan
    spec: ExchangeSpec
    local: Exchange | None
    """The driver's end, where it inserts or owns."""
    owners: frozenset[int]
    done: dict[int, m.ExchangeDone] = field(default_factory=dict)
    opened: float = field(default_factory=time.monotonic)

    @property
    def complete(self) -> bool:
        """Every owner has all its rows."""
        return self.owners <= self.done.keys()

    def sizes(self) -> dict[int, tuple[int, int]]:
        """Partition -> (rows, bytes)."""
        return {p: size for done in self.done.values() for p, size in done.sizes.items()}


@dataclass(frozen=True)
class StageReport:
    """What one stage did, for explain(analyze=True)."""

    stage: Stage
    tasks: int
    rows: int
    size_bytes: int
    seconds: float
    busy_s: float
    """Sum of the seconds of its tasks."""
    ranks: dict[int, int]
    """Rank -> tasks it ran."""


@dataclass(frozen=True)
class ActionResult:
    """The end of an action."""

    tables: dict[int, pl.DataFrame]
    """Collect vertex -> its rows."""
    rows: dict[int, int]
    """End vertex -> rows that reached it."""
    stages: tuple[StageReport, ...]
    exchanges: dict[str, dict[int, m.ExchangeDone]]
    seconds: float
    peak_memory_bytes: dict[int, int]
    """Rank -> high-water mark."""


class ActionRun:
    """Drives one plan; lives as long as `run`."""

    def __init__(self, master: Master, id: int, plan: PhysicalPlan, name: str) -> None:
        self.master = master
        self.id = id
        self.plan = plan
        self.name = name
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stages = {stage.id: StageRun(stage) for stage in plan.stages}
        self.exchanges: dict[str, ExchangeRun] = {}
        self.queued = dict.fromkeys(master.worker_ranks, 0)
        """Rank -> tasks it has been given and not finished, over all stages."""
        self._splits: dict[int, tuple[Split, ...]] = {}
        self._ended: dict[int, m.ActionEnded] = {}
        self._committed = False
        self._activity: dict[int, int] = {}
        self._slots = 1 if master.config.threads is None else master.config.threads

    # -- the life of the action ---------------------------------------------------------------------------------------------------------------------

    def run(self) -> ActionResult:
        """Run to the end; see the module's invariant."""
        started = time.monotonic()
        blob = dump_plan(self.plan)
        digest = hashlib.sha256(blob).hexdigest()
        self._emit(records.ActionStarted(action=self.id, name=self.name, stages=len(self.stages), plan_hash=digest[:16]))
        try:
            self.master.broadcast(m.LoadPlan(self.id, digest, blob))
            for exchange in self.plan.exchanges.values():
                if exchange.producer < 0:
                    self._scatter(exchange)
            self._advance()
            while not all(run.state is StageState.DONE for run in self.stages.values()):
                self._handle(self._next_message())
                self._advance()
            tables = self._tables()
            self._commit_sinks()
            self._keep_caches()
        except BaseException as error:
            self._abort(error)
            self._emit(
                records.ActionFailed(action=self.id, seconds=time.monotonic() - started, error=type(error).__name__, message=str(error)[:2000])
            )
            raise
        self._end(m.EndAction(self.id))
        seconds = time.monotonic() - started
        rows = {vertex: sum(r.rows for r in self.stages[stage].results.values()) for vertex, stage in self.plan.ends.items()}
        self._emit(records.ActionFinished(action=self.id, seconds=seconds, rows=sum(rows.values()) + sum(t.height for t in tables.values())))
        peaks = {rank: ended.peak_memory_bytes for rank, ended in self._ended.items()}
        return ActionResult(tables, rows, self._reports(), {e: run.done for e, run in self.exchanges.items()}, seconds, peaks)

    def _next_message(self) -> Any:
        """The next message that changes something. Raises StepTimeoutError when nothing has got on for `step_timeout_s`, see `vitals`."""
        limit = self.master.config.step_timeout_s
        patience = limit + 3 * heartbeat_interval_s(limit)  # a worker that can still speak reports its stuck task itself, before this
        since = time.monotonic()
        while True:
            try:
                message = self.inbox.get(timeout=0.5)
            except queue.Empty:
                message = None
            if isinstance(message, m.Heartbeat):
                if self._activity.get(message.rank) != message.activity:
                    self._activity[message.rank] = message.activity
                    since = time.monotonic()
            elif isinstance(message, BaseException):
                raise message
            elif message is not None:
                return message
            if self.master.engine.error is not None:
                raise WorkerLostError(f"the engine of the master failed: {self.master.engine.error}") from self.master.engine.error
            if limit and time.monotonic() - since >= patience:
                what = f"no task and no exchange of action {self.id} made progress for {limit:.3g} s (option step_timeout_s); {self._waiting_for()}"
                self.master.broadcast(m.DumpStacks(what))
                raise StepTimeoutError(what)

    def _waiting_for(self) -> str:
        parts = []
        for run in self.stages.values():
            if run.state is StageState.RUNNING:
                left = [i for i in run.assigned if i not in run.results]
                parts.append(
                    f"stage {run.stage.id} ({run.stage.label}) waits for tasks {left[:8]} on ranks {sorted({run.assigned[i] for i in left})}"
                )
            elif run.state is StageState.DRAINING:
                for output in run.stage.outputs:
                    if isinstance(output, ExchangeOutput):
                        missing = self.exchanges[output.edge].owners - self.exchanges[output.edge].done.keys()
                        parts.append(f"exchange {output.edge} waits for ranks {sorted(missing)}")
        return "; ".join(parts) or "nothing is running"

    def _handle(self, message: Any) -> None:
        if isinstance(message, m.TasksDone):
            self._tasks_done(message)
        elif isinstance(message, m.ExchangeDone):
            self._exchange_done(message)
        elif isinstance(message, m.TasksReturned):
            self._tasks_returned(message)
        elif isinstance(message, m.TaskFailed):
            raise self._task_error(message)
        elif isinstance(message, m.WorkerFailed):
            raise worker_error(message)
        elif isinstance(message, m.TaskStalled):
            raise self._stalled(message)
        elif isinstance(message, m.ActionEnded):
            self._ended[message.rank] = message

    def _advance(self) -> None:
        """Start what can start, end what can end, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for run in self.stages.values():
                if run.state is StageState.WAITING and self._inputs_complete(run.stage):
                    self._start(run)
                    changed = True
                if run.state is StageState.RUNNING and len(run.results) == len(run.tasks):
                    self._drain(run)
                    changed = True
                if run.state is StageState.DRAINING and all(
                    self.exchanges[o.edge].complete for o in run.stage.outputs if isinstance(o, ExchangeOutput)
                ):
                    run.move(StageState.DONE)
                    changed = True
        self._hand_out()

    # -- stages -------------------------------------------------------------------------------------------------------------------------------------

    def _inputs_complete(self, stage: Stage) -> bool:
        for leaf in stage.leaves():
            if isinstance(leaf, BlocksLeaf) and leaf.stage is not None and self.stages[leaf.stage].state is not StageState.DONE:
                return False
            edge = getattr(leaf, "edge", None)
            if edge is not None and not (edge in self.exchanges and self.exchanges[edge].complete):
                return False
        return True

    def _start(self, run: StageRun) -> None:
        run.move(StageState.RUNNING)
        run.started = time.monotonic()
        run.tasks = make_tasks(self.plan, run.stage, self._known(run.stage))
        for output in run.stage.outputs:
            if isinstance(output, ExchangeOutput):
                self._open(self.plan.exchanges[output.edge], run.stage)
        self._emit(
            records.StageStarted(
                action=self.id, stage=f"S{run.stage.id}", name=run.stage.label, number=run.stage.id + 1, stages=len(self.stages), tasks=len(run.tasks)
            )
        )
        pinned: dict[int, list[TaskSpec]] = {}
        for task in run.tasks:
            if task.rank is None:
                run.unassigned.append(task.spec)
            else:
                pinned.setdefault(task.rank, []).append(task.spec)
        for rank, tasks in pinned.items():
            self._give(run, rank, tasks)

    def _drain(self, run: StageRun) -> None:
        run.ended = time.monotonic()
        results = run.results.values()
        self._emit(
            records.StageFinished(
                action=self.id,
                stage=f"S{run.stage.id}",
                seconds=run.ended - run.started,
                tasks=len(run.tasks),
                rows_out=sum(r.rows for r in results),
                bytes_out=sum(r.size_bytes for r in results),
            )
        )
        exchanges = [o.edge for o in run.stage.outputs if isinstance(o, ExchangeOutput)]
        for edge in exchanges:
            self.master.broadcast(m.FinishInserts(self.id, edge))
        self._release_inputs(run.stage)
        run.move(StageState.DRAINING if exchanges else StageState.DONE)

    def _release_inputs(self, stage: Stage) -> None:
        """Free exchanges and blocks that no later stage reads, unless an edge says to keep them."""
        for leaf in stage.leaves():
            edge = getattr(leaf, "edge", None)
            if edge is not None and self.plan.exchanges[edge].properties.persistence is Persistence.DISCARD:
                self.master.broadcast(m.CloseExchange(self.id, edge))
                self._close_local(edge)
            if isinstance(leaf, BlocksLeaf) and leaf.stage is not None and self._may_drop(leaf):
                self.master.broadcast(m.DropBlocks(("action", self.id, leaf.stage)))

    def _may_drop(self, leaf: BlocksLeaf) -> bool:
        producer = self.stages[leaf.stage].stage  # type: ignore[index]
        if any(isinstance(o, StoreOutput) and o.cache is not None for o in producer.outputs):
            return False
        readers = [
            run for run in self.stages.values() if any(isinstance(other, BlocksLeaf) and other.stage == leaf.stage for other in run.stage.leaves())
        ]
        vertex = getattr(producer.root, "vertex", None)
        kept = vertex is not None and any(e.properties.persistence is Persistence.KEEP for e in self.plan.dag.outputs(vertex))
        return not kept and all(len(run.results) == len(run.tasks) and run.state is not StageState.WAITING for run in readers)

    # -- tasks --------------------------------------------------------------------------------------------------------------------------------------

    def _allowed(self, run: StageRun) -> tuple[int, ...]:
        placement = run.stage.properties.placement
        ranks = self.master.worker_ranks
        if placement is None:
            return ranks
        allowed = tuple(ranks[w] for w in placement if 0 <= w < len(ranks))
        if not allowed:
            raise HpcflowError(
                f"stage {run.stage.id} ({run.stage.label}) may run on workers {placement}, and there are only {len(ranks)}; change the placement"
            )
        return allowed

    def _hand_out(self) -> None:
        for run in self.stages.values():
            if run.state is not StageState.RUNNING:
                continue
            allowed = self._allowed(run)
            while run.unassigned:
                hungry = [rank for rank in allowed if scheduler.wants_more(self.queued[rank], self._slots)]
                if not hungry:
                    break
                rank = min(hungry, key=lambda r: self.queued[r])
                count = scheduler.group_size(len(run.unassigned), len(allowed), self._slots)
                self._give(run, rank, [run.unassigned.popleft() for _ in range(count)])
            if not run.unassigned:
                self._steal(run, allowed)

    def _give(self, run: StageRun, rank: int, tasks: list[TaskSpec]) -> None:
        for task in tasks:
            run.assigned[task.index] = rank
        self.queued[rank] += len(tasks)
        size = self.master.send(rank, m.RunTasks(self.id, tuple(tasks)))
        self._emit(
            records.TaskGroupSent(action=self.id, stage=f"S{run.stage.id}", worker=rank, tasks=tuple(t.index for t in tasks), message_bytes=size)
        )

    def _steal(self, run: StageRun, allowed: tuple[int, ...]) -> None:
        """Ask a loaded worker to give back unstarted tasks while another is idle; only tasks that are not bound to their worker."""
        idle = [rank for rank in allowed if self.queued[rank] == 0]
        if not idle or run.stealing_from or not any(task.rank is None for task in run.tasks):
            return
        movable = dict.fromkeys(allowed, 0)
        for task in run.tasks:
            if task.rank is None and task.spec.index not in run.results:
                movable[run.assigned[task.spec.index]] += 1
        found = scheduler.victim(movable, idle[0], self._slots)
        if found is not None:
            run.stealing_from.add(found[0])
            self.master.send(found[0], m.GiveBackTasks(self.id, run.stage.id, found[1]))

    def _tasks_returned(self, message: m.TasksReturned) -> None:
        run = self.stages[message.stage]
        run.stealing_from.discard(message.rank)
        self.queued[message.rank] -= len(message.tasks)
        idle = [rank for rank in self._allowed(run) if self.queued[rank] == 0 and rank != message.rank]
        for task in message.tasks:
            del run.assigned[task.index]
            run.unassigned.append(task)
        if idle and message.tasks:
            moved = [run.unassigned.popleft() for _ in range(len(message.tasks))]
            self._emit(
                records.TasksMoved(
                    action=self.id, stage=f"S{run.stage.id}", from_worker=message.rank, to_worker=idle[0], tasks=tuple(t.index for t in moved)
                )
            )
            self._give(run, idle[0], moved)

    def _tasks_done(self, message: m.TasksDone) -> None:
        for result in message.results:
            self.stages[result.stage].results[result.index] = result
            self.queued[message.rank] -= 1
            self._emit(
                records.TaskFinished(
                    rank=message.rank,
                    action=self.id,
                    stage=f"S{result.stage}",
                    task=result.index,
                    worker=message.rank,
                    rows_in=result.rows_in,
                    rows_out=result.rows,
                    bytes_out=result.size_bytes,
                    seconds=result.seconds,
                    wait_s=result.wait_s,
                    peak_memory_bytes=result.peak_memory_bytes,
                )
            )

    def _task_error(self, message: m.TaskFailed) -> BaseException:
        run = self.stages[message.stage]
        self._emit(
            records.TaskFailed(
                rank=message.rank,
                action=self.id,
                stage=f"S{message.stage}",
                task=message.index,
                worker=message.rank,
                operator=message.operator,
                message=message.message[:2000],
            )
        )
        return error_of(message, f"{message.stage} ({run.stage.label})")

    def _stalled(self, message: m.TaskStalled) -> StepTimeoutError:
        label = self.stages[message.stage].stage.label
        error = StepTimeoutError(
            f"task {message.index} of stage {message.stage} ({label}) made no progress for {self.master.config.step_timeout_s:.3g} s on rank "
            f"{message.rank} on {message.host}: no CPU time, no bytes read, written or sent. If what it waits for takes so long, raise step_timeout_s"
        )
        error.add_note(message.stacks)
        return error

    # -- exchanges ----------------------------------------------------------------------------------------------------------------------------------

    def _open(self, plan: ExchangePlan, producer: Stage | None, partitions: int | None = None) -> ExchangeRun:
        ranks = self.master.worker_ranks
        allowed = self._readers_ranks(plan.edge)
        properties = plan.properties
        splitters = None
        count = partitions or plan.partitions
        if plan.to_driver:
            owners: tuple[int, ...] = (self.master.engine.rank,)
        elif properties.pattern is Pattern.BROADCAST:
            owners = ranks
        elif properties.pattern is Pattern.GATHER:
            owners = (allowed[len(self.exchanges) % len(allowed)],)
        else:
            owners = tuple(allowed[w] for w in scheduler.partition_owners(count, len(allowed)))
        if producer is not None and isinstance(producer.root, BlocksLeaf) and producer.root.stage is not None:
            stored = self.stages[producer.root.stage]
            statistic = next((kind for o in stored.stage.outputs if isinstance(o, StoreOutput) for e, kind in o.statistics if e == plan.edge), None)
            results = sorted(stored.results.values(), key=lambda r: r.index)
            if statistic == "sample":
                splitters = self._splitters(plan, results, count)
            elif statistic == "histogram" and not self._shares_owners(plan.edge):
                sizes = np.sum([r.histograms[plan.edge] for r in results] or [np.zeros(count)], axis=0)
                owners = tuple(allowed[w] for w in scheduler.balanced_owners([int(s) for s in sizes], len(allowed)))
        with self.master.open_lock:
            spec = ExchangeSpec(
                step=self.master.next_step(),
                owners=owners,
                sources=(self.master.engine.rank,) if plan.producer < 0 else ranks,
                schema=plan.schema,
                ordered=properties.ordered,
                broadcast=properties.pattern is Pattern.BROADCAST,
                compression=properties.compression,
                window_bytes=self.master.config.window_bytes,
                chunk_bytes=self.master.config.chunk_bytes,
            )
            local = self.master.exchanges.open(spec) if plan.to_driver or plan.producer < 0 else None
            self.master.broadcast(m.OpenExchange(self.id, plan.edge, spec, splitters))
        run = self.exchanges[plan.edge] = ExchangeRun(plan, spec, local, frozenset(owners))
        if plan.to_driver and local is not None:
            done = m.ExchangeDone(self.id, plan.edge, self.master.engine.rank, {})
            local.when_complete(lambda: self.inbox.put(done))
        self._emit(
            records.ExchangeStarted(
                action=self.id,
                step=spec.step,
                edge=plan.edge,
                partitions=len(set(owners)) if spec.broadcast else count,
                pattern=properties.pattern.value,
            )
        )
        return run

    def _readers_ranks(self, edge: str) -> tuple[int, ...]:
        """Workers that may run the tasks that read this exchange: its partitions go nowhere else."""
        reader = next((run for run in self.stages.values() if any(getattr(leaf, "edge", None) == edge for leaf in run.stage.leaves())), None)
        return self.master.worker_ranks if reader is None else self._allowed(reader)

    def _shares_owners(self, edge: str) -> bool:
        """Whether a task reads this exchange together with another, so that both must put partition i in the same place."""
        return any(
            ExchangeLeaf(edge) in run.stage.leaves() and sum(isinstance(leaf, ExchangeLeaf) for leaf in run.stage.leaves()) > 1
            for run in self.stages.values()
        )

    def _splitters(self, plan: ExchangePlan, results: list[m.TaskResult], partitions: int) -> Any:
        from hpcflow.shuffle.partitioners import choose_splitters

        samples = [sample for r in results if (sample := r.samples[plan.edge])[0].height]
        if not samples:
            return None
        order = plan.properties.order
        return choose_splitters(samples, partitions, [k.descending for k in order], [k.nulls_last for k in order])

    def _exchange_done(self, message: m.ExchangeDone) -> None:
        run = self.exchanges[message.edge]
        run.done[message.rank] = message
        self._emit(
            records.ExchangeFinished(
                rank=message.rank, action=self.id, step=run.spec.step, edge=message.edge, seconds=time.monotonic() - run.opened, **message.stats
            )
        )

    def _close_local(self, edge: str) -> None:
        run = self.exchanges.get(edge)
        if run is not None and run.local is not None:
            run.local.close()
            run.local = None

    def _scatter(self, plan: ExchangePlan) -> None:
        """Send the splits of a source that the driver holds to the workers, in bounded chunks, on a thread of its own."""
        leaf = next(leaf for stage in self.plan.stages for leaf in stage.leaves() if isinstance(leaf, DriverLeaf) and leaf.edge == plan.edge)
        splits = self._splits_of(leaf.vertex)
        exchange = self._open(plan, None, partitions=len(splits)).local
        assert exchange is not None

        def insert() -> None:
            try:
                for index, split in enumerate(splits):
                    table: pl.DataFrame = split.payload
                    exchange.insert(table, np.full(table.height, index, dtype=np.uint32), task=index)
                exchange.finish()
            except BaseException as error:
                self.inbox.put(error)

        threading.Thread(target=insert, name="hpcflow-scatter", daemon=True).start()

    # -- what is known ------------------------------------------------------------------------------------------------------------------------------

    def _known(self, stage: Stage) -> KnownInputs:
        exchanges = {edge: self.exchanges[edge] for leaf in stage.leaves() if (edge := getattr(leaf, "edge", None)) is not None}
        return KnownInputs(
            splits=self._splits_of,
            owners={edge: run.spec.owners for edge, run in exchanges.items()},
            sizes={edge: run.sizes() for edge, run in exchanges.items()},
            blocks=self._blocks_of,
            target_bytes=self.master.config.target_partition_bytes or (64 << 20),
            tasks_per_owner=self._slots,
        )

    def _splits_of(self, vertex: int) -> tuple[Split, ...]:
        if vertex not in self._splits:
            source = self.plan.dag.vertices[vertex]
            assert isinstance(source.operator, Source)
            slots = source.properties.parallelism or len(self.master.worker_ranks)
            size = source.operator.statistics().size_bytes or 0
            rounds = max(1, -(-size // (slots * self.master.config.target_split_bytes)))
            # Whole rounds of tasks over the slots: one task too many would keep one worker busy while the others wait.
            self._splits[vertex] = source.operator.splits(SplitHint(slots * rounds, self.master.config.target_split_bytes))
        return self._splits[vertex]

    def _blocks_of(self, leaf: BlocksLeaf) -> tuple[StoredBlock, ...]:
        if leaf.cache is not None:
            return self.master.caches[leaf.cache]
        assert leaf.stage is not None
        return self._stored(self.stages[leaf.stage])

    def _stored(self, run: StageRun) -> tuple[StoredBlock, ...]:
        results = sorted(run.results.values(), key=lambda r: r.index)
        return tuple(StoredBlock(r.index, run.assigned[r.index], r.block, r.rows, r.size_bytes) for r in results if r.block is not None)

    # -- the end ------------------------------------------------------------------------------------------------------------------------------------

    def _tables(self) -> dict[int, pl.DataFrame]:
        tables = {}
        for vertex, edge in self.plan.results.items():
            local = self.exchanges[edge].local
            assert local is not None
            tables[vertex] = local.extract([0])
            self._close_local(edge)
        return tables

    def _sinks(self) -> list[Sink]:
        operators = (self.plan.operator(o.vertex) for stage in self.plan.stages for o in stage.outputs if isinstance(o, SinkOutput))
        return [operator for operator in operators if isinstance(operator, Sink)]

    def _commit_sinks(self) -> None:
        for run in self.stages.values():
            for output in run.stage.outputs:
                if isinstance(output, SinkOutput):
                    sink = self.plan.operator(output.vertex)
                    assert isinstance(sink, Sink)
                    sink.commit(tuple(part for index in sorted(run.results) for part in run.results[index].sink_parts))
        self._committed = True

    def _keep_caches(self) -> None:
        for run in self.stages.values():
            for output in run.stage.outputs:
                if isinstance(output, StoreOutput) and output.cache is not None:
                    self.master.caches[output.cache] = self._stored(run)

    def _abort(self, error: BaseException) -> None:
        """Let go of everything everywhere; never raises, so that `error` is what the user sees."""
        for run in self.stages.values():
            if run.state is not StageState.DONE:
                run.move(StageState.ABORTED)
        for exchange in self.exchanges.values():
            if exchange.local is not None:
                self.master.exchanges.abort(exchange.spec.step, str(error))
        try:
            if self.master.lost is None and self.master.engine.error is None:
                self._end(m.AbortAction(self.id, f"{type(error).__name__}: {str(error)[:500]}"), _patience_s(error))
                for key in self._filled_caches():
                    self.master.broadcast(m.DropBlocks(("cache", key)))
        except BaseException as second:  # a second Ctrl-C, a worker that does not answer
            if self.master.lost is None:
                self.master.lose(second if isinstance(second, WorkerLostError) else WorkerLostError(f"the end of action {self.id} was interrupted"))
            error.add_note(f"then: {second}" if isinstance(second, WorkerLostError) else f"then: {type(second).__name__}")
        if not self._committed:
            for sink in self._sinks():
                try:
                    sink.abort(())
                except Exception as second:
                    error.add_note(f"removing what {sink.name} had written failed: {second}")

    def _filled_caches(self) -> list[str]:
        """Datasets that this action was to cache and that are not registered."""
        outputs = [output for run in self.stages.values() for output in run.stage.outputs]
        return [o.cache for o in outputs if isinstance(o, StoreOutput) and o.cache is not None and o.cache not in self.master.caches]

    def _end(self, message: Any, patience_s: float = END_TIMEOUT_S) -> None:
        """Tell the workers to let go, and wait until they have. WorkerLostError when one does not within `patience_s`; the session is lost then."""
        for exchange in list(self.exchanges):
            self._close_local(exchange)
        self.master.broadcast(message)
        deadline = time.monotonic() + patience_s
        while len(self._ended) < len(self.master.worker_ranks):
            try:
                answer = self.inbox.get(timeout=max(0.0, min(0.5, deadline - time.monotonic())))
            except queue.Empty:
                answer = None
            if isinstance(answer, m.ActionEnded):
                self._ended[answer.rank] = answer
            elif isinstance(answer, WorkerLostError):
                raise answer
            elif time.monotonic() >= deadline or self.master.engine.error is not None:
                missing = sorted(set(self.master.worker_ranks) - set(self._ended))
                lost = WorkerLostError(
                    f"ranks {missing} still run tasks of action {self.id} after {patience_s:.0f} s, and nothing can end a running function: "
                    "start a new session (a new program under MPI)"
                )
                self.master.lose(lost)
                raise lost

    def _reports(self) -> tuple[StageReport, ...]:
        reports = []
        for run in self.stages.values():
            results = run.results.values()
            ranks: dict[int, int] = {}
            for index in run.results:
                ranks[run.assigned[index]] = ranks.get(run.assigned[index], 0) + 1
            rows, size = sum(r.rows for r in results), sum(r.size_bytes for r in results)
            reports.append(StageReport(run.stage, len(run.tasks), rows, size, run.ended - run.started, sum(r.seconds for r in results), ranks))
        return tuple(reports)

    def _emit(self, event: records.Event) -> None:
        self.master.events.emit(event)


def dump_plan(plan: PhysicalPlan) -> bytes:
    """The plan as bytes. Raises UnpicklableError naming the operator whose function or object cannot travel."""
    try:
        blob: bytes = cloudpickle.dumps(plan, protocol=5)
        return blob
    except Exception as error:
        for vertex in plan.dag.vertices.values():
            try:
                cloudpickle.dumps((vertex.operator, vertex.properties), protocol=5)
            except Exception as inner:
                raise UnpicklableError(
                    f"{vertex.operator.name}({vertex.operator.describe()}) cannot be sent to the workers: {inner}. Functions must not hold "
                    f"open files, locks, "
                    f"connections or generators: open them inside the function"
                ) from inner
        for edge in plan.dag.edges:
            try:
                cloudpickle.dumps(edge.properties, protocol=5)
            except Exception as inner:
                raise UnpicklableError(f"the partitioner into {plan.dag.vertices[edge.target]} cannot be sent to the workers: {inner}") from inner
        raise UnpicklableError(f"the plan cannot be sent to the workers: {error}") from error

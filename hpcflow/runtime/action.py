"""One action: a physical plan on its way from the first source task to the result.

Invariant: all state is changed by one thread, the caller's, in `_handle` of one message at a time; what is decided there is computed by the pure
functions of `task_making` and `scheduler`. However it ends, every worker has let go of it (ActionEnded) before `run` returns or raises, unless a
worker is lost, or the caller was interrupted (Ctrl-C): then a thread of its own sees to that, and the caller goes on at once.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hpcflow.errors import ActionCancelledError, StepTimeoutError, WorkerLostError
from hpcflow.events import records
from hpcflow.ir.properties import Persistence
from hpcflow.ir.shared_values import Shareable, noting
from hpcflow.plan.physical import BlocksLeaf, ExchangeOutput, PhysicalPlan, ShareLeaf, Stage, StoreOutput, WrongGuessError
from hpcflow.plan.reuse import Bindings
from hpcflow.runtime import messages as m
from hpcflow.runtime.action_end import abort_action, commit_sinks, end_action, end_early, extract_tables, keep_caches, merge_sums
from hpcflow.runtime.action_result import ActionResult, stage_reports
from hpcflow.runtime.action_state import ActionState, StageRun
from hpcflow.runtime.bsp_stages import check_steps, lies_in_shares, plan_tasks, reads_blocks, run_together
from hpcflow.runtime.exchange_opening import close_local, open_exchange, scatter_source
from hpcflow.runtime.failures import error_of, worker_error
from hpcflow.runtime.hand_out import deal, hand_out, stop_early, take_back
from hpcflow.runtime.plan_bytes import dump_plan
from hpcflow.runtime.states import StageState
from hpcflow.runtime.vitals import heartbeat_interval_s

if TYPE_CHECKING:
    from hpcflow.runtime.master import Master

LARGE_BYTES = 1 << 20
"""What an exchange holds on to above this size is given back at once, what is smaller with the next message."""


class ActionRun(ActionState):
    """Drives one plan; made by `Master.prepare`, to be run once."""

    def __init__(self, master: Master, id: int, plan: PhysicalPlan, name: str, bindings: Bindings) -> None:
        super().__init__(master, id, plan, name, bindings)
        self._activity: dict[int, int] = {}
        self._still: dict[int, tuple[int, float] | None] = {}
        self._decision = threading.Lock()
        self._cancelled: ActionCancelledError | None = None
        self._decided = False
        """It has failed, or its results are being taken: too late to cancel."""
        self._started = time.monotonic()

    def run(self) -> ActionResult:
        """Run to the end; see the module's invariant."""
        try:
            result = self._run()
        except (KeyboardInterrupt, SystemExit) as error:
            threading.Thread(target=self._let_go, args=(error,), name="hpcflow-release", daemon=True).start()
            raise
        except BaseException as error:
            self._let_go(error)
            raise
        self.master.ended(self)
        return result

    def cancel(self, reason: str) -> bool:
        """Any thread: end it at the next boundary of its tasks. False when it is too late: it has failed, or its results are being taken."""
        with self._decision:
            if self._decided:
                return False
            if self._cancelled is None:
                self._cancelled = ActionCancelledError(reason)
                self.inbox.put(self._cancelled)
            return True

    def hurry(self, patience_s: float) -> None:
        """Any thread: wait no longer than this for workers to let go."""
        self.end_by = min(self.end_by, time.monotonic() + patience_s)

    def _decide(self) -> None:
        with self._decision:
            self._decided = True
            if self._cancelled is not None:
                raise self._cancelled

    def _let_go(self, error: BaseException) -> None:
        try:
            with self._decision:
                self._decided = True
            abort_action(self, error)
            seconds = time.monotonic() - self._started
            self.emit(records.ActionFailed(action=self.id, seconds=seconds, error=type(error).__name__, message=str(error)[:2000]))
        finally:
            self.master.ended(self)

    def _packed(self) -> tuple[bytes | None, Iterable[Shareable]]:
        """The plan as bytes, None where the workers keep it, and the broadcast values that its functions use."""
        if self.far_driver is not None:
            return self.far_driver.blob, self.far_driver.shared
        with noting() as shared:
            blob = None if self.bindings.keeps_plan else dump_plan(self.plan)
        return blob, shared.values()

    def _run(self) -> ActionResult:
        started = time.monotonic()
        blob, shared = self._packed()
        digest = self.master.plans.hash_of(self.plan) if blob is None else hashlib.sha256(blob).hexdigest()
        self.emit(records.ActionStarted(action=self.id, name=self.name, stages=len(self.stages), plan_hash=digest[:16]))
        self.master.share(shared)
        self.mail.to_all(m.LoadPlan(self.id, digest, blob, self.bindings.caches))
        for exchange in self.plan.exchanges.values():
            if exchange.producer < 0:
                scatter_source(self, exchange)
        self._advance()
        while not all(run.state is StageState.DONE for run in self.stages.values()):
            self._handle(self._next_message())
            self._advance()
        self._decide()
        tables = extract_tables(self)
        commit_sinks(self)
        keep_caches(self)
        merge_sums(self)
        end_action(self)
        seconds = time.monotonic() - started
        rows = {vertex: sum(r.rows for r in self.stages[stage].results.values()) for vertex, stage in self.plan.ends.items()}
        self.emit(records.ActionFinished(action=self.id, seconds=seconds, rows=sum(rows.values()) + sum(t.height for t in tables.values())))
        peaks = {rank: ended.peak_memory_bytes for rank, ended in self.ended.items()}
        return ActionResult(tables, rows, stage_reports(self), {e: run.done for e, run in self.exchanges.items()}, seconds, peaks)

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
                self._still[message.rank] = message.still
                check_steps(self, self._still)
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
            take_back(self, message)
        elif isinstance(message, m.TaskFailed):
            error = self._task_error(message)
            if message.ends_rank:
                what = f"user MPI code has failed on rank {message.rank} on {message.host}, which ends the ranks: {message.message}"
                self.master.lose(WorkerLostError(what))
            raise error
        elif isinstance(message, m.WorkerFailed):
            raise worker_error(message)
        elif isinstance(message, m.TaskStalled):
            raise self._stalled(message)
        elif isinstance(message, m.ActionEnded):
            self.ended[message.rank] = message

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
                if run.state is StageState.DRAINING and all(self.exchanges[edge].complete for edge in self.filled(run.stage)):
                    run.move(StageState.DONE)
                    changed = True
        hand_out(self)
        end_early(self)
        self.mail.send()

    # -- stages --------------------------------------------------------------------------------------------------------------------------------------

    def _inputs_complete(self, stage: Stage) -> bool:
        if stage.together and any(self.stages[id].state is not StageState.DONE for id in stage.depends):
            return False
        for leaf in stage.leaves():
            if isinstance(leaf, ShareLeaf):
                continue  # its rows are stored or dealt out: a stage that this one depends on has ended
            if isinstance(leaf, BlocksLeaf) and leaf.stage is not None and self.stages[leaf.stage].state is not StageState.DONE:
                return False
            edge = getattr(leaf, "edge", None)
            if edge is not None and edge not in self.carried and not (edge in self.exchanges and self.exchanges[edge].complete):
                return False
        return True

    def _start(self, run: StageRun) -> None:
        run.move(StageState.RUNNING)
        run.started = time.monotonic()
        run.tasks = plan_tasks(self, run)
        for output in run.stage.outputs:
            if isinstance(output, ExchangeOutput) and not lies_in_shares(self, output.edge):
                open_exchange(self, self.plan.exchanges[output.edge], run.stage)
        self.emit(
            records.StageStarted(
                action=self.id, stage=f"S{run.stage.id}", name=run.stage.label, number=run.stage.id + 1, stages=len(self.stages), tasks=len(run.tasks)
            )
        )
        if run.stage.together:
            run_together(self, run)
        else:
            deal(self, run)

    def _drain(self, run: StageRun) -> None:
        run.ended = time.monotonic()
        results = run.results.values()
        self.emit(
            records.StageFinished(
                action=self.id,
                stage=f"S{run.stage.id}",
                seconds=run.ended - run.started,
                tasks=len(run.tasks),
                rows_out=sum(r.rows for r in results),
                bytes_out=run.bytes_out,
            )
        )
        exchanges = self.filled(run.stage)
        for edge in () if run.last_given else exchanges:
            self.mail.to_all(m.FinishInserts(self.id, edge))
        self._release_inputs(run.stage)
        run.move(StageState.DRAINING if exchanges else StageState.DONE)

    def _release_inputs(self, stage: Stage) -> None:
        """Free exchanges and blocks that no later stage reads, unless an edge says to keep them."""
        for leaf in stage.leaves():
            edge = getattr(leaf, "edge", None)
            if edge in self.exchanges and self.plan.exchanges[edge].properties.persistence is Persistence.DISCARD:
                large = sum(size for _, size in self.exchanges[edge].sizes().values()) > LARGE_BYTES
                self.mail.to_all(m.CloseExchange(self.id, edge), urgent=large)
                close_local(self, edge)
            leaf = leaf.blocks if isinstance(leaf, ShareLeaf) else leaf
            if isinstance(leaf, BlocksLeaf) and leaf.stage is not None and self._may_drop(leaf):
                self.mail.to_all(m.DropBlocks(("action", self.id, leaf.stage)))

    def _may_drop(self, leaf: BlocksLeaf) -> bool:
        producer = self.stages[leaf.stage].stage  # type: ignore[index]
        if any(isinstance(o, StoreOutput) and o.cache is not None for o in producer.outputs):
            return False

        def reads(other: object) -> bool:
            return (isinstance(other, BlocksLeaf) and other.stage == leaf.stage) or reads_blocks(self, other, leaf.stage)

        readers = [run for run in self.stages.values() if any(reads(other) for other in run.stage.leaves())]
        vertex = getattr(producer.root, "vertex", None)
        kept = vertex is not None and any(e.properties.persistence is Persistence.KEEP for e in self.plan.dag.outputs(vertex))
        return not kept and all(len(run.results) == len(run.tasks) and run.state is not StageState.WAITING for run in readers)

    # -- messages ------------------------------------------------------------------------------------------------------------------------------------

    def _tasks_done(self, message: m.TasksDone) -> None:
        for result in message.results:
            run = self.stages[result.stage]
            run.results[result.index] = result
            run.bytes_out += result.size_bytes
            if not run.stage.together:
                self.queued[message.rank] -= 1
            self.emit(
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
                    attempt=result.attempt,
                )
            )
            self._check_guesses(run)
            stop_early(run)

    def _check_guesses(self, run: StageRun) -> None:
        """Raises WrongGuessError when the stage has broadcast more than the planner's guess allows."""
        for output in run.stage.outputs:
            most = self.plan.exchanges[output.edge].properties.most_bytes if isinstance(output, ExchangeOutput) else None
            if most is not None and run.bytes_out > most:
                raise WrongGuessError(f"stage S{run.stage.id} ({run.stage.label}) broadcasts {run.bytes_out:,} bytes, at most {most:,} were guessed")

    def _exchange_done(self, message: m.ExchangeDone) -> None:
        run = self.exchanges[message.edge]
        run.done[message.rank] = message
        self.emit(
            records.ExchangeFinished(
                rank=message.rank, action=self.id, step=run.spec.step, edge=message.edge, seconds=time.monotonic() - run.opened, **message.stats
            )
        )

    def _task_error(self, message: m.TaskFailed) -> BaseException:
        run = self.stages[message.stage]
        self.emit(
            records.TaskFailed(
                rank=message.rank,
                action=self.id,
                stage=f"S{message.stage}",
                task=message.index,
                worker=message.rank,
                operator=message.operator,
                message=message.message[:2000],
                attempt=message.attempt,
            )
        )
        return error_of(message, f"{message.stage} ({run.stage.label})", self.master.worker_ranks.index(message.rank))

    def _stalled(self, message: m.TaskStalled) -> StepTimeoutError:
        label = self.stages[message.stage].stage.label
        error = StepTimeoutError(
            f"task {message.index} of stage {message.stage} ({label}) made no progress for {self.master.config.step_timeout_s:.3g} s on rank "
            f"{message.rank} on {message.host}: no CPU time, no bytes read, written or sent. If what it waits for takes so long, raise step_timeout_s"
        )
        error.add_note(message.stacks)
        return error

"""A worker: serves the master's messages and runs tasks on its task threads.

Invariant: `serve` runs on one thread and never blocks on a task; tasks run on `threads` threads of their own; a task's failure is one message to the
master and leaves the worker as it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import queue
import socket
import threading
import time
import traceback
from collections import deque
from typing import Any

import cloudpickle
import polars as pl

from hpcflow.bsp.communicators import Communicators
from hpcflow.bsp.place import describe_process
from hpcflow.bsp.step import Step, UserThread
from hpcflow.comm.engine import Engine
from hpcflow.comm.watchdog import EXIT_FAILURE, all_stacks, end_process, where, write_report
from hpcflow.config import SessionConfig
from hpcflow.errors import ActionCancelledError, HpcflowError, SpillError, WorkerLostError
from hpcflow.events.records import Event
from hpcflow.ir.task_needs import TaskNeeds
from hpcflow.plan.physical import ExchangeOutput, PhysicalPlan, SplitRef, TaskSpec
from hpcflow.resources import process_namespace
from hpcflow.runtime import messages as m
from hpcflow.runtime import scheduler
from hpcflow.runtime.binding import bind_process
from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.contexts import Contexts
from hpcflow.runtime.failures import first_line, pack_error, task_failed
from hpcflow.runtime.oversize import target_bytes
from hpcflow.runtime.partitioning import make_partitioner
from hpcflow.runtime.shared import SharedReceiver
from hpcflow.runtime.standing import standing_of, users_frames
from hpcflow.runtime.task_evaluation import TaskEvaluation
from hpcflow.runtime.task_resources import ResourcePool, running_with
from hpcflow.runtime.tasks import OperatorTrace
from hpcflow.runtime.vitals import Vitals
from hpcflow.runtime.worker_action import WorkerAction
from hpcflow.shuffle.exchange import Exchange, ExchangeService, ExchangeStats

RESULTS_WAIT_S = 0.005
"""Results of tasks that end within this time of each other travel in one message."""
_LOOK_AT_RESULTS = m.Several(())
"""To oneself: results wait to be sent."""
RANK_ENDS_AFTER_S = 2.0
"""From the failure of user MPI code to the end of its rank: for the driver to raise the error, and to end the job itself."""


class Worker:
    """One worker of a job."""

    def __init__(
        self,
        engine: Engine,
        exchanges: ExchangeService,
        store: BlockStore,
        master_rank: int,
        number: int,
        config: SessionConfig,
        inbox: queue.SimpleQueue[Any],
        communicators: Communicators,
        subscribe: bool = True,
    ) -> None:
        self.engine = engine
        self.exchanges = exchanges
        self.store = store
        self.master_rank = master_rank
        self.number = number
        """0-based number among the workers."""
        self.config = config
        self.host = socket.gethostname()
        self.inbox = inbox
        """The master's messages; filled by this worker's subscription, or by its owner's when `subscribe` is False."""
        self.slots = config.threads or 1
        self._actions: dict[int, WorkerAction] = {}
        self._plans: dict[str, bytes | PhysicalPlan] = {}
        """Plans to be used again, by their hash; as bytes until their first use."""
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._free_slots = self.slots
        self._pool = ResourcePool(1, ())
        self._stopping = False
        self._results_due: deque[tuple[float, WorkerAction]] = deque()
        """Results of short tasks, with the time at which they are to be sent."""
        target = config.target_partition_bytes or target_bytes(store.budget.limit_bytes, self.slots)
        self._evaluation = TaskEvaluation(store, engine.rank, number, target, config.task_attempts, self._event)
        self._communicators = communicators
        self._contexts = Contexts(engine, exchanges, store, number, config, self._event)
        self._user = UserThread(f"hpcflow-bsp-{number}", lambda frame: standing_of(frame).waits_in_mpi)
        self._shared = SharedReceiver(engine)
        self._threads = [threading.Thread(target=self._run_tasks, name=f"hpcflow-task-{i}", daemon=True) for i in range(self.slots)]
        store.emit = self._event
        store.on_failure = self._spill_failed
        if subscribe:
            engine.subscribe(m.TO_WORKER, self._receive)

    def serve(self) -> None:
        """Say hello, then serve until Shutdown or until the engine fails."""
        versions, cores, memory = m.own_versions(), len(os.sched_getaffinity(0)), self.store.budget.limit_bytes
        own = (process_namespace(), describe_process(), memory)
        self._send(m.Hello(self.engine.rank, self.host, os.getpid(), versions, cores, pl.thread_pool_size(), *own))
        self._vitals = vitals = Vitals(self.engine, self.config.step_timeout_s, lambda: bool(self._actions), self._heartbeat, self._stalled)
        for thread in self._threads:
            thread.start()
        try:
            while True:
                try:
                    message = self.inbox.get(timeout=self._send_due_results())
                except queue.Empty:
                    if self.engine.error is not None:
                        return
                    continue
                for one in message.messages if isinstance(message, m.Several) else (message,):
                    if isinstance(one, m.Shutdown):
                        return
                    try:
                        self._serve_one(one)
                    except BaseException as error:
                        self._failed(getattr(one, "action", 0), error)
        finally:
            vitals.stop()
            with self._ready:
                self._stopping = True
                self._ready.notify_all()
            for thread in self._threads:
                thread.join(timeout=10.0)
            self._user.stop(timeout_s=10.0)
            self._contexts.close()
            self._shared.close()

    # -- messages -----------------------------------------------------------------------------------------------------------------------------------

    def _receive(self, source: int, buffer: Any) -> None:
        self.inbox.put(m.decode(buffer))

    def _spill_failed(self, error: SpillError) -> None:
        for action in list(self._actions):
            self._failed(action, error)

    def _failed(self, action: int, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        self._send(m.WorkerFailed(action, self.engine.rank, self.host, first_line(error), text, pack_error(error)))

    def _heartbeat(self, activity: int) -> None:
        self._send(m.Heartbeat(self.engine.rank, activity, self._user.still()))

    def _stalled(self, name: str, stacks: str) -> None:
        action, stage, task = (int(word) for word in name.split()[1::2])
        self._send(m.TaskStalled(action, self.engine.rank, self.host, stage, task, stacks))

    def _send(self, *messages: Any) -> None:
        if not messages:
            return
        try:
            self.engine.send(self.master_rank, m.TO_MASTER, m.encode(messages[0] if len(messages) == 1 else m.Several(messages)))
        except WorkerLostError:
            if not self._stopping:  # else: a task that came back after the end of its session
                raise

    def _event(self, event: Event) -> None:
        self._send(m.WorkerEvent(self.engine.rank, event))

    def _serve_one(self, message: Any) -> None:
        if isinstance(message, m.UseResources):
            with self._lock:
                self._pool = ResourcePool(message.cores, message.gpus)
            if message.share is not None:
                bind_process(message.share, pl.thread_pool_size())
        elif isinstance(message, m.LoadPlan):
            self._load(message)
        elif isinstance(message, m.KeepPlan):
            self._plans[message.sha256] = message.blob
        elif isinstance(message, m.ForgetPlan):
            self._plans.pop(message.sha256, None)
        elif isinstance(message, m.OpenExchange):
            self._open(message)
        elif isinstance(message, m.RunTasks):
            self._take_tasks(self._actions[message.action], message)
        elif isinstance(message, m.RunStep):
            self._submit_step(message)
        elif isinstance(message, m.GiveBackTasks):
            self._give_back(message)
        elif isinstance(message, m.FinishInserts):
            exchange = self._actions[message.action].exchanges.get(message.edge)
            if exchange is not None:
                exchange.finish()
        elif isinstance(message, m.CloseExchange):
            ended = message.action not in self._actions  # told together with its last tasks, and nothing of it is left
            if not ended:
                self._close(self._actions[message.action], message.edge)
        elif isinstance(message, m.DropShared):
            self._shared.drop(message.key)
        elif isinstance(message, m.DropBlocks):
            self.store.remove_prefix(message.prefix)
        elif isinstance(message, m.AbortAction | m.EndAction):
            self._end(message)
        elif isinstance(message, m.DumpStacks):
            write_report(f"hpcflow: {message.reason}; stacks of rank {self.engine.rank} on {where()}:\n{all_stacks()}")

    def _load(self, message: m.LoadPlan) -> None:
        kept = self._plans[message.sha256] if message.blob is None else message.blob
        plan = self._unpickled(message, kept) if isinstance(kept, bytes) else kept
        if message.blob is None:
            self._plans[message.sha256] = plan
        self.engine.set_active(True)
        with self._lock:
            served_s = min((action.served_s for action in self._actions.values()), default=0.0)
            stages = {stage.id: stage for stage in plan.stages}
            self._actions[message.action] = WorkerAction(message.action, plan, stages, message.caches, served_s=served_s)

    def _unpickled(self, message: m.LoadPlan, blob: bytes) -> PhysicalPlan:
        if hashlib.sha256(blob).hexdigest() != message.sha256:
            raise HpcflowError(
                f"the plan of action {message.action} was damaged on its way to rank {self.engine.rank}: its hash is not the one rank 0 computed"
            )
        plan: PhysicalPlan = cloudpickle.loads(blob)
        return plan

    def _open(self, message: m.OpenExchange) -> None:
        action = self._actions[message.action]
        exchange = (self.exchanges.opened(message.spec.step) if self.engine.rank == self.master_rank else None) or self.exchanges.open(message.spec)
        plan = action.plan.exchanges[message.edge]
        action.exchanges[message.edge] = exchange
        action.steps[message.edge] = message.spec.step
        if plan.producer >= 0 and not message.spec.broadcast:
            action.partitioners[message.edge] = make_partitioner(plan.properties, len(message.spec.owners), message.splitters)
        if self.engine.rank in message.spec.owners and not plan.to_driver:
            exchange.when_complete(lambda: self._exchange_complete(action, message.edge, exchange))

    def _exchange_complete(self, action: WorkerAction, edge: str, exchange: Exchange) -> None:
        if action.cancelled is None:
            self._send(m.ExchangeDone(action.id, edge, self.engine.rank, exchange.partition_sizes(), _stats(exchange.stats)))

    def _take_tasks(self, action: WorkerAction, message: m.RunTasks) -> None:
        with self._ready:
            action.queued.extend(message.tasks)
            action.left[message.stage] = action.left.get(message.stage, 0) + len(message.tasks)
            if message.last:
                action.last_given.add(message.stage)
            self._ready.notify(len(message.tasks))
        self._finish_inserts(action, message.stage)

    def _finish_inserts(self, action: WorkerAction, stage: int) -> None:
        """Once the last task of a stage here is done."""
        with self._lock:
            done = stage in action.last_given and not action.left[stage]
        outputs = action.stages[stage].outputs if done else ()
        for output in outputs:
            if isinstance(output, ExchangeOutput):
                exchange = action.exchanges.get(output.edge)
                if exchange is not None:  # else shares lie where they belong, and none was opened
                    exchange.finish()

    def _give_back(self, message: m.GiveBackTasks) -> None:
        action = self._actions[message.action]
        returned: list[TaskSpec] = []
        with self._lock:
            kept: list[TaskSpec] = []
            while action.queued:
                task = action.queued.pop()
                movable = task.stage == message.stage and len(returned) < message.count and all(isinstance(ref, SplitRef) for _, ref in task.reads)
                (returned if movable else kept).append(task)
            action.queued.extend(reversed(kept))
            action.left[message.stage] -= len(returned)
        self._send(m.TasksReturned(action.id, self.engine.rank, message.stage, tuple(reversed(returned))))

    def _close(self, action: WorkerAction, edge: str) -> None:
        exchange = action.exchanges.pop(edge, None)
        action.broadcasts.pop(edge, None)
        shared_with_driver = self.engine.rank == self.master_rank and action.plan.exchanges[edge].to_driver
        if exchange is not None and not shared_with_driver:  # the driver still reads it, and closes it
            exchange.close()

    def _end(self, message: m.AbortAction | m.EndAction) -> None:
        """Let go of an action once none of its tasks is left; the last task ends it otherwise. An abort drops those that have not started."""
        with self._lock:
            action = self._actions.get(message.action)
            if action is not None:
                action.ending = True
                if isinstance(message, m.AbortAction):
                    action.queued.clear()
                    action.cancelled = message.reason
        if action is None:
            self._send(m.ActionEnded(message.action, self.engine.rank))
            return
        if action.cancelled is not None:
            for edge, number in action.steps.items():
                if not self._feeds_step(action, edge):
                    self.exchanges.abort(number, action.cancelled)
            for step in list(action.bsp_steps):
                self._communicators.abort(step.number, ActionCancelledError(action.cancelled))
                if not self._communicators.ends_ranks:
                    step.cancel(action.cancelled)
        self._let_go(action)

    def _feeds_step(self, action: WorkerAction, edge: str) -> bool:
        """Whether a bsp step still has to read it: other ranks may be inside the step, so it is run here too."""
        return any(getattr(leaf, "edge", None) == edge for stage in action.stages.values() if stage.together for leaf in stage.leaves())

    def _let_go(self, action: WorkerAction) -> None:
        with self._lock:
            if not action.ending or action.running or action.queued or self._actions.pop(action.id, None) is None:
                return
            last = not self._actions
        results = self._results_of(action)
        try:
            for edge in list(action.exchanges):
                self._close(action, edge)
            self.store.remove_prefix(("action", action.id))
            if last:
                self.engine.set_active(False)
        finally:
            self._send(*results, m.ActionEnded(action.id, self.engine.rank, self.store.budget.high_water_bytes))

    # -- tasks --------------------------------------------------------------------------------------------------------------------------------------

    def _run_tasks(self) -> None:
        while True:
            with self._ready:
                while (found := self._next_task()) is None:
                    if self._stopping:
                        return
                    self._ready.wait()
                action, task, slots = found
                action.running += 1
                self._free_slots -= slots
                resources = self._pool.take(_needs(action, task))
            started = time.monotonic()
            try:
                with running_with(resources):
                    self._run_task(action, task)
            finally:
                with self._ready:
                    action.running -= 1
                    action.served_s += time.monotonic() - started
                    self._free_slots += slots
                    self._pool.give_back(resources)
                    self._ready.notify_all()
                if action.ending:
                    self._let_go(action)

    def _next_task(self) -> tuple[WorkerAction, TaskSpec, int] | None:
        """The next task of the action whose turn it is; None also while that task waits for more free slots, cores or GPUs than there are."""
        chosen = scheduler.next_action({action.id: (action.running, action.served_s) for action in self._actions.values() if action.queued})
        if chosen is None:
            return None
        action = self._actions[chosen]
        needs = _needs(action, action.queued[0])
        slots = min(action.stages[action.queued[0].stage].properties.slots, self.slots)
        return (action, action.queued.popleft(), slots) if slots <= self._free_slots and self._pool.has(needs) else None

    def _run_task(self, action: WorkerAction, task: TaskSpec) -> None:
        stage = action.stages[task.stage]
        trace = OperatorTrace()
        try:
            with self._vitals.task(f"action {action.id} stage {stage.id} task {task.index}"):
                result = self._evaluation.run(action, stage, task, trace)
        except BaseException as error:
            if action.cancelled is None and not isinstance(error, ActionCancelledError):
                self._send(task_failed(action.id, self.engine.rank, self.host, action.plan, task, trace, error))
            return
        with self._lock:
            action.left[task.stage] -= 1
            action.done.append(result)
            first = len(action.done) == 1
            idle = not action.queued and action.running == 1
        try:
            self._finish_inserts(action, task.stage)
        except BaseException as error:
            self._failed(action.id, error)
        if idle and not action.ending:  # else they go with the word that the action has ended
            self._send(*self._results_of(action))
        elif first:
            self._results_due.append((time.monotonic() + RESULTS_WAIT_S, action))
            self.inbox.put(_LOOK_AT_RESULTS)

    def _results_of(self, action: WorkerAction) -> tuple[m.TasksDone, ...]:
        """The results that have not been sent, as a message."""
        with self._lock:
            results, action.done = tuple(action.done), []
        return (m.TasksDone(action.id, self.engine.rank, results),) if results else ()

    def _send_due_results(self) -> float:
        """Send results of short tasks that have been put together for long enough; seconds until the next are due."""
        while self._results_due:
            wait_s = self._results_due[0][0] - time.monotonic()
            if wait_s > 0:
                return wait_s
            self._send(*self._results_of(self._results_due.popleft()[1]))
        return 1.0

    # -- bsp steps ----------------------------------------------------------------------------------------------------------------------------------

    def _submit_step(self, message: m.RunStep) -> None:
        action = self._actions[message.action]
        step = Step(message.step, lambda step: self._contexts.of(step, *self._communicators.open(step.number, self.number)), self.exchanges)
        with self._lock:
            action.running += 1
            action.bsp_steps.append(step)
            action.left[message.task.stage] = 1
            action.last_given.add(message.task.stage)
        self._user.submit(message.step, lambda: self._run_step(action, message.task, step))

    def _run_step(self, action: WorkerAction, task: TaskSpec, step: Step) -> None:
        trace = OperatorTrace()
        try:
            result = self._evaluation.run(action, action.stages[task.stage], task, trace, step)
            with self._lock:
                action.left[task.stage] = 0
            self._finish_inserts(action, task.stage)
            self._send(m.TasksDone(action.id, self.engine.rank, (result,)))
        except BaseException as error:
            self._step_failed(action, task, step, trace, error)
        finally:
            with self._ready:
                action.running -= 1
                action.bsp_steps.remove(step)
            self._communicators.close(step.number, self.number)
            if action.ending:
                self._let_go(action)

    def _step_failed(self, action: WorkerAction, task: TaskSpec, step: Step, trace: OperatorTrace, error: BaseException) -> None:
        """Tell the master; other ranks may wait for this one in a collective unless the function had returned."""
        echo = self._communicators.is_echo(step.number, error) or isinstance(error, ActionCancelledError)
        ends_rank = self._communicators.ends_ranks and not step.left
        if action.cancelled is None and not echo:
            failed = task_failed(action.id, self.engine.rank, self.host, action.plan, task, trace, error)
            self._send(dataclasses.replace(failed, ends_rank=ends_rank))
        self._communicators.abort(step.number, error, self.number)
        if ends_rank:
            text = "".join(traceback.format_exception(type(error), error, users_frames(error.__traceback__)))
            write_report(f"hpcflow: user MPI code has failed on rank {self.engine.rank} on {where()}; this rank ends, and the others with it\n{text}")
            time.sleep(RANK_ENDS_AFTER_S)
            end_process(EXIT_FAILURE)


_LOGGED_STATS = tuple(f.name for f in dataclasses.fields(ExchangeStats) if f.name not in ("rows_by_destination", "waiting_s"))


_NO_NEEDS = TaskNeeds()


def _needs(action: WorkerAction, task: TaskSpec) -> TaskNeeds:
    return action.stages[task.stage].properties.resources or _NO_NEEDS


def _stats(stats: ExchangeStats) -> dict[str, float]:
    """The figures that go into the event log."""
    return {name: getattr(stats, name) for name in _LOGGED_STATS}

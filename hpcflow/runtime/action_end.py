"""The end of an action, good or bad: results taken, sinks committed or removed, and every worker's word that it has let go.

Invariant: when `end_action` or `abort_action` returns, no worker holds anything of the action but cached blocks, or the session is lost.
"""

from __future__ import annotations

import math
import queue
import time

import cloudpickle
import polars as pl

from hpcflow.errors import ActionCancelledError, StepTimeoutError, WorkerLostError
from hpcflow.ir import shared_values
from hpcflow.ir.operators.sink import Sink
from hpcflow.plan.physical import SinkOutput, StoreOutput
from hpcflow.runtime import messages as m
from hpcflow.runtime.action_state import ActionState
from hpcflow.runtime.bsp_stages import keep_shares, kept_prefix, share_leaves
from hpcflow.runtime.exchange_opening import close_local
from hpcflow.runtime.states import StageState
from hpcflow.runtime.task_making import CachedBlocks, kept_partitionings

END_TIMEOUT_S = 60.0
"""For running tasks of an action to return after its failure; what they do cannot be interrupted."""
HASTY_END_TIMEOUT_S = 2.5
"""The same when a task is stuck, and when the program ends."""


def extract_tables(state: ActionState) -> dict[int, pl.DataFrame]:
    """Collect vertex -> the rows that were gathered for it on the driver."""
    tables = {}
    for vertex, edge in state.plan.results.items():
        local = state.exchanges[edge].local
        assert local is not None
        tables[vertex] = local.extract([0])
        local.release([0])
        close_local(state, edge)
    return tables


def commit_sinks(state: ActionState) -> None:
    """Make what the tasks wrote visible."""
    for run in state.stages.values():
        for output in run.stage.outputs:
            if isinstance(output, SinkOutput):
                sink = state.plan.operator(output.vertex)
                assert isinstance(sink, Sink)
                sink.commit(tuple(part for index in sorted(run.results) for part in run.results[index].sink_parts))
    state.committed = True


def keep_caches(state: ActionState) -> None:
    """List the blocks of datasets that this action has cached, for later actions."""
    for run in state.stages.values():
        for output in run.stage.outputs:
            if isinstance(output, StoreOutput) and output.cache is not None:
                blocks = state.stored(run)
                kept = kept_partitionings(blocks, state.master.worker_ranks, output.partitionings)
                state.master.keep_cache(state.bindings.cache(output.cache), CachedBlocks(blocks, kept))
    keep_shares(state)


def take_sums(sums: bytes) -> None:
    """Give what one task has added to the accumulators of this process."""
    shared_values.merge(cloudpickle.loads(sums))


def merge_sums(state: ActionState) -> None:
    """Give what the tasks have added to the driver's accumulators, stage by stage and in task order."""
    take = state.far_driver.take_sums if state.far_driver is not None else take_sums
    for run in state.stages.values():
        for index in sorted(run.results):
            if run.results[index].sums:
                take(run.results[index].sums)


def end_early(state: ActionState) -> None:
    """Tell the workers together with their last tasks that these are the last of the action, so that they let go without being asked."""
    given = all(run.last_given or run.state in (StageState.DRAINING, StageState.DONE) for run in state.stages.values())
    if given and not state.end_posted and all(run.complete or run.plan.to_driver for run in state.exchanges.values()):
        state.end_posted = True
        state.mail.to_all(m.EndAction(state.id))


def abort_action(state: ActionState, error: BaseException) -> None:
    """Let go of everything everywhere; never raises, so that `error` is what the user sees."""
    state.mail.discard()
    for run in state.stages.values():
        if run.state is not StageState.DONE:
            run.move(StageState.ABORTED)
    for exchange in state.exchanges.values():
        if exchange.local is not None:
            state.master.exchanges.abort(exchange.spec.step, str(error))
    try:
        if state.master.lost is None and state.master.engine.error is None:
            state.master.broadcast(m.AbortAction(state.id, f"{type(error).__name__}: {str(error)[:500]}"))
            end_action(state, _patience_s(error))
            for key in _filled_caches(state):
                state.master.broadcast(m.DropBlocks(("cache", key, state.id)))
            for leaf in share_leaves(state):
                if leaf.cache is not None:
                    state.master.broadcast(m.DropBlocks(kept_prefix(state, leaf)))
    except BaseException as second:  # a second Ctrl-C, a worker that does not answer
        if state.master.lost is None:
            state.master.lose(second if isinstance(second, WorkerLostError) else WorkerLostError(f"the end of action {state.id} was interrupted"))
        error.add_note(f"then: {second}" if isinstance(second, WorkerLostError) else f"then: {type(second).__name__}")
    if not state.committed:
        for sink in _sinks(state):
            try:
                sink.abort(())
            except Exception as second:
                error.add_note(f"removing what {sink.name} had written failed: {second}")


def end_action(state: ActionState, patience_s: float = END_TIMEOUT_S) -> None:
    """Wait until the workers have let go. WorkerLostError when one does not within `patience_s` or until `state.end_by`; the session is lost then."""
    for exchange in list(state.exchanges):
        close_local(state, exchange)
    since = time.monotonic()
    state.end_by = min(state.end_by, since + patience_s)
    while len(state.ended) < len(state.master.worker_ranks):
        try:
            answer = state.inbox.get(timeout=max(0.0, min(0.5, state.end_by - time.monotonic())))
        except queue.Empty:
            answer = None
        if isinstance(answer, m.ActionEnded):
            state.ended[answer.rank] = answer
        elif isinstance(answer, WorkerLostError):
            raise answer
        elif isinstance(answer, m.TaskStalled):
            state.end_by = min(state.end_by, time.monotonic() + HASTY_END_TIMEOUT_S)
        elif time.monotonic() >= state.end_by or state.master.engine.error is not None:
            missing = sorted(set(state.master.worker_ranks) - set(state.ended))
            lost = WorkerLostError(
                f"ranks {missing} still run tasks of action {state.id} after {time.monotonic() - since:.0f} s, and nothing can end a running "
                "function: start a new session (a new program under MPI)"
            )
            state.master.lose(lost)
            raise lost


def _sinks(state: ActionState) -> list[Sink]:
    operators = (state.plan.operator(o.vertex) for stage in state.plan.stages for o in stage.outputs if isinstance(o, SinkOutput))
    return [operator for operator in operators if isinstance(operator, Sink)]


def _filled_caches(state: ActionState) -> list[str]:
    """Datasets that this action was to cache and that are not registered."""
    outputs = [output for run in state.stages.values() for output in run.stage.outputs]
    keys = [state.bindings.cache(o.cache) for o in outputs if isinstance(o, StoreOutput) and o.cache is not None]
    return [key for key in keys if key not in state.master.caches]


def _patience_s(error: BaseException) -> float:
    """A cancelled action may take its time: nobody waits for it but the end of the session, which hurries it."""
    if isinstance(error, ActionCancelledError | KeyboardInterrupt | SystemExit):
        return math.inf
    return HASTY_END_TIMEOUT_S if isinstance(error, StepTimeoutError) else END_TIMEOUT_S

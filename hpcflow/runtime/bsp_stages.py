"""Stages that run on all workers at once: how their inputs become shares, how they start together, when they count as stuck, what they leave cached.

Invariant: a bsp step has a number of the master's one sequence, given and sent to all workers under one lock; so all workers run steps, of any
action, in one order. An input's layout is decided once an action.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpcflow.errors import StepTimeoutError
from hpcflow.plan.physical import ExchangeOutput, ShareLeaf, Stage
from hpcflow.runtime import messages as m
from hpcflow.runtime.action_state import ActionState, StageRun
from hpcflow.runtime.placement.dynamic import Dynamic
from hpcflow.runtime.shares import Layout, kept_blocks, lay_out, share_tasks
from hpcflow.runtime.states import StageState
from hpcflow.runtime.task_making import PlannedTask, StoredBlock, make_tasks


def plan_tasks(state: ActionState, run: StageRun) -> list[PlannedTask]:
    """The tasks of a stage whose inputs are complete; none for one that was to deal out shares which lie right already."""
    stage, ranks = run.stage, state.master.worker_ranks
    if stage.together:
        leaves = [leaf for leaf in stage.leaves() if isinstance(leaf, ShareLeaf)]
        layouts = {leaf: _layout(state, leaf) for leaf in leaves}
        kept = {leaf: kept_prefix(state, leaf) for leaf in leaves if leaf.cache is not None and layouts[leaf].ordered_after}
        return share_tasks(stage, layouts, ranks, kept)
    dealt = _dealt_by(state, stage)
    if dealt is not None and _layout(state, dealt).bounds is None:
        return []
    tasks = make_tasks(state.plan, stage, state.known(stage))
    if stage.in_runs and type(state.strategy(run)) is Dynamic:  # a user's strategy places them otherwise, and rows are dealt out afterwards
        allowed = state.allowed_ranks(run)
        return [replace(task, rank=allowed[i * len(allowed) // len(tasks)] if task.rank is None else task.rank) for i, task in enumerate(tasks)]
    return tasks


def run_together(state: ActionState, run: StageRun) -> None:
    """Give every worker its task of the step."""
    run.step = state.mail.number_step()
    run.last_given = True
    for task in run.tasks:
        assert task.rank is not None
        run.assigned[task.spec.index] = task.rank
        state.mail.to(task.rank, m.RunStep(state.id, run.step, task.spec))


def check_steps(state: ActionState, still: dict[int, tuple[int, float] | None]) -> None:
    """Raises StepTimeoutError when all workers that are in a step have stood at one place for `step_timeout_s`: they wait for each other.

    still: rank -> (number of its step, seconds), as its last heartbeat said
    """
    limit_s = state.master.config.step_timeout_s
    for run in state.stages.values():
        if not (limit_s and run.stage.together and run.state is StageState.RUNNING):
            continue
        left = {rank for index, rank in run.assigned.items() if index not in run.results}
        seconds = [found[1] if (found := still.get(rank)) is not None and found[0] == run.step else 0.0 for rank in left]
        if min(seconds, default=0.0) >= limit_s:
            what = (
                f"the bsp step of stage {run.stage.id} ({run.stage.label}) stood still on ranks {sorted(left)} for {limit_s:.3g} s, each inside one "
                "call. Do all ranks make the same collective calls in the same order? If a call takes so long, raise step_timeout_s"
            )
            state.master.broadcast(m.DumpStacks(what))
            raise StepTimeoutError(what)


def lies_in_shares(state: ActionState, edge: str) -> bool:
    """Whether the rows of this edge into a bsp step are read where they lie, so that nothing goes through an exchange."""
    return edge in state.layouts and state.layouts[edge].bounds is None


def reads_blocks(state: ActionState, leaf: Any, stage: int | None) -> bool:
    """Whether a bsp step reads the blocks of `stage` through this leaf; what is dealt out is read from the exchange."""
    return isinstance(leaf, ShareLeaf) and leaf.blocks.stage == stage and (leaf.edge not in state.layouts or lies_in_shares(state, leaf.edge))


def share_leaves(state: ActionState) -> list[ShareLeaf]:
    """All inputs of bsp steps."""
    return [leaf for run in state.stages.values() for leaf in run.stage.leaves() if isinstance(leaf, ShareLeaf)]


def kept_prefix(state: ActionState, leaf: ShareLeaf) -> tuple[Any, ...]:
    """First parts of the keys under which this action keeps the shares of a cached dataset."""
    return ("share", f"{state.id}/{leaf.edge}")


def keep_shares(state: ActionState) -> None:
    """Cached datasets that a step has brought into one block a worker stay so: the next step reads them where they are."""
    for leaf in share_leaves(state):
        layout = state.layouts.get(leaf.edge)
        if leaf.cache is None or layout is None:
            continue
        run = next(run for run in state.stages.values() if leaf in run.stage.leaves())
        reported = {
            run.assigned[result.index]: StoredBlock(result.index, run.assigned[result.index], *result.kept[leaf.edge])
            for result in run.results.values()
            if leaf.edge in result.kept
        }
        blocks = kept_blocks(layout, state.master.worker_ranks, reported)
        if blocks is not None:
            state.master.replace_cache(state.bindings.cache(leaf.cache), layout.blocks, blocks, state.id)


def _layout(state: ActionState, leaf: ShareLeaf) -> Layout:
    if leaf.edge not in state.layouts:
        state.layouts[leaf.edge] = lay_out(state.blocks_of(leaf.blocks), state.master.worker_ranks, leaf.moves)
    return state.layouts[leaf.edge]


def _dealt_by(state: ActionState, stage: Stage) -> ShareLeaf | None:
    """The input of a bsp step that this stage deals out, if it is one that does."""
    edges = {output.edge for output in stage.outputs if isinstance(output, ExchangeOutput)}
    return next((leaf for leaf in share_leaves(state) if leaf.edge in edges), None)

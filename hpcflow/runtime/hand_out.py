"""Who runs which task: groups of tasks go out, what a loaded worker has not begun comes back for an idle one.

Invariant: every task is with exactly one worker, or in `unassigned`, or has its result; the numbers are decided by the pure functions of `scheduler`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from hpcflow.errors import HpcflowError
from hpcflow.events import records
from hpcflow.ir.operators.base import brief
from hpcflow.ir.operators.generate import Generate
from hpcflow.ir.operators.range import Range
from hpcflow.ir.task_needs import TaskNeeds
from hpcflow.plan.physical import SourceLeaf, SplitRef, TaskSpec
from hpcflow.runtime import messages as m
from hpcflow.runtime import scheduler
from hpcflow.runtime.action_state import ActionState, StageRun
from hpcflow.runtime.placement import TaskView
from hpcflow.runtime.placement.dynamic import Dynamic
from hpcflow.runtime.states import StageState
from hpcflow.runtime.task_making import PlannedTask

REMEMBERED_PARTS = 1 << 16
"""Parts of files of which the master knows who read them last."""


def deal(state: ActionState, run: StageRun) -> None:
    """Give the tasks of a stage that starts: those that are bound to a worker, and all others too when there is a free slot for each of them.

    Workers are told then that these are their last, so that nobody has to come back to them for it.
    """
    given: dict[int, list[TaskSpec]] = {}
    place_tasks(state, run)
    if run.stage.enough_rows is not None and len(run.tasks) > 1:
        run.held.extend(run.tasks)  # `hand_out` gives them one after another
        return
    for task in run.tasks:
        if task.rank is None:
            run.unassigned.append(task.spec)
        else:
            given.setdefault(task.rank, []).append(task.spec)
    dealt = scheduler.deal(len(run.unassigned), {rank: state.slots - state.queued[rank] for rank in state.allowed_ranks(run)})
    for rank in dealt:
        given.setdefault(rank, []).append(run.unassigned.popleft())
    run.last_given = not run.unassigned
    for rank in state.master.worker_ranks if run.last_given else given:
        give(state, run, rank, given.get(rank, []))


def place_tasks(state: ActionState, run: StageRun) -> None:
    """Bind source tasks to the workers that the strategy gives them."""
    strategy = state.strategy(run)
    free = [place for place, task in enumerate(run.tasks) if task.rank is None]
    if type(strategy) is Dynamic or not free:
        return
    allowed = state.allowed_ranks(run)
    needs = run.stage.properties.resources or TaskNeeds()
    tasks = []
    for place in free:
        spec = run.tasks[place].spec
        splits = [ref.split for _, ref in spec.reads if isinstance(ref, SplitRef)]
        parts = [state.master.readers[part] for part in parts_of_files(state, spec) if part in state.master.readers]
        size = sum(split.bytes or 0 for split in splits)
        tasks.append(TaskView(spec.index, size, needs, parts[0] if parts else None))
    views = state.views(allowed)
    chosen = list(strategy.tasks(tasks, views))
    numbers = {view.number for view in views}
    if len(chosen) != len(tasks) or any(number is not None and number not in numbers for number in chosen):
        raise HpcflowError(
            f"placement {brief(run.stage.properties.placement or state.master.config.placement)} answered {chosen} for {len(tasks)} tasks of stage "
            f"{run.stage.id} ({run.stage.label}); give one of the workers {sorted(numbers)}, or None, for each task"
        )
    for place, number in zip(free, chosen, strict=True):
        if number is not None:
            run.tasks[place] = replace(run.tasks[place], rank=state.master.worker_ranks[number])


def parts_of_files(state: ActionState, task: TaskSpec) -> list[str]:
    """Which parts of files the task reads, in words: the same for a later action that cuts the same files alike."""
    parts = []
    for leaf, ref in task.reads:
        if isinstance(ref, SplitRef) and isinstance(leaf, SourceLeaf):
            source = state.plan.operator(leaf.vertex)
            if not isinstance(source, Range | Generate):
                parts.append(f"{source.name} {ref.split.payload!r}")
    return parts


def _remember_readers(state: ActionState, rank: int, tasks: list[TaskSpec]) -> None:
    readers, number = state.master.readers, state.master.worker_ranks.index(rank)
    for part in (part for task in tasks for part in parts_of_files(state, task)):
        readers.pop(part, None)
        readers[part] = number
    while len(readers) > REMEMBERED_PARTS:
        del readers[next(iter(readers))]


def hand_out(state: ActionState) -> None:
    """Give groups of unassigned tasks to workers that run low; when all are given, let loaded workers give back for idle ones."""
    for run in state.stages.values():
        if run.state is not StageState.RUNNING or (run.stage.enough_rows is not None and not run.unassigned and not run.held):
            continue
        allowed = state.allowed_ranks(run)
        if run.held:
            _give_first(state, run, allowed)
            continue
        while run.unassigned:
            hungry = [rank for rank in allowed if scheduler.wants_more(state.queued[rank], state.slots)]
            if not hungry:
                break
            rank = min(hungry, key=lambda r: state.queued[r])
            count = scheduler.group_size(len(run.unassigned), len(allowed), state.slots)
            give(state, run, rank, [run.unassigned.popleft() for _ in range(count)])
        if not run.unassigned:
            _steal(state, run, allowed)


def _give_first(state: ActionState, run: StageRun, allowed: tuple[int, ...]) -> None:
    """Of a stage that may stop early: the first tasks, no more than there are free slots."""
    free = {rank: state.slots - queued for rank, queued in state.queued.items()}
    later: deque[PlannedTask] = deque()
    while run.held and any(slots > 0 for slots in free.values()):
        task = run.held.popleft()
        rank = max(allowed, key=lambda r: (free[r], -r)) if task.rank is None else task.rank
        if free[rank] > 0:
            free[rank] -= 1
            give(state, run, rank, [task.spec])
        else:
            later.append(task)
            if task.rank is None:
                break
    run.held.extendleft(reversed(later))


def stop_early(run: StageRun) -> None:
    """Forget the tasks that nobody has when the first ones have given all the rows that are needed."""
    if not run.held or run.stage.enough_rows is None:
        return
    ended, rows = run.first_rows
    while rows < run.stage.enough_rows and (result := run.results.get(ended)) is not None:
        ended, rows = ended + 1, rows + result.rows
    run.first_rows = (ended, rows)
    if rows >= run.stage.enough_rows:
        begun = run.assigned.keys()
        run.tasks = [task for task in run.tasks if task.spec.index in begun]
        run.held.clear()


def give(state: ActionState, run: StageRun, rank: int, tasks: list[TaskSpec]) -> None:
    """Send one TaskGroup."""
    for task in tasks:
        run.assigned[task.index] = rank
    if type(state.strategy(run)) is not Dynamic:
        _remember_readers(state, rank, tasks)
    state.queued[rank] += len(tasks)
    state.mail.to(rank, m.RunTasks(state.id, run.stage.id, tuple(tasks), run.last_given))
    if tasks:
        state.emit(records.TaskGroupSent(action=state.id, stage=f"S{run.stage.id}", worker=rank, tasks=tuple(t.index for t in tasks)))


def _steal(state: ActionState, run: StageRun, allowed: tuple[int, ...]) -> None:
    """Ask a loaded worker to give back unstarted tasks while another is idle; only tasks that are not bound to their worker."""
    idle = [rank for rank in allowed if state.queued[rank] == 0]
    if not idle or run.stealing_from or not any(task.rank is None for task in run.tasks):
        return
    movable = dict.fromkeys(allowed, 0)
    for task in run.tasks:
        if task.rank is None and task.spec.index not in run.results:
            movable[run.assigned[task.spec.index]] += 1
    found = scheduler.victim(movable, idle[0], state.slots)
    if found is not None:
        run.stealing_from.add(found[0])
        state.mail.to(found[0], m.GiveBackTasks(state.id, run.stage.id, found[1]))


def take_back(state: ActionState, message: m.TasksReturned) -> None:
    """Tasks that a loaded worker had not begun: for the first idle one, else for whoever asks."""
    run = state.stages[message.stage]
    run.stealing_from.discard(message.rank)
    state.queued[message.rank] -= len(message.tasks)
    idle = [rank for rank in state.allowed_ranks(run) if state.queued[rank] == 0 and rank != message.rank]
    for task in message.tasks:
        del run.assigned[task.index]
        run.unassigned.append(task)
    if idle and message.tasks:
        moved = [run.unassigned.popleft() for _ in range(len(message.tasks))]
        state.emit(
            records.TasksMoved(
                action=state.id, stage=f"S{run.stage.id}", from_worker=message.rank, to_worker=idle[0], tasks=tuple(t.index for t in moved)
            )
        )
        give(state, run, idle[0], moved)

"""What to do next: a pure function of the tasks, how their attempts are, and the time.

Invariant: a dependent is decided only when none of the tasks it needs has an attempt left; a condition that cannot come true makes the task
`skipped`; an attempt is followed by another only within the budget of its kind of failure.

    waiting -> running -> succeeded | failed | cancelled
       |          ^ |
       |          +-+ another attempt, within the budget
       +-> skipped (its condition cannot come true)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from hpcflow.launch.executors.base import FailureClass, JobState, JobStatus
from hpcflow.launch.experiment.model import Condition, Spec, Task, order


class TaskState(Enum):
    """Of a task as a whole."""

    WAITING = "waiting"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Nothing more will happen to it."""
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED)


@dataclass(frozen=True)
class Attempt:
    """One attempt as far as it is known. ended_s: seconds since the epoch at which its end was seen."""

    number: int
    status: JobStatus
    ended_s: float = 0.0


@dataclass(frozen=True)
class Submit:
    """Start attempt `number` of a task."""

    task: str
    number: int


@dataclass(frozen=True)
class Skip:
    """The task will not run."""

    task: str
    reason: str


def state_of(task: Task, attempts: Sequence[Attempt], skipped: bool = False, cancelled: bool = False) -> TaskState:
    """What a task is: the newest attempt counts, and a failed one within its budget is no end."""
    if skipped:
        return TaskState.SKIPPED
    if not attempts:
        return TaskState.CANCELLED if cancelled else TaskState.WAITING
    last = attempts[-1].status
    if last.state is JobState.FAILED:
        return TaskState.FAILED if cancelled or not may_retry(task, attempts) else TaskState.WAITING
    return TaskState(last.state.value)


def may_retry(task: Task, attempts: Sequence[Attempt]) -> bool:
    """Whether the failure of the last attempt leaves another one, counted in our own records, by kind of failure."""
    failures = Counter((attempt.status.failure or FailureClass.PROGRAM) for attempt in attempts if attempt.status.state is JobState.FAILED)
    last = attempts[-1].status.failure or FailureClass.PROGRAM
    return failures[last] <= task.budget(last)


def retry_at_s(task: Task, attempts: Sequence[Attempt]) -> float:
    """When the next attempt may start: the pause is that of the last failure's kind, and doubles with every failed attempt of that kind."""
    last = attempts[-1]
    kind = last.status.failure or FailureClass.PROGRAM
    alike = sum(attempt.status.state is JobState.FAILED and (attempt.status.failure or FailureClass.PROGRAM) is kind for attempt in attempts)
    return last.ended_s + task.pause_s(kind) * 2.0 ** (alike - 1)


def verdict(condition: Condition, ends: Sequence[TaskState]) -> bool | None:
    """Whether a condition holds over the tasks needed: True, False when it cannot come true any more, None while it may."""
    over = all(state.final for state in ends)
    if condition is Condition.ALL_FINISHED:
        return True if over else None
    if condition is Condition.ALL_SUCCEEDED:
        if any(state.final and state is not TaskState.SUCCEEDED for state in ends):
            return False
        return True if over else None
    wanted = TaskState.SUCCEEDED if condition is Condition.ANY_SUCCEEDED else TaskState.FAILED
    if wanted in ends:
        return True
    return False if over else None


def next_steps(
    spec: Spec, attempts: Mapping[str, Sequence[Attempt]], skipped: Mapping[str, str], cancelled: frozenset[str], now_s: float
) -> list[Submit | Skip]:
    """What can be done now, in the order of the tasks."""
    steps: list[Submit | Skip] = []
    states = {task.name: state_of(task, attempts.get(task.name, ()), task.name in skipped, task.name in cancelled) for task in spec.tasks}
    for task in spec.tasks:
        own = attempts.get(task.name, ())
        if states[task.name] is not TaskState.WAITING:
            continue
        if own:
            if now_s >= retry_at_s(task, own):
                steps.append(Submit(task.name, own[-1].number + 1))
            continue
        holds = verdict(task.condition, [states[name] for name in task.needs]) if task.needs else True
        if holds:
            steps.append(Submit(task.name, 1))
        elif holds is False:
            steps.append(Skip(task.name, why_not(task, states)))
    return steps


def why_not(task: Task, states: Mapping[str, TaskState]) -> str:
    """The reason of a skipped task."""
    ends = ", ".join(f"{name} {states[name].value}" for name in task.needs)
    return f"{task.condition.value} cannot come true: {ends}"


def cannot_begin(spec: Spec, attempts: Mapping[str, Sequence[Attempt]], skipped: Collection[str], cancelled: Collection[str]) -> dict[str, str]:
    """Tasks that were submitted with dependencies of Slurm's and will not run, since what they need has ended otherwise; task -> why.

    It is told from our own records: Slurm forgets such jobs within minutes, and without accounting nobody knows what became of them.
    """
    found: dict[str, str] = {}
    states: dict[str, TaskState] = {}
    for task in order(spec.tasks):
        own = attempts.get(task.name, ())
        states[task.name] = state = state_of(task, own, task.name in skipped, task.name in cancelled)
        waits = state in (TaskState.PENDING, TaskState.UNKNOWN, TaskState.CANCELLED) and task.name not in cancelled
        if own and waits and task.needs and verdict(task.condition, [states[name] for name in task.needs]) is False:
            found[task.name] = why_not(task, states)
            states[task.name] = TaskState.SKIPPED
    return found


def to_run_again(tasks: Sequence[Task], states: Mapping[str, TaskState]) -> list[Task]:
    """The tasks that did not succeed, as a graph of their own: needs that succeeded count as met, and a task whose condition they keep from coming
    true for ever is left out (what needs it sees it skipped)."""
    fixed: dict[str, TaskState] = {name: state for name, state in states.items() if state is TaskState.SUCCEEDED}
    chosen: dict[str, Task] = {}
    for task in order(tasks):
        if task.name in fixed:
            continue
        holds = verdict(task.condition, [fixed.get(name, TaskState.WAITING) for name in task.needs]) if task.needs else True
        if holds is False:
            fixed[task.name] = TaskState.SKIPPED
        else:
            chosen[task.name] = replace(task, needs=() if holds else tuple(name for name in task.needs if name not in fixed))
    return [chosen[task.name] for task in tasks if task.name in chosen]


def exit_status(spec: Spec, states: Mapping[str, TaskState]) -> int:
    """Of a whole experiment: 0 only when every required task succeeded."""
    return 0 if all(states[task.name] is TaskState.SUCCEEDED for task in spec.tasks if task.required) else 1

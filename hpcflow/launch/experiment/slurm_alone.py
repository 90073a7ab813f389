"""Graphs that Slurm finishes by itself: all jobs are submitted at once, with Slurm's own dependencies, and no driver stays.

Invariant: only for graphs whose every task is a Slurm job, and whose retries need nobody outside of the job. A task whose retry needs the driver
would give its dependents no Slurm dependency.
"""

from __future__ import annotations

import dataclasses
import sys

from hpcflow.errors import LaunchError
from hpcflow.launch.executors.base import FailureClass, JobState, JobStatus, QueryFailedError, SubmitLimitError, SubmitUnclearError
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_array import dependency_ids
from hpcflow.launch.experiment import fan_out
from hpcflow.launch.experiment.decide import TaskState, verdict, why_not
from hpcflow.launch.experiment.model import Condition, Spec, Task, order
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.packagers.base import packed_files
from hpcflow.launch.payloads import job_request

IN_THE_JOB = FailureClass.STOPPED.value
"""The one failure that a job answers itself, by asking Slurm to run it again."""

# Condition -> (dependency type, whether one of several is enough)
_KINDS = {
    Condition.ALL_SUCCEEDED: ("afterok", False),
    Condition.ANY_SUCCEEDED: ("afterok", True),
    Condition.ALL_FINISHED: ("afterany", False),
    Condition.ANY_FAILED: ("afternotok", True),
}


def possible(spec: Spec) -> bool:
    """Whether Slurm alone can finish this graph."""
    return all(task.executor["type"] == "slurm" and not set(task.retries) - {IN_THE_JOB} for task in spec.tasks)


def submit_all(records: Records, spec: Spec) -> dict[str, str]:
    """Submit every task of a new experiment, in order, fan-outs as arrays; returns task -> why Slurm refused it.

    A refused task has failed: what depends on it is decided at once (skipped, or submitted without that dependency); what was submitted goes on.

    Raises:
        SubmitLimitError, SubmitUnclearError, QueryFailedError: somebody has to stay, and take over what has not been submitted.
    """
    submitted = _Submitted({}, {})
    states: dict[str, TaskState] = {}
    refused: dict[str, str] = {}
    waiting = order(spec.tasks)
    while waiting:
        now = [task for task in waiting if all(name in states for name in task.needs)]
        waiting = [task for task in waiting if any(name not in states for name in task.needs)]
        ready: list[fan_out.Ready] = []
        for task in now:
            holds = verdict(task.condition, [states[name] for name in task.needs]) if task.needs else True
            if holds is False:
                records.note("skipped", task=task.name, reason=why_not(task, states))
                states[task.name] = TaskState.SKIPPED
            else:
                ready.append(_ready(records, task, submitted if holds is None else None))
        for group in fan_out.plan(ready, spec.id, sys.maxsize):
            error = _submit(records, group, submitted)
            for each in group.members.values():
                states[each.task.name] = TaskState.PENDING if error is None else TaskState.FAILED
                if error is not None:
                    refused[each.task.name] = error
    return refused


@dataclasses.dataclass(frozen=True)
class _Submitted:
    """Task -> its job's id; array's id -> how many elements it has."""

    ids: dict[str, str]
    sizes: dict[str, int]


def _submit(records: Records, group: fan_out.Group, submitted: _Submitted) -> str | None:
    """Why it was refused; None when it was not."""
    facts = next(iter(group.members.values())).executor.facts()
    for each in group.members.values():
        records.write_intent(each.task, 1, each.request.key, facts)
    try:
        handles = group.submit(records.directory)
    except (SubmitLimitError, SubmitUnclearError, QueryFailedError):
        raise
    except LaunchError as error:
        for each in group.members.values():
            records.observe(each.task.name, 1, JobStatus(JobState.FAILED, None, None, str(error)))
        return str(error)
    for each in group.members.values():
        records.write_submitted(handles[each.request.key])
        submitted.ids[each.task.name] = handles[each.request.key].id
    if group.key is not None:
        submitted.sizes[next(iter(handles.values())).id.partition("_")[0]] = len(handles)
    return None


def _ready(records: Records, task: Task, after: _Submitted | None) -> fan_out.Ready:
    """The task's first attempt, with Slurm's dependency on the jobs of the tasks it needs; None: it waits for nobody."""
    executor = from_json(task.executor)
    assert isinstance(executor, SlurmExecutor)
    if after is not None:
        kind, any_of = _KINDS[task.condition]
        needed = [after.ids[name] for name in task.needs if name in after.ids]
        ids = tuple(needed) if any_of else dependency_ids(needed, after.sizes)
        executor = dataclasses.replace(executor, dependency={**executor.dependency, kind: ids}, dependency_any=any_of)
    directory = records.attempt_directory(task, 1)
    request = job_request(task, executor, 1, "not-yet", directory, packed_files(task.payload.get("code")))
    return fan_out.Ready(task, 1, request, executor, False)

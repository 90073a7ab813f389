"""Graphs that Slurm finishes by itself: all jobs are submitted at once, with Slurm's own dependencies, and no driver stays.

Invariant: only for graphs whose every task is a Slurm job, and whose retries need nobody outside of the job. A task whose retry needs the driver
would give its dependents no Slurm dependency.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping

from hpcflow.launch.executors.base import FailureClass
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_array import dependency_ids
from hpcflow.launch.experiment import fan_out
from hpcflow.launch.experiment.model import Condition, Spec, Task, order
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.home import home
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


def submit_all(records: Records, spec: Spec) -> None:
    """Submit every task that has not been, in order, fan-outs as arrays. Interrupted, it can be called again, or a driver takes over."""
    ids: dict[str, str] = {}
    sizes: dict[str, int] = {}
    waiting = order(spec.tasks)
    while waiting:
        now = [task for task in waiting if all(name in ids for name in task.needs)]
        names = {task.name for task in now}
        waiting = [task for task in waiting if task.name not in names]
        ready: list[fan_out.Ready] = []
        missing: dict[str, str] = {}
        for task in now:
            handle, key = records.handle(task, 1), records.intent_key(task, 1)
            if handle is not None:
                ids[task.name] = handle.id
                continue
            directory = records.attempt_directory(task, 1)
            if key is not None:
                missing[key] = str(directory)
            executor = _depending(task, ids, sizes)
            code = task.payload.get("code")
            request = job_request(task, executor, 1, key or "not-yet", directory, None if code is None else home() / "code" / code / "files")
            ready.append(fan_out.Ready(task, 1, request, executor, key is not None))
        found = ready[0].executor.find(missing) if missing else {}
        for group in fan_out.plan([each for each in ready if each.request.key not in found], spec.id, sys.maxsize):
            for each in group.members.values():
                if not each.announced:
                    records.write_intent(each.task, 1, each.request.key)
            handles = group.submit(records.directory)
            for each in group.members.values():
                records.write_submitted(handles[each.request.key])
                ids[each.task.name] = handles[each.request.key].id
            if group.key is not None:
                sizes[next(iter(handles.values())).id.partition("_")[0]] = len(handles)
        for each in ready:
            if each.request.key in found:
                records.write_submitted(found[each.request.key])
                ids[each.task.name] = found[each.request.key].id


def _depending(task: Task, ids: Mapping[str, str], sizes: dict[str, int]) -> SlurmExecutor:
    """The task's executor with Slurm's dependency on the jobs of the tasks it needs."""
    executor = from_json(task.executor)
    assert isinstance(executor, SlurmExecutor)
    if not task.needs:
        return executor
    kind, any_of = _KINDS[task.condition]
    needed = [ids[name] for name in task.needs]
    return dataclasses.replace(
        executor,
        dependency={**executor.dependency, kind: tuple(needed) if any_of else dependency_ids(needed, sizes)},
        dependency_any=any_of,
    )

"""Graphs that Slurm finishes by itself: all jobs are submitted at once, with Slurm's own dependencies, and no driver stays.

Invariant: only for graphs whose every task is a Slurm job, and whose retries need nobody outside of the job. A task whose retry needs the driver
would give its dependents no Slurm dependency.
"""

from __future__ import annotations

import dataclasses
import os

from hpcflow.launch.executors.base import FailureClass
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.model import Condition, Spec, order
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
    """Submit every task that has not been, in order. Interrupted, it can be called again, or a driver takes over."""
    ids: dict[str, str] = {}
    for task in order(spec.tasks):
        executor = from_json(task.executor)
        assert isinstance(executor, SlurmExecutor)
        if task.needs:
            kind, any_of = _KINDS[task.condition]
            needed = {kind: tuple(ids[name] for name in task.needs)}
            executor = dataclasses.replace(executor, dependency={**executor.dependency, **needed}, dependency_any=any_of)
        directory = records.attempt_directory(task, 1)
        handle = records.handle(task, 1)
        if handle is None:
            key = records.intent_key(task, 1)
            known = None if key is None else executor.find(key, str(directory))
            if key is None:
                key = f"{spec.id}-{os.urandom(4).hex()}-1"
                records.write_intent(task, 1, key)
            code = task.payload.get("code")
            request = job_request(task, executor, 1, key, directory, None if code is None else home() / "code" / code / "files")
            handle = known or executor.submit(executor.render(request))
            records.write_submitted(handle)
        ids[task.name] = handle.id

"""What a user gives to `Experiment.add` becomes plain data: the payload, the executor with the task's own fields, a name of its own.

Invariant: contacts nobody and writes nothing; what cannot be run so is refused here, with what to say instead.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.buildable import Buildable
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.experiment.arguments import check_resources
from hpcflow.launch.experiment.model import Condition, Task
from hpcflow.launch.group import sized
from hpcflow.launch.payloads import function_payload, payload_of, secrets_of


@dataclasses.dataclass(frozen=True)
class Placed:
    """A task and where it runs.

    payload, resources: as a `Task` has them
    executor: with the fields that the task overrides
    files: name -> content, for the task's directory
    """

    payload: dict[str, Any]
    resources: Mapping[str, Any]
    executor: Executor
    files: dict[str, bytes]


def placed(task: Any, executor: Executor, overrides: dict[str, Any], by_value: bool, mode: str, on_failure: str, packed: Path | None) -> Placed:
    """The arguments of `Experiment.add`. packed: the folder whose code goes along; None: none does. Raises ConfigError."""
    resources = {need: overrides.pop(need) for need in executor.task_needs if need in overrides}
    check_resources(resources)
    where = _with(executor, overrides)
    files: dict[str, bytes] = {}
    if isinstance(task, Buildable) or (callable(task) and by_value):
        payload, files = function_payload(task, where, by_value, packed)
    else:
        payload = payload_of(task, where, mode, on_failure, packed)
        payload["commands"], where, resources = sized(payload["commands"], mode, where, resources)
    where.accept_secrets(*secrets_of(payload))
    return Placed(payload, resources, where, files)


def unique_name(name: str | None, label: str, taken: Set[str]) -> str:
    """The name that was given, or the label with a number where it is taken. Raises ConfigError."""
    base = name or label
    if name is not None and name in taken:
        raise ConfigError(f"there is a task {name!r} already: give each its own name")
    unique = base if base not in taken else next(f"{base}-{i}" for i in range(2, len(taken) + 3) if f"{base}-{i}" not in taken)
    if not unique.isprintable() or not unique:
        raise ConfigError(f"task name {unique!r} is empty or holds control characters")
    return unique


def _with(executor: Executor, overrides: dict[str, Any]) -> Executor:
    known = [each.name for each in dataclasses.fields(executor)]  # type: ignore[arg-type]  # every executor is a dataclass
    for name in overrides:
        if name not in known:
            near = near_names(name, known) or f"; it has {', '.join(known)}"
            raise ConfigError(f"{type(executor).__name__} has no field {name!r}{near}")
    changed: Executor = dataclasses.replace(executor, **overrides)  # type: ignore[type-var]
    return changed


def in_sequence(tasks: list[Task]) -> list[Task]:
    """Each task after the one before it, whatever became of that. Raises ConfigError where a task's own needs would let it run beside others."""
    found = tasks[:1]
    for before, task in itertools.pairwise(tasks):
        if task.needs and before.name not in task.needs:
            raise ConfigError(
                f"sequential=True runs each task after the one added before it, and {task.name!r} says what it depends on: "
                f"add {before.name!r} to its dependencies, or leave sequential out"
            )
        found.append(task if task.needs else dataclasses.replace(task, needs=(before.name,), condition=Condition.ALL_FINISHED))
    return found

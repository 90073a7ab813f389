"""What an experiment is: tasks, what they depend on, when they run, how often they are tried. Frozen, and kept as `experiment.json`.

Task("train", payload={...}, executor={"type": "local"}, needs=("prep",), condition=Condition.ALL_SUCCEEDED, retries={"node failure": 2})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from typing import Any

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.executors.base import FailureClass

DEFAULT_BACKOFF_S = 5.0
SCHEMA = 1
"""Version of `experiment.json`."""


class Condition(Enum):
    """Which ends of the tasks it needs let a task run."""

    ALL_SUCCEEDED = "all_succeeded"
    ANY_SUCCEEDED = "any_succeeded"
    ALL_FINISHED = "all_finished"
    ANY_FAILED = "any_failed"


def condition_of(given: str | Condition) -> Condition:
    """By its name. Raises ConfigError with near names."""
    known = [condition.value for condition in Condition]
    if isinstance(given, Condition):
        return given
    if given not in known:
        raise ConfigError(f"there is no condition {given!r}{near_names(str(given), known)}; there are {', '.join(known)}")
    return Condition(given)


@dataclass(frozen=True)
class Task:
    """One task.

    name: unique within the experiment, any printable text
    directory: its folder's name under `tasks/`
    payload: what it runs, as its kind (script, function) writes it down
    executor: the executor's type and fields
    resources: ntasks, cpus_per_task, memory_mb, gpus, launcher
    needs: names of tasks that have to end first
    retries: failure class -> how many more attempts; stops ("stopped to be continued") have a budget too
    backoff_s: before the first retry, or failure class -> that; doubled with every further one
    required: whether its failure makes the experiment fail
    """

    name: str
    directory: str
    payload: Mapping[str, Any]
    executor: Mapping[str, Any]
    resources: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    condition: Condition = Condition.ALL_SUCCEEDED
    retries: Mapping[str, int] = field(default_factory=dict)
    backoff_s: float | Mapping[str, float] = DEFAULT_BACKOFF_S
    required: bool = True

    def budget(self, failure: FailureClass | None) -> int:
        """How often the task may be tried again after this kind of failure."""
        return self.retries.get((failure or FailureClass.PROGRAM).value, 0)

    def pause_s(self, failure: FailureClass | None) -> float:
        """Seconds before the first retry after this kind of failure; a stop to be continued waits for nothing."""
        if failure is FailureClass.STOPPED:
            return 0.0
        if isinstance(self.backoff_s, Mapping):
            return self.backoff_s.get((failure or FailureClass.PROGRAM).value, DEFAULT_BACKOFF_S)
        return self.backoff_s


@dataclass(frozen=True)
class Spec:
    """An experiment as it was asked for."""

    id: str
    title: str
    created: str
    tasks: tuple[Task, ...]
    tags: tuple[str, ...] = ()
    notes: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Who submitted it, from which host, directory and commit."""

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if doubled := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
            raise ConfigError(f"two tasks are called {doubled[0]!r}: give each its own name")
        known = set(names)
        for task in self.tasks:
            if unknown := [name for name in task.needs if name not in known]:
                raise ConfigError(f"task {task.name!r} needs {unknown[0]!r}, which is no task of this experiment")
        order(self.tasks)

    @cached_property
    def _by_name(self) -> dict[str, Task]:
        return {task.name: task for task in self.tasks}

    def task(self, name: str) -> Task:
        """The task of this name. Raises ConfigError with near names."""
        if name not in self._by_name:
            near = near_names(name, self._by_name) or f"; there are {', '.join(self._by_name)}"
            raise ConfigError(f"no task {name!r}{near}")
        return self._by_name[name]

    def to_json(self) -> dict[str, Any]:
        """For `experiment.json`."""
        tasks = [{**vars(task), "needs": list(task.needs), "condition": task.condition.value} for task in self.tasks]
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"schema": SCHEMA, **own, "tasks": tasks, "tags": list(self.tags)}


def spec_from_json(value: Mapping[str, Any]) -> Spec:
    """From `experiment.json`. Raises ConfigError for a newer schema."""
    if value.get("schema") != SCHEMA:
        raise ConfigError(
            f"this experiment was written with schema {value.get('schema')}, and this hpcflow reads {SCHEMA}: use the version that wrote it"
        )
    tasks = tuple(
        Task(**{**task, "needs": tuple(task["needs"]), "condition": Condition(task["condition"])})  # field by field
        for task in value["tasks"]
    )
    return Spec(value["id"], value["title"], value["created"], tasks, tuple(value["tags"]), value["notes"], value["facts"])


def order(tasks: Sequence[Task]) -> list[Task]:
    """The tasks so that each comes after those it needs, else as given. Raises ConfigError that shows a cycle."""
    left = {task.name: task for task in tasks}
    waiting = {task.name: {name for name in task.needs if name in left} for task in tasks}
    followers: dict[str, list[str]] = {}
    for task in tasks:
        for name in waiting[task.name]:
            followers.setdefault(name, []).append(task.name)
    ready = [task.name for task in tasks if not waiting[task.name]]
    ordered: list[Task] = []
    for name in ready:
        ordered.append(left[name])
        for follower in followers.get(name, ()):
            waiting[follower].discard(name)
            if not waiting[follower]:
                ready.append(follower)
    if len(ordered) < len(tasks):
        raise ConfigError(f"tasks wait for each other in a circle: {' -> '.join(_cycle(waiting))}")
    return ordered


def _cycle(waiting: Mapping[str, set[str]]) -> list[str]:
    name = next(name for name, needs in waiting.items() if needs)
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = next(iter(sorted(waiting[name])))
    return [*path[path.index(name) :], name]

"""The arguments of `Experiment` and `Experiment.add`, compared with their types when they are given.

Invariant: what passes here can be written down and read back; what a task asks for is a number. Nothing is contacted.

    check_task(name="a", required="no")        # ConfigError: add(required=...): expected bool, got str 'no'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.checked import check_argument
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.experiment.model import Condition
from hpcflow.launch.packagers.base import Packager
from hpcflow.launch.request import Mode, OnFailure

_EXPERIMENT: Mapping[str, Any] = {"title": str, "executor": Executor | None, "packager": Packager | None, "tags": Sequence[str], "notes": str}
_TASK: Mapping[str, Any] = {
    "name": str | None, "executor": Executor | None, "required": bool, "by_value": bool, "mode": Mode, "on_failure": OnFailure,
}  # fmt: skip


def check_experiment(**given: Any) -> None:
    """Raises ConfigError that names the argument."""
    _check("Experiment", _EXPERIMENT, given)
    if not given["title"].strip():
        raise ConfigError("Experiment(title=...) is empty: give it a word to find it by")


def check_task(**given: Any) -> None:
    """The same for `add`."""
    _check("add", _TASK, given)
    if given.get("name") == "":
        raise ConfigError("add(name=...) is empty: leave it out, and the task is called after what it runs")


def _check(function: str, kinds: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        check_argument(f"{function}({name}=...)", value, kinds[name])


def check_dependencies(dependencies: Any, owner: object) -> None:
    """That each is a task of this very experiment. Raises ConfigError."""
    if not isinstance(dependencies, Sequence) or isinstance(dependencies, str):
        raise ConfigError(f"add(dependencies=...): expected a list of tasks, got {dependencies!r}; give a list: [{dependencies!r}]")
    for dependency in dependencies:
        if not hasattr(dependency, "experiment"):
            raise ConfigError(f"add(dependencies=...): {dependency!r} is no task: give what add() returned")
        if dependency.experiment is not owner:
            raise ConfigError(f"{dependency!r} belongs to another experiment: tasks depend on tasks of their own")


def check_condition(condition: Condition, dependencies: Sequence[object]) -> None:
    """Raises ConfigError for one that can never come true, since it is about no task."""
    if condition in (Condition.ANY_SUCCEEDED, Condition.ANY_FAILED) and not dependencies:
        raise ConfigError(f"add(condition={condition.value!r}) without dependencies never comes true: name the tasks, or leave it out")


def check_resources(resources: Mapping[str, Any]) -> None:
    """What a task asks for beside the executor's fields: whole numbers. Raises ConfigError."""
    for name, value in resources.items():
        least = 0 if name == "gpus" else 1
        if value is not None and (type(value) is not int or value < least):
            raise ConfigError(f"add({name}={value!r}): expected a whole number from {least}")

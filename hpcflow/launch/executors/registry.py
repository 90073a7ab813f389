"""Executors by name, and as JSON: what `experiment.json` keeps of them.

Invariant: reading never executes anything but the constructor of a registered executor with plain values. Others register in the entry point group
`hpcflow.executors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields


@cache
def kinds() -> dict[str, type[Executor]]:
    """Name -> class: ours, and those of installed plug-ins."""
    found: dict[str, type[Executor]] = {"local": LocalExecutor, "slurm": SlurmExecutor}
    for point in entry_points(group="hpcflow.executors"):
        found.setdefault(point.name, point.load())
    return found


def to_json(executor: Executor) -> dict[str, Any]:
    """`{"type": name, fields that differ from the default}`."""
    value: dict[str, Any] = {"type": executor.name}
    plain = _plain(type(executor))
    for each in fields(executor):  # type: ignore[arg-type]  # every executor is a dataclass
        given = getattr(executor, each.name)
        if given != getattr(plain, each.name):
            value[each.name] = [component.__dict__ for component in given] if each.name == "components" else given
    return value


@cache
def _plain(kind: type[Executor]) -> Executor:
    return kind()


def from_json(value: Mapping[str, Any]) -> Executor:
    """Raises ConfigError for an executor that is not installed here."""
    kind = kinds().get(value["type"])
    if kind is None:
        raise ConfigError(f"no executor {value['type']!r} is installed; there are {', '.join(kinds())}")
    given = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items() if name != "type"}
    if "components" in given:
        given["components"] = tuple(SlurmFields(**_tuples(component)) for component in value["components"])
    if "dependency" in given:
        given["dependency"] = _tuples(value["dependency"])
    return kind(**given)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(item) if isinstance(item, list) else item for name, item in values.items()}

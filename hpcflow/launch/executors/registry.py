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

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields


def kinds() -> dict[str, type[Executor]]:
    """Name -> class: ours, and those of installed plug-ins that can be used."""
    return _found()[0]


def is_installed(name: str) -> bool:
    """Whether there is an executor of this name, usable or not."""
    return any(name in names for names in _found())


def kind_of(name: str) -> type[Executor]:
    """The class of this name. Raises ConfigError with near names, or with why an installed one cannot be used."""
    usable, broken = _found()
    if name in broken:
        raise ConfigError(f"the installed executor {name!r} cannot be used: {broken[name]}")
    if name not in usable:
        raise ConfigError(f"no executor {name!r} is installed{near_names(name, usable)}; there are {', '.join(usable)}")
    return usable[name]


@cache
def _found() -> tuple[dict[str, type[Executor]], dict[str, str]]:
    """(name -> class, name -> why that plug-in cannot be used): a broken one is told of by whoever asks for it, and by nobody else."""
    found: dict[str, type[Executor]] = {"local": LocalExecutor, "slurm": SlurmExecutor}
    broken: dict[str, str] = {}
    for point in entry_points(group="hpcflow.executors"):
        if point.name in found:
            continue
        try:
            kind = point.load()
        except Exception as error:  # whatever the module of somebody else raises
            broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
            continue
        if isinstance(kind, type) and issubclass(kind, Executor) and hasattr(kind, "__dataclass_fields__") and kind.name == point.name:
            found[point.name] = kind
        else:
            broken[point.name] = f"{point.value} is no dataclass that subclasses Executor and has name = {point.name!r}"
    return found, broken


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
    kind = kind_of(value["type"])
    given = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items() if name != "type"}
    if "components" in given:
        given["components"] = tuple(SlurmFields(**_tuples(component)) for component in value["components"])
    if "dependency" in given:
        given["dependency"] = _tuples(value["dependency"])
    return kind(**given)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(item) if isinstance(item, list) else item for name, item in values.items()}

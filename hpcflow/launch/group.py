"""Groups: several programs in one allocation, each with ranks, cores, memory and GPUs of its own where it says so.

    exp.add([Step(Script("solve.sh"), cpus_per_task=6, memory_mb=4000), Step(Script("watch.sh"), cpus_per_task=1)], mode="parallel")

Invariant: a group's job is as large as its steps need together (side by side: their sum; one after the other: the largest of them). It is made so
where the executor names no shape, and refused where the executor's own shape is too small: Slurm would run the steps one after the other without a
word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.base import Executor, ranks_of
from hpcflow.launch.request import LauncherName, check_command_name

_NEEDS = ("ntasks", "cpus_per_task", "memory_mb", "gpus")
_SHAPE = ("ntasks", "ntasks_per_node", "nodes", "cpus_per_task")
_GPUS = ("gpus", "gpus_per_node", "gpus_per_task", "gres")
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
_WHOLE = ("exclusive", "components", "mem_per_cpu", "mem_per_gpu")
"""With these the executor's shape is not known before the job runs, or not simply the fields' product."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A Script as one command of a group, with what it needs itself; what is None is the task's.

    script: what runs
    name: for its state, log and cancel; default the script's name
    launcher: how its ranks start: "none", "mpirun", "srun", "mpi"
    ntasks: ranks
    cpus_per_task: cores of each rank
    memory_mb: of all its ranks together (on Slurm of those on one node)
    gpus: of all its ranks together; 0: none. Side by side each step of a task with GPUs has its own: those that say nothing have none
    """

    script: Script
    name: str | None = None
    launcher: LauncherName | None = None
    ntasks: int | None = None
    cpus_per_task: int | None = None
    memory_mb: int | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.script, Script):
            raise ConfigError(f"Step.script: expected a Script, got {type(self.script).__name__}; say Script(...) around what runs")
        if self.name is not None:
            check_command_name(self.name, "Step.name")
        if self.launcher is not None and self.launcher not in get_args(LauncherName):
            near = near_names(str(self.launcher), get_args(LauncherName))
            raise ConfigError(f"Step.launcher={self.launcher!r}{near}; there are {', '.join(get_args(LauncherName))}")
        for field, least in (("ntasks", 1), ("cpus_per_task", 1), ("memory_mb", 1), ("gpus", 0)):
            value = getattr(self, field)
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(f"Step.{field}={value!r}: expected a whole number from {least}")

    @property
    def needs(self) -> dict[str, int]:
        """What it says about its size."""
        found = {name: getattr(self, name) for name in _NEEDS}
        return {name: value for name, value in found.items() if value is not None}


def sized(commands: Sequence[Mapping[str, Any]], mode: str, executor: Executor, resources: Mapping[str, Any]) -> tuple[Any, Executor, dict[str, Any]]:
    """(commands, executor, resources) of a group in which every command says its ranks and cores, and the job is as large as they need.

    commands: of the payload; unchanged, like the others, where no step has needs of its own.

    Raises:
        ConfigError: the executor has less than the steps need together.
    """
    commands, resources = _with_gpus(commands, mode, executor, resources)
    if not any(command.get(name) is not None for command in commands for name in _NEEDS):
        return commands, executor, dict(resources)
    cores = int(getattr(executor, "cpus_per_task", None) or 1)
    named = [name for name in _SHAPE if _differs(executor, name)]
    full: list[dict[str, Any]] = []
    for command in commands:
        starts = _starts(command, executor)
        if starts == "none" and (command.get("ntasks") or 1) > 1:
            raise ConfigError(f"step {command['name']!r}: ntasks={command['ntasks']} needs a launcher, such as launcher='mpi'")
        ranks = command.get("ntasks") or (1 if starts == "none" else ranks_of(executor))
        each = command.get("cpus_per_task") or cores
        threads = {"POLARS_MAX_THREADS": str(each)} if mode == "parallel" else {}  # beside others, each keeps to its own cores
        full.append({**command, "ntasks": ranks, "cpus_per_task": each, "env": {**threads, **command["env"]}})
    return full, _shaped(executor, full, mode, named), _remembered(executor, full, mode, resources)


def _with_gpus(
    commands: Sequence[Mapping[str, Any]], mode: str, executor: Executor, resources: Mapping[str, Any]
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]:
    """(commands, resources) in which every command says its GPUs and the task has as many as they need, where one says any."""
    named = [name for name in _GPUS if executor.name != "local" and getattr(executor, name, None)]  # a LocalExecutor's are the budget
    said = [command["gpus"] for command in commands if command.get("gpus") is not None]
    if not said:
        if mode == "parallel" and len(commands) > 1 and (named or resources.get("gpus")):
            raise ConfigError(
                "this task has GPUs, and its steps would take all of them one after the other: "
                "say Step(..., gpus=N) for those that need some; the others have none"
            )
        return commands, resources
    total = _together(mode)(said)
    own = getattr(executor, "gpus", None) if named == ["gpus"] else None
    have = resources.get("gpus") or (own if isinstance(own, int) else None)
    if have is not None and total > have:
        raise ConfigError(f"the steps of this group need {total} GPUs together, and the task has {have}: give it more, or the steps less")
    full = [{**command, "gpus": command.get("gpus") or 0} for command in commands]
    return full, resources if named or have is not None or not total else {**resources, "gpus": total}


def _differs(executor: Executor, name: str) -> bool:
    """Whether a field was given."""
    field = type(executor).__dict__.get("__dataclass_fields__", {}).get(name)
    return field is not None and getattr(executor, name) != field.default


def _starts(command: Mapping[str, Any], executor: Executor) -> str:
    """How a command's ranks start."""
    return str(command.get("launcher") or getattr(executor, "launcher", "none"))


def _together(mode: str) -> Callable[[Iterable[int]], int]:
    return sum if mode == "parallel" else max


def _shaped(executor: Executor, commands: Sequence[Mapping[str, Any]], mode: str, named: Sequence[str]) -> Executor:
    total = _together(mode)(command["ntasks"] * command["cpus_per_task"] for command in commands)
    if any(getattr(executor, name, None) for name in _WHOLE[:2]) or isinstance(getattr(executor, "nodes", None), str):
        return executor
    if named:
        available = ranks_of(executor) * int(getattr(executor, "cpus_per_task", None) or 1)
        if total > available:
            way = "side by side" if mode == "parallel" else "the largest of them"
            given = ", ".join(f"{name}={getattr(executor, name)!r}" for name in named)
            raise ConfigError(
                f"the steps of this group need {total} cores {way}, and {given} gives {available}: "
                f"give the task more, or leave {' and '.join(named)} out, and it gets what they need"
            )
        return executor
    sizes = {command["cpus_per_task"] for command in commands}
    on_one_node = mode == "parallel" and any(command["ntasks"] > 1 and _starts(command, executor) == "mpirun" for command in commands)
    if len(sizes) == 1 and not on_one_node:  # ranks of one size, wherever they have room
        (cores,) = sizes
        return _with_fields(executor, ntasks=_together(mode)(command["ntasks"] for command in commands), cpus_per_task=cores)
    return _with_fields(executor, ntasks=1, cpus_per_task=total)  # cores of one node: pieces of several could not hold a rank


def _with_fields(executor: Executor, **values: int) -> Executor:
    known = {field.name for field in dataclasses.fields(executor)}  # type: ignore[arg-type]  # every executor is a dataclass
    changed: Executor = dataclasses.replace(executor, **{name: value for name, value in values.items() if name in known})  # type: ignore[type-var]
    return changed


def _remembered(executor: Executor, commands: Sequence[Mapping[str, Any]], mode: str, resources: Mapping[str, Any]) -> dict[str, Any]:
    """The task's resources, with the memory of all steps where every step says its own and nobody says the job's."""
    said = [command["memory_mb"] for command in commands if command.get("memory_mb")]
    if not said:
        return dict(resources)
    total = _together(mode)(said)
    have = resources.get("memory_mb") or _megabytes(getattr(executor, "mem", None))
    if have is not None and total > have:
        raise ConfigError(f"the steps of this group need {total} MB together, and the task has {have:.0f}: give it more, or the steps less")
    if have is not None or any(getattr(executor, name, None) for name in _WHOLE):
        return dict(resources)
    if len(said) < len(commands):
        silent = next(command["name"] for command in commands if not command.get("memory_mb"))
        raise ConfigError(f"step {silent!r} says no memory_mb, and others do: give it one, or give the task memory_mb for all of them")
    return {**resources, "memory_mb": total}


def _megabytes(mem: object) -> float | None:
    """sbatch's --mem; 0 is all memory of a node, which nobody knows here."""
    if mem is None:
        return None
    text = str(mem)
    return (float(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else float(text)) or None

"""The options of a Slurm job: one table of field, sbatch option, type, and the Slurm version that has it.

Invariant: what is not in the table cannot be asked for by name (`extra` takes further options as they are); a field of a newer Slurm is refused with
the version it needs, when the version is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.checked import at_least, checked
from hpcflow.launch.executors.slurm_directives import refuse_control

Version = tuple[int, int]

_TIME = re.compile(r"(\d+-)?\d+(:\d{1,2}){0,2}\Z|UNLIMITED\Z|INFINITE\Z")
_MEMORY = re.compile(r"\d+[KMGT]?\Z")
_SIGNAL = re.compile(r"([RB]{1,2}:)?(SIG)?[A-Z0-9]+(@\d+)?\Z")
_NODES = re.compile(r"0*[1-9]\d*(-\d+)?(:\d+)?(,\d+(-\d+)?(:\d+)?)*\Z")
_SWITCHES = re.compile(r"\d+(@[\d:-]+)?\Z")
_GPUS = re.compile(r"([A-Za-z0-9_.+-]+:)?\d+(,([A-Za-z0-9_.+-]+:)?\d+)*\Z")
_NICE = 2_147_483_645
HINTS = ("compute_bound", "memory_bound", "multithread", "nomultithread")
EXCLUSIVE = ("user", "mcs", "topo")
_DEPENDENCY_TYPES = ("after", "afterany", "afterburstbuffer", "aftercorr", "afternotok", "afterok", "singleton")
MAIL_TYPES = (
    "NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "INVALID_DEPEND", "STAGE_OUT",
    "TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50", "ARRAY_TASKS",
)  # fmt: skip


@checked
@dataclass(frozen=True)
class SlurmFields:
    """Options of one job (or of one component of a heterogeneous one). Texts as sbatch takes them, e.g. time="1-12:00:00", mem="4G"."""

    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    time: str | None = None
    nodes: int | str | None = None
    ntasks: int | None = None
    ntasks_per_node: int | None = None
    cpus_per_task: int | None = None
    mem: str | int | None = None
    mem_per_cpu: str | int | None = None
    mem_per_gpu: str | int | None = None
    gpus: str | int | None = None
    gpus_per_node: str | int | None = None
    gpus_per_task: str | int | None = None
    cpus_per_gpu: int | None = None
    gres: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    exclusive: bool | str = False
    reservation: str | None = None
    licenses: str | None = None
    segment: int | None = None
    overcommit: bool = False
    nice: int | None = None
    begin: str | None = None
    deadline: str | None = None
    switches: str | None = None
    comment: str | None = None
    mail_user: str | None = None
    mail_type: Sequence[str] = ()
    signal: str | None = None
    hint: str | None = None
    threads_per_core: int | None = None

    def __post_init__(self) -> None:
        for field in type(self).__dataclass_fields__:
            value = getattr(self, field)
            if isinstance(value, str):
                refuse_control(field, value)
                if value == "":
                    raise ConfigError(f"Slurm field {field} is empty: leave it out")
        at_least(self, 1, "nodes", "ntasks", "ntasks_per_node", "cpus_per_task", "cpus_per_gpu", "segment", "threads_per_core")
        at_least(self, 0, "mem", "mem_per_cpu", "mem_per_gpu", "gpus", "gpus_per_node", "gpus_per_task")
        at_least(self, -_NICE, "nice")
        _check("nodes", None if self.nodes is None else str(self.nodes), _NODES, 'a number, "2-4" or "2,4"')
        _check("switches", self.switches, _SWITCHES, '"2", or "2@12:00:00"')
        for name in ("gpus", "gpus_per_node", "gpus_per_task"):
            value = getattr(self, name)
            _check(name, None if value is None else str(value), _GPUS, 'a number, "a100:2" or "a100:1,h100:1"')
        if self.nice is not None and self.nice > _NICE:
            raise ConfigError(f"Slurm field nice={self.nice}: at most {_NICE}")
        for name, choices in (("hint", HINTS), ("exclusive", EXCLUSIVE)):
            value = getattr(self, name)
            if isinstance(value, str) and value not in choices:
                raise ConfigError(f"Slurm field {name}={value!r}{near_names(value, choices) or '.'} Slurm knows {', '.join(choices)}")
        _check("time", self.time, _TIME, 'minutes, "hours:minutes:seconds" or "days-hours:minutes:seconds"')
        for name in ("mem", "mem_per_cpu", "mem_per_gpu"):
            value = getattr(self, name)
            _check(name, None if value is None else str(value), _MEMORY, 'megabytes, or "4G"')
        _check("signal", self.signal, _SIGNAL, '"B:USR1@120"')
        if sum(value is not None for value in (self.mem, self.mem_per_cpu, self.mem_per_gpu)) > 1:
            raise ConfigError("mem, mem_per_cpu and mem_per_gpu exclude each other: give one")
        if self.cpus_per_task is not None and self.cpus_per_gpu is not None:
            raise ConfigError("cpus_per_task and cpus_per_gpu exclude each other: give one")
        if unknown := [kind for kind in self.mail_type if kind not in MAIL_TYPES]:
            near = near_names(unknown[0].upper(), MAIL_TYPES)
            raise ConfigError(f"mail_type {unknown[0]!r}{near or '.'} Slurm knows {', '.join(MAIL_TYPES)}")

    def options(self, version: Version | None = None) -> list[tuple[str, str | None]]:
        """(option, value) in the order of the fields; value None: the option takes none. Raises ConfigError for an option of a newer Slurm."""
        return options_of({name: getattr(self, name) for name in SlurmFields.__dataclass_fields__}, version)


def options_of(values: Mapping[str, Any], version: Version | None) -> list[tuple[str, str | None]]:
    """The same for checked values by the names of the fields."""
    found: list[tuple[str, str | None]] = []
    for name, value in values.items():
        if value is None or value is False or value == ():
            continue
        needed = _SINCE.get(name)
        if version is not None and needed is not None and version < needed:
            raise ConfigError(f"Slurm field {name} needs Slurm {needed[0]}.{needed[1]:02d}, and this is {version[0]}.{version[1]:02d}: leave it out")
        option = name.replace("_", "-")
        found.append((option, None if value is True else ",".join(value) if isinstance(value, tuple) else str(value)))
    return found


_SINCE: Mapping[str, Version] = {
    "gpus": (19, 5), "gpus_per_node": (19, 5), "gpus_per_task": (19, 5), "cpus_per_gpu": (19, 5), "mem_per_gpu": (19, 5), "segment": (24, 11),
}  # fmt: skip


def _check(field: str, value: str | None, pattern: re.Pattern[str], shape: str) -> None:
    if value is not None and not pattern.match(value):
        raise ConfigError(f"Slurm field {field}={value!r}: give {shape}")


def dependency_text(dependencies: Mapping[str, Sequence[str]], any_of: bool = False) -> str:
    """`{"afterok": ("12", "13")}` -> "afterok:12:13"; several kinds all have to hold, or with `any_of` one of them."""
    for kind, ids in dependencies.items():
        if kind not in _DEPENDENCY_TYPES:
            raise ConfigError(f"dependency type {kind!r}: Slurm knows {', '.join(_DEPENDENCY_TYPES)}")
        if isinstance(ids, str):
            raise ConfigError(f"dependency on {ids!r}: give the job ids as a list, such as {{{kind!r}: [{ids!r}]}}")
        if wrong := [i for i in ids if not re.match(r"\d+(_\d+|_\*)?(\+\d+)?\Z", i)]:
            raise ConfigError(f"dependency on {wrong[0]!r}: that is no Slurm job id")
    if any_of:
        return "?".join(f"{kind}:{id}" for kind, ids in dependencies.items() for id in ids)
    return ",".join(":".join((kind, *ids)) for kind, ids in dependencies.items())

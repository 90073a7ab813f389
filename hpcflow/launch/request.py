"""What one attempt of one task is to run: a frozen value that every executor renders in its own way.

Invariant: a request holds no secret's value and nothing that is executed by being read; `directory` is the attempt's own, and its key is unique in
the world.

    JobRequest(key="hf-3f9c2a-train-1", task="train", attempt=1, directory="/home/me/.../attempts/1", commands=(Command(("python", "t.py")),))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpcflow.errors import ConfigError
from hpcflow.launch.config.secret import Secret

LauncherName = Literal["none", "mpirun", "srun", "mpi"]
Mode = Literal["sequential", "parallel"]
OnFailure = Literal["stop", "continue"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True)
class Command:
    """One program of a job.

    argv: the program and its arguments; never read by a shell
    name: for logs and exit files; unique within the job
    environment: variables set for this command, over the job's
    secrets: variable of this command -> where the job finds its value; the job's other commands do not see it
    launcher: how its ranks start; "mpi" takes what the site has
    ntasks: MPI ranks (None: the job's)
    cpus_per_task: cores of one rank (None: the job's)
    memory_mb: of the whole command (on Slurm of its ranks on one node); None: the steps of a parallel group share the job's
    gpus: of the whole command; None: all of the job
    """

    argv: tuple[str, ...]
    name: str = "main"
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    launcher: LauncherName = "none"
    ntasks: int | None = None
    cpus_per_task: int | None = None
    memory_mb: int | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        if not self.argv:
            raise ConfigError(f"command {self.name!r} has no program")
        check_variables(self.environment)
        check_variables(dict.fromkeys(self.secrets, ""))


@dataclass(frozen=True)
class JobRequest:
    """One attempt of one task.

    key: unique; part of the scheduler's job name
    task: the task's name as the user gave it, any text
    attempt: 1, 2, ...
    directory: absolute path of the attempt's directory; it exists
    commands: run one after the other or side by side, see `mode`
    on_failure: whether a failed command ends a sequential group
    setup: lines of shell that the user wrote (modules, activation), run before the commands
    environment: variables of all commands
    secrets: variable of all commands -> where the job finds its value
    workdir: where the commands start
    code: folder of the packaged code; checked against its manifest, and first on Python's path
    ntasks, cpus_per_task, memory_mb, gpus: what the job needs; memory and GPUs of the whole job
    stop_budget: how often the job may ask to be run again by exit status 75
    """

    key: str
    task: str
    attempt: int
    directory: str
    commands: tuple[Command, ...]
    mode: Mode = "sequential"
    on_failure: OnFailure = "stop"
    setup: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    workdir: str | None = None
    code: str | None = None
    ntasks: int = 1
    cpus_per_task: int = 1
    memory_mb: int | None = None
    gpus: int = 0
    stop_budget: int = 0

    def __post_init__(self) -> None:
        if not _KEY.match(self.key):
            raise ConfigError(f"job key {self.key!r}: letters, digits, - and _ only")
        if any(c in self.directory for c in '"\\\n') or not self.directory.startswith("/"):
            raise ConfigError(
                f"{self.directory!r}: a job's directory is an absolute path without quotes, backslashes and line ends; set HPCFLOW_LAUNCH_HOME"
            )
        if not self.commands:
            raise ConfigError(f"task {self.task!r} has no command")
        names = [command.name for command in self.commands]
        for name in names:
            check_command_name(name, f"task {self.task!r}")
        if len(set(names)) != len(names):
            raise ConfigError(f"task {self.task!r}: two commands have one name among {names}")
        check_variables(self.environment)
        check_variables(dict.fromkeys(self.secrets, ""))


def check_command_name(name: str, where: str) -> None:
    """Raises ConfigError for a name that no log file can have."""
    if not isinstance(name, str) or not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise ConfigError(f"{where}: {name!r} names a command's log file; leave out slashes, a leading dot and control characters")


def check_variables(environment: Mapping[str, str]) -> None:
    """Raises ConfigError for what is no variable name, or a value that no environment can hold."""
    for name, value in environment.items():
        if not _NAME.match(name):
            raise ConfigError(f"{name!r} is no name of an environment variable: letters, digits and _, not beginning with a digit")
        if "\0" in value:
            raise ConfigError(f"the value of {name} holds a zero byte, which no environment can")

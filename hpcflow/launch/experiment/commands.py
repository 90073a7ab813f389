"""The commands of a task, each with its state, its exit status, its log and its cancel. Read from files alone.

Invariant: what a command is, is what the job's shell has written down: `commands/<i>.began` and `commands/<i>.exit` of the attempt, `done/<i>` and
`cancelled/<i>` of the task. A cancelled command is run by no later attempt.

    tasks/0001-both/cancelled/1            asked for by `cancel_command`, on the submitting host
    tasks/0001-both/done/0                 succeeded, in whatever attempt
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.executors.base import ranks_of
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.experiment.records import View
from hpcflow.launch.files import make_directory

State = Literal["waiting", "running", "succeeded", "failed", "cancelled", "not run"]


@dataclass(frozen=True)
class CommandRow:
    """One command of a task.

    code: its exit status in the newest attempt that ran it; None while it has none
    log: the file with its output; of a task with one command, the attempt's own log
    """

    index: int
    name: str
    state: State
    code: int | None
    log: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def find(task: Task, command: str | int) -> int:
    """The number of a command of this name or number. Raises ConfigError."""
    names = [str(each["name"]) for each in task.payload["commands"]]
    if str(command) in names:
        return names.index(str(command))
    if str(command).isdigit() and int(command) < len(names):
        return int(command)
    raise ConfigError(f"task {task.name!r} has no command {command!r}{near_names(str(command), names) or f'; there are {chr(44).join(names)}'}")


def require_rank(task: Task, rank: int) -> None:
    """Raises ConfigError for an MPI rank that no command of a task has."""
    executor = from_json(task.executor)
    whole = sum(ranks_of(fields) for fields in (executor, *getattr(executor, "components", ())))
    starts = getattr(executor, "launcher", "none")
    sizes = [int(each.get("ntasks") or whole) for each in task.payload["commands"] if (each.get("launcher") or starts) != "none"]
    if not 0 <= rank < max(sizes, default=0):
        has = f"it has {max(sizes)}, from 0" if sizes else "no launcher starts it, and its log is one"
        raise ConfigError(f"task {task.name!r} has no MPI rank {rank}: {has}")


def ask_to_cancel(directory: Path, index: int) -> None:
    """Leave the file that jobs look for. directory: of the task."""
    (make_directory(directory / "cancelled") / str(index)).touch(mode=0o600)


def rows(experiment: Path, view: View, name: str) -> list[CommandRow]:
    """The commands of a task, in order. experiment: its directory."""
    task, attempts = view.spec.task(name), view.attempts[name]
    directory = experiment / "tasks" / task.directory
    over = view.states()[name].final
    names = [str(each["name"]) for each in task.payload["commands"]]
    return [_row(directory, [a.number for a in attempts], over, i, each, len(names) == 1) for i, each in enumerate(names)]


def _row(directory: Path, attempts: list[int], over: bool, index: int, name: str, alone: bool) -> CommandRow:
    ran = [number for number in attempts if (directory / "attempts" / str(number) / "commands" / f"{index}.began").exists()]
    newest = directory / "attempts" / str(ran[-1] if ran else 0)
    code = _code(newest / "commands" / f"{index}.exit")
    log = newest / "logs" / ("log.txt" if alone else f"{name}.txt")
    state: State
    if (directory / "done" / str(index)).exists():
        state = "succeeded"
    elif (directory / "cancelled" / str(index)).exists() and (code is not None or not ran or over):
        state = "cancelled"
    elif code is not None:
        state = "failed"
    elif ran:
        state = "failed" if over or ran[-1] != attempts[-1] else "running"
    else:
        state = "not run" if over else "waiting"
    return CommandRow(index, name, state, code, str(log) if log.exists() else None)


def _code(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None

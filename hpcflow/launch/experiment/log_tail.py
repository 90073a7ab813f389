"""Logs as they grow: of one task for who follows it, of all tasks behind their names while an experiment runs.

Invariant: reads the files of one experiment and drives nothing; each line comes once, when it is whole (the last one of a file at the end), whatever
attempts and ranks begin meanwhile; what was written before the first look comes too, of the attempt that is the newest then.

    for line in follow(experiment, "train"): print(line)
    train | epoch 3: loss 0.21            # LogTail
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hpcflow.errors import HpcflowError, LaunchError
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment import commands
from hpcflow.launch.experiment.abandoned import why_nobody_goes_on
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.refresh import refresh_states
from hpcflow.launch.experiment.views import printable

if TYPE_CHECKING:
    from hpcflow.launch.experiment.submitted import Submitted

LOOK_S = 0.2
"""Seconds between two looks for lines."""
STATES_S = 1.0
"""Seconds between two looks at the states of tasks, unless an attempt has ended meanwhile."""
SETTLED_S = 5.0
"""How long the logs of an attempt are still read after its exit file was seen: what its job says last, and a slow file system."""


def log_paths(
    executor: Executor, records: Records, task: Task, attempt: int, command: str | int | None = None, rank: int | None = None
) -> list[Path]:
    """The log files of an attempt, or of one command or MPI rank of it. Raises ConfigError for a command that is not there."""
    paths = executor.logs(str(records.attempt_directory(task, attempt)))
    if command is not None:
        label = task.payload["commands"][commands.find(task, command)]["name"]
        own = len(task.payload["commands"]) == 1
        paths = [path for path in paths if path.stem == label or path.stem.startswith(f"{label}-rank-") or (own and path.stem == "log")]
    if rank is not None:
        paths = [path for path in paths if path.stem.endswith(f"-rank-{rank}")]
    return paths


@dataclass
class Follower:
    """What has been added to the logs of a task since the last look. A look lists the task's attempts and reads what has grown in those under way.

    attempt: only this one; None: the newest one at the first look, and all later ones
    ended: attempt -> when its exit file was first seen (monotonic seconds); `SETTLED_S` later it is read for the last time
    """

    records: Records
    task: Task
    command: str | int | None = None
    rank: int | None = None
    attempt: int | None = None
    ended: dict[int, float] = field(default_factory=dict)
    _read: dict[Path, int] = field(default_factory=dict)
    _first: int | None = None
    _over: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._executor = from_json(self.task.executor)

    def added(self, whole: bool = True) -> Iterator[tuple[int, Path, str]]:
        """(attempt, file, line), in the order of attempts and files. whole: complete lines only, of an attempt that goes on."""
        numbers = self.records.attempt_numbers(self.task)
        if numbers and self._first is None:
            self._first = self.attempt or numbers[-1]
        for number in numbers:
            if self._first is None or number < self._first or number in self._over or (self.attempt is not None and number != self.attempt):
                continue
            settled = self._settled(number)
            for path in log_paths(self._executor, self.records, self.task, number, self.command, self.rank):
                for line in self._lines(path, whole and number == numbers[-1] and not settled):
                    yield number, path, line
            if settled:
                self._over.add(number)

    def _settled(self, number: int) -> bool:
        if number not in self.ended and (self.records.attempt_directory(self.task, number) / "exit.json").exists():
            self.ended[number] = time.monotonic()
        return number in self.ended and time.monotonic() - self.ended[number] > SETTLED_S

    def _lines(self, path: Path, whole: bool) -> list[str]:
        with open(path, "rb") as file:
            file.seek(self._read.get(path, 0))
            added = file.read()
        if whole:
            added = added[: added.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(added)
        return added.decode(errors="replace").split("\n")[: -1 if added.endswith(b"\n") else None] if added else []


def follow(
    experiment: Submitted, name: str, *, command: str | int | None = None, rank: int | None = None, attempt: int | None = None
) -> Iterator[str]:
    """The lines of a task's logs, those that are there and those that come, until it is decided (with `attempt`: until that one is over).

    A line of a file beside the job's own log begins with the file's name, unless one rank was asked for; a further attempt is announced by a line.

    Raises:
        ConfigError: there is no such task, command or attempt.
        LaunchError: nobody drives the experiment any more, and the task will not go on.
    """
    experiment.log_files(name, command=command, rank=rank, attempt=attempt)  # refuses what is not there
    records = Records(experiment.directory)
    spec = records.spec()
    follower = Follower(records, spec.task(name), command, rank, attempt)
    told: int | None = None
    over, why = False, None
    look_at, ends = 0.0, 0
    while True:
        if time.monotonic() >= look_at or len(follower.ended) != ends:
            ends, began = len(follower.ended), time.monotonic()
            refresh_states(records)
            view = records.view(spec)
            mine = next((each for each in view.attempts[name] if each.number == attempt), None)
            over = view.states()[name].final or (mine is not None and mine.status.state.final)
            why = None if over else why_nobody_goes_on(records, view, [name])
            look_at = time.monotonic() + _pause(STATES_S, began)
        for number, path, line in follower.added(whole=not over and why is None):
            if told is not None and number != told:
                yield f"-- attempt {number}"
            told = number
            yield line if path.stem == "log" or rank is not None else f"{path.stem} | {line}"
        if why is not None:
            raise LaunchError(why)
        if over:
            return
        time.sleep(LOOK_S)


def _pause(least_s: float, began: float) -> float:
    """Seconds until the next look: of those that take long, on a slow file system, at most every fifth second is spent in them."""
    return max(least_s, 4 * (time.monotonic() - began))


class LogTail:
    """Prints the logs of all tasks, each line behind its task's name and without control sequences, until `close`."""

    def __init__(self, experiment: Submitted, out: IO[str] | None = None) -> None:
        self._records = Records(experiment.directory)
        self._out = out or sys.stderr
        self._followers = [Follower(self._records, task) for task in self._records.spec().tasks]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hpcflow-log-tail", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Print the rest, and stop."""
        self._over.set()
        self._thread.join()
        self.look(whole=False)

    def _watch(self) -> None:
        pause = LOOK_S
        while not self._over.wait(pause):
            began = time.monotonic()
            with contextlib.suppress(HpcflowError, OSError):  # what cannot be read now is read at the next look
                self.look()
            pause = _pause(LOOK_S, began)

    def look(self, whole: bool = True) -> None:
        """Print what has been added; `whole`: complete lines only."""
        for follower in self._followers:
            for _, path, line in follower.added(whole):
                label = follower.task.name if path.stem == "log" else f"{follower.task.name} {path.stem}"
                print(printable(f"{label} | {line}"), file=self._out, flush=True)

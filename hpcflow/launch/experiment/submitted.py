"""An experiment that is on disk: how its tasks are, waiting for them, their logs and results, cancelling them, driving them on.

Invariant: looking drives nothing; everything is read from the experiment's files, and what is asked for (a cancel) is written down before it is done.

    exp = Experiment.from_id("3f9c"); exp.wait(["train"]); exp.logs("train", rank=0); exp.result("train")
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.executors.base import Executor, JobHandle
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment import commands, log_tail
from hpcflow.launch.experiment.abandoned import why_nobody_goes_on
from hpcflow.launch.experiment.commands import CommandRow
from hpcflow.launch.experiment.decide import TaskState, exit_status
from hpcflow.launch.experiment.driver import Driver
from hpcflow.launch.experiment.hearing import Listener
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.model import Spec
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.refresh import refresh_states
from hpcflow.launch.experiment.views import printable
from hpcflow.launch.results import read_result


class Submitted:
    """The part of an `Experiment` that is there once `run` has written it down; before, everything here raises ConfigError."""

    def __init__(self) -> None:
        self._records: Records | None = None

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._written().directory

    def status(self, refresh: bool = False) -> dict[str, TaskState]:
        """Task -> state, as the files say; drives nothing. refresh: ask about open attempts first, as often as manners allow."""
        if refresh:
            refresh_states(self._written())
        return self._written().view().states()

    def exit_status(self) -> int:
        """0 only when every required task has succeeded."""
        return exit_status(self._written().spec(), self.status())

    def wait(self, names: Sequence[str] | None = None, timeout_s: float | None = None) -> dict[str, TaskState]:
        """Until these tasks (default all) are decided; task -> state.

        Raises:
            ConfigError: there is no such task.
            LaunchError: after `timeout_s`, or when nobody drives the experiment any more.
        """
        records = self._written()
        spec = records.spec()
        wanted = [spec.task(name).name for name in names or [task.name for task in spec.tasks]]
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.05
        while True:
            refresh_states(records)
            view = records.view(spec)
            states = view.states()
            if all(states[name].final for name in wanted):
                return {name: states[name] for name in wanted}
            if (why := why_nobody_goes_on(records, view, wanted)) is not None:
                raise LaunchError(why)
            if deadline is not None and time.monotonic() > deadline:
                raise LaunchError(f"after {timeout_s:g} s: {', '.join(f'{name} {states[name].value}' for name in wanted)}")
            time.sleep(pause)
            pause = min(pause * 1.2, 1.0)

    def problem(self, names: Sequence[str] | None = None) -> LaunchError | None:
        """What `wait` would raise when one of these tasks (default all) waits for a driver that is not there; None when all go on."""
        records = self._written()
        why = why_nobody_goes_on(records, records.view(), names)
        return None if why is None else LaunchError(why)

    def cancel(self, names: Sequence[str] | None = None) -> None:
        """Cancel tasks (default all) and what depends on them."""
        records = Records(self._written().directory)  # a journal of its own: a driver reads those of others
        spec = records.spec()
        chosen = with_dependents(spec, names or [task.name for task in spec.tasks])
        records.note("cancel", tasks=sorted(chosen))
        view = records.view(spec)
        open_ones: dict[str, list[JobHandle]] = {}
        executors: dict[str, Executor] = {}
        for name in chosen:
            handle, attempts = view.handles.get(name), view.attempts[name]
            if handle is not None and not attempts[-1].status.state.final:
                executor = from_json(spec.task(name).executor)
                executors[executor.name] = executor
                open_ones.setdefault(executor.name, []).append(handle)
        for kind, handles in open_ones.items():
            executors[kind].cancel(handles)

    def cancel_command(self, name: str, command: str | int) -> None:
        """Cancel one command of a task (its name, or its number from 0): the others go on, and no further attempt runs it.

        Raises:
            ConfigError: there is no such task or command.
        """
        records = Records(self._written().directory)
        task = records.spec().task(name)
        index = commands.find(task, command)
        records.note("cancel command", task=name, command=index)
        commands.ask_to_cancel(records.directory / "tasks" / task.directory, index)
        view = records.view()
        handle, attempts = view.handles.get(name), view.attempts[name]
        if handle is not None and not attempts[-1].status.state.final and (Path(handle.directory) / "claim.json").exists():
            from_json(task.executor).tell(handle)

    def commands(self, name: str) -> list[CommandRow]:
        """How each command of a task is, in order. Raises ConfigError when there is no such task."""
        records = self._written()
        view = records.view()
        return commands.rows(records.directory, view, name)

    def logs(self, name: str, *, command: str | int | None = None, rank: int | None = None, attempt: int | None = None, follow: bool = False) -> str:
        """The logs of a task's newest attempt (or another one), one after the other; empty before it starts.

        Args:
            command: only those of this command (name, or number from 0).
            rank: only that of this MPI rank.
            follow: print the lines to stdout first, as they come, until the task is decided.

        Raises:
            ConfigError: there is no such task, command, rank or attempt.
            LaunchError: with `follow`, when nobody drives the experiment any more.
        """
        if follow:
            for line in log_tail.follow(self, name, command=command, rank=rank, attempt=attempt):
                print(printable(line), flush=True)
        return "".join(path.read_text("utf-8", errors="replace") for path in self.log_files(name, command=command, rank=rank, attempt=attempt))

    def log_files(self, name: str, *, command: str | int | None = None, rank: int | None = None, attempt: int | None = None) -> list[Path]:
        """The files of `logs`."""
        records = self._written()
        spec = records.spec()
        task = spec.task(name)
        if command is not None:
            commands.find(task, command)
        numbers = records.attempt_numbers(task)
        if attempt is not None and attempt not in numbers:
            raise ConfigError(f"task {name!r} has no attempt {attempt}; there are {numbers or 'none'}")
        found = log_tail.log_paths(from_json(task.executor), records, task, attempt or numbers[-1], command, rank) if numbers else []
        if rank is not None and not found:
            commands.require_rank(task, rank)
        return found

    def result(self, name: str) -> Any:
        """What a task's newest attempt kept. Raises LaunchError when that is nothing, ConfigError when there is no such task."""
        records = self._written()
        task = records.spec().task(name)
        attempts = records.view().attempts[name]
        found = None if not attempts else read_result(records.attempt_directory(task, attempts[-1].number))
        if found is None:
            raise LaunchError(f"task {name!r} has kept no result: its function returned nothing that is JSON, NumPy or Arrow; see its log")
        return found[0]

    def _written(self) -> Records:
        if self._records is None:
            raise ConfigError("this experiment has not been submitted: call run()")
        return self._records

    def resume(self, listener: Listener | None = None) -> int:
        """Drive it from here on, when nobody does. Returns its exit status; raises LaunchError when somebody drives it."""
        records = self._written()
        lease = Lease.take(records.directory)
        try:
            return Driver(records, lease, listener).drive()
        finally:
            lease.give_back()


def with_dependents(spec: Spec, names: Sequence[str]) -> set[str]:
    """These tasks and all that need one of them. Raises ConfigError for a name that is none of a task."""
    chosen = {spec.task(name).name for name in names}
    grown = True
    while grown:
        more = {task.name for task in spec.tasks if chosen & set(task.needs)} - chosen
        chosen |= more
        grown = bool(more)
    return chosen

"""Experiment: tasks that belong together, written down, run and followed.

    with Experiment("sweep", executor=SlurmExecutor(nodes=4, launcher="srun")) as exp:
        prep = exp.add(Script("prepare.sh"), name="prep", nodes=1, launcher="none")
        exp.add(Script("train.py", args=["--lr", "1e-3"]), name="train", dependencies=[prep])
        exp.run(detach=True)

Invariant: nothing is written and nobody is contacted before `run`; leaving the `with` block waits for the tasks unless they were detached; inside a
task `run` refuses.
"""

from __future__ import annotations

import dataclasses
import getpass
import itertools
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcflow.errors import ConfigError, LaunchError, near_names
from hpcflow.launch.config.buildable import Buildable
from hpcflow.launch.executors.base import Executor, JobHandle, QueryFailedError, SubmitLimitError, SubmitUnclearError
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.registry import from_json, to_json
from hpcflow.launch.experiment import commands, log_tail, slurm_alone
from hpcflow.launch.experiment.abandoned import why_nobody_goes_on
from hpcflow.launch.experiment.arguments import check_dependencies, check_experiment, check_resources, check_task
from hpcflow.launch.experiment.commands import CommandRow
from hpcflow.launch.experiment.decide import TaskState, exit_status, to_run_again
from hpcflow.launch.experiment.driver import Driver, Listener
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.model import Condition, Spec, Task, condition_of
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.refresh import refresh_states
from hpcflow.launch.experiment.retries import budgets, pauses
from hpcflow.launch.experiment.source import git_state
from hpcflow.launch.experiment.views import printable
from hpcflow.launch.group import sized
from hpcflow.launch.home import home_path, slug
from hpcflow.launch.launchers.environment import without_launcher
from hpcflow.launch.packagers.base import Package, Packager, pack
from hpcflow.launch.payloads import function_payload, job_request, payload_of, require_packaged, secrets_of
from hpcflow.launch.results import read_result
from hpcflow.launch.settings import flags_as_variables


@dataclasses.dataclass(frozen=True)
class TaskHandle:
    """A task of an experiment."""

    experiment: Experiment
    name: str

    def state(self) -> TaskState:
        """As the files say."""
        return self.experiment.status()[self.name]

    def wait(self, timeout_s: float | None = None) -> TaskState:
        """Until the task is decided. Raises LaunchError after `timeout_s`."""
        return self.experiment.wait([self.name], timeout_s)[self.name]

    def result(self, timeout_s: float | None = None) -> Any:
        """What its function returned: JSON data, a NumPy array, or a polars.DataFrame. Raises LaunchError when it failed or kept nothing."""
        state = self.wait(timeout_s)
        if state is not TaskState.SUCCEEDED:
            raise LaunchError(f"task {self.name!r} has {state.value}: {self.experiment.logs(self.name)[-2000:]}")
        return self.experiment.result(self.name)

    def __repr__(self) -> str:
        return f"<task {self.name!r} of {self.experiment!r}>"


class Experiment:
    """A title, an executor that tasks use unless they have their own, and the tasks.

    Args:
        title: any text.
        executor: default LocalExecutor().
        packager: what code goes along; None: none, the tasks use the files where they are.
        tags, notes: for finding it again.
    """

    def __init__(
        self, title: str, executor: Executor | None = None, *, packager: Packager | None = None, tags: Sequence[str] = (), notes: str = ""
    ) -> None:
        check_experiment(title=title, executor=executor, packager=packager, tags=tags, notes=notes)
        self.title = title
        self.executor = executor or LocalExecutor()
        self.packager = packager
        self.package: Package | None = None
        """What was packed by `run`."""
        self.tags = tuple(tags)
        self.notes = notes
        self.id = os.urandom(4).hex()
        self._tasks: list[Task] = []
        self._files: dict[str, dict[str, bytes]] = {}
        """Directory of a task -> files to put there."""
        self._records: Records | None = None
        self._detached = False

    # -- what there is to do ---------------------------------------------------------------------------------------------------------------------

    def add(
        self,
        task: Any,
        *,
        name: str | None = None,
        executor: Executor | None = None,
        dependencies: Sequence[TaskHandle] = (),
        condition: str | Condition = Condition.ALL_SUCCEEDED,
        retries: int | Mapping[str, int] = 0,
        backoff_s: float | Mapping[str, float] = 5.0,
        required: bool = True,
        mode: str = "sequential",
        on_failure: str = "stop",
        by_value: bool = False,
        **overrides: Any,
    ) -> TaskHandle:
        """A Script, a Partial, a Config whose build runs something, or a list of Scripts and Steps (a group in one allocation).

        Args:
            dependencies: tasks that end before; `condition` says how.
            retries: further attempts: of any failure (a number), or by failure class ("node failure", "out of memory", "timeout", ...).
            backoff_s: seconds before the first retry, of any failure or by failure class (those not named: 5); doubled with every further failure.
            by_value: send a function as a pickle, in a private file whose hash the job checks (lambdas, notebooks). Default: by import path.
            mode, on_failure: of a group: "sequential" or "parallel"; "stop" or "continue".
            overrides: fields of the executor for this task, e.g. nodes=1, launcher="none"; and what the task needs, memory_mb and gpus (a number).

        Raises:
            ConfigError: for what cannot be run so, at once.
        """
        if self._records is not None:
            raise ConfigError("this experiment has been submitted; add tasks before run()")
        check_task(name=name, executor=executor, required=required, by_value=by_value, mode=mode, on_failure=on_failure)
        check_dependencies(dependencies, self)
        base_executor = executor or self.executor
        resources = {need: overrides.pop(need) for need in base_executor.task_needs if need in overrides}
        check_resources(resources)
        where = _with(base_executor, overrides)
        files: dict[str, bytes] = {}
        if isinstance(task, Buildable) or (callable(task) and by_value):
            payload, files = function_payload(task, where, by_value)
        else:
            payload = payload_of(task, where, mode, on_failure, self.packager is not None)
            payload["commands"], where, resources = sized(payload["commands"], mode, where, resources)
        where.accept_secrets(*secrets_of(payload))
        base = name or payload["label"]
        taken = {other.name for other in self._tasks}
        if name is not None and name in taken:
            raise ConfigError(f"there is a task {name!r} already: give each its own name")
        unique = base if base not in taken else next(f"{base}-{i}" for i in range(2, len(taken) + 3) if f"{base}-{i}" not in taken)
        if not unique.isprintable() or not unique:
            raise ConfigError(f"task name {unique!r} is empty or holds control characters")
        made = Task(
            name=unique,
            directory=f"{len(self._tasks):04d}-{slug(unique)}",
            payload=payload,
            executor=to_json(where),
            resources=resources,
            needs=tuple(dependency.name for dependency in dependencies),
            condition=condition_of(condition),
            retries=budgets(retries),
            backoff_s=pauses(backoff_s),
            required=required,
        )
        where.admit(job_request(made, where, 1, "not-yet", self.directory / "tasks" / made.directory / "attempts" / "1", None))
        self._tasks.append(made)
        self._files[made.directory] = files
        return TaskHandle(self, unique)

    def spec(self) -> Spec:
        """Everything, frozen. Raises ConfigError for circles."""
        facts: dict[str, Any] = {"host": socket.gethostname(), "user": getpass.getuser(), "directory": os.getcwd(), "command": sys.argv}
        if self.package is not None:
            facts["code"] = {"digest": self.package.digest, "files": self.package.files, "notes": list(self.package.notes)}
        created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        return Spec(self.id, self.title, created, tuple(self._tasks), self.tags, self.notes, facts)

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._records.directory if self._records is not None else home_path() / "experiments" / f"{slug(self.title)}-{self.id}"

    # -- doing it --------------------------------------------------------------------------------------------------------------------------------

    def dryrun(self) -> str:
        """What `run` would submit, as text: scripts and commands. Contacts nobody and writes nothing."""
        from hpcflow.launch.experiment.views import dryrun_text

        return dryrun_text(self.spec(), self.directory)

    def run(
        self, *, detach: bool = False, sequential: bool = False, tail_logs: bool = False, listener: Listener | None = None, quiet: bool = False
    ) -> Self:
        """Submit and follow until every task is decided; with `detach` return at once and leave the rest to a process of its own.

        Args:
            sequential: each task after the one before it.
            tail_logs: print the logs to stderr as they grow, each line behind its task's name.
            listener: called with (task, state, detail) at every change.
            quiet: do not print the commands that look at this experiment (to stderr; with `detach` before it is submitted, else at its end).

        Raises:
            LaunchError: with `detach`, when Slurm refused a task of a graph without a driver (that task has failed; what was submitted goes on);
                inside a task, where an experiment would start itself again and again.
        """
        if "HPCFLOW_JOB_KEY" in os.environ:
            raise LaunchError("Experiment.run inside a task: a task does not submit; call it under `if __name__ == '__main__':`")
        if self._records is not None:
            raise ConfigError("this experiment has been submitted already; `rerun` makes a new one of it")
        if sequential:
            self._tasks = _in_sequence(self._tasks)
        if any(task.executor["type"] != "local" for task in self._tasks):
            self.dryrun()  # what cannot be rendered is refused before anything is submitted
        if self.packager is not None:
            self.package = pack(self.packager)
            require_packaged(self.package.path, {task.name: task.payload for task in self._tasks})
            for note in () if quiet else self.package.notes:
                print(f"hpcflow: packaged code: {printable(note)}", file=sys.stderr, flush=True)
            self._tasks = [dataclasses.replace(t, payload={**t.payload, "code": self.package.digest}) for t in self._tasks]
        self._records = Records.create(self.directory, self.spec(), self._files, _source_files())
        if detach:
            self._detached = True
            self._tell_next(quiet, "status", "logs", "cancel")
            if slurm_alone.possible(self._records.spec()):
                lease = Lease.take(self.directory)
                try:
                    refused = slurm_alone.submit_all(self._records, self._records.spec())
                    if refused:
                        raise LaunchError(self._refused_text(refused))
                    return self
                except (SubmitLimitError, SubmitUnclearError, QueryFailedError) as error:  # somebody has to stay and wait
                    self._records.note("submission waits", message=str(error))
                finally:
                    lease.give_back()
            self._start_supervisor()
            return self
        lease = Lease.take(self.directory)
        tail = log_tail.LogTail(self) if tail_logs else None
        try:
            Driver(self._records, lease, listener).drive()
        finally:
            lease.give_back()
            if tail is not None:
                tail.close()
        self._tell_next(quiet, "show", "logs", "rerun")
        return self

    def _tell_next(self, quiet: bool, *words: str) -> None:
        if not quiet:
            elsewhere = "".join(f"{name}={shlex.quote(value)} " for name, value in flags_as_variables().items() if name.endswith("_HOME"))
            print("".join(f"{elsewhere}hpcflow launch {word} {self.id}\n" for word in words), end="", file=sys.stderr, flush=True)

    def _refused_text(self, refused: dict[str, str]) -> str:
        states = self.status()
        going_on = sum(not state.final for state in states.values())
        skipped = sum(state is TaskState.SKIPPED for state in states.values())
        rest = f"; {going_on} others were submitted and go on, {skipped} are skipped" if len(states) > len(refused) else ""
        return f"{len(refused)} of {len(states)} tasks failed{rest} (`hpcflow launch status {self.id}`). {next(iter(refused.values()))}"

    def _start_supervisor(self) -> None:
        log = os.open(self.directory / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        argv = [sys.executable, "-m", "hpcflow.launch.experiment.driver", str(self.directory)]
        with open(log, "wb") as out:
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/", env=_supervisor_environment())

    # -- looking at it ---------------------------------------------------------------------------------------------------------------------------

    def status(self, refresh: bool = False) -> dict[str, TaskState]:
        """Task -> state, as the files say; drives nothing. refresh: ask about open attempts first, as often as manners allow."""
        if refresh:
            refresh_states(self._written())
        return self._written().view().states()

    def exit_status(self) -> int:
        """0 only when every required task has succeeded."""
        return exit_status(self._written().spec(), self.status())

    def wait(self, names: Sequence[str] | None = None, timeout_s: float | None = None) -> dict[str, TaskState]:
        """Until these tasks (default all) are decided. Raises LaunchError after `timeout_s`, or when nobody drives the experiment any more."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.05
        while True:
            states = self.status(refresh=True)
            wanted = names or list(states)
            if all(states[name].final for name in wanted):
                return {name: states[name] for name in wanted}
            if (problem := self.problem(wanted)) is not None:
                raise problem
            if deadline is not None and time.monotonic() > deadline:
                raise LaunchError(f"after {timeout_s:.0f} s: {', '.join(f'{name} {states[name].value}' for name in wanted)}")
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
        chosen = _with_dependents(spec, names or [task.name for task in spec.tasks])
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
            ConfigError: there is no such command.
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
        """How each command of a task is, in order."""
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
            ConfigError: there is no such task, command or attempt.
            LaunchError: with `follow`, when nobody drives the experiment any more.
        """
        if follow:
            for line in log_tail.follow(self, name, command=command, rank=rank, attempt=attempt):
                print(printable(line), flush=True)
        return "".join(path.read_text(errors="replace") for path in self.log_files(name, command=command, rank=rank, attempt=attempt))

    def log_files(self, name: str, *, command: str | int | None = None, rank: int | None = None, attempt: int | None = None) -> list[Path]:
        """The files of `logs`."""
        records = self._written()
        spec = records.spec()
        _with_dependents(spec, [name])  # refuses a task that is not there
        task = spec.task(name)
        if command is not None:
            commands.find(task, command)
        numbers = [found.number for found in records.view(spec).attempts[name]]
        if attempt is not None and attempt not in numbers:
            raise ConfigError(f"task {name!r} has no attempt {attempt}; there are {numbers or 'none'}")
        return log_tail.log_paths(records, task, attempt or numbers[-1], command, rank) if numbers else []

    def result(self, name: str) -> Any:
        """What a task's newest attempt kept. Raises LaunchError when that is nothing."""
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

    # -- again -----------------------------------------------------------------------------------------------------------------------------------

    @classmethod
    def from_id(cls, id: str) -> Experiment:
        """The experiment of this id, or of any prefix of it that is unique. Raises ConfigError."""
        from hpcflow.launch.experiment.catalog import find_id

        return cls.open(find_id(id))

    @classmethod
    def from_title(cls, title: str) -> Experiment:
        """The newest experiment of this title. Raises ConfigError with near names."""
        from hpcflow.launch.experiment.catalog import find_title

        return cls.open(find_title(title))

    @staticmethod
    def catalog(*, tag: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """One row an experiment of this user, newest first: id, title, state, tasks, tags, directory, ... (`launch.runs()`: as a table)."""
        from hpcflow.launch.experiment.catalog import rows

        return rows(tag, limit)

    @classmethod
    def open(cls, directory: Path) -> Experiment:
        """An experiment that was submitted, from its files."""
        records = Records(directory)
        spec = records.spec()
        found = cls(spec.title, tags=spec.tags, notes=spec.notes)
        found.id, found._tasks, found._records, found._detached = spec.id, list(spec.tasks), records, True
        return found

    def resume(self, listener: Listener | None = None) -> int:
        """Drive it from here on, when nobody does. Returns its exit status; raises LaunchError when somebody drives it."""
        records = self._written()
        lease = Lease.take(records.directory)
        try:
            return Driver(records, lease, listener).drive()
        finally:
            lease.give_back()

    def rerun(self, failed_only: bool = False) -> Experiment:
        """A new experiment of the same tasks; with `failed_only` of those that did not succeed, whose needs that succeeded count as met.

        A task whose condition the ends of the first run keep from coming true (a handler of failures of tasks that have succeeded) is left out.

        Raises:
            ConfigError: nothing is left to run.
        """
        states = self.status()
        again = Experiment(self.title, tags=self.tags, notes=self.notes)
        chosen = to_run_again(self._tasks, states) if failed_only else self._tasks
        if not chosen:
            raise ConfigError("nothing to run again: every task has succeeded, or was skipped because its condition did not come true")
        again._files = {task.directory: self._written().task_files(task) for task in chosen}
        again._tasks = list(chosen)
        return again

    # -- with ------------------------------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._records is not None and not self._detached and error is None:
            self.wait()

    def __repr__(self) -> str:
        return f"<experiment {self.title!r} {self.id}>"


def _source_files() -> dict[str, bytes]:
    """git.json and dirty.patch, for the experiment's directory."""
    state = git_state(Path.cwd())
    if state is None:
        return {}
    facts, patch = state
    return {"git.json": json.dumps(facts, indent=1).encode(), **({"dirty.patch": patch} if patch else {})}


def _with(executor: Executor, overrides: dict[str, Any]) -> Executor:
    known = [each.name for each in dataclasses.fields(executor)]  # type: ignore[arg-type]  # every executor is a dataclass
    for name in overrides:
        if name not in known:
            near = near_names(name, known) or f"; it has {', '.join(known)}"
            raise ConfigError(f"{type(executor).__name__} has no field {name!r}{near}")
    changed: Executor = dataclasses.replace(executor, **overrides)  # type: ignore[type-var]
    return changed


def _in_sequence(tasks: list[Task]) -> list[Task]:
    """Each task after the one before it, whatever became of that. Raises ConfigError where a task's own needs would let it run beside others."""
    found = tasks[:1]
    for before, task in itertools.pairwise(tasks):
        if task.needs and before.name not in task.needs:
            raise ConfigError(
                f"sequential=True runs each task after the one added before it, and {task.name!r} says what it depends on: "
                f"add {before.name!r} to its dependencies, or leave sequential out"
            )
        found.append(task if task.needs else dataclasses.replace(task, needs=(before.name,), condition=Condition.ALL_FINISHED))
    return found


def _with_dependents(spec: Spec, names: Sequence[str]) -> set[str]:
    known = [task.name for task in spec.tasks]
    for name in names:
        if name not in known:
            near = near_names(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"no task {name!r}{near}")
    chosen = set(names)
    grown = True
    while grown:
        more = {task.name for task in spec.tasks if chosen & set(task.needs)} - chosen
        chosen |= more
        grown = bool(more)
    return chosen


def _supervisor_environment() -> dict[str, str]:
    """Ours without what a batch system put there; the supervisor runs the very hpcflow that this process runs."""
    kept = without_launcher(os.environ) | flags_as_variables()
    package = str(Path(__file__).parents[3])
    return kept | {"PYTHONPATH": os.pathsep.join([package, *filter(None, [kept.get("PYTHONPATH")])])}

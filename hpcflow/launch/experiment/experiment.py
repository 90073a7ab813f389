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
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.registry import to_json
from hpcflow.launch.experiment import log_tail
from hpcflow.launch.experiment.adding import in_sequence, placed, unique_name
from hpcflow.launch.experiment.arguments import check_condition, check_dependencies, check_experiment, check_task
from hpcflow.launch.experiment.decide import to_run_again
from hpcflow.launch.experiment.driver import Driver
from hpcflow.launch.experiment.hearing import Listener
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.model import Condition, Spec, Task, condition_of
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.retries import budgets, pauses
from hpcflow.launch.experiment.starting import source_files, submit_detached, tell_next
from hpcflow.launch.experiment.submitted import Submitted
from hpcflow.launch.experiment.task_handle import TaskHandle as TaskHandle
from hpcflow.launch.experiment.views import dryrun_text, printable
from hpcflow.launch.home import home_path, slug
from hpcflow.launch.packagers.base import Package, Packager, pack
from hpcflow.launch.payloads import job_request, require_packaged


class Experiment(Submitted):
    """A title, an executor that tasks use unless they have their own, and the tasks. What is there after `run` is in `Submitted`.

    Args:
        title: any text.
        executor: default LocalExecutor().
        packager: what code goes along; None: none, the tasks use the files where they are.
        tags, notes: for finding it again.
    """

    def __init__(
        self, title: str, executor: Executor | None = None, *, packager: Packager | None = None, tags: Sequence[str] = (), notes: str = ""
    ) -> None:
        super().__init__()
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
        check_condition(condition_of(condition), dependencies)
        what = placed(task, executor or self.executor, overrides, by_value, mode, on_failure, self._packed_folder)
        unique = unique_name(name, what.payload["label"], {other.name for other in self._tasks})
        made = Task(
            name=unique,
            directory=f"{len(self._tasks):04d}-{slug(unique)}",
            payload=what.payload,
            executor=to_json(what.executor),
            resources=what.resources,
            needs=tuple(dependency.name for dependency in dependencies),
            condition=condition_of(condition),
            retries=budgets(retries),
            backoff_s=pauses(backoff_s),
            required=required,
        )
        what.executor.admit(job_request(made, what.executor, 1, "not-yet", self.directory / "tasks" / made.directory / "attempts" / "1", None))
        self._tasks.append(made)
        self._files[made.directory] = what.files
        return TaskHandle(self, unique)

    def spec(self) -> Spec:
        """Everything, frozen. Raises ConfigError for circles."""
        facts: dict[str, Any] = {"host": socket.gethostname(), "user": getpass.getuser(), "directory": os.getcwd(), "command": sys.argv}
        if self.package is not None:
            facts["code"] = {"digest": self.package.digest, "files": self.package.files, "notes": list(self.package.notes)}
        created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        return Spec(self.id, self.title, created, tuple(self._tasks), self.tags, self.notes, facts)

    @cached_property
    def _packed_folder(self) -> Path | None:
        return None if self.packager is None else self.packager.base(Path.cwd())

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._records.directory if self._records is not None else home_path() / "experiments" / f"{slug(self.title)}-{self.id}"

    # -- doing it --------------------------------------------------------------------------------------------------------------------------------

    def dryrun(self) -> str:
        """What `run` would submit, as text: scripts and commands. Contacts nobody and writes nothing."""
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
            self._tasks = in_sequence(self._tasks)
        if any(task.executor["type"] != "local" for task in self._tasks):
            self.dryrun()  # what cannot be rendered is refused before anything is submitted
        if self.packager is not None:
            self.package = pack(self.packager)
            require_packaged(self.package.path, {task.name: task.payload for task in self._tasks})
            for note in () if quiet else self.package.notes:
                print(f"hpcflow: packaged code: {printable(note)}", file=sys.stderr, flush=True)
            self._tasks = [dataclasses.replace(t, payload={**t.payload, "code": self.package.digest}) for t in self._tasks]
        self._records = Records.create(self.directory, self.spec(), self._files, source_files())
        if detach:
            self._detached = True
            if not quiet:
                tell_next(self.id, "status", "logs", "cancel")
            submit_detached(self._records)
            return self
        lease = Lease.take(self.directory)
        tail = log_tail.LogTail(self) if tail_logs else None
        try:
            Driver(self._records, lease, listener).drive()
        except KeyboardInterrupt:
            if not quiet:
                print("hpcflow: interrupted; what runs goes on, and the rest waits for `resume`", file=sys.stderr)
                tell_next(self.id, "status", "resume", "cancel")
            raise
        finally:
            lease.give_back()
            if tail is not None:
                tail.close()
        if not quiet:
            tell_next(self.id, "show", "logs", "rerun")
        return self

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

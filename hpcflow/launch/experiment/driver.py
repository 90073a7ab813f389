"""The driver of an experiment: the thin shell around `decide.next_steps`.

    python -m hpcflow.launch.experiment.driver DIRECTORY       # the supervisor of a detached experiment

Invariant: it acts only while it holds the lease; an intent is written before a job is submitted, and an intent without a job is looked for at the
executor before it is submitted again; a query without an answer changes nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpcflow.errors import HpcflowError, LaunchError
from hpcflow.launch.executors.base import Executor, JobHandle, JobState, JobStatus, QueryFailedError, SubmitLimitError
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment.decide import Attempt, Skip, Submit, TaskState, exit_status, next_steps, state_of
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.home import home
from hpcflow.launch.payloads import job_request
from hpcflow.launch.request import JobRequest
from hpcflow.launch.settings import settings

POLL_S = {"local": 0.02}
"""Seconds between two looks at the jobs of an executor; for others the setting `poll_s`, at least 10, for the scheduler's sake."""
LIMIT_WAIT_S = 30.0
"""After a submit limit, before the next try."""

Listener = Callable[[str, TaskState, str], None]
"""Called with (task, state, detail) at every change."""


@dataclass
class Running:
    """An attempt that is under way."""

    number: int
    handle: JobHandle
    request: JobRequest
    told: JobStatus = field(default_factory=lambda: JobStatus(JobState.PENDING))


class Driver:
    """Drives one experiment until every task is decided."""

    def __init__(self, records: Records, lease: Lease, listener: Listener | None = None) -> None:
        self.records = records
        self.spec = records.spec()
        self.lease = lease
        self._listen = listener or (lambda task, state, detail: None)
        self._executors: dict[str, Executor] = {task.name: from_json(task.executor) for task in self.spec.tasks}
        view = records.view(self.spec)
        self.attempts: dict[str, list[Attempt]] = {name: list(attempts) for name, attempts in view.attempts.items()}
        self.skipped = dict(view.skipped)
        self.cancelled = set(view.cancelled)
        self.running: dict[str, Running] = {}
        self._asked: dict[str, float] = {}
        self._no_submit_before = 0.0
        self._heard: dict[str, int] = {}
        """Journals of other processes -> their sizes when they were read."""
        self._poll_s = settings().poll_s
        self._adopt()

    def states(self) -> dict[str, TaskState]:
        """Task -> state, as this driver knows them."""
        return {task.name: self._state(task) for task in self.spec.tasks}

    def _state(self, task: Task) -> TaskState:
        return state_of(task, self.attempts.get(task.name, ()), task.name in self.skipped, task.name in self.cancelled)

    def drive(self) -> int:
        """Until the end; returns the experiment's exit status."""
        while True:
            self.lease.keep()
            self._hear_cancels()
            changed = self._look()
            changed |= self._act()
            states = self.states()
            if all(state.final or state is TaskState.UNKNOWN for state in states.values()):
                status = exit_status(self.spec, states)
                self.records.note("finished", status=status)
                return status
            if not changed:
                time.sleep(self._pause())

    # -- what was begun by an earlier driver ---------------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        for task in self.spec.tasks:
            attempts = self.attempts[task.name]
            if not attempts or attempts[-1].status.state.final:
                continue
            number = attempts[-1].number
            executor, key = self._executors[task.name], self.records.intent_key(task, number) or ""
            directory = self.records.attempt_directory(task, number)
            handle = self.records.handle(task, number) or executor.find(key, str(directory))
            request = self._request(task, number, key, directory)
            if handle is None:
                handle = executor.submit(executor.render(request))
            self.records.write_submitted(handle)
            self.running[task.name] = Running(number, handle, request)

    # -- looking -------------------------------------------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Ask the executors, each as often as its manners allow; True when something has changed."""
        changed = False
        by_kind: dict[str, list[str]] = {}
        for name in self.running:
            by_kind.setdefault(self._executors[name].name, []).append(name)
        now = time.monotonic()
        for kind, names in by_kind.items():
            if now - self._asked.get(kind, -1e9) < POLL_S.get(kind, self._poll_s):
                continue
            self._asked[kind] = now
            try:
                found = self._executors[names[0]].states([self.running[name].handle for name in names])
            except QueryFailedError as error:
                self.records.note("query failed", executor=kind, message=str(error))
                continue
            for name in names:
                changed |= self._learn(name, found[self.running[name].handle.key])
        return changed

    def _learn(self, name: str, status: JobStatus) -> bool:
        task, running = self.spec.task(name), self.running[name]
        if status == running.told:
            return False
        if status.state is not running.told.state:
            self.records.observe(name, running.number, status)
        running.told = status
        attempts = self.attempts[name]
        attempts[-1] = Attempt(running.number, status, time.time())
        if status.state.final:
            del self.running[name]
            if status.state is JobState.FAILED:
                self._adopt_requeued(task, running)
        self._listen(name, self._state(task), status.reason)
        return True

    def _adopt_requeued(self, task: Task, running: Running) -> None:
        """A job that asked Slurm to run it again goes on under the same id, as the attempt that it has announced itself."""
        for attempt in self.records.later_attempts(task, running.number):
            handle = self.records.handle(task, attempt.number)
            self.attempts[task.name].append(attempt)
            if handle is not None and not attempt.status.state.final:
                self.running[task.name] = Running(attempt.number, handle, running.request)

    def _hear_cancels(self) -> None:
        """What other processes have asked for; their journals are read when one has grown."""
        sizes = self.records.other_journals()
        if sizes == self._heard:
            return
        self._heard = sizes
        for record in self.records.events():
            if record["event"] == "cancel":
                self.cancelled.update(record["tasks"])

    # -- acting --------------------------------------------------------------------------------------------------------------------------------------

    def _act(self) -> bool:
        acted = False
        for step in next_steps(self.spec, self.attempts, self.skipped, frozenset(self.cancelled), time.time()):
            self.lease.keep()
            if isinstance(step, Skip):
                self.skipped[step.task] = step.reason
                self.records.note("skipped", task=step.task, reason=step.reason)
                self._listen(step.task, TaskState.SKIPPED, step.reason)
                acted = True
            elif step.task not in self.running and time.monotonic() >= self._no_submit_before:
                acted |= self._submit(step)
        return acted

    def _submit(self, step: Submit) -> bool:
        task, executor = self.spec.task(step.task), self._executors[step.task]
        directory = self.records.attempt_directory(task, step.number)
        key = self.records.intent_key(task, step.number) or f"{self.spec.id}-{os.urandom(4).hex()}-{step.number}"
        beside = [running.request for name, running in self.running.items() if self._executors[name].name == executor.name]
        request = executor.place(self._request(task, step.number, key, directory), beside)
        if request is None:
            return False
        rendered = executor.render(request)
        if self.records.intent_key(task, step.number) is None:
            self.records.write_intent(task, step.number, key)
        try:
            handle = executor.submit(rendered)
        except SubmitLimitError as error:
            self.records.note("submit limit", task=task.name, message=str(error))
            self._no_submit_before = time.monotonic() + LIMIT_WAIT_S
            return False
        except LaunchError as error:
            status = JobStatus(JobState.FAILED, None, None, str(error))
            self.records.observe(task.name, step.number, status)
            self.attempts[task.name].append(Attempt(step.number, status, time.time()))
            self._listen(task.name, self._state(task), str(error))
            return True
        self.records.write_submitted(handle)
        self.attempts[task.name].append(Attempt(step.number, JobStatus(JobState.PENDING), time.time()))
        self.running[task.name] = Running(step.number, handle, request)
        self._asked.pop(executor.name, None) if executor.name in POLL_S else None
        self._listen(task.name, TaskState.PENDING, f"attempt {step.number}, {executor.name} {handle.id}")
        return True

    def _request(self, task: Task, number: int, key: str, directory: Path) -> JobRequest:
        code = task.payload.get("code")
        return job_request(task, self._executors[task.name], number, key, directory, None if code is None else home() / "code" / code / "files")

    def _pause(self) -> float:
        kinds = {self._executors[name].name for name in self.running}
        return min((POLL_S.get(kind, 1.0) for kind in kinds), default=0.2)


def main(argv: list[str]) -> int:
    """The supervisor of a detached experiment: drives it, and says why when it cannot."""
    directory = Path(argv[1])
    records = Records(directory)
    try:
        lease = Lease.take(directory)
        try:
            return Driver(records, lease).drive()
        finally:
            lease.give_back()
    except HpcflowError as error:
        records.note("driver stopped", message=str(error))
        print(f"hpcflow: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))

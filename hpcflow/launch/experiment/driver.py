"""The driver of an experiment: the thin shell around `decide.next_steps`.

    python -m hpcflow.launch.experiment.driver DIRECTORY       # the supervisor of a detached experiment

Invariant: it acts only while it holds the lease; an intent is written before a job is submitted, and an intent without a job is looked for at the
executor before it is submitted again; a query without an answer changes nothing.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpcflow.errors import HpcflowError, LaunchError
from hpcflow.launch.executors.base import Executor, JobHandle, JobState, JobStatus, QueryFailedError, SubmitLimitError, read_exit
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment import fan_out
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
EXIT_LOOK_S = 0.01
"""A file system is asked for one exit file each so many seconds at most, and for all of them once a second at most."""
LIMIT_WAIT_S = 30.0
"""After a submit limit, before the next try."""
UNLIMITED = sys.maxsize
"""Elements of a batch, unless a submit limit has been met."""

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
        self._batch_limit = UNLIMITED
        self._read_exits_at = 0.0
        self._heard: dict[str, int] = {}
        """Journals of other processes -> their sizes when they were read."""
        self._poll_s = settings().poll_s
        self._adopt()
        self._cancel_running(self.cancelled)

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
        """Find the jobs of open attempts, each executor asked once; what was announced and never submitted is submitted like any other."""
        open_ones = {
            task.name: (task, attempts[-1].number)
            for task in self.spec.tasks
            if (attempts := self.attempts[task.name]) and not attempts[-1].status.state.final
        }
        handles = {name: self.records.handle(task, number) for name, (task, number) in open_ones.items()}
        missing: dict[str, dict[str, str]] = {}
        for name, (task, number) in open_ones.items():
            if handles[name] is None:
                key = self.records.intent_key(task, number) or ""
                missing.setdefault(self._executors[name].name, {})[key] = str(self.records.attempt_directory(task, number))
        found: dict[str, JobHandle] = {}
        for kind, wanted in missing.items():
            found |= next(e for e in self._executors.values() if e.name == kind).find(wanted)
        for name, (task, number) in open_ones.items():
            key = self.records.intent_key(task, number) or ""
            handle = handles[name] or found.get(key)
            if handle is None:
                self.attempts[name].pop()
                continue
            if handles[name] is None:
                self.records.write_submitted(handle)
            self.running[name] = Running(number, handle, self._request(task, number, key, self.records.attempt_directory(task, number)))

    # -- looking -------------------------------------------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Ask the executors, each as often as its manners allow; True when something has changed."""
        changed = self._read_exits()
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

    def _read_exits(self) -> bool:
        """Ends that the jobs have written down themselves are seen without asking a scheduler."""
        now, changed = time.monotonic(), False
        if now < self._read_exits_at:
            return False
        others = [name for name in self.running if self._executors[name].name not in POLL_S]
        self._read_exits_at = now + max(1.0, len(others) * EXIT_LOOK_S)
        for name in others:
            with contextlib.suppress(QueryFailedError):
                ended = read_exit(self.running[name].handle.directory)
                # why a job was killed, the scheduler may know better
                changed |= ended is not None and ended.code is not None and ended.code < 128 and self._learn(name, ended)
        return changed

    def _learn(self, name: str, status: JobStatus) -> bool:
        task, running = self.spec.task(name), self.running[name]
        if status == running.told:
            return False
        if status.state is JobState.CANCELLED and status.reason.startswith("Dependency"):  # submitted with a dependency of Slurm's
            del self.running[name]
            self.attempts[name].pop()
            self._skip(name, f"{task.condition.value} cannot come true")
            return True
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
        told = {name for record in self.records.events() if record["event"] == "cancel" for name in record["tasks"]}
        self._cancel_running(told - self.cancelled)
        self.cancelled |= told

    def _cancel_running(self, names: set[str]) -> None:
        """Whoever cancelled these may not have seen their jobs yet."""
        by_kind: dict[str, list[str]] = {}
        for name in names & self.running.keys():
            by_kind.setdefault(self._executors[name].name, []).append(name)
        for some in by_kind.values():
            with contextlib.suppress(LaunchError):
                self._executors[some[0]].cancel([self.running[name].handle for name in some])

    # -- acting --------------------------------------------------------------------------------------------------------------------------------------

    def _act(self) -> bool:
        acted = False
        steps: list[Submit] = []
        for step in next_steps(self.spec, self.attempts, self.skipped, frozenset(self.cancelled), time.time()):
            if isinstance(step, Skip):
                self._skip(step.task, step.reason)
                acted = True
            elif step.task not in self.running and time.monotonic() >= self._no_submit_before:
                steps.append(step)
        limit = self._batch_limit
        for group in fan_out.plan(self._ready(steps), self.spec.id, limit) if steps else ():
            self.lease.keep()
            acted |= self._submit(group)
            if time.monotonic() < self._no_submit_before or self._batch_limit != limit:
                break  # a submit limit
        return acted

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        self.records.note("skipped", task=name, reason=reason)
        self._listen(name, TaskState.SKIPPED, reason)

    def _ready(self, steps: list[Submit]) -> list[fan_out.Ready]:
        """The attempts that there is room for now, with their shares of what is dealt out."""
        beside: dict[str, list[JobRequest]] = {}
        for name, running in self.running.items():
            beside.setdefault(self._executors[name].name, []).append(running.request)
        ready = []
        for step in steps:
            task, executor = self.spec.task(step.task), self._executors[step.task]
            key = self.records.intent_key(task, step.number)
            wanted = self._request(task, step.number, key or "not-yet", self.records.attempt_directory(task, step.number))
            request = executor.place(wanted, beside.get(executor.name, ()))
            if request is not None:
                beside.setdefault(executor.name, []).append(request)
                ready.append(fan_out.Ready(task, step.number, request, executor, key is not None))
        return ready

    def _submit(self, group: fan_out.Group) -> bool:
        members = list(group.members.values())
        for ready in members:
            if not ready.announced:
                self.records.write_intent(ready.task, ready.number, ready.request.key)
        try:
            handles = group.submit(self.records.directory)
        except SubmitLimitError as error:
            self.records.note("submit limit", tasks=[ready.task.name for ready in members], message=str(error))
            if len(members) > 1:  # a part of them may fit; the intents stay, and are submitted under their keys
                self._batch_limit = len(members) // 2
                return True
            self._batch_limit = UNLIMITED
            self._no_submit_before = time.monotonic() + LIMIT_WAIT_S
            return False
        except LaunchError as error:
            for ready in members:
                status = JobStatus(JobState.FAILED, None, None, str(error))
                self.records.observe(ready.task.name, ready.number, status)
                self.attempts[ready.task.name].append(Attempt(ready.number, status, time.time()))
                self._listen(ready.task.name, self._state(ready.task), str(error))
            return True
        for ready in members:
            name, handle = ready.task.name, handles[ready.request.key]
            self.records.write_submitted(handle)
            self.attempts[name].append(Attempt(ready.number, JobStatus(JobState.PENDING), time.time()))
            self.running[name] = Running(ready.number, handle, ready.request)
            self._listen(name, TaskState.PENDING, f"attempt {ready.number}, {ready.executor.name} {handle.id}")
        if members[0].executor.name in POLL_S:
            self._asked.pop(members[0].executor.name, None)
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

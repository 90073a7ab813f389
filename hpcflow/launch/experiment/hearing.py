"""What a driver knows of its experiment, and how it hears of its jobs: by their exit files, by their executors, by the one question to a scheduler.

Invariant: a state changes only by what was told; an answer that is missing, late or about others changes nothing; each change is written down before
anybody is told of it.

    exit files: about once a second      local processes: every 20 ms      schedulers: the answer of `question.py`, looked for once a second
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hpcflow.launch.executors.attempt_files import read_exit
from hpcflow.launch.executors.base import Executor, JobHandle, JobState, JobStatus, QueryFailedError
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment.decide import Attempt, TaskState, cannot_begin, state_of
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.experiment.question import Answer, cluster_of, latest
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.request import JobRequest
from hpcflow.launch.settings import settings

POLL_S = {"local": 0.02}
"""Seconds between two looks at the jobs of an executor that is asked by each driver for itself. Schedulers: the one question of `question.py`."""
LOOK_S = 1.0
"""Seconds between two looks for a scheduler's answer."""
EXIT_LOOK_S = 0.01
"""A file system is asked for one exit file each so many seconds at most, and for all of them once a second at most."""

Listener = Callable[[str, TaskState, str], None]
"""Called with (task, state, detail) at every change."""


@dataclass
class Running:
    """An attempt that is under way."""

    number: int
    handle: JobHandle
    request: JobRequest
    told: JobStatus = field(default_factory=lambda: JobStatus(JobState.PENDING))


class Hearing:
    """The tasks, attempts and running jobs of an experiment, kept up to date."""

    def __init__(self, records: Records, listener: Listener | None = None) -> None:
        self.records = records
        self.spec = records.spec()
        self._listen = listener or (lambda task, state, detail: None)
        self._executors: dict[str, Executor] = {task.name: from_json(task.executor) for task in self.spec.tasks}
        view = records.view(self.spec)
        self.attempts: dict[str, list[Attempt]] = {name: list(attempts) for name, attempts in view.attempts.items()}
        self.skipped = dict(view.skipped)
        self.cancelled = set(view.cancelled)
        self.running: dict[str, Running] = {}
        self._look_at: dict[tuple[str, str], float] = {}
        self._heard_answers: dict[tuple[str, str], float] = {}
        self._noted: dict[tuple[str, str], str | None] = {}
        """Kind of executor, cluster -> why it gave no answer when it was last asked."""
        self._read_exits_at = 0.0
        self._poll_s = settings().poll_s

    def states(self) -> dict[str, TaskState]:
        """Task -> state, as this driver knows them."""
        return {task.name: self._state(task) for task in self.spec.tasks}

    def _state(self, task: Task) -> TaskState:
        return state_of(task, self.attempts.get(task.name, ()), task.name in self.skipped, task.name in self.cancelled)

    def _look(self) -> bool:
        """Hear how jobs are, each executor asked as often as its manners allow; True when something has changed."""
        changed = self._read_exits()
        asked: dict[tuple[str, str], list[str]] = {}
        for name, running in self.running.items():
            asked.setdefault((self._executors[name].name, cluster_of(running.handle)), []).append(name)
        now = time.monotonic()
        for (kind, cluster), names in asked.items():
            if now >= self._look_at.get((kind, cluster), 0.0):
                self._look_at[kind, cluster] = now + POLL_S.get(kind, LOOK_S)
                told = self._told(kind, cluster, self._executors[names[0]], [self.running[name].handle for name in names])
                for name in names:
                    status = told.get(self.running[name].handle.key)
                    changed |= status is not None and self._learn(name, status)
        if changed:
            for name, reason in cannot_begin(self.spec, self.attempts, self.skipped, self.cancelled).items():
                self.running.pop(name, None)  # Slurm takes the job out of its queue by itself
                self._skip(name, reason)
        return changed

    def _told(self, kind: str, cluster: str, executor: Executor, handles: list[JobHandle]) -> Mapping[str, JobStatus]:
        """What there is to hear about these jobs; a question without an answer is noted once."""
        if kind in POLL_S:
            try:
                return executor.states(handles)
            except QueryFailedError as failure:
                answer = Answer(time.time(), failure.told, str(failure))
        else:
            answer = latest(kind, self._poll_s, executor, handles)
            if answer.asked_s == self._heard_answers.get((kind, cluster)):
                return {}
            self._heard_answers[kind, cluster] = answer.asked_s
        if answer.error is not None and self._noted.get((kind, cluster)) != answer.error:
            self.records.note("query failed", executor=kind, message=answer.error)
        self._noted[kind, cluster] = answer.error
        return answer.jobs

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

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        self.records.note("skipped", task=name, reason=reason)
        self._listen(name, TaskState.SKIPPED, reason)

    def _pause(self) -> float:
        kinds = {self._executors[name].name for name in self.running}
        return min((POLL_S.get(kind, 1.0) for kind in kinds), default=0.2)

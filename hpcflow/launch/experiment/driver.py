"""The driver of an experiment: the thin shell around `decide.next_steps`.

    python -m hpcflow.launch.experiment.driver DIRECTORY       # the supervisor of a detached experiment

Invariant: it acts only while it holds the lease; an intent is written before a job is submitted, and an intent without a job is looked for at the
executor before it is submitted again; a query without an answer changes nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hpcflow.errors import HpcflowError, LaunchError
from hpcflow.launch.executors.base import JobHandle, JobState, JobStatus, QueryFailedError, SubmitLimitError, SubmitUnclearError
from hpcflow.launch.experiment import fan_out
from hpcflow.launch.experiment.decide import Attempt, Skip, Submit, TaskState, exit_status, next_steps
from hpcflow.launch.experiment.hearing import POLL_S, Hearing, Listener, Running
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.packagers.base import packed_files
from hpcflow.launch.payloads import job_request
from hpcflow.launch.request import JobRequest

AGAIN_S = 30.0
"""After a submit limit, or a call that reached nobody, before the next try."""
UNLIMITED = sys.maxsize
"""Elements of a batch, unless a submit limit has been met."""


class Driver(Hearing):
    """Drives one experiment until every task is decided."""

    def __init__(self, records: Records, lease: Lease, listener: Listener | None = None) -> None:
        super().__init__(records, listener)
        self.lease = lease
        self._no_submit_before = 0.0
        self._batch_limit = UNLIMITED
        self._heard: dict[str, int] = {}
        """Journals of other processes -> their sizes when they were read."""
        self._doubts: dict[str, int] = {}
        """Task -> its attempt that was announced, and of which nobody knows whether it was submitted."""
        self._to_cancel = set(self.cancelled)
        self._cancel_at = 0.0
        self._adopt()

    def drive(self) -> int:
        """Until the end; returns the experiment's exit status."""
        while True:
            self.lease.keep()
            self._hear_cancels()
            self._cancel_running()
            changed = self._look()
            changed |= self._act()
            states = self.states()
            if not self._doubts and all(state.final or state is TaskState.UNKNOWN for state in states.values()):
                status = exit_status(self.spec, states)
                self.records.note("finished", status=status)
                return status
            if not changed:
                time.sleep(self._pause())

    # -- what was begun by an earlier driver ---------------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over the jobs of open attempts; one that was announced, and of which no job is known, is in doubt."""
        for task in self.spec.tasks:
            attempts = self.attempts[task.name]
            if not attempts or attempts[-1].status.state.final:
                continue
            number = attempts[-1].number
            handle = self.records.handle(task, number)
            if handle is None:
                attempts.pop()
                self._doubts[task.name] = number
            else:
                self._take(task, number, handle)

    def _take(self, task: Task, number: int, handle: JobHandle) -> None:
        directory = self.records.attempt_directory(task, number)
        self.running[task.name] = Running(number, handle, self._request(task, number, handle.key, directory))

    def _settle_doubts(self) -> bool:
        """Look for the jobs of attempts in doubt, each executor asked once; those without one are submitted like any other. False: no answer."""
        wanted: dict[str, dict[str, str]] = {}
        names: dict[str, str] = {}
        for name, number in self._doubts.items():
            key = self.records.intent_key(self.spec.task(name), number) or ""
            names[key] = name
            wanted.setdefault(self._executors[name].name, {})[key] = str(self.records.attempt_directory(self.spec.task(name), number))
        for keys in wanted.values():
            try:
                found = self._executors[names[next(iter(keys))]].find(keys)
            except QueryFailedError as error:
                self._wait_with_submitting("query failed", [names[key] for key in keys], error)
                return False
            for key in keys:
                name, handle = names[key], found.get(key)
                number = self._doubts.pop(name)
                if handle is not None:
                    self.records.write_submitted(handle)
                    self.attempts[name].append(Attempt(number, JobStatus(JobState.PENDING), time.time()))
                    self._take(self.spec.task(name), number, handle)
                    self._to_cancel |= {name} & self.cancelled
        return True

    def _wait_with_submitting(self, event: str, names: list[str], error: LaunchError) -> None:
        self.records.note(event, tasks=names, message=str(error))
        self._no_submit_before = time.monotonic() + AGAIN_S

    # -- cancels ------------------------------------------------------------------------------------------------------------------------------------

    def _hear_cancels(self) -> None:
        """What other processes have asked for; their journals are read when one has grown."""
        sizes = self.records.other_journals()
        if sizes == self._heard:
            return
        self._heard = sizes
        told = {name for record in self.records.events() if record["event"] == "cancel" for name in record["tasks"]}
        self._to_cancel |= told - self.cancelled
        self.cancelled |= told

    def _cancel_running(self) -> None:
        """End what was cancelled: whoever did that may not have seen the jobs yet. What cannot be ended now is tried again later."""
        now = time.monotonic()
        if not self._to_cancel or now < self._cancel_at:
            return
        by_kind: dict[str, list[str]] = {}
        for name in self._to_cancel & self.running.keys():
            by_kind.setdefault(self._executors[name].name, []).append(name)
        self._to_cancel = set()
        for kind, some in by_kind.items():
            try:
                self._executors[some[0]].cancel([self.running[name].handle for name in some])
            except LaunchError as error:
                self.records.note("cancel failed", executor=kind, tasks=sorted(some), message=str(error))
                self._to_cancel |= set(some)
                self._cancel_at = now + AGAIN_S

    # -- acting --------------------------------------------------------------------------------------------------------------------------------------

    def _act(self) -> bool:
        acted = False
        if self._doubts and (time.monotonic() < self._no_submit_before or not self._settle_doubts()):
            return False
        steps: list[Submit] = []
        for step in next_steps(self.spec, self.attempts, self.skipped, frozenset(self.cancelled), time.time()):
            if isinstance(step, Skip):
                self._skip(step.task, step.reason)
                acted = True
            elif step.task not in self.running and time.monotonic() >= self._no_submit_before:
                steps.append(step)
        limit = self._batch_limit
        try:
            groups = fan_out.plan(self._ready(steps), self.spec.id, limit) if steps else []
        except QueryFailedError as error:  # nobody says how large a batch may be
            self._wait_with_submitting("query failed", [step.task for step in steps], error)
            return acted
        for group in groups:
            self.lease.keep()
            acted |= self._submit(group)
            if time.monotonic() < self._no_submit_before or self._batch_limit != limit:
                break  # a submit limit, or nobody was reached
        return acted

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
        facts = members[0].executor.facts()
        for ready in members:
            if not ready.announced:
                self.records.write_intent(ready.task, ready.number, ready.request.key, facts)
        try:
            handles = group.submit(self.records.directory)
        except SubmitLimitError as error:
            if len(members) > 1:  # a part of them may fit; the intents stay, and are submitted under their keys
                self.records.note("submit limit", tasks=[ready.task.name for ready in members], message=str(error))
                self._batch_limit = len(members) // 2
                return True
            self._batch_limit = UNLIMITED
            self._wait_with_submitting("submit limit", [ready.task.name for ready in members], error)
            return False
        except SubmitUnclearError as error:
            self._doubts |= {ready.task.name: ready.number for ready in members}
            self._wait_with_submitting("submission unclear", [ready.task.name for ready in members], error)
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
            self._look_at.pop((members[0].executor.name, ""), None)
        return True

    def _request(self, task: Task, number: int, key: str, directory: Path) -> JobRequest:
        return job_request(task, self._executors[task.name], number, key, directory, packed_files(task.payload.get("code")))


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

"""The files of one experiment: read what is known, write what was decided. The layout is drawn in docs/design/0010-launch.md.

Invariant: an intent is on disk before its job is submitted; nothing that was written is changed, but `lease.json`; what a scheduler said is a line in
the journal of the one who asked.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcflow.errors import LaunchError
from hpcflow.launch.executors.attempt_files import read_exit, taken_from_its_node
from hpcflow.launch.executors.base import FailureClass, JobHandle, JobState, JobStatus, status_from_json
from hpcflow.launch.experiment.decide import Attempt, TaskState, cannot_begin, state_of
from hpcflow.launch.experiment.model import Spec, Task, spec_from_json
from hpcflow.launch.files import append_line, create_json, make_directory, read_json, read_lines, write_bytes, write_json


@dataclass(frozen=True)
class View:
    """All that is known of an experiment at one time."""

    spec: Spec
    attempts: Mapping[str, tuple[Attempt, ...]]
    handles: Mapping[str, JobHandle | None]
    """Task -> the newest attempt's handle; None: an intent without one."""
    skipped: Mapping[str, str]
    cancelled: frozenset[str]

    def states(self) -> dict[str, TaskState]:
        """Task -> state."""
        return {
            task.name: state_of(task, self.attempts[task.name], task.name in self.skipped, task.name in self.cancelled) for task in self.spec.tasks
        }


class Records:
    """The directory of one experiment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._journal = directory / "journal" / f"{socket.gethostname()}-{os.getpid()}-{time.time_ns():x}.jsonl"

    @classmethod
    def create(
        cls, directory: Path, spec: Spec, files: Mapping[str, Mapping[str, bytes]] | None = None, own: Mapping[str, bytes] | None = None
    ) -> Records:
        """Write a new experiment down. files: directory of a task -> name -> content; own: name -> content in the experiment's directory."""
        make_directory(directory)
        for name in ("journal", "tasks"):
            make_directory(directory / name)
        for task in spec.tasks:
            folder = make_directory(directory / "tasks" / task.directory)
            make_directory(folder / "attempts")
            for name, content in (files or {}).get(task.directory, {}).items():
                write_bytes(folder / name, content)
        for name, content in (own or {}).items():
            write_bytes(directory / name, content)
        write_json(directory / "experiment.json", spec.to_json())
        return cls(directory)

    def spec(self) -> Spec:
        """What was asked for. Raises LaunchError when this is no experiment."""
        value = read_json(self.directory / "experiment.json")
        if value is None:
            raise LaunchError(f"{self.directory} holds no experiment.json: it is no experiment, or its submission never began")
        try:
            return spec_from_json(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LaunchError(f"{self.directory / 'experiment.json'} is damaged ({error!r}): restore it, or move it away") from error

    def task_files(self, task: Task) -> dict[str, bytes]:
        """What stands in a task's directory beside its attempts."""
        folder = self.directory / "tasks" / task.directory
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    # -- attempts --------------------------------------------------------------------------------------------------------------------------------

    def attempt_directory(self, task: Task, number: int) -> Path:
        return self.directory / "tasks" / task.directory / "attempts" / str(number)

    def write_intent(self, task: Task, number: int, key: str, facts: Mapping[str, str] | None = None) -> Path:
        """Say that attempt `number` is about to be submitted under `key`. facts: where, for who has to look for it there (`Executor.facts`).

        Raises:
            LaunchError: somebody else has said so.
        """
        directory = make_directory(self.attempt_directory(task, number))
        if not create_json(directory / "intent.json", {"key": key, "attempt": number, "time": time.time(), "facts": dict(facts or {})}):
            raise LaunchError(f"attempt {number} of task {task.name!r} is another driver's: two drive this experiment")
        return directory

    def intent_key(self, task: Task, number: int) -> str | None:
        """The key of an attempt that was announced."""
        value = read_json(self.attempt_directory(task, number) / "intent.json", "key")
        return None if value is None else str(value["key"])

    def write_submitted(self, handle: JobHandle) -> None:
        write_json(
            Path(handle.directory) / "submitted.json",
            {"key": handle.key, "directory": handle.directory, "id": handle.id, "facts": dict(handle.facts)},
        )

    def handle(self, task: Task, number: int) -> JobHandle | None:
        """How to find an attempt's job; None while only the intent is known."""
        value = read_json(self.attempt_directory(task, number) / "submitted.json", "key", "directory", "id", "facts")
        return None if value is None else JobHandle(value["key"], value["directory"], value["id"], value["facts"])

    def attempt_numbers(self, task: Task) -> list[int]:
        """Of the attempts that were announced, by a listing: for who looks often."""
        folder = self._attempts_folder(task)
        return sorted(int(name) for name in _listing(folder) if name.isdigit() and os.path.exists(f"{folder}/{name}/intent.json"))

    def later_attempts(self, task: Task, number: int) -> list[Attempt]:
        """Attempts after `number`, as the files say."""
        return [attempt for attempt in self._attempts(task, {}) if attempt.number > number]

    # -- journal ---------------------------------------------------------------------------------------------------------------------------------

    def note(self, event: str, **values: Any) -> None:
        """Add a line to this process's journal."""
        append_line(self._journal, {"time": time.time(), "event": event, **values})

    def events(self) -> list[dict[str, Any]]:
        """All journals, by time."""
        found = [record for path in (self.directory / "journal").glob("*.jsonl") for record in read_lines(path) if {"time", "event"} <= record.keys()]
        return sorted(found, key=lambda record: record["time"])

    def other_journals(self) -> dict[str, int]:
        """Names and sizes of the journals that this process does not write."""
        return {path.name: path.stat().st_size for path in (self.directory / "journal").glob("*.jsonl") if path != self._journal}

    def observe(self, task: str, number: int, status: JobStatus) -> None:
        """Keep what a scheduler said of an attempt."""
        self.note("observed", task=task, attempt=number, **status.to_json())

    # -- everything ------------------------------------------------------------------------------------------------------------------------------

    def view(self, spec: Spec | None = None) -> View:
        """Read all of it; contacts nobody."""
        spec = spec or self.spec()
        observed: dict[tuple[str, int], tuple[JobStatus, float]] = {}
        skipped: dict[str, str] = {}
        cancelled: set[str] = set()
        for record in self.events():
            if record["event"] == "observed":
                observed[record["task"], record["attempt"]] = status_from_json(record), record["time"]
            elif record["event"] == "skipped":
                skipped[record["task"]] = record["reason"]
            elif record["event"] == "cancel":
                cancelled.update(record["tasks"])
        attempts: dict[str, tuple[Attempt, ...]] = {}
        handles: dict[str, JobHandle | None] = {}
        for task in spec.tasks:
            attempts[task.name] = tuple(self._attempts(task, observed))
            if attempts[task.name]:
                handles[task.name] = self.handle(task, attempts[task.name][-1].number)
        return View(spec, attempts, handles, skipped | cannot_begin(spec, attempts, skipped, cancelled), frozenset(cancelled))

    def _attempts(self, task: Task, observed: Mapping[tuple[str, int], tuple[JobStatus, float]]) -> list[Attempt]:
        folder = self._attempts_folder(task)
        numbers = sorted(int(name) for name in _listing(folder) if name.isdigit())
        found = []
        for number in numbers:
            directory = f"{folder}/{number}"
            files = _listing(directory)
            if "intent.json" not in files:
                continue
            told = read_exit(directory) if "exit.json" in files else None
            seen = observed.get((task.name, number))
            if told is not None:
                if seen is not None and seen[0].failure not in (None, FailureClass.PROGRAM) and told.failure in (None, FailureClass.PROGRAM):
                    told = told if told.state is JobState.SUCCEEDED else replace(seen[0], code=told.code)  # the scheduler knew why it was killed
                found.append(Attempt(number, told, os.stat(f"{directory}/exit.json").st_mtime))
            elif seen is not None and seen[0].state.final:
                found.append(Attempt(number, seen[0], seen[1]))
            elif number + 1 in numbers and (read_json(Path(f"{folder}/{number + 1}/intent.json")) or {}).get("requeued"):
                found.append(Attempt(number, taken_from_its_node(directory), seen[1] if seen is not None else 0.0))
            else:
                status, when = seen or (JobStatus(JobState.PENDING), 0.0)
                if status.state is JobState.PENDING and "claim.json" in files:
                    status = JobStatus(JobState.RUNNING, reason="has begun")
                found.append(Attempt(number, status, when))
        return found

    def _attempts_folder(self, task: Task) -> str:
        return f"{self.directory}/tasks/{task.directory}/attempts"  # texts and listings: these are read for thousands of tasks


def _listing(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()

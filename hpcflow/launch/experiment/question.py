"""One question to a scheduler for all experiments of a user: whoever's turn it is asks, and everybody reads the answer.

Invariant: two questions to one kind of executor (and to one cluster, where clusters share a home) are at least `poll_s` apart, whoever asks them,
drivers, `status` and `wait` alike; who dies while it asks keeps nobody from the next turn. An answer says nothing about jobs that it does not name,
and a failed question nothing about any.

    <home>/asked-slurm-<cluster>          its age is that of the last question; locked (flock) by whoever is asking
    <home>/answer-slurm-<cluster>.json    {"asked": seconds since the epoch, "error": null, "jobs": {key: status}}

Where a file system has no locks, the age alone keeps questions apart, and two who look within the same instant may both ask.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcflow.errors import HpcflowError, LaunchError
from hpcflow.launch.executors.base import Executor, JobHandle, JobStatus, QueryFailedError, status_from_json
from hpcflow.launch.executors.registry import from_json
from hpcflow.launch.experiment.catalog import Index, directories
from hpcflow.launch.experiment.records import Records, View
from hpcflow.launch.files import read_json, write_json, writing
from hpcflow.launch.home import home, home_path, slug


@dataclass(frozen=True)
class Answer:
    """What was said about all jobs at one time.

    asked_s: when, in seconds since the epoch; 0: nobody has asked yet
    jobs: key of an attempt -> its status
    error: why there is no answer, or none about some
    """

    asked_s: float = 0.0
    jobs: Mapping[str, JobStatus] = field(default_factory=dict)
    error: str | None = None


def latest(kind: str, poll_s: float, executor: Executor, handles: Sequence[JobHandle]) -> Answer:
    """The newest answer about the jobs of a kind of executor, in the cluster of `handles`.

    When it is time, `executor` is asked for a new one: about `handles` and all others' jobs there.
    """
    base, cluster = home(), cluster_of(handles[0]) if handles else ""
    name = _name(kind, cluster)
    with _turn(base / f"asked-{name}", poll_s) as mine:
        if mine:
            wanted = {handle.key: handle for handle in [*_everybodys(kind, cluster), *handles]}
            write_json(base / f"answer-{name}.json", _ask(executor, wanted))
    return _read(base / f"answer-{name}.json")


def last_said(kind: str, handle: JobHandle) -> JobStatus | None:
    """What the newest answer says about a job; asks nobody."""
    return _read(home_path() / f"answer-{_name(kind, cluster_of(handle))}.json").jobs.get(handle.key)


def _name(kind: str, cluster: str) -> str:
    return f"{kind}-{slug(cluster)}" if cluster else kind


_answers: dict[Path, tuple[tuple[int, int], Answer]] = {}
"""File -> (which one it was, the answer in it): whoever looks once a second reads each answer once."""


def _read(path: Path) -> Answer:
    try:
        about = path.stat()
    except FileNotFoundError:
        return Answer()
    which = about.st_ino, about.st_mtime_ns
    if path not in _answers or _answers[path][0] != which:
        try:
            found = read_json(path)
            answer = Answer(found["asked"], {key: status_from_json(job) for key, job in found["jobs"].items()}, found["error"])
        except (LaunchError, KeyError, TypeError, ValueError, AttributeError):  # damaged: the next question writes it anew
            answer = Answer()
        _answers[path] = which, answer
    return _answers[path][1]


def cluster_of(handle: JobHandle) -> str:
    """The cluster that knows a job; empty: whichever this host asks."""
    return str(handle.facts.get("cluster") or "")


@contextlib.contextmanager
def _turn(stamp: Path, poll_s: float) -> Iterator[bool]:
    """Whether it is time, and nobody else is asking; the time counts from the beginning of a question."""
    with writing(stamp):
        descriptor = os.open(stamp, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        about, now = os.fstat(descriptor), time.time()
        due = about.st_size == 0 or not -poll_s < now - about.st_mtime < poll_s
        if due:
            os.pwrite(descriptor, b"the last question began when this file was written\n", 0)
            os.utime(descriptor, (now, now))
        yield due
    finally:
        os.close(descriptor)


def _ask(executor: Executor, handles: Mapping[str, JobHandle]) -> dict[str, object]:
    asked, error = time.time(), None
    try:
        told = executor.states(list(handles.values()))
    except QueryFailedError as failure:
        told, error = failure.told, str(failure)
    return {"asked": asked, "error": error, "jobs": {key: status.to_json() for key, status in told.items()}}


def _everybodys(kind: str, cluster: str) -> Iterator[JobHandle]:
    """The open jobs of all experiments of the user in this cluster."""
    for _, view in unfinished():
        yield from (handle for handle in open_jobs(view, kind).values() if cluster_of(handle) == cluster)


def unfinished() -> Iterator[tuple[Records, View]]:
    """The experiments that have an end to come; those of which the index knows the end are not read again."""
    index = Index()
    try:
        ended = {row["directory"] for row in index.rows() if row.get("status") is not None}
    finally:
        index.close()
    for path in directories():
        if str(path) not in ended:
            with contextlib.suppress(HpcflowError, KeyError):  # a damaged one is told of by `list`
                records = Records(path)
                yield records, records.view()


def open_jobs(view: View, kind: str) -> dict[str, JobHandle]:
    """Task -> handle of the attempts on executors of a kind that are not over."""
    return {
        name: handle
        for name, handle in view.handles.items()
        if handle is not None and not view.attempts[name][-1].status.state.final and view.spec.task(name).executor["type"] == kind
    }


def executor_of(view: View, kind: str) -> Executor:
    """An executor of this kind, out of the tasks of an experiment."""
    return from_json(next(task.executor for task in view.spec.tasks if task.executor["type"] == kind))

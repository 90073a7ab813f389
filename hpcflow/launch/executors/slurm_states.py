"""What Slurm says of attempts, beside what the attempts have left themselves.

Invariant: the exit file outranks what Slurm says, but for why a job was killed; what cannot be told of one job hides no other, and nothing is
concluded about it.

    states([handle])        # {key: JobStatus(...)}; raises QueryFailedError with those that could be told
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hpcflow.launch.executors import handing_over
from hpcflow.launch.executors import slurm_commands as commands
from hpcflow.launch.executors import slurm_query as query
from hpcflow.launch.executors.attempt_files import read_exit, taken_from_its_node
from hpcflow.launch.executors.base import FailureClass, JobHandle, JobState, JobStatus, QueryFailedError
from hpcflow.launch.executors.told_by_slurm import reason_in_logs
from hpcflow.launch.files import read_json


def facts() -> dict[str, str]:
    """What is kept of a new job beside its id: homes are shared by clusters, and ids are not."""
    with contextlib.suppress(QueryFailedError):
        if name := commands.cluster_name():
            return {"cluster": name}
    return {}


def find(wanted: Mapping[str, str]) -> dict[str, JobHandle]:
    """Those of the keys (key -> the attempt's directory) under which there is a job: by its name, else by the claim that it has left.

    Raises QueryFailedError, also where one was submitted to another cluster than this host's: what is not found here may be there.
    """
    for key, directory in wanted.items():
        intent = read_json(Path(directory) / "intent.json") or {}
        refuse_foreign(JobHandle(key, directory, f"of the key {key}", intent.get("facts", {})))
    found = {
        line.key: JobHandle(line.key, wanted[line.key], line.written_id if "_" in line.written_id else line.id, facts())
        for line in commands.queue()
        if line.key in wanted
    }
    for key, directory in wanted.items():
        claim = Path(directory) / "claim.json"
        if key not in found and claim.exists():
            match = re.search(r'"job_id": "(\d+(_\d+)?)"', claim.read_text("utf-8", errors="replace"))
            if match:
                found[key] = JobHandle(key, directory, match[1], facts())
    return found


def states(handles: Sequence[JobHandle]) -> dict[str, JobStatus]:
    """Key -> status. Raises QueryFailedError with those that could be told."""
    found: dict[str, JobStatus] = {}
    open_ones: dict[str, JobHandle] = {}
    problems: list[str] = []
    for handle in handles:
        with _kept(problems):
            ended = read_exit(handle.directory)
            if ended is not None and not query.killed(ended):
                found[handle.key] = ended
            else:
                refuse_foreign(handle)
                open_ones[handle.id] = handle
    for id, status in _told(list(open_ones), problems).items() if open_ones else ():
        with _kept(problems):
            found[open_ones[id].key] = closer = _closer(open_ones[id], status)
            if closer.state.final:
                handing_over.take_back([open_ones[id].directory])  # it may never have begun
    if problems:
        raise QueryFailedError("; ".join(problems), found)
    return found


def refuse_foreign(handle: JobHandle) -> None:
    """Raises QueryFailedError for a job of another cluster than this host's: its id is another job's here, or nobody's."""
    cluster = handle.facts.get("cluster")
    if cluster and cluster != (here := commands.cluster_name()):
        raise QueryFailedError(f"job {handle.id} is in the cluster {cluster}, and this host asks {here}: do it on a host of {cluster}")


@contextlib.contextmanager
def _kept(problems: list[str]) -> Iterator[None]:
    """What cannot be told of one job is kept for the end, and nothing is concluded about that job."""
    try:
        yield
    except QueryFailedError as error:
        problems.append(str(error))


def _told(ids: list[str], problems: list[str]) -> dict[str, JobStatus]:
    """What Slurm says of these jobs, by id; those that it gave no answer about are left out."""
    try:
        listed = commands.queue()
    except QueryFailedError as error:
        problems.append(str(error))
        return {}
    lines = {line.id: line for line in listed} | {line.written_id: line for line in listed}
    told = {id: query.status_of(lines[id]) for id in ids if id in lines}
    codes: dict[str, JobStatus | None] = {}
    with contextlib.suppress(QueryFailedError):  # that they have ended is known; with which code is then not
        codes = commands.details([id for id, status in told.items() if status.state.final])
    try:
        last = commands.forgotten([id for id in ids if id not in lines])
    except QueryFailedError as error:
        problems.append(str(error))
        last = error.told
    return {id: _with_code(status, codes.get(id)) for id, status in told.items()} | last


def _closer(handle: JobHandle, told: JobStatus) -> JobStatus:
    """What Slurm says of an attempt, beside what the attempt itself has left."""
    ended = read_exit(handle.directory)  # it may have been written since
    if ended is None and query.run_again(handle):
        return taken_from_its_node(handle.directory)
    if ended is not None:
        return query.settled(ended, told) if query.killed(ended) else ended
    if told == commands.FORGOTTEN and not (Path(handle.directory) / "claim.json").exists():
        return JobStatus(JobState.CANCELLED, reason="the job has never begun, and Slurm does not know it any more")
    if not told.state.final:
        return told
    explained = reason_in_logs(handle.directory) if told.state is not JobState.SUCCEEDED else None
    if explained is not None:
        return JobStatus(JobState.FAILED, told.code, FailureClass(explained[0]), explained[1])
    if told.state is JobState.SUCCEEDED:
        return JobStatus(JobState.FAILED, told.code, told.failure, "Slurm says completed, and the job has left no exit file")
    return told


def _with_code(status: JobStatus, detail: JobStatus | None) -> JobStatus:
    return status if detail is None or detail.code is None else JobStatus(status.state, detail.code, status.failure, status.reason)

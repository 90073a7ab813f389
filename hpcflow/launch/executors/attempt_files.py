"""The files of an attempt's directory, as executors write and read them: what was rendered, and how the attempt ended.

Invariant: what is written is private (0600, folders 0700); an exit file that cannot be read is no answer, and nothing is concluded from it.

    write_files(rendered); read_exit(rendered.request.directory)    # None until the job has ended
"""

from __future__ import annotations

import json
from pathlib import Path

from hpcflow.launch.executors.base import FailureClass, JobState, JobStatus, QueryFailedError, Rendered
from hpcflow.launch.executors.told_by_slurm import reason_in_logs
from hpcflow.launch.files import make_directory, write_text
from hpcflow.launch.stop import STOP_CODE


def write_files(rendered: Rendered) -> None:
    """Put the files of a rendered request into its directory, 0600, each whole: a script that is replaced goes on where it runs."""
    logs = make_directory(Path(rendered.request.directory) / "logs")
    for name, text in rendered.files.items():
        write_text(logs.parent / name, text)


def read_exit(directory: str) -> JobStatus | None:
    """What the job's own exit file says; None when it has not ended in order."""
    try:
        facts = json.loads((Path(directory) / "exit.json").read_bytes())
        code = int(facts["code"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QueryFailedError(f"{directory}/exit.json cannot be read: {error}") from error
    told = reason_in_logs(directory) if code not in (0, STOP_CODE) or facts.get("cancelled") else None
    if told is not None:
        return JobStatus(JobState.FAILED, code, FailureClass(told[0]), told[1])
    if facts.get("cancelled"):
        return JobStatus(JobState.CANCELLED, code, reason=f"ended by signal {facts['cancelled']}")
    if code == 0:
        return JobStatus(JobState.SUCCEEDED, 0)
    if code == STOP_CODE:
        return JobStatus(JobState.FAILED, code, FailureClass.STOPPED, "saved its state and stopped")
    return JobStatus(JobState.FAILED, code, FailureClass.PROGRAM, f"exit status {code}")


def taken_from_its_node(directory: str) -> JobStatus:
    """Of an attempt without an end, whose job the scheduler has put back into its queue: the node's failure, unless its log says otherwise."""
    failure, reason = reason_in_logs(directory) or (FailureClass.NODE.value, "the scheduler has put the job back into its queue")
    return JobStatus(JobState.FAILED, None, FailureClass(failure), reason)

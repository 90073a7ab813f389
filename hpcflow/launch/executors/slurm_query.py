"""What squeue and scontrol say about jobs, as text becomes facts: pure functions over their output and over the files of an attempt.

Invariant: a state that is not in the table is `unknown`, never guessed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from hpcflow.launch.executors.base import FailureClass, JobHandle, JobState, JobStatus

SEPARATOR = "\x1f"
FORMAT = SEPARATOR.join(("%i", "%A", "%T", "%r", "%S", "%j"))
"""For `squeue --format`: job id as written (12_3, 12+1), id of this job, state, reason, (estimated) start, name last."""

# State -> (ours, failure class). Slurm: squeue(1), "JOB STATE CODES".
STATES: dict[str, tuple[JobState, FailureClass | None]] = {
    "PENDING": (JobState.PENDING, None),
    "CONFIGURING": (JobState.PENDING, None),
    "REQUEUED": (JobState.PENDING, None),
    "REQUEUE_FED": (JobState.PENDING, None),
    "REQUEUE_HOLD": (JobState.PENDING, None),
    "SPECIAL_EXIT": (JobState.PENDING, None),
    "RESV_DEL_HOLD": (JobState.PENDING, None),
    "RUNNING": (JobState.RUNNING, None),
    "COMPLETING": (JobState.RUNNING, None),
    "SUSPENDED": (JobState.RUNNING, None),
    "STOPPED": (JobState.RUNNING, None),
    "SIGNALING": (JobState.RUNNING, None),
    "STAGE_OUT": (JobState.RUNNING, None),
    "RESIZING": (JobState.RUNNING, None),
    "COMPLETED": (JobState.SUCCEEDED, None),
    "FAILED": (JobState.FAILED, FailureClass.PROGRAM),
    "TIMEOUT": (JobState.FAILED, FailureClass.TIMEOUT),
    "DEADLINE": (JobState.FAILED, FailureClass.TIMEOUT),
    "NODE_FAIL": (JobState.FAILED, FailureClass.NODE),
    "BOOT_FAIL": (JobState.FAILED, FailureClass.NODE),
    "OUT_OF_MEMORY": (JobState.FAILED, FailureClass.OUT_OF_MEMORY),
    "PREEMPTED": (JobState.FAILED, FailureClass.PREEMPTED),
    "CANCELLED": (JobState.CANCELLED, None),
    "REVOKED": (JobState.CANCELLED, None),
}


@dataclass(frozen=True)
class JobLine:
    """One line of squeue."""

    written_id: str
    id: str
    state: str
    reason: str
    start: str
    name: str

    @property
    def key(self) -> str:
        """The key under which it was submitted: the end of its name, and of an array's element its index."""
        _, _, index = self.written_id.partition("_")
        return self.name.rpartition(".")[2] + (f"_{index}" if index else "")


def parse_squeue(text: str) -> list[JobLine]:
    """The lines of `squeue --noheader --format=FORMAT`."""
    lines = []
    for line in text.splitlines():
        parts = line.split(SEPARATOR, 5)
        if len(parts) == 6:
            written_id, id, state, reason, start = (part.strip() for part in parts[:5])
            lines.append(JobLine(written_id, id, state, reason, start, parts[5]))
    return lines


def status_of(line: JobLine) -> JobStatus:
    """What a line says; the exit code comes from elsewhere."""
    state, failure = STATES.get(line.state, (JobState.UNKNOWN, None))
    estimate = line.start if state is JobState.PENDING and line.start not in ("", "N/A", "Unknown") else None
    reason = line.reason if line.reason not in ("None", "") else line.state.lower()
    return JobStatus(state, None, failure, reason, estimate)


def parse_scontrol(text: str) -> dict[str, str]:
    """The fields of one job of `scontrol show job ID --oneliner` that have no spaces in their values."""
    return dict(re.findall(r"(\w[\w:/]*)=(\S*)", text))


def parse_scontrol_list(text: str) -> dict[str, JobStatus]:
    """Id -> status of the jobs of `scontrol show job --oneliner`; an array's element by both of its ids.

    >>> sorted(parse_scontrol_list("JobId=14 ArrayJobId=12 ArrayTaskId=3 JobName=x JobState=FAILED ExitCode=4:0"))
    ['12_3', '14']
    """
    found: dict[str, JobStatus] = {}
    for facts in map(parse_scontrol, text.splitlines()):
        if "JobId" in facts:
            found[facts["JobId"]] = status = status_of_scontrol(facts)
            if "ArrayTaskId" in facts:
                found[f"{facts['ArrayJobId']}_{facts['ArrayTaskId']}"] = status
    return found


def parse_sacct(text: str) -> dict[str, JobStatus]:
    """Id -> status of the lines of `sacct --parsable2 --format=JobID,State,ExitCode`. Elements of an array that never began share a line.

    >>> parse_sacct("12_3|CANCELLED by 0|0:15\\n")["12_3"].state.value
    'cancelled'
    >>> list(parse_sacct("12_[0-1,4%2]|CANCELLED|0:0\\n"))
    ['12_0', '12_1', '12_4']
    """
    found: dict[str, JobStatus] = {}
    for parts in (line.split("|") for line in text.splitlines()):
        if len(parts) == 3 and parts[1]:
            status = status_of_scontrol({"JobState": parts[1].split()[0], "ExitCode": parts[2]})
            found |= dict.fromkeys(elements_of(parts[0]), status)
    return found


def elements_of(id: str) -> list[str]:
    """The ids of an array's elements, as Slurm writes several in one; of anything else the id itself.

    >>> elements_of("12_[3,7-8%2]"), elements_of("12_3"), elements_of("12")
    (['12_3', '12_7', '12_8'], ['12_3'], ['12'])
    """
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", id)
    if match is None:
        return [id]
    runs = (part.partition("-") for part in match[2].split(","))
    return [f"{match[1]}_{index}" for first, _, last in runs for index in range(int(first), int(last or first) + 1)]


def status_of_scontrol(facts: dict[str, str]) -> JobStatus:
    """What scontrol says of a job that has ended, exit code included."""
    state, failure = STATES.get(facts.get("JobState", ""), (JobState.UNKNOWN, None))
    code, _, signal = facts.get("ExitCode", "").partition(":")
    status = None
    if state.final and code.isdigit():
        status = 128 + int(signal) if signal.isdigit() and int(signal) else int(code)
        if status == 0 and state is not JobState.SUCCEEDED:  # of a job that never came to its end
            status = None
    return JobStatus(state, status, failure, facts.get("Reason", ""))


def killed(ended: JobStatus) -> bool:
    """Whether an exit file says that a signal ended the job, and not whose: that is Slurm's to tell, once it has finished with the job."""
    return ended.state is JobState.CANCELLED or (ended.failure is FailureClass.PROGRAM and (ended.code or 0) > 128)


def settled(ended: JobStatus, told: JobStatus) -> JobStatus:
    """The exit file of a killed job, with the reason that Slurm has for it; running until Slurm has finished with the job."""
    if told.state in (JobState.PENDING, JobState.RUNNING):
        return JobStatus(JobState.RUNNING, None, None, "ending")
    if told.failure in (None, FailureClass.PROGRAM):
        return ended
    return JobStatus(JobState.FAILED, ended.code, told.failure, told.reason)


def run_again(handle: JobHandle) -> bool:
    """Whether Slurm has begun this very job once more: it has announced itself as the next attempt."""
    attempt = Path(handle.directory)
    later = attempt.parent / str(int(attempt.name) + 1) / "submitted.json" if attempt.name.isdigit() else None
    try:
        return later is not None and str(json.loads(later.read_bytes())["id"]) == handle.id
    except FileNotFoundError:
        return False


def parse_version(text: str) -> tuple[int, int] | None:
    """(year, month) of `sbatch --version`.

    >>> parse_version("slurm-wlm 22.05.8")
    (22, 5)
    """
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None

"""Why Slurm ended a job, as its step daemon writes into the job's own log: the class of a failure that neither an exit status nor, with every plugin,
the job's state tells.

Invariant: reads the logs of one attempt and nothing else, so a closed experiment is read the same way for ever; only lines of slurmstepd count.

    slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-01-31T12:00:00 DUE TO TIME LIMIT ***
    slurmstepd: error: StepId=12.0 exceeded memory limit (225095680 > 52428800), being killed       (jobacct_gather with OverMemoryKill)
    slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch.                                (cgroups)
"""

from __future__ import annotations

import re
from pathlib import Path

TAIL_BYTES = 65_536
"""How much of the end of each log is read."""

_LINE = re.compile(r"^slurmstepd[^:\s]*: error: (.*)$", re.MULTILINE)
# What a line holds -> the value of a FailureClass. The first that any line matches: memory before the kill that follows from it.
_REASONS = (
    (re.compile(r"exceeded \w*\s*memory limit|oom[-_]kill event|out-of-memory handler", re.IGNORECASE), "out of memory"),
    (re.compile(r"CANCELLED AT \S+ DUE TO TIME LIMIT"), "timeout"),
    (re.compile(r"CANCELLED AT \S+ DUE TO (PREEMPTION|JOB REQUEUE)"), "preempted"),
    (re.compile(r"CANCELLED AT \S+ DUE TO NODE FAILURE"), "node failure"),
)


def reason_in(text: str) -> tuple[str, str] | None:
    """(class, the line) of a log's text; None when slurmstepd gave no reason there.

    >>> reason_in("slurmstepd-n1: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-31T12:00:00 DUE TO TIME LIMIT ***")[0]
    'timeout'
    >>> reason_in("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-31T12:00:00 ***") is None
    True
    """
    lines = [match[1] for match in _LINE.finditer(text)]
    for pattern, failure in _REASONS:
        for line in lines:
            if pattern.search(line):
                return failure, line.strip("* ")
    return None


def reason_in_logs(directory: str) -> tuple[str, str] | None:
    """The same of an attempt's logs, the job's own first."""
    folder = Path(directory) / "logs"
    for path in sorted(folder.glob("*.txt"), key=lambda path: (path.name != "log.txt", path.name)):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            found = reason_in(file.read().decode(errors="replace"))
        if found is not None:
            return found
    return None

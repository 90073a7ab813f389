"""The programs of Slurm, called: sbatch, squeue, scontrol, sacct, scancel, each with what its answers mean.

Invariant: an answer ("there is no such job") is told from no answer (a program that is missing, too slow, or that reaches nobody), which raises
`QueryFailedError`, or for sbatch `SubmitUnclearError` where the job may have been taken all the same. Ids are asked for together, in one call each.

    queue()                        # every job of the user, one squeue
    forgotten(["12", "13_0"])      # what scontrol, else accounting, says of jobs that squeue does not list
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache

from hpcflow.errors import LaunchError
from hpcflow.launch.executors import slurm_array
from hpcflow.launch.executors import slurm_query as query
from hpcflow.launch.executors.base import JobState, JobStatus, QueryFailedError, SubmitLimitError, SubmitUnclearError
from hpcflow.launch.launchers.environment import without_launcher

COMMAND_TIMEOUT_S = 60.0
_LIMIT = re.compile(r"SubmitJob|temporarily unable to accept|job queue full|Resource temporarily unavailable")
"""What sbatch says when a later try may be taken: a limit of submitted jobs, a full queue."""
_POLICY, _POLICY_REASON = re.compile(r"[Vv]iolates accounting/QOS policy"), re.compile(r"\b(QOS|Assoc)\w+Limit\b")
"""A policy without the limit's name may be one of submitted jobs; one with another limit's name (time, nodes) is a refusal."""
_NO_CONTACT = re.compile(
    r"Unable to contact slurm controller|[Ss]ocket timed out|Connection refused|Connection timed out|Connection reset|Zero Bytes were transmitted|"
    r"Communication connection failure|Transport endpoint is not connected|Insane message length|No route to host"
)
_NO_JOB = ("Invalid job id", "Invalid job array")
_NO_ACCOUNTING = "accounting storage is disabled"
_OVER = ("Invalid job id", "already completing", "already completed", "not an active job")
"""What scancel says of jobs that have ended."""
FORGOTTEN = JobStatus(JobState.UNKNOWN, reason="Slurm does not know the job any more, and it has left no exit file")
_FEW = 4
"""Jobs that scontrol is asked for one by one; more are read from one list of all jobs."""


class MissingProgramError(LaunchError):
    """A program of Slurm is not on PATH."""


def call(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run it without what a batch system put into this process's environment. Raises MissingProgramError; QueryFailedError after a minute."""
    variables = without_launcher(os.environ) | {"SLURM_BITSTR_LEN": "0"}  # long lists of an array's indices are not cut short
    try:
        return subprocess.run(argv, capture_output=True, env=variables, timeout=COMMAND_TIMEOUT_S, check=False, encoding="utf-8", errors="replace")
    except (FileNotFoundError, PermissionError) as error:
        raise MissingProgramError(f"{argv[0]} is not on PATH: is this a submit host of a Slurm cluster?") from error
    except subprocess.TimeoutExpired as error:
        raise QueryFailedError(f"{argv[0]} gave no answer within {COMMAND_TIMEOUT_S:.0f} s") from error


def _ask(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The same for a question: a missing program is no answer."""
    try:
        return call(argv)
    except MissingProgramError as error:
        raise QueryFailedError(str(error)) from error


def _said(answer: subprocess.CompletedProcess[str]) -> str:
    return " ".join(answer.stderr.split()) or f"exit status {answer.returncode}"


# -- questions ---------------------------------------------------------------------------------------------------------------------------------------


def queue() -> list[query.JobLine]:
    """All jobs of the user that Slurm remembers. Raises QueryFailedError."""
    answer = _ask(("squeue", "--noheader", "--array", "--me", "--states=all", f"--format={query.FORMAT}"))
    if answer.returncode != 0:
        raise QueryFailedError(f"squeue gave no answer: {_said(answer)}")
    return query.parse_squeue(answer.stdout)


def details(ids: Sequence[str]) -> dict[str, JobStatus | None]:
    """State and exit code of jobs by scontrol; None: Slurm knows no such job. Raises QueryFailedError."""
    if len(ids) <= _FEW:
        return {id: _detail(id) for id in ids}
    answer = _ask(("scontrol", "show", "job", "--oneliner"))
    if answer.returncode != 0:
        raise QueryFailedError(f"scontrol gave no answer: {_said(answer)}")
    known = query.parse_scontrol_list(answer.stdout)
    return {id: known.get(id) for id in ids}


def _detail(id: str) -> JobStatus | None:
    answer = _ask(("scontrol", "show", "job", id, "--oneliner"))
    if answer.returncode == 0:
        return query.status_of_scontrol(query.parse_scontrol(answer.stdout))
    if any(words in answer.stderr for words in _NO_JOB):
        return None
    raise QueryFailedError(f"scontrol gave no answer about job {id}: {_said(answer)}")


def accounts(ids: Sequence[str]) -> dict[str, JobStatus]:
    """State and exit code of those jobs that accounting knows. Raises QueryFailedError; no answer where Slurm keeps no accounts is an empty one."""
    found: dict[str, JobStatus] = {}
    for some in slurm_array.short_ids(ids):
        words = ("sacct", "--noheader", "--parsable2", "--format=JobID,State,ExitCode", "--allocations", f"--jobs={','.join(_plain(some))}")
        try:
            answer = call(words)
        except MissingProgramError as error:
            if keeps_no_accounts():
                return {}
            raise QueryFailedError("sacct is not on PATH, and it alone can tell how jobs ended that Slurm has forgotten: put it on PATH") from error
        if answer.returncode != 0:
            if _NO_ACCOUNTING in answer.stderr:
                return {}
            raise QueryFailedError(f"sacct gave no answer: {_said(answer)}")
        found |= query.parse_sacct(answer.stdout)
    return {id: status for id, status in found.items() if id in set(ids)}


def _plain(words: Iterable[str]) -> list[str]:
    """Ids for sacct, which takes an array as a whole.

    >>> _plain(["7", "12_[0-1,4]"])
    ['7', '12']
    """
    return [word.partition("_[")[0] for word in words]


def forgotten(ids: Sequence[str]) -> dict[str, JobStatus]:
    """Jobs that squeue does not list: scontrol, else accounting. `unknown` only when both have answered that they know nothing.

    Raises QueryFailedError with those that could be told.
    """
    if not ids:
        return {}
    problem = None
    try:
        told = details(ids)
    except QueryFailedError as error:
        told, problem = dict.fromkeys(ids), error
    found = {id: status for id, status in told.items() if status is not None and status.state is not JobState.UNKNOWN}
    missing = [id for id in ids if id not in found]
    if missing:
        try:
            found |= accounts(missing)
        except QueryFailedError as error:
            raise QueryFailedError(str(error) if problem is None else f"{problem}; {error}", found) from error
    missing = [id for id in ids if id not in found]
    if missing and problem is not None:
        raise QueryFailedError(str(problem), found) from problem
    return found | dict.fromkeys(missing, FORGOTTEN)


@cache
def keeps_no_accounts() -> bool:
    """Whether this Slurm is set up without accounting. Raises QueryFailedError."""
    return re.search(r"^AccountingStorageType\s*=\s*\S*/none\s*$", _configuration(), re.MULTILINE) is not None


@cache
def cluster_name() -> str:
    """Which cluster this host's Slurm is. Raises QueryFailedError."""
    match = re.search(r"^ClusterName\s*=\s*(\S+)", _configuration(), re.MULTILINE)
    return match[1] if match else ""


@cache
def max_array_size() -> int:
    """How many elements an array may have here; 1 where a site has none. Raises QueryFailedError."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _configuration(), re.MULTILINE)
    return max(1, int(match[1]) - 1) if match else slurm_array.USUAL_SIZE  # indices are below MaxArraySize


@cache
def _configuration() -> str:
    answer = _ask(("scontrol", "show", "config"))
    if answer.returncode != 0:
        raise QueryFailedError(f"scontrol gave no answer: {_said(answer)}")
    return answer.stdout


def known_version() -> tuple[int, int] | None:
    """Of the Slurm client here; None without one, or while it does not say (then nothing is refused for its age)."""
    try:
        return _version()
    except LaunchError:
        return None


@cache
def _version() -> tuple[int, int] | None:
    return query.parse_version(call(("sbatch", "--version")).stdout)


# -- acts --------------------------------------------------------------------------------------------------------------------------------------------


def sbatch(argv: Sequence[str], what: str) -> str:
    """The id of the submitted job. Raises SubmitLimitError, SubmitUnclearError, or LaunchError when it was refused."""
    try:
        answer = call(argv)
    except QueryFailedError as error:
        raise SubmitUnclearError(f"{what}: {error}; it may have been taken") from error
    said = answer.stderr.strip()
    if answer.returncode == 0:
        return answer.stdout.strip().partition(";")[0]
    if _NO_CONTACT.search(said):
        raise SubmitUnclearError(f"{what}: sbatch reached nobody, or heard no answer: {said}")
    if _LIMIT.search(said) or (_POLICY.search(said) and not _POLICY_REASON.search(said)):
        raise SubmitLimitError(f"Slurm takes no more jobs of you for now: {said}")
    raise LaunchError(f"sbatch refused {what}: {said}\nThe script is {argv[-1]}")


def scancel(words: Sequence[str]) -> None:
    """Raises LaunchError, but not for jobs that have ended."""
    answer = call(("scancel", *words))
    if answer.returncode != 0 and not any(known in answer.stderr for known in _OVER):
        raise LaunchError(f"scancel: {answer.stderr.strip()}")

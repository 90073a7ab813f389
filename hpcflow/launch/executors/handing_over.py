"""Values of `Secret.variable` for jobs that inherit nothing: a private file beside the attempt, which the job's first act reads and deletes.

Invariant: only variables that the executor was told to hand over, and that a Secret of the task names. The value is in `secrets/<variable>` (0600, in
a 0700 folder) from the submission until the job's first act, and nowhere else: in no script, argument list, directive or journal.

    attempts/1/secrets/HF_TOKEN     written by hand_over(), deleted by the job, or by take_back() when the job never began
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from hpcflow.errors import LaunchError
from hpcflow.launch.files import make_directory, write_bytes
from hpcflow.launch.request import JobRequest

FOLDER = "secrets"


def variables_of(request: JobRequest) -> tuple[str, ...]:
    """The variables that the Secrets of a request name, sorted."""
    groups = (request.secrets, *(command.secrets for command in request.commands))
    return tuple(sorted({secret.source[0] for secrets in groups for secret in secrets.values() if secret.kind == "variable"}))


def given_by(request: JobRequest) -> frozenset[str]:
    """The variables that Secrets are given to."""
    return frozenset([*request.secrets, *(name for command in request.commands for name in command.secrets)])


def hand_over(request: JobRequest) -> None:
    """Write the values of this process's variables down for the job. Raises LaunchError that names a variable that is not set here."""
    names = variables_of(request)
    if missing := [name for name in names if name not in os.environ]:
        raise LaunchError(f"task {request.task!r}: the secret's variable {missing[0]} is not set where the job is submitted: export it there")
    for name in names:
        write_bytes(make_directory(Path(request.directory) / FOLDER) / name, os.fsencode(os.environ[name]))


def take_back(directories: Iterable[str]) -> None:
    """Delete what no job will read any more. directories: of attempts."""
    for directory in directories:
        if os.path.isdir(f"{directory}/{FOLDER}"):
            shutil.rmtree(f"{directory}/{FOLDER}", ignore_errors=True)

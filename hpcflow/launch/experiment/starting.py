"""How a detached experiment begins: submitted at once where Slurm alone finishes it, else left to a supervisor process on this host.

Invariant: the experiment is on disk before; whoever submits holds its lease; a supervisor runs the very hpcflow of this process, in a session of its
own.

    submit_detached(records)        # returns when everything is submitted, or a supervisor has been started
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hpcflow.errors import LaunchError
from hpcflow.launch.executors.base import QueryFailedError, SubmitLimitError, SubmitUnclearError
from hpcflow.launch.experiment import slurm_alone
from hpcflow.launch.experiment.decide import TaskState
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.source import git_state
from hpcflow.launch.launchers.environment import without_launcher
from hpcflow.launch.settings import flags_as_variables


def submit_detached(records: Records) -> None:
    """Begin, and return. Raises LaunchError when Slurm refused a task of a graph without a driver."""
    spec = records.spec()
    if slurm_alone.possible(spec):
        lease = Lease.take(records.directory)
        try:
            refused = slurm_alone.submit_all(records, spec)
            if refused:
                raise LaunchError(_refused_text(records, refused))
            return
        except (SubmitLimitError, SubmitUnclearError, QueryFailedError) as error:  # somebody has to stay and wait
            records.note("submission waits", message=str(error))
        finally:
            lease.give_back()
    start_supervisor(records.directory)


def start_supervisor(directory: Path) -> None:
    """A process that drives the experiment to its end; what it says is in `driver.log`."""
    log = os.open(directory / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    argv = [sys.executable, "-m", "hpcflow.launch.experiment.driver", str(directory)]
    with open(log, "wb") as out:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/", env=_environment())


def tell_next(id: str, *words: str) -> None:
    """Print the commands that look at the experiment, to stderr."""
    elsewhere = "".join(f"{name}={shlex.quote(value)} " for name, value in flags_as_variables().items() if name.endswith("_HOME"))
    print("".join(f"{elsewhere}hpcflow launch {word} {id}\n" for word in words), end="", file=sys.stderr, flush=True)


def _refused_text(records: Records, refused: Mapping[str, str]) -> str:
    view = records.view()
    states = view.states()
    going_on = sum(not state.final for state in states.values())
    skipped = sum(state is TaskState.SKIPPED for state in states.values())
    rest = f"; {going_on} others were submitted and go on, {skipped} are skipped" if len(states) > len(refused) else ""
    return f"{len(refused)} of {len(states)} tasks failed{rest} (`hpcflow launch status {view.spec.id}`). {next(iter(refused.values()))}"


def source_files() -> dict[str, bytes]:
    """git.json and dirty.patch, for the experiment's directory."""
    state = git_state(Path.cwd())
    if state is None:
        return {}
    facts, patch = state
    return {"git.json": json.dumps(facts, indent=1).encode(), **({"dirty.patch": patch} if patch else {})}


def _environment() -> dict[str, str]:
    """Ours without what a batch system put there; the supervisor runs the very hpcflow that this process runs."""
    kept = without_launcher(os.environ) | flags_as_variables()
    package = str(Path(__file__).parents[3])
    return kept | {"PYTHONPATH": os.pathsep.join([package, *filter(None, [kept.get("PYTHONPATH")])])}

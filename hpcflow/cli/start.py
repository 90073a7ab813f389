"""Start ranks and stay with them to their end: what `hpcflow run`, bench and doctor do with an argument list.

Invariant: the argument list is made by `launch.launchers.starting`; nothing of a launch is left when `start` returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from hpcflow.launch.launchers.starting import LauncherChoice, Place, allocation_cores, command_line, find_mpirun, place, request_for

__all__ = ["LauncherChoice", "Place", "allocation_cores", "command_line", "find_mpirun", "place", "request_for"]


def default_ranks(environ: Mapping[str, str], where: Place, master: bool = True) -> int:
    """The job's tasks in an allocation (at least 2 with a master), else one worker a core, and the master."""
    tasks = environ.get("SLURM_NTASKS", "") if where.allocation else ""
    return max(1 + master, int(tasks)) if tasks.isdigit() else where.cores + master


def thread_limits(environ: Mapping[str, str], cores: int) -> dict[str, str]:
    """Variables that keep a rank's numerical libraries at its cores; what the user has set stays."""
    return {name: str(cores) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if name not in environ}


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
